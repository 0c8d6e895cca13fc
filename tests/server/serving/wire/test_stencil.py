"""Filled stencils read as the message that protobuf would have written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paedsresus.ml.v1 import revenue_pb2
from server.serving.wire.packed import packed_doubles, varint
from server.serving.wire.stencil import (
    ID_HOLE,
    NANOS_HOLE,
    SECONDS_HOLE,
    StencilError,
    cut,
    double_hole,
    time_bytes,
    varint5,
)

RESPONSE = revenue_pb2.PredictChurnResponse


def sample(holes: int) -> revenue_pb2.PredictChurnResponse:
    message = RESPONSE()
    message.info.data_version = "d" * 64
    message.info.prediction_id = ID_HOLE
    message.info.compute_time.seconds, message.info.compute_time.nanos = SECONDS_HOLE, NANOS_HOLE
    for index in range(holes):
        message.churn.add(horizon_days=28 + index).churn_probability.value = double_hole(index)
    return message


@given(
    values=st.lists(st.floats(allow_nan=False), max_size=6),
    time_ns=st.integers(0, 2**33 * 10**9),
    prediction_id=st.binary(min_size=16, max_size=16),
)
def test_a_filled_stencil_reads_as_the_message(values: list[float], time_ns: int, prediction_id: bytes) -> None:
    fill = cut(sample(len(values)), len(values))
    expected = sample(len(values))
    expected.info.prediction_id = prediction_id.hex()
    expected.info.compute_time.FromNanoseconds(time_ns // 1_000_000 * 1_000_000)
    for entry, value in zip(expected.churn, values, strict=True):
        entry.churn_probability.value = value

    found = RESPONSE.FromString(fill(prediction_id.hex().encode(), *time_bytes(time_ns), *values))

    assert found == expected


def test_a_value_that_is_zero_is_there() -> None:
    fill = cut(sample(1), 1)

    found = RESPONSE.FromString(fill(b"0" * 32, *time_bytes(0), 0.0))

    assert found.churn[0].churn_probability.HasField("value")


def test_a_sample_without_its_holes_is_refused() -> None:
    with pytest.raises(StencilError, match="hole 0"):
        cut(RESPONSE(), 0)


@given(value=st.integers(0, 2**35 - 1))
def test_padded_varints_read_as_their_number(value: int) -> None:
    raw = b"\x08" + varint5(value & 0x7FFFFFFF)

    assert revenue_pb2.ChurnAtHorizon.FromString(raw).horizon_days == value & 0x7FFFFFFF


@given(values=st.lists(st.floats(allow_nan=False), max_size=300))
def test_packed_columns_read_as_the_field(values: list[float]) -> None:
    import numpy as np

    raw = packed_doubles(revenue_pb2.BatchPredictChurnResponse, "uppers", np.array(values, dtype=np.float64))

    assert list(revenue_pb2.BatchPredictChurnResponse.FromString(raw).uppers) == values


def test_varints_are_the_shortest() -> None:
    assert [len(varint(value)) for value in (0, 127, 128, 2**14)] == [1, 1, 2, 3]
    assert math.isnan(double_hole(3))
