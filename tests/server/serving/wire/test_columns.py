"""Batches: columns read as rows would, and what is wrong with one row costs only that row."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from methods.features import Kind, encode_columns, schema_of
from paedsresus.ml.v1 import revenue_pb2
from server.errors import InvalidField
from server.serving.wire.columns import Columns, ColumnsReader
from server.serving.wire.matrix import compile_encoder
from tests.fakes.artifacts import AS_OF, golden_requests, matrix_of
from tests.fakes.churn_batches import columns_of

FEATURES = revenue_pb2.PredictChurnFeatures.DESCRIPTOR
SCHEMA = schema_of(FEATURES)
READER = ColumnsReader(FEATURES, revenue_pb2.PredictChurnColumns.DESCRIPTOR)


def read(columns: revenue_pb2.PredictChurnColumns) -> Columns:
    request = revenue_pb2.BatchPredictChurnRequest(columns=columns)
    return READER.read(request, request.columns, AS_OF.timestamp())


def column_of(columns: Columns, name: str) -> NDArray[np.float64]:
    return columns.values[columns.names.index(name)]


def test_columns_read_as_their_rows_would() -> None:
    requests = golden_requests()

    columns = read(columns_of([request.features for request in requests]))

    assert columns.good is None
    matrix = compile_encoder(SCHEMA, columns.names)(columns.values)
    np.testing.assert_allclose(matrix, matrix_of(requests, SCHEMA), rtol=1e-6, equal_nan=True)


def test_a_bitmap_says_which_rows_have_a_value_lowest_bit_first() -> None:
    columns = revenue_pb2.PredictChurnColumns(rows=10, seats=[5] * 10, seats_present=bytes([0b10, 0b01]))

    found = column_of(read(columns), "seats")

    assert np.flatnonzero(~np.isnan(found)).tolist() == [1, 8]


@pytest.mark.parametrize(
    ("column", "values", "allowed"),
    [
        ("seats", [1, 0, 1], "from 1 to 100000"),
        ("minutes_28d", [1.0, float("nan"), 2.0], "from 0 to 40320"),
        ("minutes_28d", [1.0, float("inf"), 2.0], "from 0 to 40320"),
        ("usage_trend", [0.0, -1.5, 0.0], "from -1 to 1"),
        ("plan", [1, 99, 2], "one of the defined values"),
        ("renewal_time_days", [1.0, -1e9, 2.0], "a time of the contract's range"),
    ],
)
def test_a_value_out_of_range_costs_its_own_row(column: str, values: Any, allowed: str) -> None:
    columns = revenue_pb2.PredictChurnColumns(rows=3, **{column: values})

    found = read(columns)

    (problem,) = found.problems
    assert (problem.row, problem.allowed) == (1, allowed)
    assert problem.field in column
    assert found.good is not None
    assert found.good.tolist() == [True, False, True]


def test_a_value_that_is_not_there_is_not_judged() -> None:
    columns = revenue_pb2.PredictChurnColumns(rows=2, minutes_28d=[float("nan"), 3.0], minutes_28d_present=b"\x02")

    assert read(columns).good is None


@pytest.mark.parametrize(
    ("columns", "path"),
    [
        ({"rows": 0}, "columns.rows"),
        ({"rows": 10_001}, "columns.rows"),
        ({"rows": 3, "seats": [1, 2]}, "columns.seats"),
        ({"rows": 9, "seats": [1] * 9, "seats_present": b"\x01"}, "columns.seats_present"),
        ({"rows": 2, "subject_ids": ["a"]}, "columns.subject_ids"),
        ({"rows": 2, "subject_ids": ["a", "b c"]}, "columns.subject_ids[1]"),
        ({"rows": 2, "subject_ids": ["a", "b" * 129]}, "columns.subject_ids[1]"),
        ({"rows": 1, "price_minor_units": [5]}, "columns.price_currency_code"),
        ({"rows": 1, "price_minor_units": [5], "price_currency_code": "usd"}, "columns.price_currency_code"),
        ({"rows": 1, "renewal_time_days": [float("nan")]}, "columns.renewal_time_days[0]"),
    ],
)
def test_a_broken_form_refuses_the_whole_request(columns: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read(revenue_pb2.PredictChurnColumns(**columns))

    assert caught.value.field_violations[0].field == path


def test_the_currency_of_amounts_is_told_only_where_there_are_amounts() -> None:
    assert read(revenue_pb2.PredictChurnColumns(rows=1, price_currency_code="EUR")).currency is None
    with_amount = revenue_pb2.PredictChurnColumns(rows=1, price_minor_units=[1], price_currency_code="EUR")
    assert read(with_amount).currency == "EUR"


def test_times_are_judged_from_as_of() -> None:
    far = (AS_OF + timedelta(days=40_000) - AS_OF).days

    found = read(revenue_pb2.PredictChurnColumns(rows=2, renewal_time_days=[1.0, float(far)]))

    assert found.good is not None
    assert found.good.tolist() == [True, False]


@given(seed=st.integers(0, 2**32 - 1), fields=st.sets(st.sampled_from(SCHEMA.names), min_size=1))
def test_the_compiled_encoder_is_the_shared_one(seed: int, fields: set[str]) -> None:
    rng = np.random.default_rng(seed)
    schema = SCHEMA.subset(fields)
    values = np.floor(rng.uniform(0, 9, size=(len(SCHEMA.names), 20)))
    is_category = np.array([feature.kind is Kind.CATEGORY for feature in SCHEMA.features])
    values[~is_category] = np.where(rng.random((int((~is_category).sum()), 20)) < 0.2, np.nan, values[~is_category])

    found = compile_encoder(schema, SCHEMA.names)(values)

    expected = encode_columns(schema, {name: values[index] for index, name in enumerate(SCHEMA.names)})
    np.testing.assert_array_equal(found, expected)
