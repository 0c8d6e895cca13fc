"""What every batch must do: give each row what the row would get alone, wherever it stands."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.message import Message

from paedsresus.ml.rows import churn_rows, ltv_rows
from server.errors import Reason
from server.serving.contract import Method
from tests.battery.house import TRIED, House, named, single_of
from tests.battery.requests import answer_or_reason, drawn

Row = tuple[Any, ...]
ROUNDING = 1e-6  # float32 graphs sum in another order for many rows
DRAWN = 40
BATCHES = [method for method in TRIED if single_of(method) is not None]


def _churn_single(answer: Any) -> Row:
    ends = ((each.horizon_days, each.churn_probability) for each in answer.churn)
    return tuple(number for days, at in ends for number in (days, at.value, at.lower, at.upper, at.level))


def _churn_rows(answer: Any, rows: int) -> list[Row | Reason]:
    return [
        _reason(row.error)
        if row.error
        else tuple(
            number for at in row.churn for number in (at.horizon_days, at.probability, at.lower, at.upper, row.level)
        )
        for row in churn_rows(answer, rows)
    ]


def _ltv_single(answer: Any) -> Row:
    ltv = answer.ltv
    ends = (ltv.value.minor_units, ltv.lower.minor_units, ltv.upper.minor_units, ltv.level)
    return (*ends, answer.alive_probability.value, answer.expected_transactions.value, answer.method)


def _ltv_rows(answer: Any, rows: int) -> list[Row | Reason]:
    return [
        _reason(row.error)
        if row.error
        else (
            row.ltv_minor_units,
            row.lower_minor_units,
            row.upper_minor_units,
            row.level,
            row.alive_probability,
            row.expected_transactions,
            row.method,
        )
        for row in ltv_rows(answer, rows)
    ]


READ = {"BatchPredictChurn": (_churn_single, _churn_rows), "BatchCalculateLtv": (_ltv_single, _ltv_rows)}
"""How a batch's columns say what the answers to its rows say; a batch that is added needs an entry."""

every_batch = pytest.mark.parametrize("method", named(BATCHES))


@every_batch
def test_a_row_gets_in_a_batch_what_it_gets_alone(house: House, method: Method) -> None:
    rows = _rows(house, method)

    together = _ask_rows(house, method, rows)

    assert len({type(each) for each in together}) == 2 or Reason.INVALID_FIELD not in together
    for row, found in zip(rows, together, strict=True):
        assert _same(found, _ask_alone(house, method, row)), row


@every_batch
def test_a_row_gets_the_same_wherever_it_stands_and_whatever_stands_beside_it(house: House, method: Method) -> None:
    rows = _rows(house, method)
    order = list(range(len(rows)))
    random.Random(3).shuffle(order)
    half = len(rows) // 2

    together = _ask_rows(house, method, rows)
    shuffled = _ask_rows(house, method, [rows[place] for place in order])
    halves = _ask_rows(house, method, rows[:half]) + _ask_rows(house, method, rows[half:])

    assert all(_same(found, together[place]) for found, place in zip(shuffled, order, strict=True))
    assert all(_same(found, wanted) for found, wanted in zip(halves, together, strict=True))


def _rows(house: House, method: Method) -> list[Any]:
    """Golden and drawn single requests about features, all as a batch would ask them."""
    single = single_of(method)
    assert single is not None
    found = [*house.golden(single), *(drawn(house, single, seed) for seed in range(DRAWN))]
    rows = []
    for request in found:
        if request.HasField("features"):
            row = type(request)(features=request.features)
            row.context.as_of_time.CopyFrom(found[0].context.as_of_time)
            rows.append(row)
    return rows


def _ask_rows(house: House, method: Method, rows: list[Any]) -> list[Row | Reason]:
    _, read = READ[method.name]
    return read(house.ask(method, house.batch(method, rows)), len(rows))


def _ask_alone(house: House, method: Method, row: Any) -> Row | Reason:
    single = single_of(method)
    assert single is not None
    answer = answer_or_reason(house, single, row)
    return READ[method.name][0](answer) if isinstance(answer, Message) else answer


def _same(found: Row | Reason, wanted: Row | Reason) -> bool:
    if isinstance(found, Reason) or isinstance(wanted, Reason):
        return found == wanted
    return found == pytest.approx(wanted, abs=ROUNDING, rel=ROUNDING)


def _reason(error: Any) -> Reason:
    name = type(error).DESCRIPTOR.fields_by_name["reason"].enum_type.values_by_number[error.reason].name
    return Reason(name.removeprefix("ERROR_REASON_"))
