"""A batch through its attempts: which version answers which rows, in slices that yield; one attempt a version.

Each row is routed by its own subject where there is one, so a subject meets the same version alone and in a batch. A
canary that fails is covered by the champion for its rows. Copies for the version that did not answer wait in the
shadow queue, weighed by their rows.
Not here: one row (answering.py); what scoring is (modules/).
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import DeadlineExceeded, Reason, ServingError
from server.ledger.spool import NO_BUCKET, SHADOW_ATTEMPT, Ending
from server.serving.answering import Answering, Choice, Question, Seat, Table
from server.serving.dispatch import Call
from server.serving.split import bucket_from

KEYS_A_SLICE = 1_000  # a key takes 1.2 microseconds
Rows = NDArray[np.int64]
Score = Callable[[Seat, Rows], Awaitable[Any]]
"""Scores these rows with that version, in slices that yield; what it returns is the module's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows that one version answers. `bucket` is that of all rows where one key routes them."""

    seat: Seat
    rows: Rows
    bucket: int = NO_BUCKET


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Rows and what their version made of them; `attempt` counts from 0 within the call."""

    part: Part
    scores: Any
    attempt: int


async def answer_rows(
    answering: Answering, question: Question, subject_ids: Sequence[str], count: int, score: Score, call: Call
) -> tuple[Answered, ...]:
    """Every row answered by its version, in no order of rows.

    Raises: ServingError: the request is wrong or its time is over. Anything else: the champion failed.
    """
    table = answering.table()
    parts = await _parts(answering, table, question, subject_ids, count)
    answered: list[Answered] = []
    for part in parts:
        try:
            scores = await score(part.seat, part.rows)
        except DeadlineExceeded:
            _record(answering, part, question, call, Ending.TIMEOUT, attempt=len(answered))
            raise
        except ServingError:
            raise
        except Exception:  # noqa: BLE001 - a failure of the version, as for one row
            answered += await _fall_back(answering, table, part, question, score, call, attempt=len(answered))
        else:
            answered.append(Answered(part=part, scores=scores, attempt=len(answered)))
            if part.seat is table.canary:
                answering.means.breakers.succeeded(part.seat.deployment.digest)
    call.served = answered[0].part.seat
    return tuple(answered)


def record_rows(
    answering: Answering,
    answered: Sequence[Answered],
    question: Question,
    call: Call,
    reply: bytes,
    count: int,
    *,
    propensity: float = 1.0,
) -> None:
    """Record an attempt for each version that answered; the first one carries request and answer."""
    spent_us = int((time.perf_counter() - call.started) * 1e6)
    for index, each in enumerate(answered):
        part = each.part
        answering.record(
            part.seat,
            question,
            attempt=each.attempt,
            answered=True,
            bucket=part.bucket,
            propensity=propensity,
            spent_us=spent_us,
            rows=len(part.rows),
            row_bitmap=b"" if len(part.rows) == count else row_bitmap(part.rows, count),
            request=question.raw if index == 0 else b"",
            answer=reply if index == 0 else b"",
        )


def offer_copies(
    answering: Answering, answered: Sequence[Answered], question: Question, score: Score, encode: Callable[[Any], bytes]
) -> None:
    """With a challenger beside: the rows of each version for the other one, later."""
    table = answering.table()
    if table.copies is None:
        return
    for each in answered:
        other = table.copies[1] if each.part.seat is table.canary else table.copies[0]
        if not answering.fits(other, question):
            continue
        copied = Part(seat=other, rows=each.part.rows)
        copy = functools.partial(_score_copy, answering, copied, question, score, encode)
        answering.means.shadow.offer(copy, weight=len(copied.rows))


def row_bitmap(rows: Rows, count: int) -> bytes:
    """Rows as a bitmap, lowest bit first.

    >>> row_bitmap(np.array([0, 9]), 10).hex()
    '0102'
    """
    mask = np.zeros(count, dtype=np.uint8)
    mask[rows] = 1
    return np.packbits(mask, bitorder="little").tobytes()


async def _parts(
    answering: Answering, table: Table, question: Question, subject_ids: Sequence[str], count: int
) -> list[Part]:
    everything = np.arange(count)
    if table.canary is None or not subject_ids:
        choice: Choice = answering.choose(question)
        return [Part(seat=choice.seat, rows=everything, bucket=choice.bucket)]
    if not answering.means.breakers.allows(table.canary.deployment.digest):
        return [Part(seat=table.champion, rows=everything)]
    base, share_bp = table.route.base, table.route.share_bp
    assert base is not None, "a challenger has a hash for its split"
    is_canary = np.zeros(count, dtype=np.bool_)
    for start in range(0, count, KEYS_A_SLICE):
        keys = subject_ids[start : start + KEYS_A_SLICE]
        is_canary[start : start + KEYS_A_SLICE] = [bucket_from(base, key or question.key) < share_bp for key in keys]
        await asyncio.sleep(0)
    parts = [
        Part(seat=table.champion, rows=np.flatnonzero(~is_canary)),
        Part(seat=table.canary, rows=np.flatnonzero(is_canary)),
    ]
    return [part for part in parts if len(part.rows)]


async def _fall_back(
    answering: Answering, table: Table, part: Part, question: Question, score: Score, call: Call, *, attempt: int
) -> list[Answered]:
    """The version of this part has failed (we are in its except clause)."""
    answering.means.failed(part.seat.deployment, call.request_id)
    is_canary = part.seat is table.canary
    ending = Ending.FELL_BACK if is_canary else Ending.ERROR
    _record(answering, part, question, call, ending, attempt=attempt, reason=Reason.INTERNAL)
    if not is_canary:
        raise  # noqa: PLE0704 - called from an except clause only
    answering.means.breakers.failed(part.seat.deployment.digest)
    again = Part(seat=table.champion, rows=part.rows, bucket=part.bucket)
    return [Answered(part=again, scores=await score(table.champion, part.rows), attempt=attempt + 1)]


async def _score_copy(
    answering: Answering, part: Part, question: Question, score: Score, encode: Callable[[Any], bytes]
) -> None:
    started = time.perf_counter()
    reply, ending, reason = b"", Ending.OK, ""
    try:
        reply = encode(await score(part.seat, part.rows))
    except Exception:  # noqa: BLE001 - a version's failure, of whatever kind, ends here
        ending, reason = Ending.ERROR, Reason.INTERNAL
        answering.means.failed(part.seat.deployment, "")
    answering.record(
        part.seat,
        question,
        ending=ending,
        reason=reason,
        attempt=SHADOW_ATTEMPT,
        answered=False,
        rows=len(part.rows),
        spent_us=int((time.perf_counter() - started) * 1e6),
        answer=reply,
    )


def _record(
    answering: Answering, part: Part, question: Question, call: Call, ending: Ending, *, attempt: int, reason: str = ""
) -> None:
    answering.record(
        part.seat,
        question,
        ending=ending,
        reason=reason,
        attempt=attempt,
        answered=False,
        bucket=part.bucket,
        rows=len(part.rows),
        spent_us=int((time.perf_counter() - call.started) * 1e6),
        request=question.raw,
    )
