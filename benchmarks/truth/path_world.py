"""Learners whose truth is known, for judging a path: what they know, how fast they learn, how they answer.

Nothing here is read by the planner: it sees minutes and answers. The truth is deliberately not the planner's model: who
knows a skill knows (nearly) all below it, skills differ in ease, items in guess and slip, and a skill whose
prerequisites are missing is learned at half the pace. Both arms of a comparison meet the same learner with the same
luck: the minutes that a skill takes and the draws behind every answer are fixed in advance.
Numbers (`StudentShape`): share known before 0.44 = mean of 36 % (Sutton 2011, before any booster) and 52 % (Swinger
2020, first PALS score); guess 0.2 and slip 0.1 about Corbett and Anderson 1995; pace 0.05 a minute and the spreads are
JUDGEMENT.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.truth.prerequisite_pairs import Course
from methods.learning.mastery import Floats

SHARE_KNOWN: Final = 0.44
SHARE_STRENGTH: Final = 5.0  # beta(2.2, 2.8): learners from nothing to nearly all
_LUCK: Final = 64  # draws of luck for each skill; later answers begin again


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentShape:
    """What learners are drawn from.

    Attributes:
        gaps, finds: shares of the known skills that are missing all the same, and the reverse.
        pace, pace_sd, ease_sd: skills learned a minute, its spread between learners and between skills, log scale.
        guess, slip, item_sd: of the median skill, and the spread between skills, logits.
        without_prerequisites: factor on the pace while a prerequisite is missing.
    """

    gaps: float = 0.10
    finds: float = 0.05
    pace: float = 0.05
    pace_sd: float = 0.4
    ease_sd: float = 0.3
    guess: float = 0.2
    slip: float = 0.1
    item_sd: float = 0.3
    without_prerequisites: float = 0.5


USUAL: Final = StudentShape()


@dataclass(slots=True, kw_only=True)
class Student:
    """One learner; skills by their number in the course's order.

    Attributes:
        shape: what the learner was drawn from.
        knows: the truth; (n,).
        minutes_left: effective minutes until an unknown skill is known; (n,).
        asked: questions so far; (n,).
    """

    course: "Skeleton"
    shape: StudentShape
    knows: NDArray[np.bool_]
    minutes_left: Floats
    guess: Floats
    slip: Floats
    luck: Floats
    asked: NDArray[np.int64]

    def study(self, skill: int, minutes: float) -> None:
        """Spend minutes on a skill's lesson."""
        if self.knows[skill]:
            return
        is_ready = all(self.knows[required] for required in self.course.required[skill])
        self.minutes_left[skill] -= minutes * (1.0 if is_ready else self.shape.without_prerequisites)
        self.knows[skill] = self.minutes_left[skill] <= 0.0

    def answer(self, skill: int) -> float:
        """Answer the next question on a skill: 1 right, 0 wrong."""
        luck = self.luck[skill, self.asked[skill] % _LUCK]
        self.asked[skill] += 1
        return float(luck < (1.0 - self.slip[skill] if self.knows[skill] else self.guess[skill]))

    def copy(self) -> "Student":
        """The same learner before anything happened to this copy."""
        return Student(
            course=self.course,
            shape=self.shape,
            knows=self.knows.copy(),
            minutes_left=self.minutes_left.copy(),
            guess=self.guess,
            slip=self.slip,
            luck=self.luck,
            asked=self.asked.copy(),
        )


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A course by numbers: what each skill requires, and what requires it."""

    required: tuple[tuple[int, ...], ...]
    opens: tuple[tuple[int, ...], ...]


def skeleton_of(course: Course) -> Skeleton:
    """Skills by their number in the graph's order."""
    place = {name: number for number, name in enumerate(course.graph.order)}
    required = tuple(tuple(place[one] for one in course.graph.required[name]) for name in course.graph.order)
    opens: list[list[int]] = [[] for _ in required]
    for skill, requirements in enumerate(required):
        for one in requirements:
            opens[one].append(skill)
    return Skeleton(required, tuple(tuple(later) for later in opens))


def shares_known(mean: float, learners: int) -> Floats:
    """What share of the course each of so many learners knows before: evenly spread over a beta distribution.

    Quantiles instead of draws: with few learners on a large course chance in who came would hide everything else.
    """
    if mean <= 0.0:
        return np.zeros(learners)
    levels = (np.arange(learners) + 0.5) / learners
    return np.asarray(beta.ppf(levels, mean * SHARE_STRENGTH, (1.0 - mean) * SHARE_STRENGTH), dtype=np.float64)


def draw_student(skeleton: Skeleton, share: float, rng: np.random.Generator, shape: StudentShape = USUAL) -> Student:
    """One learner who knows that share before the course, gaps and lucky finds aside; nothing at all for 0."""
    n = len(skeleton.required)
    knows = np.zeros(n, dtype=np.bool_)
    if share > 0.0:
        knows[_random_order(skeleton, rng)[: round(share * n)]] = True
        flips = rng.random(n)
        knows = np.where(knows, flips >= shape.gaps, flips < shape.finds)
    pace = shape.pace * np.exp(shape.pace_sd * rng.standard_normal() + shape.ease_sd * rng.standard_normal(n))
    return Student(
        course=skeleton,
        shape=shape,
        knows=knows,
        minutes_left=rng.exponential(1.0, n) / pace,
        guess=_around(shape.guess, shape.item_sd, rng, n),
        slip=_around(shape.slip, shape.item_sd, rng, n),
        luck=rng.random((n, _LUCK)),
        asked=np.zeros(n, dtype=np.int64),
    )


def _random_order(skeleton: Skeleton, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order in which each skill comes after what it requires."""
    unmet = [len(required) for required in skeleton.required]
    ready = [skill for skill, count in enumerate(unmet) if not count]
    order = []
    while ready:
        at = int(rng.integers(len(ready)))
        ready[at], ready[-1] = ready[-1], ready[at]
        skill = ready.pop()
        order.append(skill)
        for later in skeleton.opens[skill]:
            unmet[later] -= 1
            if not unmet[later]:
                ready.append(later)
    return np.array(order, dtype=np.int64)


def _around(share: float, spread: float, rng: np.random.Generator, n: int) -> Floats:
    logit = np.log(share / (1.0 - share)) + spread * rng.standard_normal(n)
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)
