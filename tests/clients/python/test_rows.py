"""Rows become columns and come back unchanged, missing values included."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from paedsresus.ml import Client
from paedsresus.ml.rows import MAX_ROWS, ltv_rows, pack_bits, pack_columns, row_batches, unpack_columns
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from tests.clients.python.conftest import World

AS_OF = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
_TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ001
_ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "plan": st.sampled_from(["SUBSCRIPTION_PLAN_MONTHLY", "SUBSCRIPTION_PLAN_ANNUAL"]),
            "tenure_days": st.integers(0, 36_500),
            "minutes_28d": st.floats(0, 40_320),
            "usage_trend": st.floats(-1, 1),
            "renewal_time": _TIMES,
            "price": st.integers(-(2**63), 2**63 - 1).map(lambda cents: {"minor_units": cents, "currency_code": "EUR"}),
            "auto_renew": st.booleans(),
        },
    ),
    min_size=1,
    max_size=20,
)


@given(rows=_ROWS)
def test_rows_survive_the_way_through_columns(rows: list[dict[str, object]]) -> None:
    messages: list[Message] = [revenue_pb2.PredictChurnFeatures(**row) for row in rows]  # type: ignore[arg-type]

    columns = pack_columns(revenue_pb2.PredictChurnColumns, rows, as_of=AS_OF)
    sent = revenue_pb2.PredictChurnColumns.FromString(columns.SerializeToString())

    assert sent.rows == len(rows)
    assert unpack_columns(sent, as_of=AS_OF) == messages


@given(rows=_ROWS)
def test_messages_and_mappings_pack_alike(rows: list[dict[str, object]]) -> None:
    messages = [revenue_pb2.PredictChurnFeatures(**row) for row in rows]  # type: ignore[arg-type]

    assert pack_columns(revenue_pb2.PredictChurnColumns, rows, as_of=AS_OF) == pack_columns(
        revenue_pb2.PredictChurnColumns, messages, as_of=AS_OF
    )


@given(present=st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_bitmap_has_row_i_at_bit_i_lowest_first(present: list[bool]) -> None:
    bits = pack_bits(present)

    assert [bool(bits[row // 8] >> (row % 8) & 1) for row in range(len(present))] == present


def test_a_column_that_every_row_has_needs_no_bitmap_and_one_that_none_has_is_empty() -> None:
    columns = pack_columns(revenue_pb2.PredictChurnColumns, [{"seats": 1}, {"seats": 2}], as_of=AS_OF)

    assert list(columns.seats) == [1, 2]
    assert columns.seats_present == b""
    assert len(columns.tenure_days) == 0


def test_times_are_days_from_as_of_time() -> None:
    row = {"renewal_time": AS_OF + timedelta(days=1.5)}

    columns = pack_columns(revenue_pb2.PredictChurnColumns, [row, {}], as_of=AS_OF)

    assert list(columns.renewal_time_days) == [1.5, 0.0]
    assert columns.renewal_time_present == b"\x01"


def test_two_currencies_in_one_column_are_refused_with_the_row() -> None:
    rows = [{"price": {"minor_units": 1, "currency_code": code}} for code in ("EUR", "EUR", "USD")]

    with pytest.raises(ValueError, match="row 2: price is in USD, rows before it in EUR"):
        pack_columns(revenue_pb2.PredictChurnColumns, rows, as_of=AS_OF)


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="tenure"):
        pack_columns(revenue_pb2.PredictChurnColumns, [{"tenure": 1}], as_of=AS_OF)


def test_subject_ids_must_be_as_many_as_rows() -> None:
    with pytest.raises(ValueError, match="1 subject_ids for 2 rows"):
        list(row_batches(revenue_pb2.PredictChurnColumns, [{}, {}], ["a"], AS_OF))


def test_more_rows_than_one_request_takes_become_several() -> None:
    rows = [{"seats": 1}] * (MAX_ROWS + 1)

    first, second = row_batches(revenue_pb2.PredictChurnColumns, rows, (), AS_OF)

    assert (first.columns.rows, second.columns.rows) == (MAX_ROWS, 1)
    assert first.context.as_of_time.ToDatetime(tzinfo=UTC) == AS_OF


def test_each_row_gets_its_answer_or_its_error(world: World) -> None:
    def without_row_1(answer: Message) -> Message:
        assert isinstance(answer, revenue_pb2.BatchPredictChurnResponse)
        answer.row_errors.add(row=1, reason=common_pb2.ERROR_REASON_INVALID_FIELD, message="seats")
        return answer

    world.change = without_row_1
    with Client(world.target) as client:
        rows = client.revenue.predict_churn_rows(
            [{"seats": 1}, {"seats": 0}, {"seats": 3}], horizon_days=[28, 90], subject_ids=["a", "b", "c"]
        )

    assert [row.prediction_id for row in rows] == ["batch.0", "batch.1", "batch.2"]
    assert [[at.probability for at in row.churn] for row in rows] == [[0.028, 0.09], [], [2.028, 2.09]]
    assert rows[1].error is not None
    assert rows[1].error.message == "seats"
    assert rows[0].served_by is not None
    assert rows[0].served_by.version == 7
    (asked,) = world.requests
    assert isinstance(asked, revenue_pb2.BatchPredictChurnRequest)
    assert list(asked.columns.subject_ids) == ["a", "b", "c"]


def test_no_rows_ask_nothing(world: World) -> None:
    with Client(world.target) as client:
        assert client.revenue.predict_churn_rows([]) == []

    assert world.requests == []


def test_values_of_rows_without_an_answer_are_none() -> None:
    answer = revenue_pb2.BatchCalculateLtvResponse(
        ltv_minor_units=[100, 0],
        ltv_lower_minor_units=[90, 0],
        ltv_upper_minor_units=[120, 0],
        ltv_currency_code="EUR",
        alive_probabilities=[0.5, 0.0],
        expected_transactions=[3.0, 0.0],
        methods=[revenue_pb2.LTV_METHOD_HAZARD, revenue_pb2.LTV_METHOD_UNSPECIFIED],
        row_errors=[common_pb2.RowError(row=1)],
    )

    known, unknown = ltv_rows(answer, 2)

    assert (known.ltv_minor_units, known.lower_minor_units, known.upper_minor_units) == (100, 90, 120)
    assert (unknown.ltv_minor_units, unknown.alive_probability) == (None, None)
