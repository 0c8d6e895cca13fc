"""BatchCalculateLtv: columns of customers to columns of values.

A row that cannot be answered has an entry in `row_errors` and 0 in the columns; the others are answered all the same.
A customer takes about 20 us: a batch of more than a handful is answered in the compute process.
Not here: one customer (calculate_ltv.py); what is missing for an answer (ltv_rows.py).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from methods.revenue.ltv import DEFAULT_DISCOUNT, DEFAULT_MONTHS
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import Reason
from server.modules.revenue.calculate_ltv import NO_CURRENCY
from server.modules.revenue.explain import explain_refused
from server.modules.revenue.ltv_rows import (
    Customers,
    LtvModel,
    Problem,
    find_problems,
    groups,
    method_number,
    settle,
    value_customers,
)
from server.serving.whole import Moment, Whole
from server.serving.wire.columns import Columns, ColumnsReader

Request, Response = revenue_pb2.BatchCalculateLtvRequest, revenue_pb2.BatchCalculateLtvResponse
_READER = ColumnsReader(revenue_pb2.CalculateLtvFeatures.DESCRIPTOR, revenue_pb2.CalculateLtvColumns.DESCRIPTOR)
LIGHT_MONTHS = 1_800  # of all rows together: 50 customers over the usual 36 months
_NUMBERS = ("value", "lower", "upper", "alive", "transactions", "method")


def solve_batch(model: LtvModel, request: Any, moment: Moment) -> Any:
    """The answer to one batch.

    Raises: InvalidField: reasons are asked for.
    """
    if request.context.explain:
        raise explain_refused("CalculateLtv")
    columns = _READER.read(request, request.columns, moment.as_of)
    months = request.horizon_months if request.HasField("horizon_months") else DEFAULT_MONTHS
    rate = request.discount_rate_annual if request.HasField("discount_rate_annual") else DEFAULT_DISCOUNT
    customers = settle(_customers(columns), model.parameters.margin_rate)
    problems = _problems(model, customers, columns)
    bad = {problem.row for problem in problems}
    good = np.array([row for row in range(columns.rows) if row not in bad], dtype=np.int64)
    table = {name: np.zeros(columns.rows) for name in _NUMBERS}
    answerable = customers.take(good)
    for place in groups(answerable):
        answer = value_customers(model, answerable.take(place), months, rate)
        rows = good[place]
        table["value"][rows], table["lower"][rows], table["upper"][rows] = (
            answer.ltv.value,
            answer.ltv.lower,
            answer.ltv.upper,
        )
        table["alive"][rows], table["transactions"][rows] = answer.alive.value, answer.transactions.value
        table["method"][rows] = method_number(answer.method)
    return Response(
        ltv_minor_units=np.rint(table["value"]).astype(np.int64).tolist(),
        ltv_lower_minor_units=np.rint(table["lower"]).astype(np.int64).tolist(),
        ltv_upper_minor_units=np.rint(table["upper"]).astype(np.int64).tolist(),
        ltv_currency_code=columns.currency or model.currency or NO_CURRENCY,
        alive_probabilities=table["alive"].tolist(),
        expected_transactions=table["transactions"].tolist(),
        methods=table["method"].astype(np.int64).tolist(),  # type: ignore[arg-type]  # enums are numbers here
        level=model.parameters.level,
        row_errors=[_row_error(problem) for problem in problems],
    )


def is_light(request: Any) -> bool:
    """Whether the answer takes two milliseconds at most."""
    return int(request.columns.rows) * max(int(request.horizon_months), DEFAULT_MONTHS) <= LIGHT_MONTHS


METHOD = Whole(
    path="/paedsresus.ml.v1.RevenueService/BatchCalculateLtv",
    model="ltv",
    request=Request,
    response=Response,
    solve=solve_batch,
    is_light=is_light,
)


def _customers(columns: Columns) -> Customers:
    place = {name: index for index, name in enumerate(columns.names)}
    return Customers(**{each.name: columns.values[place[each.name]] for each in fields(Customers)})


def _problems(model: LtvModel, customers: Customers, columns: Columns) -> list[Problem]:
    """The first problem of each row that has one: values out of their range before what is missing."""
    outside = {
        each.row: Problem(row=each.row, reason=Reason.INVALID_FIELD, field=each.field, text=each.allowed)
        for each in columns.problems
    }
    given = _customers(columns)
    for row in np.flatnonzero(given.recency_weeks > given.observed_weeks).tolist():  # a rule over two fields
        text = "must not be more than observed_weeks"
        outside.setdefault(row, Problem(row=row, reason=Reason.INVALID_FIELD, field="recency_weeks", text=text))
    fitting = np.array([row for row in range(columns.rows) if row not in outside], dtype=np.int64)
    for problem in find_problems(model, customers.take(fitting), columns.currency):
        row = int(fitting[problem.row])
        outside[row] = Problem(row=row, reason=problem.reason, field=problem.field, text=problem.text)
    return [outside[row] for row in sorted(outside)]


def _row_error(problem: Problem) -> common_pb2.RowError:
    return common_pb2.RowError(
        row=problem.row,
        reason=common_pb2.ErrorReason.Value(f"ERROR_REASON_{problem.reason.value}"),
        message=f"{problem.field}: {problem.text}",
    )
