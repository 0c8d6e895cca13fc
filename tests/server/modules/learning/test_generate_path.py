"""GeneratePath over messages: what counts as practice, what is refused, what is answered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from methods.learning.mastery import MasteryParameters, Practice, infer_learner
from methods.learning.path_parameters import PathParameters
from methods.learning.prerequisites import prerequisite_graph
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.errors import InvalidField, WrongState
from server.modules.learning.generate_path import METHOD, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF

PARAMETERS = PathParameters(
    mastery=MasteryParameters(),
    graph=prerequisite_graph([("lead", "bmv"), ("lead", "cpr")]),
    certifications={"PALS": ("lead",)},
)
MOMENT = Moment(AS_OF.timestamp(), bytes(32))
MINUTES = {"bmv": 15, "cpr": 20, "lead": 10}


def request_for(*targets: str, days: float | None = None, lessons: dict[str, int] | None = None) -> Any:
    request: Any = learning_pb2.GeneratePathRequest()
    request.context.as_of_time.FromDatetime(AS_OF)
    request.features.SetInParent()
    request.target_skills.skill_ids.extend(targets)
    request.study_time_per_week.FromTimedelta(timedelta(minutes=60))
    if days is not None:
        request.target_time.FromDatetime(AS_OF + timedelta(days=days))
    for skill, minutes in (MINUTES if lessons is None else lessons).items():
        lesson = request.available_lessons.add(lesson_id=f"l-{skill}", skill_ids=[skill])
        lesson.duration.FromTimedelta(timedelta(minutes=minutes))
    return request


def practised(request: Any, skill: str, *, correct: bool = True, days_ago: float = 1.0, **more: Any) -> Any:
    event = request.features.knowledge.history.add(skill_id=skill, correct=correct, **more)
    event.event_time.FromDatetime(AS_OF - timedelta(days=days_ago))
    return event


def answer(request: Any) -> Any:
    judge(request)
    return solve(PARAMETERS, request, MOMENT)


def lesson_ids(response: Any) -> list[str]:
    return [step.lesson_id for step in response.steps]


def test_a_new_learner_gets_the_whole_way_and_a_warning() -> None:
    response = answer(request_for("lead"))

    assert set(lesson_ids(response)) == {"l-bmv", "l-cpr", "l-lead"}
    assert response.steps[-1].lesson_id == "l-lead"
    assert [step.position for step in response.steps] == [1, 2, 3]
    assert response.prerequisite_violations == 0
    assert list(response.info.warnings) == [common_pb2.WARNING_COLD_START]
    assert not response.HasField("shortfall_duration")
    assert response.total_duration.ToTimedelta() == sum(
        (step.planned_duration.ToTimedelta() for step in response.steps), timedelta()
    )


def test_every_estimate_has_an_interval_that_holds_its_value() -> None:
    request = request_for("lead")
    practised(request, "bmv")

    response = answer(request)

    gains = [gain for step in response.steps for gain in step.skill_gains]
    for estimate in (response.ready_probability, *(g.mastery_before for g in gains), *(g.mastery_after for g in gains)):
        assert 0.0 <= estimate.lower <= estimate.value <= estimate.upper <= 1.0
        assert estimate.level == 0.9
        assert estimate.method == common_pb2.ESTIMATE_METHOD_POSTERIOR


def test_what_was_answered_right_is_skipped_and_the_answer_is_personal() -> None:
    request = request_for("lead")
    for days_ago in (1.0, 2.0, 3.0):
        practised(request, "bmv", days_ago=days_ago)

    response = answer(request)

    assert "l-bmv" not in lesson_ids(response)
    assert response.skipped[0].skip_reason == learning_pb2.SKIP_REASON_MASTERED
    assert response.info.evidence == common_pb2.EVIDENCE_PERSONAL
    assert response.info.observations == 3


def test_events_count_in_the_order_of_time_and_those_of_the_future_not_at_all() -> None:
    request = request_for("lead")
    practised(request, "bmv", days_ago=1.0, correct=False).time_spent.FromTimedelta(timedelta(minutes=3))
    practised(request, "bmv", days_ago=2.0, correct=True)
    practised(request, "bmv", days_ago=-1.0, correct=True)

    response = answer(request)

    events = [Practice("bmv", 0.0, 1.0), Practice("bmv", 3.0, 0.0)]
    learner = infer_learner(PARAMETERS.mastery, events)
    (gain,) = next(step for step in response.steps if step.lesson_id == "l-bmv").skill_gains
    assert gain.mastery_before.value == learner.beliefs([learner.mastery("bmv")])[0].value


def test_what_learners_say_of_themselves_is_no_evidence() -> None:
    said = request_for("lead")
    for _ in range(3):
        practised(said, "bmv", assessor=learning_pb2.ASSESSOR_SELF)

    assert lesson_ids(answer(said)) == lesson_ids(answer(request_for("lead")))


def test_a_state_holds_its_events_and_later_ones_are_added() -> None:
    held, later = request_for("lead"), request_for("lead")
    for request in (held, later):
        state = request.features.knowledge.skill_states.add(skill_id="bmv", answers=3, correct_answers=2)
        state.last_event_time.FromDatetime(AS_OF - timedelta(days=5))
        practised(request, "bmv", days_ago=6.0, correct=False)  # in the state already
    practised(later, "bmv", days_ago=1.0)

    def mastery(response: Any) -> float:
        found = [g.mastery_before.value for step in response.steps for g in step.skill_gains if g.skill_id == "bmv"]
        found += [skip.mastery.value for skip in response.skipped if skip.lesson_id == "l-bmv"]
        return float(found[0])

    assert answer(held).info.observations == 3
    assert mastery(answer(later)) > mastery(answer(held))


def test_too_little_time_is_said_in_minutes() -> None:
    response = answer(request_for("lead", days=7.0))

    assert response.shortfall_duration.ToTimedelta() > timedelta()
    assert learning_pb2.SKIP_REASON_NO_TIME in {skip.skip_reason for skip in response.skipped}


def test_a_date_that_has_passed_leaves_no_time() -> None:
    response = answer(request_for("lead", days=-1.0))

    assert not response.steps
    assert response.shortfall_duration.ToTimedelta() > timedelta()


def test_a_certification_is_the_skills_that_the_version_knows() -> None:
    request = request_for()
    request.target_certification = learning_pb2.CERTIFICATION_PALS

    assert lesson_ids(answer(request)) == lesson_ids(answer(request_for("lead")))


def test_a_certification_that_the_version_does_not_know_is_refused_with_those_it_does() -> None:
    request = request_for()
    request.target_certification = learning_pb2.CERTIFICATION_NRP

    with pytest.raises(WrongState, match="NRP") as refusal:
        answer(request)

    assert refusal.value.metadata == {"certification": "NRP", "known": "PALS"}


def test_a_requests_own_pairs_take_the_place_of_the_versions() -> None:
    request = request_for("bmv")
    request.skill_prerequisites.add(skill_id="bmv", required_skill_id="lead")

    assert lesson_ids(answer(request)) == ["l-lead", "l-bmv"]


def test_cycles_are_refused_and_named() -> None:
    skills, lessons = request_for("lead"), request_for("lead")
    for skill, required in (("a", "b"), ("b", "a")):
        skills.skill_prerequisites.add(skill_id=skill, required_skill_id=required)
    lessons.available_lessons[0].prerequisite_lesson_ids.append("l-cpr")
    lessons.available_lessons[1].prerequisite_lesson_ids.append("l-bmv")

    for request, field, chain in (
        (skills, "skill_prerequisites", "a needs b needs a"),
        (lessons, "available_lessons", "l-bmv needs l-cpr needs l-bmv"),
    ):
        with pytest.raises(InvalidField, match=chain) as refusal:
            answer(request)
        assert refusal.value.field_violations[0].field == field


def test_ids_that_stand_twice_or_name_nothing_are_refused_by_place() -> None:
    twice, foreign = request_for("lead"), request_for("lead")
    twice.available_lessons.add().CopyFrom(twice.available_lessons[0])
    foreign.must_include_lesson_ids.append("nowhere")

    for request, field in ((twice, "available_lessons[3].lesson_id"), (foreign, "must_include_lesson_ids[0]")):
        with pytest.raises(InvalidField) as refusal:
            answer(request)
        assert refusal.value.field_violations[0].field == field


def test_the_method_is_the_contracts() -> None:
    method = learning_pb2.DESCRIPTOR.services_by_name["LearningService"].methods_by_name["GeneratePath"]

    assert METHOD.path == f"/{method.containing_service.full_name}/{method.name}"
    assert list(method.GetOptions().Extensions[common_pb2.model]) == [METHOD.model]
