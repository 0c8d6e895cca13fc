"""Learners who forget by a law that is known, for judging schedules: what is recalled, and what they answer.

Richer than the policy's model: the curve's exponent, the growth by practice and how much of it needs forgetting differ
between worlds; growth falls with every further day; stabilities differ by kind, by skill, by person and by both; so do
abilities. Answers are right by knowing and recalling, or by guessing, as on the simulated platform.
Ranges, drawn for each seed: exponent 0.1 to 0.25 (FSRS-6 default 0.1542); first stability of knowledge 14 to 33 days
(Das 2018), of skills 75 to 270 (HBB 75, PALS residents 82-152, India 269); log spreads 0.6 to 1.0 in all, of which a
fifth to a half lies between skills, JUDGEMENT; factor of the second day 1.8 to 3.2 (frozen simulator 2.5, FSRS-6 2 to
3); share of it that comes without any forgetting 0.3 to 1, JUDGEMENT; guess 0.15 to 0.3, slip 0.03 to 0.08.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.closed_loop.comparison import Floats
from methods.learning.memory import KNOWLEDGE, PSYCHOMOTOR, TEAM, SkillAnswer
from training.data.simulator.memory import recall

KINDS: Final = np.array([KNOWLEDGE] * 4 + [PSYCHOMOTOR] * 4 + [TEAM] * 2)
SKILLS: Final = KINDS.size
ITEMS: Final = 20  # of a skill
ANSWERS: Final = 4  # in a session on a skill
EASE: Final = 0.9  # logits of the median learner over the median item, as on the simulated platform
FULLY_FORGOTTEN: Final = 0.1  # loss of recall from which on practice grows the memory in full
SAME_SITTING_DAYS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLaw:
    """What holds for everybody in one world; `median_days` and `item_difficulty` are (skills,) and (skills, items)."""

    decay: float
    growth: float
    without_forgetting: float
    guess: float
    slip: float
    gain: float
    person_sd: float
    own_sd: float
    median_days: Floats
    item_difficulty: Floats


@dataclass(slots=True, kw_only=True)
class Mind:
    """One learner; every array is (skills,). Days are counted from now: the past is below 0.

    Attributes:
        law: the world's.
        stability: true, days, of the last practice.
        known: logits of knowing before any practice.
        days: separate days of practice so far.
        answers: given so far.
        last: day of the last practice; NaN before the first.
    """

    law: MemoryLaw
    stability: Floats
    known: Floats
    days: NDArray[np.int64]
    answers: NDArray[np.int64]
    last: Floats

    def recall(self, day: float) -> Floats:
        """(skills,) chance of recall; 0 before the first practice."""
        pause = np.maximum(day - np.nan_to_num(self.last, nan=day), 0.0)
        return np.where(np.isnan(self.last), 0.0, recall(pause, self.stability, self.law.decay))

    def practise(self, skill: int, day: float, rng: np.random.Generator) -> list[SkillAnswer]:
        """A session on one skill: its answers; afterwards all is fresh, and more stable if it is another day."""
        is_first = bool(np.isnan(self.last[skill]))
        recalled = 1.0 if is_first else float(self.recall(day)[skill])
        items = rng.choice(ITEMS, ANSWERS, replace=False)
        told = []
        for number, item in enumerate(items.tolist()):
            logit = EASE + self.known[skill] + self.law.gain * np.log1p(self.answers[skill])
            chance = (recalled if number == 0 else 1.0) / (1.0 + np.exp(self.law.item_difficulty[skill, item] - logit))
            right = self.law.guess + (1.0 - self.law.slip - self.law.guess) * chance
            told.append(SkillAnswer(skill, day + number / 1_440.0, float(rng.random() < right), f"i{skill}-{item}"))
            self.answers[skill] += 1
        if is_first:
            self.days[skill] = 1
        elif day - self.last[skill] >= SAME_SITTING_DAYS:
            needed = min(1.0, (1.0 - recalled) / FULLY_FORGOTTEN)
            share = self.law.without_forgetting + (1.0 - self.law.without_forgetting) * needed
            self.stability[skill] *= 1.0 + (self.law.growth - 1.0) / self.days[skill] * share
            self.days[skill] += 1
        self.last[skill] = day + ANSWERS / 1_440.0
        return told

    def copy(self) -> "Mind":
        """The same learner before anything happened to this copy."""
        return Mind(
            law=self.law,
            stability=self.stability.copy(),
            known=self.known.copy(),
            days=self.days.copy(),
            answers=self.answers.copy(),
            last=self.last.copy(),
        )


def draw_law(rng: np.random.Generator) -> MemoryLaw:
    """The law of one world."""
    spread = rng.uniform(0.6, 1.0)
    between_skills = rng.uniform(0.2, 0.5)  # of the variance
    of_kind = np.array([rng.uniform(14.0, 33.0), rng.uniform(75.0, 270.0), rng.uniform(75.0, 270.0)])
    return MemoryLaw(
        decay=rng.uniform(0.10, 0.25),
        growth=rng.uniform(1.8, 3.2),
        without_forgetting=rng.uniform(0.3, 1.0),
        guess=rng.uniform(0.15, 0.3),
        slip=rng.uniform(0.03, 0.08),
        gain=rng.uniform(0.3, 0.7),
        person_sd=spread * np.sqrt((1.0 - between_skills) / 2.0),
        own_sd=spread * np.sqrt((1.0 - between_skills) / 2.0),
        median_days=of_kind[KINDS] * np.exp(spread * np.sqrt(between_skills) * rng.standard_normal(SKILLS)),
        item_difficulty=0.8 * rng.standard_normal((SKILLS, ITEMS)),
    )


def draw_mind(law: MemoryLaw, rng: np.random.Generator) -> Mind:
    """One learner who has practised nothing."""
    own = law.person_sd * rng.standard_normal() + law.own_sd * rng.standard_normal(SKILLS)
    return Mind(
        law=law,
        stability=law.median_days * np.exp(own),
        known=0.7 * rng.standard_normal() + 0.5 * rng.standard_normal(SKILLS),
        days=np.zeros(SKILLS, dtype=np.int64),
        answers=np.zeros(SKILLS, dtype=np.int64),
        last=np.full(SKILLS, np.nan),
    )


def live_before(mind: Mind, days: float, rng: np.random.Generator) -> list[SkillAnswer]:
    """Answers on one to three days of practice in each skill, of the last so many, by time."""
    planned = sorted(
        (float(day), skill) for skill in range(SKILLS) for day in -rng.uniform(1.0, days, int(rng.integers(1, 4)))
    )
    return [answer for day, skill in planned for answer in mind.practise(skill, day, rng)]
