"""OptimizeSchedule: what a learner remembers of each skill, and when to practise it, as messages.

Not here: the mathematics (methods/learning/memory.py, schedule.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from methods.learning.memory import (
    KNOWLEDGE,
    PSYCHOMOTOR,
    TEAM,
    MemoryParameters,
    MemoryStates,
    Recall,
    SkillAnswer,
    fold_history,
    new_states,
    parse_parameters,
    recall_at,
    stability_interval,
)
from methods.learning.schedule import (
    DEFAULT_CRITICALITY,
    DEFAULT_MIN_GAP_DAYS,
    DEFAULT_MINUTES,
    DEFAULT_TARGET,
    Duty,
    Frame,
    Missed,
    Schedule,
    Slot,
    Unplaced,
    default_max_gap,
    most_forced_sessions,
    plan_schedule,
)
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.errors import InvalidField
from server.modules.learning.learner_knowledge import what_happened
from server.serving.load import ModelKind
from server.serving.whole import Moment, Whole, open_parameters

SECONDS_PER_DAY, SECONDS_PER_MINUTE = 86_400.0, 60.0
KINDS = {
    learning_pb2.SKILL_KIND_UNSPECIFIED: KNOWLEDGE,  # the contract: the kind forgotten soonest
    learning_pb2.SKILL_KIND_KNOWLEDGE: KNOWLEDGE,
    learning_pb2.SKILL_KIND_PSYCHOMOTOR: PSYCHOMOTOR,
    learning_pb2.SKILL_KIND_TEAM: TEAM,
}
TEXTS = {
    Unplaced.NO_SLOT: "There is no free time between the day it falls due and the exam.",
    Unplaced.SLOTS_TOO_SHORT: "Every free slot left is shorter than a session on it.",
    Unplaced.NO_TIME: "The time there is goes to skills with more at stake.",
    Unplaced.GAP_TOO_SHORT: "Another session so soon after the last one is not allowed.",
}

MOSTLY_WRONG = 0.5  # share of right answers below which nothing shows that a skill was learnt
MOST_FORCED = 20_000  # sessions for longest gaps; placing one takes a tenth of a millisecond

Request, Response = learning_pb2.OptimizeScheduleRequest, learning_pb2.OptimizeScheduleResponse
KIND = ModelKind(features=None, open=open_parameters(parse_parameters))


def solve(parameters: MemoryParameters, asked: Any, moment: Moment) -> Any:
    """The answer to one request.

    Raises: InvalidField: a skill stands twice, slots overlap, the zone is unknown, the exam does not lie ahead, or the
        longest gaps ask for more sessions than can be planned in time.
    """
    _refuse_repeated_skills(asked)
    request = Request()
    request.CopyFrom(asked)
    request.skills.sort(key=lambda skill: skill.skill_id)  # of two alike, ids decide: callers list skills in any order
    states, answered = _states(parameters, request, moment.as_of)
    duties, frame = [_duty(request, skill) for skill in request.skills], _frame(request, moment)
    if (forced := most_forced_sessions(duties, frame)) > MOST_FORCED:
        text = f"all of them together may ask for {forced:,} sessions until the exam, and {MOST_FORCED:,} are allowed"
        raise InvalidField.of("skills.max_gap", text)
    schedule = plan_schedule(states, duties, frame, parameters)
    response: Any = Response()
    _add_sessions(response, request, schedule, states, parameters, moment)
    practised_later = {practice.skill for session in schedule.sessions for practice in session.practices}
    for place, skill in enumerate(request.skills):
        is_known = math.isfinite(float(states.day[place]))
        at_exam = response.recall_at_exam.add(skill_id=skill.skill_id)
        if is_known or place in practised_later:
            _fill(at_exam.recall_probability, schedule.recall_at_exam, place, parameters)
        if is_known:
            _fill(at_exam.recall_without_practice, schedule.recall_without_practice, place, parameters)
    for missed in schedule.missed:
        _add_missed(response, request.skills[missed.skill].skill_id, missed, moment)
    _add_memory(response, request, states, parameters)
    places = {skill.skill_id: place for place, skill in enumerate(asked.skills)}
    for entries in (response.recall_at_exam, response.memory_states):
        entries.sort(key=lambda entry: places[entry.skill_id])
    _say(response, states, answered, practised_later)
    return response


METHOD = Whole(
    path="/paedsresus.ml.v1.LearningService/OptimizeSchedule",
    model="schedule",
    request=Request,
    response=Response,
    solve=solve,
)


def _refuse_repeated_skills(request: Any) -> None:
    counted = Counter(skill.skill_id for skill in request.skills)
    for place, skill in enumerate(request.skills):
        if counted[skill.skill_id] > 1:
            text = f"{skill.skill_id} stands {counted[skill.skill_id]} times"
            raise InvalidField.of(f"skills[{place}].skill_id", text)


def _states(parameters: MemoryParameters, request: Any, as_of: float) -> tuple[MemoryStates, int]:
    """The skills' memory at the request's moment (day 0), and how many judged answers of the learner are behind it."""
    knowledge = request.features.knowledge
    kinds = np.array([KINDS[skill.kind] for skill in request.skills], dtype=np.int64)
    states = new_states(kinds, parameters, [skill.skill_id for skill in request.skills])
    places = {skill.skill_id: place for place, skill in enumerate(request.skills)}
    columns = {name: getattr(states, name).copy() for name in ("stability_days", "difficulty", "answers", "correct")}
    columns |= {name: getattr(states, name).copy() for name in ("recent", "day")}
    until: dict[str, float] = {}
    for state in knowledge.skill_states:
        if state.HasField("last_event_time"):
            until[state.skill_id] = _seconds(state.last_event_time)
        if state.skill_id in places:
            _take_over(columns, places[state.skill_id], state, until.get(state.skill_id), as_of)
    stored = MemoryStates(kind=kinds, **columns)
    counted = float(knowledge.answers), float(knowledge.correct_answers)
    answers = list(_answers(knowledge.history, places, until, as_of))
    folded = fold_history(stored, answers, counted, parameters)
    return folded, int(folded.answers.sum())


def _take_over(
    columns: dict[str, NDArray[np.float64]], place: int, state: Any, until: float | None, as_of: float
) -> None:
    """Puts what a stored state knows into the columns; what it leaves out stays the prior's."""
    given = {
        "stability_days": "stability_days",
        "difficulty": "memory_difficulty",
        "answers": "answers",
        "correct": "correct_answers",
        "recent": "recent_correct_share",
    }
    for column, name in given.items():
        if state.HasField(name):
            columns[column][place] = getattr(state, name)
    if until is not None and until <= as_of:
        columns["day"][place] = (until - as_of) / SECONDS_PER_DAY


