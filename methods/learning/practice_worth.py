"""What a plan of practice for one skill is worth, and what one more session would add.

Worth = recall at the exam, less how far recall lies below its target on an average day until then.
Pure. Days are counted from the request's moment: the past is below 0. Not here: which sessions are placed
(schedule.py); the memory (memory.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from methods.learning.memory import MemoryParameters, MemoryStates, practise, recall_after, recall_at

Floats = NDArray[np.float64]

LOOKS = 16  # days between now and the exam on which recall is held against the target


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What the plan of one skill comes to: k sessions part the time until the exam into k + 1 stretches.

    Attributes:
        target, exam_day: as for `worth`.
        days: (k,) of the sessions, rising.
        states: stability and last practice in each stretch, (k + 1,); difficulty does not change, (1,).
        shortfall: of recall below the target, summed over all stretches before and the looks of this one among the
            first 0, 1, ... LOOKS, (k + 1, LOOKS + 1).
        worth: of the plan, as `worth` gives it.
    """

    target: float
    exam_day: float
    days: tuple[float, ...]
    states: MemoryStates
    shortfall: Floats
    worth: float


def worth(states: MemoryStates, days: Floats, target: float, exam_day: float, parameters: MemoryParameters) -> Floats:
    """Worth of plans for one skill, in recall.

    Args:
        states: (p,), the skill's state now, once for each plan.
        days: (p, k), days of practice, rising along a row, each from now to the exam.
        target: recall below which the skill falls due.
        exam_day: above 0.
        parameters: the version's.
    Returns: (p,) recall at the exam less the mean shortfall below the target on LOOKS days until then.
    """
    looks = _looks(exam_day)
    shortfall = np.zeros(states.day.size)
    since = np.full(states.day.size, -np.inf)
    for step in range(days.shape[1] + 1):
        until = days[:, step] if step < days.shape[1] else np.full(since.size, np.inf)
        in_force = (looks >= since[:, None]) & (looks < until[:, None])  # (p, looks)
        shortfall += (in_force * np.maximum(target - _recall(states, looks, parameters), 0.0)).sum(axis=1)
        if step < days.shape[1]:
            states, since = practise(states, until, parameters), until
    return recall_at(states, exam_day, parameters).value - shortfall / LOOKS


def follow_course(
    state: MemoryStates, now: Sequence[float], target: float, exam_day: float, parameters: MemoryParameters
) -> Course:
    """What the plan of one skill comes to, step by step.

    Args:
        state: (1,), the skill's state now.
        now: (k,) days of the plan's sessions, rising.
        target: recall below which the skill falls due.
        exam_day: above 0.
        parameters: the version's.
    """
    looks = _looks(exam_day)
    states = [state]
    for day in now:
        states.append(practise(states[-1], day, parameters))
    each = replace(
        state,
        stability_days=np.concatenate([part.stability_days for part in states]),
        day=np.concatenate([part.day for part in states]),
    )
    in_force = (looks >= np.array([-math.inf, *now])[:, None]) & (looks < np.array([*now, math.inf])[:, None])
    below = in_force * np.maximum(target - _recall(each, looks, parameters), 0.0)  # (k + 1, looks)
    first = np.tri(LOOKS + 1, LOOKS, -1)  # row c holds the first c looks
    within = (below[:, None, :] * first).sum(axis=2)  # (k + 1, LOOKS + 1)
    before = np.concatenate([[0.0], np.cumsum(within[:, -1])])
    recalled = float(recall_at(states[-1], exam_day, parameters).value[0])
    return Course(
        target=target,
        exam_day=exam_day,
        days=tuple(now),
        states=each,
        shortfall=before[:-1, None] + within,
        worth=recalled - float(before[-1]) / LOOKS,
    )


def worth_with_one_more(course: Course, days: Floats, parameters: MemoryParameters) -> Floats:
    """Worth of a plan for one skill with one more session, for each day it may lie on.

    Equal to `worth` of all those plans at a fraction of the work: what comes before the further session is the same for
    all, and each look is computed for the session that it follows alone.

    Args:
        course: what the plan comes to without it.
        days: (p,) days for the further session, rising, each from now to the exam.
        parameters: the version's.
    Returns: (p,).
    """
    looks = _looks(course.exam_day)
    place = np.searchsorted(course.days, days, side="right")  # (p,) sessions before the further one
    before = replace(course.states, stability_days=course.states.stability_days[place], day=course.states.day[place])
    shortfall = course.shortfall[place, np.searchsorted(looks, days)]
    after = practise(before, days, parameters)
    stability, since = after.stability_days, after.day
    begun = np.append(np.searchsorted(days, course.days), days.size)  # further sessions before each of the plan's
    first = np.searchsorted(looks, [-math.inf, *course.days, math.inf])  # looks from one session to the next
    for step, rows in enumerate(begun.tolist()):
        look = slice(first[step], first[step + 1])
        if rows and look.start < look.stop:
            recalled = recall_after(
                np.maximum(looks[look] - since[:rows, None], 0.0), stability[:rows, None], parameters.decay
            )
            below = np.zeros((rows, LOOKS))  # whole rows: a sum of fewer terms would be rounded otherwise
            below[:, look] = (looks[look] >= since[:rows, None]) * np.maximum(course.target - recalled, 0.0)
            shortfall[:rows] += below.sum(axis=1)
        if rows and step < len(course.days):
            part = replace(course.states, stability_days=stability[:rows], day=since[:rows])
            part = practise(part, course.days[step], parameters)
            stability[:rows], since[:rows] = part.stability_days, part.day
    recalled = recall_after(np.maximum(course.exam_day - since, 0.0), stability, parameters.decay)
    return np.asarray(recalled - shortfall / LOOKS, dtype=np.float64)


def _looks(exam_day: float) -> Floats:
    """(LOOKS,) days on which recall is held against the target."""
    return np.asarray((np.arange(LOOKS) + 0.5) / LOOKS * exam_day, dtype=np.float64)


def _recall(states: MemoryStates, looks: Floats, parameters: MemoryParameters) -> Floats:
    """Recall of each state on each day, (p, looks); 0 when never practised, 1 before its own time."""
    known = np.isfinite(states.day)
    elapsed = np.maximum(looks - np.where(known, states.day, 0.0)[:, None], 0.0)
    return known[:, None] * recall_after(elapsed, states.stability_days[:, None], parameters.decay)
