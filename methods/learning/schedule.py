"""When to practise what: sessions in a learner's free slots so that most of what matters is recalled at the exam.

Sessions are added one by one, always the one that adds most worth (practice_worth.py) x criticality for each minute
(greedy). Before that, skills with a longest gap get their sessions, those with most at stake first: the memory model
may not talk a learner out of the hands-on refresher.
Sources: Nemhauser, Wolsey and Fisher 1978, Math Program 14:265 (greedy placing under diminishing returns, the reason
why it comes close, not a proof for this worth); Anderson 2019, Sutton 2011 (refresher of 90 days at most).
Pure. Days are counted from the request's moment: the past is below 0. Not here: the memory (memory.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from methods.learning.memory import (
    PSYCHOMOTOR,
    MemoryParameters,
    MemoryStates,
    Recall,
    days_until,
    practise,
    recall_at,
)
from methods.learning.practice_worth import Course, follow_course, worth_with_one_more

Floats = NDArray[np.float64]

MINUTES_A_DAY = 1_440.0
DEFAULT_CRITICALITY = 0.5  # the contract's defaults
DEFAULT_TARGET = 0.9
DEFAULT_MINUTES = 10.0
DEFAULT_MIN_GAP_DAYS = 20.0 / 24.0
HANDS_ON_MAX_GAP_DAYS = 90.0  # compressions and bag-mask ventilation; Anderson 2019: quarterly beats yearly
LEAST_WORTH = 0.005  # a session that adds less recall is not worth the learner's time. JUDGEMENT
LEAST_CRITICALITY = 0.01  # what nobody calls critical still gets the time that is left
ROUNDING_MINUTES = 1e-5


class Unplaced(Enum):
    """Why a skill could not be placed, in the contract's words."""

    NO_SLOT = "NO_SLOT"
    SLOTS_TOO_SHORT = "SLOTS_TOO_SHORT"
    NO_TIME = "NO_TIME"
    GAP_TOO_SHORT = "GAP_TOO_SHORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What is asked of one skill.

    Attributes:
        criticality: what is at stake, 0 to 1.
        target: recall below which it falls due.
        minutes: length of a session on it.
        max_gap_days: longest time between two sessions; None: the memory alone decides.
    """

    criticality: float = DEFAULT_CRITICALITY
    target: float = DEFAULT_TARGET
    minutes: float = DEFAULT_MINUTES
    max_gap_days: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A stretch of free time, in days from now."""

    start_day: float
    end_day: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What holds for the whole plan.

    Attributes:
        slots: free time, in any order, not overlapping; what has begun before now or ends after the exam is left out.
        exam_day: when as much as possible should be recalled.
        minutes_per_week: most practice in a week; None: the slots are the only limit.
        min_gap_days: least time between two sessions on one skill.
        week_starts: days on which weeks begin, rising; empty: weeks of seven days from now.
    """

    slots: Sequence[Slot]
    exam_day: float
    minutes_per_week: float | None = None
    min_gap_days: float = DEFAULT_MIN_GAP_DAYS
    week_starts: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """One skill within a session: its place in the request, when it begins, and what is recalled of it just before."""

    skill: int
    day: float
    before: Recall
    without_practice: Recall


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session: it begins on a day, takes so many minutes and lies within one slot."""

    day: float
    minutes: float
    practices: tuple[Practice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A skill that falls due and could not be placed as it should: its place, when it falls due, and why."""

    skill: int
    due_day: float
    reason: Unplaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The plan: sessions by time, recall of every skill at the exam with it and without it (n,), what is missing."""

    sessions: tuple[Session, ...]
    recall_at_exam: Recall
    recall_without_practice: Recall
    missed: tuple[Missed, ...]


@dataclass(slots=True)
class _Plan:
    """The plan while it grows; slots are columns (slots,), by time.

    Attributes:
        start, minutes: when a slot begins, days, and how long it is.
        used: minutes of it that are taken; week: its week; week_used: minutes taken by week.
        placed: each skill's sessions as (day, slot), by time.
    """

    start: Floats
    minutes: Floats
    used: Floats
    week: NDArray[np.int64]
    week_used: Floats
    placed: list[list[tuple[float, int]]]


@dataclass(slots=True, kw_only=True)
class _Gains:
    """What a further session on each skill adds in each slot, as far as it was computed for the skill's sessions.

    Attributes:
        gain: in worth, (skills, slots).
        used: minutes of the slot that were taken when `gain` was computed, (skills, slots); NaN: never.
        course: by skill.
    """

    gain: Floats
    used: Floats
    course: dict[int, Course]


def default_max_gap(kind: int) -> float | None:
    """Longest time between two sessions when the request asks for none, days; None: no limit.

    >>> default_max_gap(PSYCHOMOTOR)
    90.0
    """
    return HANDS_ON_MAX_GAP_DAYS if kind == PSYCHOMOTOR else None


def due_day(states: MemoryStates, targets: Floats, parameters: MemoryParameters) -> Floats:
    """Day on which the recall of each skill falls to its target, (n,); minus infinity when it was never practised."""
    day = np.array(
        [
            days_until(float(target), np.array([stability]), parameters.decay)[0]
            for target, stability in zip(targets, states.stability_days, strict=True)
        ]
    )
    return np.where(np.isfinite(states.day), states.day + day, -np.inf)


def plan_schedule(states: MemoryStates, duties: Sequence[Duty], frame: Frame, parameters: MemoryParameters) -> Schedule:
    """Sessions for the skills, (n,) states and n duties in the same order.

    Raises: ValueError: states and duties differ in number, or the exam does not lie ahead.
    """
    if len(duties) != states.day.size:
        raise ValueError(f"duties: {len(duties)} for {states.day.size} skills")
    if not frame.exam_day > 0:
        raise ValueError("exam_day: must lie after now")
    plan = _empty_plan(len(duties), frame)
    order = sorted(range(len(duties)), key=lambda skill: -duties[skill].criticality)
    broken = {skill: day for skill in order if (day := _keep_gap(skill, states, duties, frame, plan)) is not None}
    _grow(states, duties, frame, plan, parameters)
    final = _after_plan(states, plan, parameters)
    recalled = recall_at(final, frame.exam_day, parameters)
    return Schedule(
        sessions=_sessions(states, duties, plan, parameters),
        recall_at_exam=recalled,
        recall_without_practice=recall_at(states, frame.exam_day, parameters),
        missed=_missed(final, recalled, broken, duties, frame, plan, parameters),
    )


def most_forced_sessions(duties: Sequence[Duty], frame: Frame) -> int:
    """At most so many sessions are asked for by longest gaps: of two steps in a row, the second passes a deadline."""
    gaps = (duty.max_gap_days for duty in duties if duty.max_gap_days is not None)
    return sum(min(len(frame.slots), int(2.0 * frame.exam_day / gap) + 1) for gap in gaps)


def _empty_plan(skills: int, frame: Frame) -> _Plan:
    """Slots between now and the exam, by time, each with its week."""
    inside = (slot for slot in frame.slots if slot.start_day >= 0.0 and slot.end_day <= frame.exam_day)
    slots = sorted(inside, key=lambda slot: slot.start_day)
    start = np.array([slot.start_day for slot in slots], dtype=np.float64)
    end = np.array([slot.end_day for slot in slots], dtype=np.float64)
    starts = np.asarray(frame.week_starts, dtype=np.float64)
    week = np.searchsorted(starts, start, side="right") if starts.size else np.floor(start / 7.0).astype(np.int64)
    return _Plan(
        start=start,
        minutes=(end - start) * MINUTES_A_DAY,
        used=np.zeros(start.size),
        week=np.asarray(week, dtype=np.int64),
        week_used=np.zeros(int(week.max(initial=0)) + 1),
        placed=[[] for _ in range(skills)],
    )


def _has_room(minutes: float, frame: Frame, plan: _Plan) -> NDArray[np.bool_]:
    """(slots,) whether slot and week still hold so many minutes; a rounding of a millisecond is forgiven."""
    fits = plan.used + minutes <= plan.minutes + ROUNDING_MINUTES
    if frame.minutes_per_week is not None:
        fits &= plan.week_used[plan.week] + minutes <= frame.minutes_per_week + ROUNDING_MINUTES
    return fits


def _begins(plan: _Plan) -> Floats:
    """(slots,) day on which the next session in each slot would begin."""
    return plan.start + plan.used / MINUTES_A_DAY


def _keeps_distance(days: Floats, taken: Sequence[float], frame: Frame) -> NDArray[np.bool_]:
    """(slots,) whether each day keeps the least time from the others."""
    others = np.array([-math.inf, *sorted(taken), math.inf])
    after = np.searchsorted(others[1:-1], days) + 1
    pauses = np.minimum(np.abs(days - others[after - 1]), np.abs(others[after] - days))  # to the nearest on either side
    return np.asarray(pauses >= frame.min_gap_days - ROUNDING_MINUTES / MINUTES_A_DAY, dtype=np.bool_)


def _free(skill: int, state_day: float, duty: Duty, frame: Frame, plan: _Plan) -> tuple[NDArray[np.int64], Floats]:
    """Slots that can take a session on the skill now, and the day on which it would begin there."""
    days = _begins(plan)
    taken = [day for day, _ in plan.placed[skill]] + ([state_day] if math.isfinite(state_day) else [])
    places = np.flatnonzero(_has_room(duty.minutes, frame, plan) & _keeps_distance(days, taken, frame))
    return places, days[places]


def _place(skill: int, place: int, duty: Duty, plan: _Plan) -> float:
    """Puts a session on the skill into a slot; returns the day."""
    day = float(_begins(plan)[place])
    plan.placed[skill] = sorted([*plan.placed[skill], (day, place)])
    plan.used[place] += duty.minutes
    plan.week_used[plan.week[place]] += duty.minutes
    return day


def _keep_gap(skill: int, states: MemoryStates, duties: Sequence[Duty], frame: Frame, plan: _Plan) -> float | None:
    """Sessions that keep the longest gap until the exam, each as late as it may be; the day that cannot be kept.

    One a slot, so that each step leads on. A deadline without a slot before it takes the next slot after it, and counts
    as not kept.
    """
    duty, state_day = duties[skill], float(states.day[skill])
    if duty.max_gap_days is None:
        return None
    broken: float | None = None
    deadline = max(state_day + duty.max_gap_days, 0.0) if math.isfinite(state_day) else 0.0
    # A first practice or an overdue one has no day to be late for: it goes into the first slot that can take it.
    is_overdue = deadline <= 0.0
    while deadline < frame.exam_day:
        places, days = _free(skill, state_day, duty, frame, plan)
        ahead = places > max((place for _, place in plan.placed[skill]), default=-1)
        places, days = places[ahead], days[ahead]
        if not places.size:
            return deadline if broken is None else broken
        in_time = np.flatnonzero(days <= deadline)
        chosen = int(in_time[-1]) if in_time.size else 0
        if not in_time.size and not is_overdue and broken is None:
            broken = deadline
        is_overdue = False
        deadline = _place(skill, int(places[chosen]), duty, plan) + duty.max_gap_days
    return broken


def _grow(
    states: MemoryStates, duties: Sequence[Duty], frame: Frame, plan: _Plan, parameters: MemoryParameters
) -> None:
    """Adds the session with the most worth for each minute until none adds any."""
    shape = len(duties), plan.start.size
    known = _Gains(gain=np.zeros(shape), used=np.full(shape, np.nan), course={})
    best = [_best(skill, states, duties[skill], frame, plan, known, parameters) for skill in range(len(duties))]
    worths = np.array([gain for gain, *_ in best])
    while True:
        skill = int(np.argmax(worths))
        gain, place, used = best[skill]
        if gain <= 0.0:
            return
        # Another skill may have taken the slot or the week's time since; then the best is looked for again.
        if plan.used[place] == used and _has_room(duties[skill].minutes, frame, plan)[place]:
            _place(skill, place, duties[skill], plan)
            known.used[skill] = np.nan
            del known.course[skill]
        best[skill] = _best(skill, states, duties[skill], frame, plan, known, parameters)
        worths[skill] = best[skill][0]


def _best(
    skill: int,
    states: MemoryStates,
    duty: Duty,
    frame: Frame,
    plan: _Plan,
    known: _Gains,
    parameters: MemoryParameters,
) -> tuple[float, int, float]:
    """Worth for each minute of the best further session, its slot and the minutes used there; 0 when there is none."""
    places, days = _free(skill, float(states.day[skill]), duty, frame, plan)
    if not places.size:
        return 0.0, -1, 0.0
    is_stale = known.used[skill, places] != plan.used[places]
    if is_stale.any():
        if skill not in known.course:
            state, now = states.take(np.array([skill])), [day for day, _ in plan.placed[skill]]
            known.course[skill] = follow_course(state, now, duty.target, frame.exam_day, parameters)
        stale, course = places[is_stale], known.course[skill]
        worths = worth_with_one_more(course, days[is_stale], parameters)
        known.gain[skill, stale], known.used[skill, stale] = worths - course.worth, plan.used[stale]
    gains = known.gain[skill, places]
    top = int(np.argmax(gains))
    if gains[top] < LEAST_WORTH:
        return 0.0, -1, 0.0
    weight = max(duty.criticality, LEAST_CRITICALITY) / duty.minutes
    return float(gains[top]) * weight, int(places[top]), float(plan.used[places[top]])


def _after_plan(states: MemoryStates, plan: _Plan, parameters: MemoryParameters) -> MemoryStates:
    """The states after all planned sessions, (n,)."""
    for skill, sessions in enumerate(plan.placed):
        row = np.array([skill], dtype=np.int64)
        part = states.take(row)
        for day, _ in sessions:
            part = practise(part, day, parameters)
        states = states.put(row, part)
    return states


def _sessions(
    states: MemoryStates, duties: Sequence[Duty], plan: _Plan, parameters: MemoryParameters
) -> tuple[Session, ...]:
    """What stands in each slot, as one session."""
    by_slot: dict[int, list[Practice]] = {}
    for skill, days in enumerate(plan.placed):
        start = part = states.take(np.array([skill], dtype=np.int64))
        for day, place in days:
            by_slot.setdefault(place, []).append(
                Practice(
                    skill=skill,
                    day=day,
                    before=recall_at(part, day, parameters),
                    without_practice=recall_at(start, day, parameters),
                )
            )
            part = practise(part, day, parameters)
    return tuple(
        Session(
            day=float(plan.start[place]),
            minutes=sum(duties[practice.skill].minutes for practice in by_slot[place]),
            practices=tuple(sorted(by_slot[place], key=lambda practice: practice.day)),
        )
        for place in sorted(by_slot)
    )


def _missed(
    final: MemoryStates,
    recalled: Recall,
    broken: dict[int, float],
    duties: Sequence[Duty],
    frame: Frame,
    plan: _Plan,
    parameters: MemoryParameters,
) -> tuple[Missed, ...]:
    """Skills that are below their target at the exam with the plan, or whose longest gap is broken."""
    due = due_day(final, np.array([duty.target for duty in duties]), parameters)
    missed = []
    for skill, duty in enumerate(duties):
        is_short = recalled.value[skill] < duty.target - LEAST_WORTH
        if not is_short and skill not in broken:
            continue
        day = min(float(due[skill]) if is_short else math.inf, broken.get(skill, math.inf))
        day = min(max(day, 0.0), frame.exam_day)
        missed.append(Missed(skill=skill, due_day=day, reason=_why(skill, final, day, duty, frame, plan)))
    return tuple(missed)


def _why(skill: int, final: MemoryStates, due: float, duty: Duty, frame: Frame, plan: _Plan) -> Unplaced:
    """Why no session on the skill lies between the day it falls due and the exam."""
    later = plan.start >= due
    if not later.any():
        return Unplaced.NO_SLOT
    if np.all(plan.minutes[later] < duty.minutes - ROUNDING_MINUTES):
        return Unplaced.SLOTS_TOO_SHORT
    last = float(final.day[skill])
    taken = [day for day, _ in plan.placed[skill]] or ([last] if math.isfinite(last) else [])
    roomy = later & _has_room(duty.minutes, frame, plan)
    if roomy.any() and not np.any(roomy & _keeps_distance(_begins(plan), taken, frame)):
        return Unplaced.GAP_TOO_SHORT
    return Unplaced.NO_TIME
