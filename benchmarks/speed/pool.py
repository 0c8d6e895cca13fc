"""Two workers behind one port, beside one: capacity, and how the calls divide between them.

A connection reaches one worker only, so the generator opens sixteen. On a machine with two cores the second worker
shares its core with the generator: then CPU microseconds a call say more than calls a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks.load.plan import LoadReport
from benchmarks.speed.rounds import interleave, ratio_by_round
from benchmarks.speed.rows import Row, row_of
from benchmarks.speed.stage import Stage
from benchmarks.speed.subjects.processes import Running, children_of, holders_of
from benchmarks.speed.subjects.questions import PREDICT, check_single, single_questions

WORKERS = 2
NAME = f"predict_churn.rows_1.workers_{WORKERS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What was found."""

    rows: tuple[Row, ...]
    metrics: Mapping[str, float]


def measure_pool(stage: Stage, worker: Running, server: Running) -> Pool:
    """Compare one worker alone with a whole server of two.

    Args:
        stage: where.
        worker: one worker, pinned.
        server: the whole server; its pid is the supervisor's.
    Raises: WrongAnswerError: an answer is wrong.
    """
    stage.say(f"{WORKERS} workers beside one: {stage.lengths.batch_rounds} rounds")
    bodies = stage.bodies("pool", single_questions(stage.lengths.questions, seed=3))
    pids = [pid for pid, command in children_of(server.pid).items() if command.endswith("server.edge")]
    shares: list[float] = []

    def ask(target: Running, watched: Sequence[int]) -> LoadReport:
        holders: dict[int, int] = {}
        report = stage.load(
            target.port,
            path=PREDICT,
            bodies=bodies,
            connections=16,
            streams=3,
            seconds=stage.lengths.capacity_seconds,
            watched_pids=tuple(watched),
            check=check_single,
            during=lambda ports: holders.update(holders_of(ports, pids)) if len(watched) > 1 else None,
        )
        if len(watched) > 1:
            calls = dict.fromkeys(pids, 0)
            for port, ok in report.ok_by_connection.items():
                calls[holders[int(port)]] += ok
            shares.append(min(calls.values()) / max(report.ok, 1))
        return report

    results = interleave(
        {"one worker": partial(ask, worker, (worker.pid,)), "two workers": partial(ask, server, pids)},
        stage.lengths.batch_rounds,
    )
    one, two = ([report.calls_per_second for report in results[name]] for name in ("one worker", "two workers"))
    ratio = ratio_by_round(two, one)
    rows = (
        row_of("one worker", "closed, 16 connections", results["one worker"]),
        row_of("two workers", "closed, 16 connections", results["two workers"], ratio),
    )
    return Pool(
        rows=rows,
        metrics={
            **rows[1].figures(NAME),
            f"{NAME}.ratio_to_one_worker": ratio.middle,
            f"{NAME}.smaller_share": median(shares),
        },
    )