def _answers(history: Any, places: dict[str, int], until: dict[str, float], as_of: float) -> Iterator[SkillAnswer]:
    """Judged answers that no state holds yet, up to the request's moment, oldest first; no learner's own rating."""
    events = [
        (ended, *what_happened(event), place)
        for place, event in enumerate(history)
        if until.get(event.skill_id, -math.inf) < (ended := _seconds(event.event_time)) <= as_of
        and event.WhichOneof("outcome") is not None
        and event.assessor != learning_pb2.ASSESSOR_SELF
    ]
    for ended, *_, place in sorted(events):
        event = history[place]
        yield SkillAnswer(
            skill=places.get(event.skill_id),
            day=(ended - as_of) / SECONDS_PER_DAY,
            score=float(event.correct) if event.WhichOneof("outcome") == "correct" else event.score,
            item_id=event.item_id,
        )


def _duty(request: Any, skill: Any) -> Duty:
    target = request.target_retention if request.HasField("target_retention") else DEFAULT_TARGET
    return Duty(
        criticality=skill.criticality if skill.HasField("criticality") else DEFAULT_CRITICALITY,
        target=skill.target_retention if skill.HasField("target_retention") else target,
        minutes=_minutes(skill.session_duration) if skill.HasField("session_duration") else DEFAULT_MINUTES,
        max_gap_days=(
            _minutes(skill.max_gap) * SECONDS_PER_MINUTE / SECONDS_PER_DAY
            if skill.HasField("max_gap")
            else default_max_gap(KINDS[skill.kind])
        ),
    )


def _frame(request: Any, moment: Moment) -> Frame:
    """Slots, exam and limits in days from the request's moment."""
    slots = [
        Slot(start_day=_day(slot.start_time, moment), end_day=_day(slot.end_time, moment)) for slot in request.slots
    ]
    in_order = sorted(slots, key=lambda slot: slot.start_day)
    if any(later.start_day < earlier.end_day for earlier, later in pairwise(in_order)):
        raise InvalidField.of("slots", "two slots overlap; join them or leave one out")
    exam = _day(request.exam_time, moment) if request.HasField("exam_time") else in_order[-1].end_day
    if exam <= 0:
        field = "exam_time" if request.HasField("exam_time") else "slots"
        raise InvalidField.of(field, "must lie after as_of_time: there is nothing to plan for")
    has_limit = request.HasField("study_time_per_week")
    return Frame(
        slots=slots,
        exam_day=exam,
        minutes_per_week=_minutes(request.study_time_per_week) if has_limit else None,
        min_gap_days=(
            _minutes(request.min_gap) * SECONDS_PER_MINUTE / SECONDS_PER_DAY
            if request.HasField("min_gap")
            else DEFAULT_MIN_GAP_DAYS
        ),
        week_starts=_week_starts(_zone(request.time_zone), moment.as_of, exam),
    )


