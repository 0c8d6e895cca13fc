"""BatchPredictChurn: columns to chances by horizon, in slices that let single requests through.

Answers are written as packed doubles, the form that protobuf gives them on the wire.
Not here: one row (churn.py); which version answers which row (serving/answering_rows.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.revenue.churn import churn_by_horizon
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import DeadlineExceeded
from server.modules.revenue.churn import ChurnModel
from server.serving.answering import Answering, Question, Seat, VersionFailed
from server.serving.answering_rows import Answered, Rows, answer_rows, offer_copies, record_rows
from server.serving.dispatch import Call
from server.serving.info import answer_info, served_by
from server.serving.wire.columns import Columns, RowProblem
from server.serving.wire.packed import packed_doubles

RESPONSE = revenue_pb2.BatchPredictChurnResponse
BLOCK_ROWS = 2_048  # whose matrix and chances together take half a millisecond
MATRICES = ("churn_probabilities", "lowers", "uppers")


class BatchAsked(NamedTuple):
    """What BatchPredictChurn asks, read once."""

    columns: Columns
    horizons: tuple[int, ...]


async def answer_batch(answering: Answering, question: Question, call: Call) -> bytes:
    """Bytes of a BatchPredictChurnResponse, recorded.

    Raises: DeadlineExceeded: the caller's time ran out between two slices. Anything else: the champion failed.
    """
    asked: BatchAsked = question.asked
    columns = asked.columns

    async def score(seat: Seat, rows: Rows) -> NDArray[np.float64]:
        return await _score(answering, seat, rows, asked, call)

    answered = await answer_rows(answering, question, columns.subject_ids, columns.rows, score, call)
    reply = _reply(answered, asked, question)
    record_rows(answering, answered, question, call, reply, columns.rows)
    offer_copies(answering, answered, question, _without_deadline(answering, asked), _encode_copy)
    return reply


async def _score(
    answering: Answering, seat: Seat, rows: Rows, asked: BatchAsked, call: Call | None
) -> NDArray[np.float64]:
    """(k,) rows -> (3, k, horizons): value, lower and upper; whatever for rows with a problem.

    Raises: VersionFailed: a score is not a finite number. DeadlineExceeded: the caller's time is over.
    """
    model: ChurnModel = seat.deployment.asked
    chances = np.zeros((3, len(rows), len(asked.horizons)))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, len(rows)))
        matrix = _matrix(model, asked.columns, rows[block], seat.deployment.facts.currency)
        margins = await _margins(answering, seat, matrix, call)
        curve = churn_by_horizon(margins, model.parameters, asked.horizons)
        chances[0, block], chances[1, block], chances[2, block] = curve.value, curve.lower, curve.upper
        if block.stop < len(rows):
            await asyncio.sleep(0)
    return chances


async def _margins(
    answering: Answering, seat: Seat, matrix: NDArray[np.float32], call: Call | None
) -> NDArray[np.float64]:
    """(k, width) -> (k,) scores, in slices that yield; raises as `_score` does."""
    model: ChurnModel = seat.deployment.asked
    margins = np.empty(len(matrix))
    score = await model.many.scorer(len(matrix))
    start = 0
    while start < len(matrix):
        if start:
            await asyncio.sleep(0)
        if call is not None and (remaining := call.time_remaining()) is not None and remaining <= 0:
            raise DeadlineExceeded("the deadline passed before all rows were answered", metadata={"phase": "scoring"})
        here = slice(start, min(start + model.pace.rows(), len(matrix)))
        began = time.perf_counter()
        answering.means.mark(seat.prefix)
        try:
            margins[here] = score(matrix[here])
        finally:
            answering.means.mark(0)
        model.pace.took(here.stop - start, time.perf_counter() - began)
        start = here.stop
    if not np.isfinite(margins).all():
        raise VersionFailed(f"{seat.model} v{seat.version} gave scores that are no finite numbers")
    return margins


def _matrix(model: ChurnModel, columns: Columns, rows: Rows, currency: str | None) -> NDArray[np.float32]:
    """(k,) rows -> (k, width) as the version reads them.

    Amounts in a currency that it does not know are missing, and so is everything in a row with a problem: the version
    sees nothing that the contract does not allow.
    """
    first, last = int(rows[0]), int(rows[-1]) + 1
    is_run = last - first == len(rows)
    values = columns.values[:, first:last] if is_run else columns.values[:, rows]
    foreign = columns.currency is not None and columns.currency != currency
    if foreign or columns.good is not None:
        values = values.copy()
    if foreign:
        values[list(model.money)] = np.nan
    matrix = model.encode(values if columns.good is None else _allowed(values, columns.good[rows]))
    if columns.good is not None:
        matrix[~columns.good[rows]] = np.nan
    return matrix


def _allowed(values: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(f, k) values with rows that have a problem zeroed: a category's number must be one that a table can hold."""
    values[:, ~good] = 0.0
    return values


def _reply(answered: Sequence[Answered], asked: BatchAsked, question: Question) -> bytes:
    columns, horizons = asked.columns, asked.horizons
    seats = list(dict.fromkeys(each.part.seat for each in answered))
    chances = answered[0].scores
    if len(answered) > 1:
        chances = np.zeros((3, columns.rows, len(horizons)))
        for each in answered:
            chances[:, each.part.rows] = each.scores
    if columns.good is not None:
        chances[:, ~columns.good] = 0.0
    head = RESPONSE(
        info=_info(seats, columns, question),
        horizon_days=horizons,
        level=seats[0].deployment.asked.parameters.level,
        row_errors=[_row_error(problem) for problem in columns.problems],
    )
    if len(seats) > 1:
        indices = np.zeros(columns.rows, dtype=np.int64)
        for each in answered:
            indices[each.part.rows] = seats.index(each.part.seat)
        head.served_by_indices.extend(indices.tolist())
    matrices = [packed_doubles(RESPONSE, name, part) for name, part in zip(MATRICES, chances, strict=True)]
    return b"".join((head.SerializeToString(), *matrices))


def _info(seats: Sequence[Seat], columns: Columns, question: Question) -> common_pb2.AnswerInfo:
    info = answer_info(seats[0])
    info.served_by.extend(served_by(seat) for seat in seats[1:])
    info.prediction_id = question.prediction_id.hex()
    info.compute_time.FromNanoseconds(question.time_ns)
    known = {seat.deployment.facts.currency for seat in seats}
    if columns.currency is not None and known != {columns.currency}:
        info.warnings.append(common_pb2.WARNING_OUT_OF_RANGE)
    return info


def _row_error(problem: RowProblem) -> common_pb2.RowError:
    return common_pb2.RowError(
        row=problem.row,
        reason=common_pb2.ERROR_REASON_INVALID_FIELD,
        message=f"{problem.field}: must be {problem.allowed}",
    )


def _without_deadline(answering: Answering, asked: BatchAsked) -> Any:
    """Scoring of a copy: nobody waits for it."""

    async def score(seat: Seat, rows: Rows) -> NDArray[np.float64]:
        return await _score(answering, seat, rows, asked, None)

    return score


def _encode_copy(chances: NDArray[np.float64]) -> bytes:
    return b"".join(packed_doubles(RESPONSE, name, part) for name, part in zip(MATRICES, chances, strict=True))
