"""Promotions under load: `champion` moved by MLflow's own client while calls come in an open loop.

Every answer is kept, so it is known which version gave which answer when. Not one call may fail.
Pure but for `measure_promotions`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.load.bodies import read_bodies
from benchmarks.load.connection import LOST
from benchmarks.load.plan import Loop, percentile
from benchmarks.speed.rows import Row, row_of
from benchmarks.speed.stage import Stage
from benchmarks.speed.subjects.processes import Running
from benchmarks.speed.subjects.questions import PREDICT, check_single, single_questions
from benchmarks.speed.subjects.registry import ChurnRegistry, Move

QUIET_SECONDS: Final = 2.0  # before each promotion: what the swap is compared with
SETTLE_SECONDS: Final = 4.0  # after it; the goal is three
_HALF_SECOND: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Every answered call of a run, in any order; arrays of equal length (n,).

    Attributes:
        intended: when the call was meant to be sent, monotonic clock.
        latency: seconds from then to the answer.
        version: that answered; 0 for a call that failed.
    """

    intended: NDArray[np.float64]
    latency: NDArray[np.float64]
    version: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotions:
    """What was found."""

    row: Row
    metrics: Mapping[str, float]


def measure_promotions(stage: Stage, server: Running, registry: ChurnRegistry, *, rate: float) -> Promotions:
    """Promote back and forth between two registered versions while calls come at `rate` a second.

    Raises: WrongAnswerError: an answer is wrong.
    """
    count = stage.lengths.promotions
    stage.say(f"{count} promotions under {rate:,.0f} calls/s")
    records = stage.folder / "records"
    samples = stage.folder / "answers"
    moves: list[Move] = []
    seconds = count * (QUIET_SECONDS + SETTLE_SECONDS)

    def promote(_ports: Sequence[int]) -> None:
        starts = time.monotonic()
        for number in range(count):
            due = starts + number * (QUIET_SECONDS + SETTLE_SECONDS) + QUIET_SECONDS
            time.sleep(max(0.0, due - time.monotonic()))
            moves.append(registry.move_champion())

    report = stage.load(
        server.port,
        path=PREDICT,
        bodies=stage.bodies("promotion", single_questions(stage.lengths.questions, seed=5)),
        loop=Loop.POISSON,
        rate=rate,
        seconds=seconds,
        records_file=str(records),
        samples_file=str(samples),
        sample_every=1,
        most_samples=2_000_000,
        during=promote,
    )
    calls = read_calls(records, samples)
    return Promotions(
        row=row_of("server while promoting", "open", [report]),
        metrics={"promotion.failed_calls": report.failed, **swap_figures(calls, moves, ends=time.monotonic())},
    )


def read_calls(records: Path, samples: Path) -> Calls:
    """The generator's two files as one: records and answers stand in the same order; a lost call has no answer."""
    table = np.fromfile(records, dtype=np.float64).reshape(-1, 3)
    table = table[table[:, 2] != LOST]
    answers = read_bodies(samples)
    versions = [check_single(answer) if status == 0 else 0 for status, answer in zip(table[:, 2], answers, strict=True)]
    return Calls(intended=table[:, 0], latency=table[:, 1], version=np.array(versions, dtype=np.int64))


def swap_figures(calls: Calls, moves: Sequence[Move], *, ends: float) -> dict[str, float]:
    """Figures over all promotions, as metrics: the median of the promotions, so that one stall of the machine is one.

    The swap's second is the one around the first answer of the new version; the change lasts from the alias's move to
    half a second after the last answer of the old one, and holds the loading too. Each is compared with the quiet
    seconds before the same promotion.

    Args:
        calls: of the whole run.
        moves: the promotions, in order.
        ends: when the run was over.
    Returns: the figures of the promotions that were served before the next one, and how many were not; with none
        served, that count alone.
    """
    untils = [*(later.at for later in moves[1:]), ends]
    found = [_swap(calls, move, until) for move, until in zip(moves, untils, strict=True)]
    swaps = [swap for swap in found if swap is not None]
    missed = {"promotion.not_served": float(len(found) - len(swaps))}
    if not swaps:
        return missed
    return {
        **missed,
        "promotion.seconds_to_served": median(swap.to_served for swap in swaps),
        "promotion.seconds_to_served_most": max(swap.to_served for swap in swaps),
        "promotion.seconds_to_first": median(swap.to_first for swap in swaps),
        "promotion.p99_before_ms": median(swap.before for swap in swaps) * 1e3,
        "promotion.p99_ms": median(swap.second for swap in swaps) * 1e3,
        "promotion.p99_ratio": median(swap.second / swap.before for swap in swaps),
        "promotion.p99_ratio_most": max(swap.second / swap.before for swap in swaps),
        "promotion.change_p99_ms": median(swap.change for swap in swaps) * 1e3,
        "promotion.change_p99_ratio": median(swap.change / swap.before for swap in swaps),
        "promotion.worst_ms": max(swap.worst for swap in swaps) * 1e3,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swap:
    """One promotion: seconds to its first and its last change of an answer; p99 before, around and during, seconds."""

    to_first: float
    to_served: float
    before: float
    second: float
    change: float
    worst: float


def _swap(calls: Calls, move: Move, until: float) -> _Swap | None:
    answered = calls.intended + calls.latency
    here = (answered >= move.at) & (answered < until) & (calls.version > 0)
    is_new = calls.version == move.version
    if not (here & is_new).any():
        return None
    first = float(answered[here & is_new].min())
    old = answered[here & ~is_new]
    served = max(first, float(old.max())) if old.size else first
    change = _latencies(calls, move.at, served + _HALF_SECOND)
    return _Swap(
        to_first=first - move.at,
        to_served=served - move.at,
        before=percentile(_latencies(calls, move.at - QUIET_SECONDS, move.at), 0.99),
        second=percentile(_latencies(calls, first - _HALF_SECOND, first + _HALF_SECOND), 0.99),
        change=percentile(change, 0.99),
        worst=change[-1],
    )


def _latencies(calls: Calls, since: float, until: float) -> list[float]:
    """Latencies of the calls meant for that time, in seconds, rising."""
    chosen: list[float] = np.sort(calls.latency[(calls.intended >= since) & (calls.intended < until)]).tolist()
    return chosen
