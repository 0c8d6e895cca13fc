"""Quick checks never pass what protovalidate refuses, and seldom refuse what it passes."""

from typing import Any

import protovalidate
import pytest
from hypothesis import given, settings

from methods.features import schema_of
from paedsresus.ml.v1 import common_pb2, kaizen_pb2, learning_pb2, revenue_pb2
from server.errors import InvalidField, MalformedRequest
from server.serving.wire.accept import compile_accept, compile_keep
from server.serving.wire.judge import judge, judged, parse
from server.serving.wire.reader import REFUSED, compile_reader
from tests.fakes.churn_requests import FEATURES, features, requests

ACCEPT = compile_accept(revenue_pb2.PredictChurnRequest)
KEPT = ("context.request_id", "context.as_of_time", "features", "horizon_days")
KEEPING = compile_accept(revenue_pb2.PredictChurnRequest, keep=KEPT, unchecked=["features"])
READER = compile_reader(FEATURES.DESCRIPTOR, schema_of(FEATURES.DESCRIPTOR), "USD")


@settings(max_examples=400)
@given(request=requests())
def test_a_quick_accept_implies_that_protovalidate_accepts(request: Any) -> None:
    accepted = ACCEPT(request) is not None
    good = protovalidate.collect_violations(request) == []

    assert good or not accepted
    # The only good messages that are refused are those whose nanoseconds are none, which protovalidate lets pass.
    assert accepted or not good or has_odd_nanos(request)


@settings(max_examples=400)
@given(message=features())
def test_a_quick_read_implies_that_protovalidate_accepts(message: Any) -> None:
    try:
        read = READER.checked(message, 1_767_225_600.0, bytearray(4 * 29))
    except OverflowError:
        read = REFUSED

    assert read == REFUSED or protovalidate.collect_violations(message) == []


@given(request=requests())
def test_what_is_kept_is_what_the_message_holds(request: Any) -> None:
    kept = KEEPING(request)

    if kept is not None:
        has_time = request.context.HasField("as_of_time")
        assert kept[0] == request.context.request_id
        assert kept[1] == (request.context.as_of_time if has_time else None)
        assert kept[2] == (request.features if request.HasField("features") else None)
        assert list(kept[3]) == list(request.horizon_days)
        assert kept == compile_keep(revenue_pb2.PredictChurnRequest, KEPT)(request)


@pytest.mark.parametrize(
    ("request_", "path", "rule"),
    [
        ({"features": {"seats": 0}}, "features.seats", "int32.gte_lte"),
        ({"features": {"plan": 99}}, "features.plan", "enum.defined_only"),
        ({"features": {"usage_trend": float("nan")}}, "features.usage_trend", "double.gte_lte"),
        ({"features": {}, "horizon_days": [28, 999]}, "horizon_days[1]", "int32.gte_lte"),
        ({"features": {}, "context": {"request_id": "a b"}}, "context.request_id", "string.pattern"),
        ({}, "subject", "required"),
    ],
    ids=["range", "enum", "nan", "item", "pattern", "oneof"],
)
def test_the_judge_names_field_and_rule(request_: dict[str, Any], path: str, rule: str) -> None:
    request = revenue_pb2.PredictChurnRequest(**request_)

    with pytest.raises(InvalidField) as caught:
        judge(request)

    first = caught.value.field_violations[0]
    assert (first.field, first.rule) == (path, rule)
    assert caught.value.metadata["field"] == path


def test_a_choice_that_was_not_made_is_told_with_what_there_is_to_choose() -> None:
    with pytest.raises(InvalidField, match=r"^subject: set exactly one of features, by_id$"):
        judge(revenue_pb2.PredictChurnRequest())


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"features": {"plan": 99}}, "features.plan: must be one of SUBSCRIPTION_PLAN_UNSPECIFIED, "),
        ({"features": {}, "context": {"request_id": "a b"}}, "context.request_id: may hold letters, digits and signs"),
    ],
    ids=["enum", "pattern"],
)
def test_what_is_allowed_is_told_in_words(request_: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidField) as caught:
        judge(revenue_pb2.PredictChurnRequest(**request_))

    assert caught.value.message.startswith(said)


def test_an_enum_that_must_be_set_is_told_with_its_choices_and_not_with_the_unset_one() -> None:
    request = learning_pb2.AdjustDifficultyRequest(skill_id="a", features={})
    request.candidate_items.add(item_id="i", difficulty_logit=0.0)

    with pytest.raises(InvalidField, match=r"^mode: must be one of DIFFICULTY_MODE_PRACTICE, "):
        judge(request)


@pytest.mark.parametrize("raw", [b"\xff\xff", b"\x0a\x04\x0a\x02\xff\xfe"], ids=["garbage", "not utf-8"])
def test_bytes_that_are_no_message_are_malformed_and_nothing_of_ours_is_told(raw: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse(revenue_pb2.PredictChurnRequest, raw)

    assert "Error" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_message_with_rules_that_are_not_understood_is_left_to_the_judge() -> None:
    message = next(
        kind
        for name, kind in vars(kaizen_pb2).items()
        if name.endswith("Request") and compile_accept(kind)(kind()) is None
    )

    assert compile_accept(message)(message()) is None


def test_a_good_message_that_was_refused_is_still_read() -> None:
    request = revenue_pb2.PredictChurnRequest()
    request.features.SetInParent()
    request.context.request_id = "r"

    assert judged(request, compile_keep(revenue_pb2.PredictChurnRequest, KEPT))[0] == "r"


def test_an_unknown_field_is_accepted() -> None:
    raw = common_pb2.RequestContext(request_id="r").SerializeToString() + b"\xfa\x3e\x02hi"

    context = parse(common_pb2.RequestContext, raw)

    assert compile_accept(common_pb2.RequestContext)(context) is not None


def has_odd_nanos(request: Any) -> bool:
    times = (request.context.as_of_time, request.features.renewal_time, request.features.certification_due_time)
    return any(not 0 <= moment.nanos < 1_000_000_000 for moment in times)


def test_a_large_message_is_judged_to_its_first_violation_only() -> None:
    request = revenue_pb2.PredictChurnRequest(horizon_days=[0] * 100_000)

    with pytest.raises(InvalidField) as refused:
        judge(request)

    assert len(refused.value.field_violations) == 1
