"""OptimizeSchedule over messages: what counts as an answer, what is absent, where sessions may lie, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.learning.memory import KNOWLEDGE, MemoryParameters, SkillAnswer, fold_history, new_states, recall_at
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.errors import InvalidField
from server.modules.learning.optimize_schedule import solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF

PARAMETERS = MemoryParameters(item_easiness={"i1": 0.4}, observations=1_000)
MOMENT = Moment(AS_OF.timestamp(), bytes(32))
KNOWN, HANDS = learning_pb2.SKILL_KIND_KNOWLEDGE, learning_pb2.SKILL_KIND_PSYCHOMOTOR


def _request(skills: int = 2, slot_days: tuple[float, ...] = (2.0, 9.0, 16.0), exam_day: float = 20.0) -> Any:
    request = learning_pb2.OptimizeScheduleRequest()
    request.features.SetInParent()
    request.context.as_of_time.FromDatetime(AS_OF)
    for number in range(skills):
        request.skills.add(skill_id=f"s{number}", kind=KNOWN)
    for day in slot_days:
        _slot(request, AS_OF + timedelta(days=day))
    request.exam_time.FromDatetime(AS_OF + timedelta(days=exam_day))
    return request


def _slot(request: Any, start: datetime, minutes: float = 30.0) -> None:
    slot = request.slots.add()
    slot.start_time.FromDatetime(start)
    slot.end_time.FromDatetime(start + timedelta(minutes=minutes))


def _answered(request: Any, skill_id: str, days_ago: float, *, right: bool = True, item_id: str = "i1") -> Any:
    event = request.features.knowledge.history.add(skill_id=skill_id, item_id=item_id, correct=right)
    event.event_time.FromDatetime(AS_OF - timedelta(days=days_ago))
    return event


def _answer(request: Any) -> Any:
    judge(request)
    return solve(PARAMETERS, request, MOMENT)


def test_a_skill_of_which_nothing_is_known_has_a_prior_and_no_recall() -> None:
    response = _answer(_request(1, slot_days=(30.0,)))

    (memory,) = response.memory_states
    assert memory.from_prior
    assert memory.stability_days.value == pytest.approx(22.0)
    assert not memory.retrievability.HasField("value")
    assert not response.recall_at_exam[0].recall_without_practice.HasField("value")
    assert not response.recall_at_exam[0].recall_probability.HasField("value")
    assert list(response.info.warnings) == [common_pb2.WARNING_COLD_START]


def test_once_a_first_practice_is_planned_recall_at_the_exam_can_be_said() -> None:
    response = _answer(_request(1))

    assert response.sessions
    assert response.recall_at_exam[0].recall_probability.HasField("value")
    assert not response.recall_at_exam[0].recall_without_practice.HasField("value")
    assert not response.sessions[0].skills[0].recall_probability.HasField("value")
    assert set(response.info.warnings) == {common_pb2.WARNING_COLD_START, common_pb2.WARNING_EXTRAPOLATION}


@pytest.mark.parametrize(("right", "warned"), [(False, [common_pb2.WARNING_EXTRAPOLATION]), (True, [])])
def test_recall_of_what_nobody_saw_learnt_is_told_with_a_warning(right: bool, warned: list[int]) -> None:  # noqa: FBT001
    request = _request(1)
    for day in range(1, 6):
        _answered(request, "s0", float(day), right=right)

    assert list(_answer(request).info.warnings) == warned


def test_the_memory_is_the_fold_of_the_history() -> None:
    request = _request()
    _answered(request, "s0", 30.0)
    _answered(request, "s1", 12.0, right=False)
    _answered(request, "s0", 5.0, item_id="other")

    response = _answer(request)

    states = fold_history(
        new_states(np.array([KNOWLEDGE, KNOWLEDGE]), PARAMETERS),
        [SkillAnswer(0, -30.0, 1.0, "i1"), SkillAnswer(1, -12.0, 0.0, "i1"), SkillAnswer(0, -5.0, 1.0, "other")],
        (0.0, 0.0),
        PARAMETERS,
    )
    now = recall_at(states, 0.0, PARAMETERS)
    assert [m.stability_days.value for m in response.memory_states] == pytest.approx(states.stability_days.tolist())
    assert [m.retrievability.value for m in response.memory_states] == pytest.approx(now.value.tolist())
    assert (response.info.evidence, response.info.observations) == (common_pb2.EVIDENCE_PERSONAL, 3)


def test_what_is_no_judged_answer_before_now_does_not_count() -> None:
    request = _request(1)
    _answered(request, "s0", -1.0)
    _answered(request, "s0", 3.0).assessor = learning_pb2.ASSESSOR_SELF
    seen = request.features.knowledge.history.add(skill_id="s0", item_id="i1")
    seen.event_time.FromDatetime(AS_OF - timedelta(days=2))

    assert _answer(request).memory_states[0].from_prior


def test_an_event_that_the_state_already_holds_is_not_counted_again() -> None:
    request = _request(1)
    state = request.features.knowledge.skill_states.add(
        skill_id="s0", stability_days=40.0, memory_difficulty=4.0, answers=3, correct_answers=2
    )
    state.last_event_time.FromDatetime(AS_OF - timedelta(days=10))
    alone = _answer(request)
    _answered(request, "s0", 10.0)
    _answered(request, "s0", 25.0)

    again = _answer(request)

    assert again.memory_states[0] == alone.memory_states[0]
    assert alone.memory_states[0].stability_days.value == 40.0
    assert alone.info.observations == 3


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.1, 200), min_size=1, max_size=4),
    st.lists(st.floats(0.01, 60), min_size=1, max_size=8),
    st.integers(5, 60),
)
def test_sessions_lie_in_slots_of_the_future_and_recall_in_its_interval(
    ago: list[float], pauses: list[float], minutes: int
) -> None:
    days = np.cumsum(np.array(pauses) + 0.1) - 3.0
    request = _request(len(ago), tuple(days.tolist()), exam_day=float(max(days[-1], 0.0)) + 5.0)
    for skill, day in enumerate(ago):
        _answered(request, f"s{skill}", day)
        request.skills[skill].session_duration.FromSeconds(minutes * 60)

    response = _answer(request)

    slots = [(s.start_time.ToMicroseconds(), s.end_time.ToMicroseconds()) for s in request.slots]
    for session in response.sessions:
        start = session.start_time.ToMicroseconds()
        end = start + session.duration.ToMicroseconds()
        assert start >= AS_OF.timestamp() * 1e6
        assert any(low - 10 <= start and end <= high + 10 for low, high in slots)
        for skill in session.skills:
            estimate = skill.recall_probability
            assert 0 <= estimate.lower <= estimate.value <= estimate.upper <= 1
    assert [entry.skill_id for entry in response.recall_at_exam] == [s.skill_id for s in request.skills]
    assert [entry.skill_id for entry in response.memory_states] == [s.skill_id for s in request.skills]


def test_hands_on_skills_get_a_refresher_within_ninety_days_and_others_need_not() -> None:
    request = _request(1, tuple(float(day) for day in range(5, 200, 5)), exam_day=200.0)
    _answered(request, "s0", 1.0)
    state = request.features.knowledge.skill_states.add(skill_id="s0", stability_days=30_000.0)
    state.last_event_time.FromDatetime(AS_OF - timedelta(days=0.5))

    plans = {}
    for kind in (KNOWN, HANDS):
        request.skills[0].kind = kind
        plans[kind] = len(_answer(request).sessions)

    assert plans[KNOWN] == 0
    assert plans[HANDS] >= 2


def test_the_week_begins_on_monday_in_the_zone() -> None:
    # Sunday 22:00 UTC is already Monday in Nairobi: another week's minutes
    zone = ZoneInfo("Africa/Nairobi")
    sunday = (AS_OF + timedelta(days=(6 - AS_OF.weekday()) % 7 + 7)).replace(hour=12, minute=0, second=0, microsecond=0)
    late = sunday.replace(hour=22)
    assert late.astimezone(zone).weekday() == 0
    request = _request(2, (), exam_day=(late - AS_OF).total_seconds() / 86_400 + 2.0)
    for start in (sunday, late):
        _slot(request, start)
    for skill in ("s0", "s1"):
        _answered(request, skill, 60.0)
    request.study_time_per_week.FromSeconds(600)

    in_utc = len(_answer(request).sessions)
    request.time_zone = "Africa/Nairobi"
    in_nairobi = len(_answer(request).sessions)

    assert (in_utc, in_nairobi) == (1, 2)


def test_what_cannot_be_placed_is_named_with_a_day_and_a_sentence() -> None:
    request = _request(1, (2.0,))
    _answered(request, "s0", 90.0)
    request.skills[0].session_duration.FromSeconds(3_600)

    (missed,) = _answer(request).unscheduled

    assert missed.skill_id == "s0"
    assert missed.unscheduled_reason == learning_pb2.UNSCHEDULED_REASON_SLOTS_TOO_SHORT
    assert AS_OF <= missed.due_time.ToDatetime(UTC) <= AS_OF + timedelta(days=20)
    assert missed.text


def test_without_an_exam_the_last_slot_is_the_end() -> None:
    request = _request(1)
    with_exam = _request(1, exam_day=16.0 + 30 / 1_440)
    request.ClearField("exam_time")
    for each in (request, with_exam):
        _answered(each, "s0", 20.0)

    assert _answer(request) == _answer(with_exam)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda request: request.skills.add(skill_id="s0"), "skills[0].skill_id"),
        (lambda request: _slot(request, AS_OF + timedelta(days=2, minutes=10)), "slots"),
        (lambda request: request.exam_time.FromDatetime(AS_OF - timedelta(days=1)), "exam_time"),
        (lambda request: setattr(request, "time_zone", "Mars/Olympus"), "time_zone"),
        (lambda request: setattr(request, "time_zone", "Africa"), "time_zone"),
    ],
    ids=["twice", "overlap", "past", "no zone", "a folder"],
)
def test_what_is_wrong_is_refused_and_named(change: Any, field: str) -> None:
    request = _request()
    change(request)

    with pytest.raises(InvalidField) as refused:
        _answer(request)

    assert [violation.field for violation in refused.value.field_violations] == [field]


def test_longest_gaps_that_ask_for_more_than_can_be_planned_are_refused_and_counted() -> None:
    request = _request(skills=200, slot_days=tuple(0.2 * number for number in range(1, 151)), exam_day=31.0)
    for skill in request.skills:
        skill.max_gap.FromTimedelta(timedelta(hours=6))

    with pytest.raises(InvalidField, match=r"30,000 sessions until the exam, and 20,000 are allowed") as refused:
        _answer(request)

    assert [violation.field for violation in refused.value.field_violations] == ["skills.max_gap"]


def test_the_request_stays_as_it_was_and_equal_requests_get_equal_answers() -> None:
    request = _request()
    _answered(request, "s0", 40.0)
    before = request.SerializeToString(deterministic=True)

    first, second = _answer(request), _answer(request)

    assert request.SerializeToString(deterministic=True) == before
    assert first == second
