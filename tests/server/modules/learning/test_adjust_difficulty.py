"""AdjustDifficulty over messages: what counts as an answer, which items may be shown, when to stop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.learning.item_response import Ability, DifficultyParameters, Item, ItemAnswer, estimate_ability
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.modules.learning.adjust_difficulty import METHOD, is_light, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF

PARAMETERS = DifficultyParameters(
    items={f"i{n}": Item(difficulty_logit=n - 2.0, discrimination=1.2, calibration_answers=500) for n in range(5)},
    observations=2_500,
)
MOMENT = Moment(AS_OF.timestamp(), bytes(32))
PRACTICE, ASSESSMENT = learning_pb2.DIFFICULTY_MODE_PRACTICE, learning_pb2.DIFFICULTY_MODE_ASSESSMENT


def _request(mode: int = PRACTICE, items: int = 5) -> Any:
    request = learning_pb2.AdjustDifficultyRequest(skill_id="airway", mode=mode)  # type: ignore[arg-type]
    request.context.as_of_time.FromDatetime(AS_OF)
    request.features.SetInParent()
    for n in range(items):
        request.candidate_items.add(item_id=f"i{n}")
    return request


def _answered(request: Any, item_id: str, correct: int, days_ago: float = 1.0, skill_id: str = "airway") -> None:
    event = request.features.knowledge.history.add(skill_id=skill_id, item_id=item_id, correct=bool(correct))
    event.event_time.FromDatetime(AS_OF - timedelta(days=days_ago))


def _answer(request: Any) -> Any:
    judge(request)
    return solve(PARAMETERS, request, MOMENT)


def test_a_learner_of_whom_nothing_is_known_has_the_average_ability_and_a_warning() -> None:
    response = _answer(_request())

    assert (response.ability.value, response.ability_standard_error) == (0.0, 1.0)
    assert list(response.info.warnings) == [common_pb2.WARNING_COLD_START]
    assert len(response.ranked_items) == 5


def test_ability_is_the_methods_own_posterior() -> None:
    request = _request()
    _answered(request, "i2", 1)
    _answered(request, "i3", 0, days_ago=2.0)

    response = _answer(request)

    answers = [
        ItemAnswer(item=PARAMETERS.items["i3"], score=0.0, age_days=2.0),
        ItemAnswer(item=PARAMETERS.items["i2"], score=1.0, age_days=1.0),
    ]
    expected = estimate_ability(answers, PARAMETERS)
    assert response.ability.value == pytest.approx(expected.mean)
    assert (response.ability.lower, response.ability.upper) == pytest.approx(expected.interval(0.9))
    assert response.info.evidence == common_pb2.EVIDENCE_PERSONAL
    assert response.info.observations == 2


def test_what_is_not_a_judged_answer_in_the_skill_before_now_does_not_count() -> None:
    request = _request()
    _answered(request, "i2", 1, skill_id="rhythm")
    _answered(request, "i2", 1, days_ago=-1.0)
    seen = request.features.knowledge.history.add(skill_id="airway", item_id="i1")
    seen.event_time.FromDatetime(AS_OF - timedelta(days=1))
    _answered(request, "i2", 1)
    request.features.knowledge.history[-1].assessor = learning_pb2.ASSESSOR_SELF

    assert _answer(request).ability.value == 0.0


def test_answers_that_a_stored_state_holds_are_not_counted_twice() -> None:
    request = _request()
    state = request.features.knowledge.skill_states.add(
        skill_id="airway", ability_logit=0.8, ability_standard_error=0.5
    )
    state.last_event_time.FromDatetime(AS_OF - timedelta(days=3))
    _answered(request, "i2", 1, days_ago=4.0)

    assert _answer(request).ability.value == pytest.approx(0.8)

    _answered(request, "i2", 1, days_ago=2.0)
    after = estimate_ability(
        [ItemAnswer(item=PARAMETERS.items["i2"], score=1.0, age_days=2.0)],
        PARAMETERS,
        Ability(mean=0.8, standard_error=0.5),
    )
    assert _answer(request).ability.value == pytest.approx(after.mean)


def test_practice_puts_items_of_the_band_first_and_assessment_the_most_informative() -> None:
    practice = [item.correct_probability.value for item in _answer(_request()).ranked_items]
    assessment = [item.information for item in _answer(_request(ASSESSMENT)).ranked_items]

    assert 0.70 <= practice[0] <= 0.85
    assert assessment == pytest.approx(sorted(assessment, reverse=True))


def test_items_seen_in_this_session_or_by_too_many_are_not_ranked() -> None:
    request = _request()
    request.features.seen_item_ids.append("i0")
    request.candidate_items[1].exposure_share = 0.5
    request.max_exposure_share = 0.3

    assert {item.item_id for item in _answer(request).ranked_items} == {"i2", "i3", "i4"}


@pytest.mark.parametrize(
    ("seen", "error", "expected"),
    [
        (0, 2.0, learning_pb2.STOP_DECISION_PRECISE),
        (30, 0.01, learning_pb2.STOP_DECISION_MAX_ITEMS),
        (5, 0.01, learning_pb2.STOP_DECISION_NO_ITEMS),
        (1, 0.01, learning_pb2.STOP_DECISION_CONTINUE),
    ],
)
def test_an_assessment_stops_for_a_reason(seen: int, error: float, expected: int) -> None:
    request = _request(ASSESSMENT)
    request.features.seen_item_ids.extend(f"i{n}" for n in range(seen))
    request.stop_standard_error = error

    assert _answer(request).stop_decision == expected


def test_only_items_of_this_session_that_are_not_calibrated_move() -> None:
    request = _request()
    request.answered_items.add(item_id="new", difficulty_logit=0.0, calibration_answers=10)
    request.answered_items.add(item_id="earlier", difficulty_logit=0.0, calibration_answers=10)
    for item_id in ("new", "earlier", "i2"):
        _answered(request, item_id, 1)
    request.features.seen_item_ids.extend(["new", "i2"])

    (update,) = _answer(request).item_updates

    assert (update.item_id, update.calibration_answers) == ("new", 11)
    assert update.difficulty_logit < 0


def test_reasons_name_the_answers_that_moved_the_ability() -> None:
    request = _request()
    request.context.explain = True
    _answered(request, "i4", 1)
    _answered(request, "i0", 1, days_ago=2.0)

    reasons = _answer(request).reasons

    assert reasons[0].feature == "knowledge.history[0]"
    assert reasons[0].contribution > reasons[1].contribution > 0
    assert "i4" in reasons[0].text


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.floats(0.1, 400)), max_size=30),
    st.sampled_from([PRACTICE, ASSESSMENT]),
)
def test_every_answer_is_whole(history: list[tuple[int, int, float]], mode: int) -> None:
    request = _request(mode)
    for item, correct, days in history:
        _answered(request, f"i{item}", correct, days_ago=days)

    response = _answer(request)

    assert response.ability.lower < response.ability.value < response.ability.upper
    assert {item.item_id for item in response.ranked_items} == set(PARAMETERS.items)
    for item in response.ranked_items:
        chance = item.correct_probability
        assert 0 <= chance.lower <= chance.value <= chance.upper <= 1
    assert response.DESCRIPTOR is METHOD.response.DESCRIPTOR


@pytest.mark.parametrize(("answers", "items", "light"), [(156, 100, True), (157, 100, False), (0, 2_000, False)])
def test_a_long_history_or_many_items_are_no_light_request(answers: int, items: int, *, light: bool) -> None:
    request = learning_pb2.AdjustDifficultyRequest()
    for _ in range(answers):
        request.features.knowledge.history.add()
    for _ in range(items):
        request.candidate_items.add()

    assert is_light(request) is light