def _zone(name: str) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as cause:  # a folder's name is an OSError, "../x" a ValueError
        raise InvalidField.of("time_zone", f"{name} is no IANA time zone; an example is Africa/Nairobi") from cause


def _week_starts(zone: tzinfo, as_of: float, exam_day: float) -> list[float]:
    """Mondays at midnight of the zone from the one before the request's moment to the exam, in days from the moment."""
    now = datetime.fromtimestamp(as_of, zone)
    monday = datetime(now.year, now.month, now.day, tzinfo=zone) - timedelta(days=now.weekday())
    starts = []
    while (day := (monday.timestamp() - as_of) / SECONDS_PER_DAY) < exam_day:
        starts.append(day)
        monday += timedelta(days=7)  # on the wall's clock: summer time moves with it
    return starts


def _add_sessions(
    response: Any,
    request: Any,
    schedule: Schedule,
    states: MemoryStates,
    parameters: MemoryParameters,
    moment: Moment,
) -> None:
    first: dict[int, float] = {}  # by skill, the day of its first planned practice; sessions are in order of time
    for session in schedule.sessions:
        planned = response.sessions.add()
        _set_time(planned.start_time, session.day, moment)
        planned.duration.FromTimedelta(timedelta(minutes=session.minutes))
        for practice in session.practices:
            entry = planned.skills.add(skill_id=request.skills[practice.skill].skill_id)
            was_known = math.isfinite(float(states.day[practice.skill]))
            if was_known or first.setdefault(practice.skill, practice.day) < practice.day:
                _fill(entry.recall_probability, practice.before, 0, parameters)
            if was_known:
                _fill(entry.recall_without_practice, practice.without_practice, 0, parameters)


def _add_missed(response: Any, skill_id: str, missed: Missed, moment: Moment) -> None:
    entry = response.unscheduled.add(
        skill_id=skill_id,
        unscheduled_reason=learning_pb2.UnscheduledReason.Value(f"UNSCHEDULED_REASON_{missed.reason.value}"),
        text=TEXTS[missed.reason],
    )
    _set_time(entry.due_time, missed.due_day, moment)


def _add_memory(response: Any, request: Any, states: MemoryStates, parameters: MemoryParameters) -> None:
    low, high = stability_interval(states, parameters)
    now = recall_at(states, 0.0, parameters)
    for place, skill in enumerate(request.skills):
        is_known = math.isfinite(float(states.day[place]))
        memory = response.memory_states.add(
            skill_id=skill.skill_id, memory_difficulty=float(states.difficulty[place]), from_prior=not is_known
        )
        _set_estimate(
            memory.stability_days,
            (float(states.stability_days[place]), float(low[place]), float(high[place])),
            parameters.level,
        )
        if is_known:
            _fill(memory.retrievability, now, place, parameters)


def _say(response: Any, states: MemoryStates, answered: int, practised_later: set[int]) -> None:
    """How much is known of this very learner. Unknown skills have no recall: absent, not 0.

    Recall is of what was learnt. Where nothing shows that anything was, mostly wrong answers or a first practice that
    is only planned, it is told with a warning.
    """
    if np.isfinite(states.day).any():
        response.info.evidence = common_pb2.EVIDENCE_PERSONAL
        response.info.observations = answered
    else:
        response.info.warnings.append(common_pb2.WARNING_COLD_START)
    is_known = np.isfinite(states.day)
    is_wrong = is_known & (states.correct < MOSTLY_WRONG * states.answers)
    if is_wrong.any() or any(not is_known[place] for place in practised_later):
        response.info.warnings.append(common_pb2.WARNING_EXTRAPOLATION)


def _fill(estimate: Any, recall: Recall, place: int, parameters: MemoryParameters) -> None:
    values = float(recall.value[place]), float(recall.lower[place]), float(recall.upper[place])
    _set_estimate(estimate, values, parameters.level)


def _set_estimate(estimate: Any, values: tuple[float, float, float], level: float) -> None:
    estimate.value, estimate.lower, estimate.upper = values
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR


def _set_time(timestamp: Any, day: float, moment: Moment) -> None:
    timestamp.FromMicroseconds(round((moment.as_of + day * SECONDS_PER_DAY) * 1e6))


def _day(timestamp: Any, moment: Moment) -> float:
    return (_seconds(timestamp) - moment.as_of) / SECONDS_PER_DAY


def _minutes(duration: Any) -> float:
    return float(duration.seconds + duration.nanos * 1e-9) / SECONDS_PER_MINUTE


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds + timestamp.nanos * 1e-9)
