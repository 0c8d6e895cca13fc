"""Contributions as reasons: by the request's fields, in words."""

from datetime import timedelta

import pytest

from paedsresus.ml.v1 import revenue_pb2
from server.serving.reasons import REASONS_MOST, top_reasons
from tests.fakes.artifacts import AS_OF, churn_schema

NAMES = ("plan", "renewal_time", "price", "minutes_28d", "auto_renew", "tenure_days", "seats")
SCHEMA = churn_schema(NAMES)


def text_of(field: str, features: revenue_pb2.PredictChurnFeatures, contribution: float = 1.0) -> str:
    contributions = [contribution if owner == field else 0.0 for owner in SCHEMA.owners]
    (reason,) = top_reasons(SCHEMA, contributions, features, AS_OF.timestamp(), event="leaving")
    return reason.text


def test_columns_of_a_category_are_added_up_and_the_largest_come_first() -> None:
    contributions = [0.5 if owner == "plan" else 0.1 * index for index, owner in enumerate(SCHEMA.owners)]

    reasons = top_reasons(SCHEMA, contributions, revenue_pb2.PredictChurnFeatures(), 0.0, event="leaving")

    assert len(reasons) == REASONS_MOST
    assert (reasons[0].feature, reasons[0].contribution) == ("plan", 2.0)
    sizes = [abs(reason.contribution) for reason in reasons]
    assert sizes == sorted(sizes, reverse=True)


def test_a_field_that_moved_nothing_is_no_reason() -> None:
    none = [0.0] * len(SCHEMA.columns)

    assert top_reasons(SCHEMA, none, revenue_pb2.PredictChurnFeatures(), 0.0, event="leaving") == []


@pytest.mark.parametrize(
    ("currency", "minor", "shown"),
    [("USD", 4_900, "49.00 USD"), ("JPY", 4_900, "4900 JPY"), ("KWD", 4_900, "4.900 KWD")],
)
def test_amounts_are_told_in_their_currencys_unit(currency: str, minor: int, shown: str) -> None:
    features = revenue_pb2.PredictChurnFeatures()
    features.price.minor_units, features.price.currency_code = minor, currency

    assert text_of("price", features) == f"Price: {shown}. This raises the chance of leaving."


def test_every_kind_of_value_has_its_words() -> None:
    features = revenue_pb2.PredictChurnFeatures(
        plan=revenue_pb2.SUBSCRIPTION_PLAN_ANNUAL, minutes_28d=12.5, auto_renew=False
    )
    features.renewal_time.FromDatetime(AS_OF - timedelta(days=3))

    assert text_of("plan", features, -1.0) == "Plan: annual. This lowers the chance of leaving."
    assert text_of("minutes_28d", features).startswith("Minutes in the last 28 days: 12.5.")
    assert text_of("auto_renew", features).startswith("Auto renew: no.")
    assert text_of("renewal_time", features).startswith("Renewal: 3 days ago.")
    assert text_of("seats", features).startswith("Seats: unknown.")
