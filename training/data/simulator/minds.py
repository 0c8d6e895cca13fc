"""What people know and still remember of each skill at a moment: hidden ability, practice and forgetting.

Practice is worked out for all answers of a chunk at once: sorted by person, skill and time, so that "the last practice
before" is the row above. Hidden state: it goes into no table.
Not here: the curves (memory.py); what is asked (studying.py, examining.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.simulator.catalogue import Catalogue
from training.data.simulator.memory import correct_chance, recall, stability_after
from training.data.simulator.parameters import MemoryParameters
from training.data.simulator.people import People

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BASE_LOGIT = 0.9  # of knowing an average item before any practice; the published share right of beginners. JUDGEMENT
_DAYS_MOST = 1e6  # above the length of any world: orders (group, day) pairs as one number


@dataclass(frozen=True, slots=True, kw_only=True)
class Minds:
    """The people of a chunk, skill by skill.

    Attributes:
        ability: (n, skills) logits.
        first_stability_days: (n, skills), stability after the first practice.
        memory: how both act.
    """

    ability: Floats
    first_stability_days: Floats
    memory: MemoryParameters

    @property
    def skills(self) -> int:
        """How many there are."""
        return int(self.ability.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """All answers of a chunk, ordered by person, skill and time; every array is (a,).

    Attributes:
        order: places of the rows in the order they were given.
        group: person * skills + skill.
        day: when.
        begun: separate days of practice that have begun so far, counted over all groups.
    """

    order: Integers
    group: Integers
    day: Floats
    begun: Integers


def draw_minds(people: People, catalogue: Catalogue, memory: MemoryParameters, rng: np.random.Generator) -> Minds:
    """The hidden state of one chunk."""
    shape = (people.count, catalogue.skill_stability_days.size)
    spread = catalogue.skill_log_sd * rng.standard_normal(shape)
    return Minds(
        first_stability_days=catalogue.skill_stability_days * np.exp(spread),
        ability=people.ability[:, None] + memory.skill_sd * rng.standard_normal(shape),
        memory=memory,
    )


def practice_of(group: Integers, day: Floats) -> Practice:
    """The practice that answers are; `group` and `day` (a,) ordered by person and time."""
    order = np.argsort(group, kind="stable")  # time order is kept within a person's skill
    group, day = group[order], day[order]
    is_new_day = (place_in_group(group) == 0) | (np.diff(np.floor(day), prepend=-1.0) != 0)
    return Practice(order=order, group=group, day=day, begun=np.cumsum(is_new_day))


def chances_of_answers(minds: Minds, practice: Practice, difficulty: Floats) -> Floats:
    """(a,) chance that each answer of the practice is right, in the order they were given.

    Args:
        minds: who answers.
        practice: the answers.
        difficulty: (a,) of the items, logits, in the order given.
    """
    places = np.arange(practice.group.size)
    chance = np.empty(places.size)
    chance[practice.order] = _chance(
        minds, practice, (places, practice.group, practice.day), difficulty[practice.order]
    )
    return chance


def chances_at(minds: Minds, practice: Practice, asked: tuple[Integers, Floats], difficulty: Floats) -> Floats:
    """(k,) chance of a right answer on some day, after the practice before it.

    Args:
        minds: who is asked.
        practice: of the same people.
        asked: (k,) person * skills + skill, and day.
        difficulty: (k,) of the items, logits.
    """
    group, day = asked
    places = np.searchsorted(practice.group * _DAYS_MOST + practice.day, group * _DAYS_MOST + day)
    return _chance(minds, practice, (places, group, day), difficulty)


def place_in_group(group: Integers) -> Integers:
    """(n,) place of each row within its run of equal values, from 0.

    >>> place_in_group(np.array([4, 4, 7])).tolist()
    [0, 1, 0]
    """
    index = np.arange(group.size)
    is_first = np.diff(group, prepend=-1) != 0
    return np.asarray(index - index[is_first][np.cumsum(is_first) - 1], dtype=np.int64)


def _chance(minds: Minds, practice: Practice, asked: tuple[Integers, Integers, Floats], difficulty: Floats) -> Floats:
    """(k,) chances; `asked` is the place in the practice before which each question falls, its group and its day."""
    places, group, day = asked
    first = np.searchsorted(practice.group, group)
    practised = places - first
    is_first = practised == 0
    before = np.maximum(places - 1, 0)
    if practice.day.size:
        pause = np.where(is_first, 0.0, day - practice.day[before])
        start = practice.begun[np.minimum(first, practice.begun.size - 1)]
        days_practised = np.where(is_first, 0, practice.begun[before] - start + 1)
    else:
        pause, days_practised = np.zeros(day.size), np.zeros(day.size, dtype=np.int64)
    memory = minds.memory
    stability = stability_after(
        minds.first_stability_days.ravel()[group], days_practised.astype(np.float64), memory.stability_growth
    )
    recalled = np.where(is_first, 1.0, recall(pause, stability, memory.decay))
    known = minds.ability.ravel()[group] + memory.gain * np.log1p(practised) - difficulty
    return correct_chance(known + BASE_LOGIT, recalled, memory)
