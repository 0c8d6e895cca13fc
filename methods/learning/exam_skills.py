"""How far a learner knows the skills of an exam, from counts of right answers; and what an exam asks.

The share of right answers in a skill is drawn towards the learner's own share over all skills, and that towards the
share of all learners; freed of guessing and slipping it is the chance that the skill is known. Counts hold whatever
the order, so a caller who keeps only states is answered like one who sends every event.
Sources: Efron and Morris 1975, J Am Stat Assoc 70:311 (shares drawn towards a common one); Corbett and Anderson 1995,
User Model User-Adapt Interact 4:253 (guess and slip).
Pure, plain floats. Not here: the chance of passing (certification.py); how the numbers are fitted (training/learning).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from methods.learning.certification import SkillMastery
from methods.statistics.bands import Interval, sigmoid
from methods.statistics.bootstrap import LEVEL
from methods.statistics.normal import normal

EDGE: Final = 1e-6  # no share is certain


class Answered(NamedTuple):
    """Judged answers and the sum of their outcomes; right never more than answers."""

    answers: float = 0.0
    correct: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamPlan:
    """What a certification's exam asks.

    Attributes:
        cut_score: share of the points that passes.
        weights: of each skill in the exam, above 0.
    """

    cut_score: float
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillPrior:
    """What is believed of a share of right answers before it is seen.

    Attributes:
        share: of all learners in all skills.
        learner_answers: answers for which that share counts in a learner's own.
        skill_answers: answers for which the learner's own counts in each skill.
        guess, slip: chance of a right answer without knowing, of a wrong one while knowing.
        level: probability that an interval is meant to hold.
    """

    share: float = 0.65
    learner_answers: float = 10.0
    skill_answers: float = 8.0
    guess: float = 0.2
    slip: float = 0.05
    level: float = LEVEL

    def known(self, share: float) -> float:
        """Chance that a skill is known in which that share of answers is right.

        >>> SkillPrior(guess=0.0, slip=0.0).known(0.5), SkillPrior().known(0.1)
        (0.5, 0.0)
        """
        return min(max((share - self.guess) / (1.0 - self.slip - self.guess), 0.0), 1.0)

    def to_json(self) -> dict[str, float]:
        """The prior as it stands in an artifact's parameters.json."""
        return {name: getattr(self, name) for name in _BOUNDS}


def masteries(
    skills: Mapping[str, Answered],
    weights: Mapping[str, float],
    prior: SkillPrior,
    *,
    total: Answered | None = None,
    given: Mapping[str, float] | None = None,
) -> list[SkillMastery]:
    """What is known of the skills of an exam.

    Args:
        skills: what the learner answered, by skill.
        weights: the exam's skills; those that the learner never met stand too, with a wide interval.
        prior: the version's.
        total: the learner's answers in all skills; None sums up `skills`.
        given: chance that a skill is known, where the caller knows it; takes the place of what answers say.
    Returns: one for each skill of `weights`, in their order.

    >>> prior = SkillPrior(share=0.6, guess=0.2, slip=0.0)
    >>> new, = masteries({}, {"bls": 1.0}, prior)
    >>> round(new.mastery.value, 3), new.mastery.lower < 0.3, new.mastery.upper > 0.6
    (0.5, True, True)
    """
    own = total or Answered(
        sum(each.answers for each in skills.values()), sum(each.correct for each in skills.values())
    )
    learner = (prior.share * prior.learner_answers + own.correct) / (prior.learner_answers + own.answers)
    reach = normal().inv_cdf((1.0 + prior.level) / 2.0)
    found = []
    for skill_id, weight in weights.items():
        seen = skills.get(skill_id, Answered())
        behind = prior.skill_answers + seen.answers
        chance = (given or {}).get(skill_id)
        if chance is None:
            share = (learner * prior.skill_answers + seen.correct) / behind
        else:
            share = prior.guess + (1.0 - prior.slip - prior.guess) * chance
        found.append(SkillMastery(skill_id, _interval(share, behind, reach, prior), weight))
    return found


def _interval(share: float, behind: float, reach: float, prior: SkillPrior) -> Interval:
    """Chance of knowing with its interval: log-odds of the share are spread as those of so many answers are."""
    inside = min(max(share, EDGE), 1.0 - EDGE)
    logit, spread = math.log(inside / (1.0 - inside)), 1.0 / math.sqrt((behind + 1.0) * inside * (1.0 - inside))
    value = prior.known(share)
    return Interval(
        value,
        min(prior.known(sigmoid(logit - reach * spread)), value),
        max(prior.known(sigmoid(logit + reach * spread)), value),
    )


def parse_prior(value: Any) -> SkillPrior:
    """The prior that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or out of range.
    """
    if not isinstance(value, Mapping):
        raise ValueError("skills: not an object")  # noqa: TRY004 - one kind of error for a bad file
    numbers = {}
    for name, (low, high) in _BOUNDS.items():
        number = value.get(name)
        if not isinstance(number, int | float) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"skills.{name}: must be a number from {low:g} to {high:g}")
        numbers[name] = float(number)
    if numbers["guess"] + numbers["slip"] >= 1.0:
        raise ValueError("skills.slip: guess + slip must be below 1")
    return SkillPrior(**numbers)


def parse_plans(value: Any) -> dict[str, ExamPlan]:
    """Exams by certification, checked.

    Raises: ValueError: names what is not as it must be.

    >>> parse_plans({"BLS": {"cut_score": 0.84, "weights": {}}})
    Traceback (most recent call last):
    ValueError: exams.BLS.weights: must name skills, each with a number above 0
    """
    if not isinstance(value, Mapping):
        raise ValueError("exams: not an object")  # noqa: TRY004 - as above
    plans = {}
    for name, plan in value.items():
        cut, weights = (plan.get(part) if isinstance(plan, Mapping) else None for part in ("cut_score", "weights"))
        if not isinstance(cut, int | float) or isinstance(cut, bool) or not 0.0 <= cut <= 1.0:
            raise ValueError(f"exams.{name}.cut_score: must be a number from 0 to 1")
        if not isinstance(weights, Mapping) or not weights or not all(_is_weight(each) for each in weights.values()):
            raise ValueError(f"exams.{name}.weights: must name skills, each with a number above 0")
        plans[str(name)] = ExamPlan(cut_score=float(cut), weights={str(s): float(w) for s, w in weights.items()})
    return plans


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < math.inf


_BOUNDS: Final = {
    "share": (EDGE, 1.0 - EDGE),
    "learner_answers": (0.01, 1e6),
    "skill_answers": (0.01, 1e6),
    "guess": (0.0, 0.999),
    "slip": (0.0, 0.999),
    "level": (0.5, 0.999),
}
