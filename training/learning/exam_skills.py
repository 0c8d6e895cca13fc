"""Fits what skills say before and at an exam: the prior of shares, and how an exam's items are answered.

Counts of right answers are beta-binomial around a mean; the sum of the beta's two numbers is for how many answers the
mean counts. Both are chosen on a grid by likelihood.
Source: Efron and Morris 1975, J Am Stat Assoc 70:311; Griffiths 1973, Biometrics 29:637 (beta-binomial likelihood).
Pure. Not here: what is made of it (methods/learning/exam_skills.py).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from methods.learning.exam_skills import EDGE, SkillPrior

Floats = NDArray[np.float64]
SLOPE_LEAST = 0.05  # knowing everything must be worth something
STRENGTHS = np.geomspace(1.0, 200.0, 24)  # a fourth apart: neighbours differ by less than a learner tells


def fit_skill_prior(learner: NDArray[np.int64], answers: Floats, correct: Floats, *, slip: float) -> SkillPrior:
    """The prior of learners whose counts these are.

    Args:
        learner: (n,) whose skill each row is.
        answers: (n,) judged answers in the skill, 1 or more.
        correct: (n,) right ones among them.
        slip: of the items, as the prior says.
    Raises: ValueError: there are none, or all were right, or all wrong.
    """
    total = float(answers.sum())
    share = float(correct.sum()) / total if total else 0.0
    if not EDGE < share < 1.0 - EDGE:
        raise ValueError("answers: none before the exams, or all of one outcome")
    _, code = np.unique(learner, return_inverse=True)
    given = np.bincount(code, weights=answers).astype(np.float64)
    right = np.bincount(code, weights=correct).astype(np.float64)
    between = _strength(given, right, np.full(given.size, share))
    own = (share * between + right) / (between + given)
    return SkillPrior(
        share=share, learner_answers=between, skill_answers=_strength(answers, correct, own[code]), slip=slip
    )


def fit_exam_items(known: Floats, score: Floats) -> tuple[float, float]:
    """Chances of a right answer without knowing and of a wrong one while knowing, of an exam's items.

    They are the ends of the line of least squares from what is known of the skills to the score, held between 0 and 1:
    an exam may be easier than the bank's items, and what is known weeks before it is known with error.

    Args:
        known: (n,) mean chance that the exam's skills are known, weighted as the exam weighs them.
        score: (n,) share of the points reached.
    Raises: ValueError: there are none.

    >>> fit_exam_items(np.array([0.0, 1.0]), np.array([0.25, 0.75]))
    (0.25, 0.25)
    """
    if not known.size:
        raise ValueError("exams: no learner's skills were known before any of them")
    spread = float(known.var())
    slope = float(((known - known.mean()) * (score - score.mean())).mean()) / spread if spread > 0 else SLOPE_LEAST
    slope = min(max(slope, SLOPE_LEAST), 1.0)
    at_nothing = min(max(float(score.mean() - slope * known.mean()), 0.0), 1.0 - slope)
    return at_nothing, 1.0 - at_nothing - slope


def _strength(answers: Floats, correct: Floats, mean: Floats) -> float:
    """The strength of the grid under which the counts are likeliest, each around its mean."""
    fits = [
        float(
            (
                betaln(correct + mean * strength, answers - correct + (1.0 - mean) * strength)
                - betaln(mean * strength, (1.0 - mean) * strength)
            ).sum()
        )
        for strength in STRENGTHS
    ]
    return float(STRENGTHS[int(np.argmax(fits))])
