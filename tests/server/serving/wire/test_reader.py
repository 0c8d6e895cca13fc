"""One row: every kind of field where the schema says, missing as NaN."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given

from methods.features import Kind, encode_columns, schema_of
from paedsresus.ml.v1 import revenue_pb2
from server.serving.wire.reader import READ, READ_FOREIGN_CURRENCY, REFUSED, compile_reader, hot_bytes
from tests.fakes.artifacts import AS_OF, golden_requests, matrix_of
from tests.fakes.churn_requests import FEATURES, features

SCHEMA = schema_of(FEATURES.DESCRIPTOR)


def row_of(message: Message, names: tuple[str, ...] = SCHEMA.names, currency: str = "USD") -> tuple[int, list[float]]:
    schema = SCHEMA.subset(names)
    buffer = np.zeros((1, len(schema.columns)), dtype=np.float32)
    read = compile_reader(FEATURES.DESCRIPTOR, schema, currency).checked(message, AS_OF.timestamp(), buffer)
    return read, buffer[0].tolist()


def test_rows_are_those_of_an_encoder_that_was_written_apart() -> None:
    requests = golden_requests()

    expected = matrix_of(requests, SCHEMA.subset(["plan", "tenure_days", "renewal_time", "price", "auto_renew"]))

    for request, row in zip(requests, expected, strict=True):
        _, found = row_of(request.features, ("plan", "tenure_days", "renewal_time", "price", "auto_renew"))
        np.testing.assert_allclose(found, row, rtol=1e-6, equal_nan=True)


def test_zero_is_zero_and_absent_is_missing() -> None:
    names = ("sessions_28d", "minutes_28d", "auto_renew")

    _, there = row_of(FEATURES(sessions_28d=0, minutes_28d=0.0, auto_renew=False), names)
    _, absent = row_of(FEATURES(), names)

    assert there == [0.0, 0.0, 0.0]
    assert np.isnan(absent).all()


def test_an_unspecified_category_is_missing_in_each_of_its_columns() -> None:
    _, row = row_of(FEATURES(plan=revenue_pb2.SUBSCRIPTION_PLAN_UNSPECIFIED), ("plan",))

    assert np.isnan(row).all()


def test_time_is_days_from_as_of() -> None:
    message = FEATURES()
    message.renewal_time.FromDatetime(AS_OF + timedelta(hours=36))

    assert row_of(message, ("renewal_time",)) == (READ, [1.5])


def test_an_amount_in_a_currency_that_the_artifact_does_not_know_is_missing_and_said_so() -> None:
    message = FEATURES()
    message.price.minor_units, message.price.currency_code = 4_900, "EUR"

    read, row = row_of(message, ("price",))

    assert read == READ_FOREIGN_CURRENCY
    assert np.isnan(row).all()


@pytest.mark.parametrize(
    "bad", [{"seats": 0}, {"plan": 99}, {"minutes_28d": float("inf")}, {"usage_trend": float("nan")}]
)
def test_a_broken_rule_is_refused_also_where_the_artifact_does_not_read_the_field(bad: dict[str, Any]) -> None:
    assert row_of(FEATURES(**bad), ("tenure_days",))[0] == REFUSED


def test_a_schema_with_a_field_that_the_message_has_not_is_no_schema_for_it() -> None:
    other = SCHEMA.from_json(
        {"message": "x", "features": [{"name": "tenure", "kind": "count", "unit": "1", "levels": []}]}
    )

    with pytest.raises(ValueError, match="has no field tenure"):
        compile_reader(FEATURES.DESCRIPTOR, other, None)


@given(message=features())
def test_reading_changes_nothing_and_reads_the_same_twice(message: Any) -> None:
    before = message.SerializeToString()
    buffers = [bytearray(4 * len(SCHEMA.columns)) for _ in range(2)]
    reader = compile_reader(FEATURES.DESCRIPTOR, SCHEMA, "USD")

    for buffer in buffers:
        try:
            reader.unchecked(message, 0.0, buffer)
        except OverflowError:
            return

    assert buffers[0] == buffers[1]
    assert message.SerializeToString() == before


def test_columns_of_a_category_are_those_of_the_shared_encoder() -> None:
    plan = SCHEMA.subset(["plan"])
    levels = len(plan.features[0].levels)
    assert plan.features[0].kind is Kind.CATEGORY

    for number in range(levels + 2):
        expected = encode_columns(plan, {"plan": np.array([float(number)])})[0]
        np.testing.assert_array_equal(np.frombuffer(hot_bytes(levels, number), dtype=np.float32), expected)
