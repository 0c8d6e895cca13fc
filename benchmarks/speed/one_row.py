"""One row a call: our worker beside a bare echo of the same messages, and beside an echo with the worker's settings.

Capacity in closed loop, all three in each round; latency in open loop (Poisson) at half and at four fifths of the
worker's capacity, worker and bare echo in each round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.load.plan import LoadReport, Loop
from benchmarks.speed.rounds import interleave, ratio_by_round
from benchmarks.speed.rows import Row, row_of
from benchmarks.speed.stage import Stage
from benchmarks.speed.subjects.processes import Running
from benchmarks.speed.subjects.questions import PREDICT, WrongAnswerError, check_single, single_questions
from paedsresus.ml.v1 import revenue_pb2

NAME = "predict_churn.rows_1"
_INVALID_ARGUMENT = "3 "


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRow:
    """What was found."""

    rows: tuple[Row, ...]
    metrics: Mapping[str, float]
    capacity: float  # calls a second of one worker


def measure_one_row(stage: Stage, worker: Running, echo: Running, same_settings_echo: Running) -> OneRow:
    """Compare three running servers.

    Raises: WrongAnswerError: an answer is wrong, or a refused request was not counted as failed.
    """
    bodies = stage.bodies("one-row", single_questions(stage.lengths.questions))
    check_refusal(stage, worker)
    servers = {"worker": worker, "echo": echo, "echo, worker's settings": same_settings_echo}
    for server in servers.values():  # the first calls pay for caches
        stage.load(server.port, path=PREDICT, bodies=bodies, seconds=0.3)
    stage.say(f"one row, capacity: {stage.lengths.capacity_rounds} rounds of {', '.join(servers)}")
    closed = interleave(
        {name: partial(_closed, stage, server, bodies, name) for name, server in servers.items()},
        stage.lengths.capacity_rounds,
    )
    mine, plain, same = ([run.calls_per_second for run in runs] for runs in closed.values())
    to_echo, to_same = ratio_by_round(mine, plain), ratio_by_round(mine, same)
    worker_row = row_of("worker", "closed", closed["worker"], to_echo)
    echo_row = row_of("echo", "closed", closed["echo"])
    same_row = row_of(
        "echo, worker's settings", "closed", closed["echo, worker's settings"], ratio_by_round(same, plain)
    )
    metrics = {
        **worker_row.figures(f"{NAME}.closed"),
        **echo_row.figures("echo.closed"),
        **same_row.figures("same_settings_echo.closed"),
        f"{NAME}.calls_per_second": worker_row.calls_per_second,
        f"{NAME}.cpu_us": worker_row.cpu_us,
        f"{NAME}.ratio_to_echo": to_echo.middle,
        f"{NAME}.ratio_to_echo_least": to_echo.least,
        f"{NAME}.ratio_to_echo_most": to_echo.most,
        f"{NAME}.ratio_to_same_settings_echo": to_same.middle,
        f"{NAME}.ratio_to_same_settings_echo_least": to_same.least,
        f"{NAME}.ratio_to_same_settings_echo_most": to_same.most,
        f"{NAME}.cpu_ratio_to_echo": worker_row.cpu_us / echo_row.cpu_us,
    }
    rows = [worker_row, echo_row, same_row]
    for share in (50, 80):
        open_rows = _open(stage, worker, echo, bodies, rate=worker_row.calls_per_second * share / 100, share=share)
        rows += open_rows
        metrics |= open_rows[0].figures(f"{NAME}.open_{share}") | open_rows[1].figures(f"echo.open_{share}")
    metrics |= {f"{NAME}.{figure}": metrics[f"{NAME}.open_50.{figure}"] for figure in ("p50_ms", "p99_ms", "p999_ms")}
    metrics[f"{NAME}.failed_calls"] = sum(row.failed for row in rows if row.subject == "worker")
    return OneRow(rows=tuple(rows), metrics=metrics, capacity=worker_row.calls_per_second)


def check_refusal(stage: Stage, server: Running) -> None:
    """Make sure that a refused request counts as failed, before any figure is believed.

    Raises: WrongAnswerError: the server took a tenure below zero, or the generator counted the refusal as an answer.
    """
    wrong = revenue_pb2.PredictChurnRequest()
    wrong.features.tenure_days = -1
    bodies = stage.bodies("refused", [wrong.SerializeToString(), b"\xff\xff\xff"])
    stage.say("refused requests are counted as failed (they must be):")
    report = stage.load(server.port, path=PREDICT, bodies=bodies, most_calls=40, warm_seconds=0.0, seconds=1.0)
    if report.ok or report.failed != 40 or not all(why.startswith(_INVALID_ARGUMENT) for why in report.failures):
        raise WrongAnswerError(f"refused requests: {report.ok} counted as OK, failures {report.failures}")


def _closed(stage: Stage, server: Running, bodies: Path, name: str) -> LoadReport:
    check = check_single if name == "worker" else None
    return stage.load(
        server.port,
        path=PREDICT,
        bodies=bodies,
        seconds=stage.lengths.capacity_seconds,
        watched_pids=(server.pid,),
        check=check,
    )


def _open(stage: Stage, worker: Running, echo: Running, bodies: Path, *, rate: float, share: int) -> list[Row]:
    stage.say(f"one row, latency at {rate:,.0f} calls/s ({share} % of the worker's capacity)")
    seeds = iter(np.random.default_rng(share).integers(1, 2**31, 1_000).tolist())

    def run(server: Running) -> LoadReport:
        return stage.load(
            server.port,
            path=PREDICT,
            bodies=bodies,
            loop=Loop.POISSON,
            rate=rate,
            seed=next(seeds),
            seconds=stage.lengths.latency_seconds,
            watched_pids=(server.pid,),
        )

    results = interleave({"worker": partial(run, worker), "echo": partial(run, echo)}, stage.lengths.latency_rounds)
    return [row_of(name, f"open {share} %", reports) for name, reports in results.items()]
