"""RecommendNextLesson over messages: what counts as an answer, which lessons may be named, how chance is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from methods.learning.lessons import LessonParameters
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.modules.learning.learner_knowledge import learner_known
from server.modules.learning.recommend_next_lesson import METHOD, is_light, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF
from tests.methods.learning.test_lessons import KNOWLEDGE, PARAMETERS

SEEDS = [bytes([number]) * 32 for number in range(200)]


def _request(**minutes: float) -> Any:
    """Candidates `<skill>` of so many minutes each."""
    request = learning_pb2.RecommendNextLessonRequest()
    request.context.as_of_time.FromDatetime(AS_OF)
    request.features.SetInParent()
    for skill, length in (minutes or {"easy": 10.0, "hard": 10.0, "new": 15.0}).items():
        lesson = request.candidates.add(lesson_id=f"lesson-{skill}", skill_ids=[skill])
        lesson.duration.FromTimedelta(timedelta(minutes=length))
    return request


def _event(request: Any, skill_id: str, days_ago: float = 1.0, **outcome: Any) -> None:
    event = request.features.knowledge.history.add(skill_id=skill_id, **outcome)
    event.event_time.FromDatetime(AS_OF - timedelta(days=days_ago))


def _answer(request: Any, seed: bytes = bytes(32)) -> Any:
    judge(request)
    return solve(PARAMETERS, request, Moment(AS_OF.timestamp(), seed))


def _ids(response: Any) -> list[str]:
    return [lesson.lesson_id for lesson in response.lessons]


def _greedy(request: Any) -> Any:
    request.disable_exploration = True
    return _answer(request)


def test_a_new_learner_is_answered_with_a_warning() -> None:
    response = _greedy(_request())

    assert _ids(response)[0] == "lesson-hard"
    assert set(response.info.warnings) == {
        common_pb2.WARNING_COLD_START,
        common_pb2.WARNING_NO_RANDOMISED_EVIDENCE,
    }


def test_every_estimate_has_its_interval_and_its_level() -> None:
    request = _request()
    request.features.completion_share_28d = 0.5

    for lesson in _greedy(request).lessons:
        for estimate in (lesson.mastery_gain, lesson.correct_probability, lesson.completion_probability):
            assert estimate.lower <= estimate.value <= estimate.upper
            assert estimate.level == 0.9
            assert estimate.method != common_pb2.ESTIMATE_METHOD_UNSPECIFIED
        assert lesson.propensity == 1.0
        assert "%" in lesson.reason


def test_answers_move_the_order_and_make_the_answer_personal() -> None:
    request = _request(easy=10.0, hard=10.0)
    for day in range(12):
        _event(request, "hard", day + 1.0, correct=True)
        _event(request, "easy", day + 1.5, correct=False)

    response = _greedy(request)

    assert _ids(response) == ["lesson-easy", "lesson-hard"]
    assert (response.info.evidence, response.info.observations) == (common_pb2.EVIDENCE_PERSONAL, 24)


@pytest.mark.parametrize(
    ("days_ago", "outcome"),
    [(-1.0, {"correct": True}), (1.0, {}), (1.0, {"correct": True, "assessor": learning_pb2.ASSESSOR_SELF})],
    ids=["later than as_of_time", "only seen", "judged by the learner"],
)
def test_what_is_no_evidence_changes_nothing(days_ago: float, outcome: dict[str, Any]) -> None:
    request = _request()
    before = _greedy(request)
    _event(request, "hard", days_ago, **outcome)

    assert _greedy(request) == before


def test_events_that_the_state_holds_are_not_counted_again() -> None:
    request = _request()
    state = request.features.knowledge.skill_states.add(skill_id="hard", answers=4, correct_answers=3)
    state.last_event_time.FromDatetime(AS_OF - timedelta(days=2))
    before = _greedy(request)
    _event(request, "hard", 3.0, correct=False)
    same = _greedy(request)
    _event(request, "hard", 1.0, correct=False)

    assert same == before
    assert _greedy(request).info.observations == 5


def test_a_snapshot_of_all_that_is_kept_answers_like_the_events() -> None:
    request = _request()
    for day in range(6, 0, -1):
        _event(request, "hard", float(day), correct=day % 2 == 0)
    whole = learner_known(request.features.knowledge, KNOWLEDGE.bank, AS_OF.timestamp()).state
    skill = whole.skills["hard"]
    stored = learning_pb2.LearnerKnowledge(
        answers=6, correct_answers=3, slow_correct_share=whole.slow, fast_correct_share=whole.fast
    )
    state = stored.skill_states.add(
        skill_id="hard", answers=6, correct_answers=3, recent_correct_share=skill.recent, last_correct=bool(skill.last)
    )
    state.last_event_time.FromDatetime(AS_OF - timedelta(days=1))

    found = learner_known(stored, KNOWLEDGE.bank, AS_OF.timestamp()).state

    assert (found.answers, found.correct, found.slow, found.fast) == pytest.approx(
        (whole.answers, whole.correct, whole.slow, whole.fast)
    )
    known = found.skills["hard"]
    assert known[:3] == pytest.approx(skill[:3])
    assert (known.last, known.days) == (skill.last, pytest.approx(skill.days))
    assert (known.surprise, known.streak, known.position) == (None, None, None)  # the message has no place for them


def test_mastery_that_the_caller_gives_is_taken_until_something_happens() -> None:
    request = _request(hard=10.0)
    state = request.features.knowledge.skill_states.add(skill_id="hard", mastery=0.99)
    state.last_event_time.FromDatetime(AS_OF - timedelta(days=2))
    sure = _greedy(request).lessons[0].mastery_gain.value
    _event(request, "hard", 1.0, correct=False)

    assert sure < 0.02
    assert _greedy(request).lessons[0].mastery_gain.value > 0.1


def test_lessons_that_may_not_be_taken_are_never_named() -> None:
    request = _request(easy=10.0, hard=30.0, new=15.0)
    request.candidates[0].prerequisite_lesson_ids.append("before")
    request.time_available.FromTimedelta(timedelta(minutes=20))
    request.exclude_lesson_ids.append("lesson-new")

    assert [_ids(_answer(request, seed)) for seed in SEEDS] == [[]] * len(SEEDS)
    request.features.completed_lesson_ids.append("before")
    assert _ids(_answer(request)) == ["lesson-easy"]


def test_what_is_explored_is_told_with_its_propensity() -> None:
    responses = [_answer(_request(), seed) for seed in SEEDS]

    explored = [response for response in responses if response.explored]
    assert 0.03 < len(explored) / len(SEEDS) < 0.14  # 0.08 with a standard error of 0.019
    for response in explored:
        arm = response.info.experiment
        assert (arm.arm, arm.propensity) == (response.lessons[0].lesson_id, response.lessons[0].propensity)
    assert not any(response.info.HasField("experiment") for response in responses if not response.explored)


def test_the_same_request_gets_the_same_chance() -> None:
    assert [_answer(_request(), seed) for seed in SEEDS[:30]] == [_answer(_request(), seed) for seed in SEEDS[:30]]


def test_finishing_is_told_only_by_a_version_that_knows_it() -> None:
    request, moment = _request(), Moment(AS_OF.timestamp(), bytes(32))

    told = solve(PARAMETERS, request, moment).lessons[0].completion_probability
    silent = solve(LessonParameters(knowledge=KNOWLEDGE), request, moment).lessons[0].completion_probability

    assert told.value == pytest.approx(0.7)
    assert not silent.HasField("value")


def test_so_many_lessons_are_named_as_were_asked_for() -> None:
    request = _request(easy=10.0, hard=10.0, new=10.0, other=10.0)

    assert len(_greedy(request).lessons) == 3
    request.max_lessons = 1
    assert len(_greedy(request).lessons) == 1


def test_the_method_stands_under_its_name_in_the_contract() -> None:
    service = learning_pb2.DESCRIPTOR.services_by_name["LearningService"]
    method = service.methods_by_name["RecommendNextLesson"]

    assert METHOD.path == f"/{service.full_name}/{method.name}"
    assert (method.input_type, method.output_type) == (METHOD.request.DESCRIPTOR, METHOD.response.DESCRIPTOR)


@pytest.mark.parametrize(
    ("answers", "lessons", "skills", "light"), [(88, 20, 2, True), (89, 20, 2, False), (0, 10, 50, False)]
)
def test_a_light_request_is_one_of_few_answers_and_skills(
    answers: int, lessons: int, skills: int, *, light: bool
) -> None:
    request = learning_pb2.RecommendNextLessonRequest()
    for _ in range(answers):
        request.features.knowledge.history.add()
    for _ in range(lessons):
        request.candidates.add(skill_ids=["s"] * skills)

    assert is_light(request) is light
