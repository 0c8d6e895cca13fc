"""The lessons model: what answers say, what lessons teach, how often they are finished, as one set of parameters.

Fitted from columns of answers (knowledge.py) and, where there are any, of finished lessons. How fast a minute teaches
comes from the path model, so that a path and a recommendation never disagree about it.
Source of the interval of completion: Lei et al. 2018, J Am Stat Assoc 113:1094 (split conformal).
Pure; chance comes in. Not here: the ranking (methods/learning/lessons.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from methods.learning.lessons import Completion, LessonParameters
from methods.learning.mastery import MasteryParameters
from methods.statistics.bootstrap import LEVEL
from training.learning.knowledge import Answers, Floats, KnowledgeModel, KnowledgeOptions, fit_knowledge

COMPLETION_LEAST = 50  # learners below which nothing is said about finishing


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonModel:
    """A fitted model."""

    parameters: LessonParameters
    knowledge: KnowledgeModel


def fit_lessons(
    answers: Answers,
    mastery: MasteryParameters,
    options: KnowledgeOptions,
    rng: np.random.Generator,
    *,
    finished: tuple[Floats, Floats] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> LessonModel:
    """Fits all parts.

    Args:
        answers: of all learners.
        mastery: guessing, slipping and the pace of learning.
        options: of the answers' fit.
        rng: the source of chance.
        finished: shares of begun lessons that learners finished in 28 days, and the same learners' in the next 28; None
            when unknown.
        progress: is told each step in words.
    Raises: ValueError: as fit_knowledge.
    """
    knowledge = fit_knowledge(answers, options, rng, progress=progress)
    return LessonModel(
        parameters=LessonParameters(
            knowledge=knowledge.parameters,
            band=knowledge.band,
            mastery=mastery,
            completion=None if finished is None else fit_completion(*finished, rng),
        ),
        knowledge=knowledge,
    )


def fit_completion(share: Floats, following: Floats, rng: np.random.Generator) -> Completion | None:
    """How far a learner's share of finished lessons tells the next one; None with too few learners.

    A random half fits a line through the mean, held between knowing nothing and everything; errors of the other half
    give the interval.

    Args:
        share: (n,) one entry a learner, 0 to 1.
        following: (n,) the same learners' next.
        rng: the source of chance.
    """
    if len(share) < COMPLETION_LEAST:
        return None
    fitted = rng.permutation(len(share)) < len(share) // 2
    base = float(following[fitted].mean())
    away = share[fitted] - base
    spread = float(away @ away)
    weight = float(np.clip(away @ (following[fitted] - base) / spread, 0.0, 1.0)) if spread > 0 else 0.0
    errors = np.abs(following[~fitted] - (base + weight * (share[~fitted] - base)))
    rank = min(int(np.ceil((len(errors) + 1) * LEVEL)), len(errors)) - 1
    return Completion(base=base, own_weight=weight, error=float(np.sort(errors)[rank]))
