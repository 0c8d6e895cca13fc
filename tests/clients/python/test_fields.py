"""A field that does not fit is named with what it was and what is allowed; fields that fit are left alone."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from paedsresus.ml._services.learning import ADJUST_DIFFICULTY
from paedsresus.ml._services.revenue import PREDICT_CHURN
from paedsresus.ml.fields import misfit
from paedsresus.ml.method import make_request

CHURN = PREDICT_CHURN.request.DESCRIPTOR
GOOD = {
    "features": {
        "plan": "SUBSCRIPTION_PLAN_MONTHLY",
        "tenure_days": 3,
        "price": {"currency_code": "EUR", "minor_units": 900},
    },
    "horizon_days": [28, 84],
}


def test_fields_that_fit_are_left_alone() -> None:
    assert misfit(CHURN, GOOD) is None
    assert make_request(PREDICT_CHURN, None, GOOD).features.tenure_days == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"features": {"plan": "NOPE"}}, r"^features\.plan: 'NOPE' is none of .*SUBSCRIPTION_PLAN_MONTHLY"),
        ({"features": {"tenure_day": 1}}, r"^features\.tenure_day: .* no such field; did you mean tenure_days\?"),
        ({"features": {"xyz": 1}}, r"^features\.xyz: PredictChurnFeatures has no such field; it has plan, .* more$"),
        ({"features": {"tenure_days": 1.5}}, r"^features\.tenure_days: 1\.5 is no int32"),
        ({"features": {"price": {"currency": "EUR"}}}, r"^features\.price\.currency: Money .* currency_code"),
        ({"horizon_days": [28, "far"]}, r"^horizon_days: \[28, 'far'\] is no list of int32"),
        ({"features": 3}, r"^features: 3 is no PredictChurnFeatures"),
    ],
)
def test_a_field_that_does_not_fit_is_named(given: Mapping[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_request(PREDICT_CHURN, None, given)


def test_an_item_of_a_list_is_named_by_its_place() -> None:
    given = {"candidate_items": [{"item_id": "a"}, {"item": "b"}]}
    assert str(misfit(ADJUST_DIFFICULTY.request.DESCRIPTOR, given)).startswith("candidate_items[1].item: ")


def test_a_time_without_a_zone_is_refused_by_its_place_and_one_with_a_zone_is_taken() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is what is refused
    with pytest.raises(ValueError, match=r"^context\.as_of_time: .* has no time zone"):
        make_request(PREDICT_CHURN, None, {"context": {"as_of_time": naive}, **GOOD})
    events = [{"skill_id": "a", "event_time": naive.replace(tzinfo=UTC)}, {"skill_id": "a", "event_time": naive}]
    with pytest.raises(ValueError, match=r"^features\.knowledge\.history\[1\]\.event_time: "):
        make_request(ADJUST_DIFFICULTY, None, {"features": {"knowledge": {"history": events}}})

    aware = make_request(PREDICT_CHURN, None, {"context": {"as_of_time": naive.replace(tzinfo=UTC)}, **GOOD})
    assert aware.context.as_of_time.seconds == 1_767_225_600
