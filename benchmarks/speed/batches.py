"""Batches as columns: rows a second of our worker beside the ONNX session alone in process, on the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.load.plan import LoadReport
from benchmarks.speed.rounds import interleave, ratio_by_round
from benchmarks.speed.rows import Row, row_of
from benchmarks.speed.stage import Stage
from benchmarks.speed.subjects.processes import Running
from benchmarks.speed.subjects.questions import BATCH, batch_questions, check_batch
from benchmarks.speed.subjects.session import SessionSpeed, measure_session

SIZES = (100, 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """What was found."""

    rows: tuple[Row, ...]
    metrics: Mapping[str, float]


def measure_batches(stage: Stage, worker: Running, artifact: Path) -> Batches:
    """Both sizes, worker and session in each round.

    Raises: WrongAnswerError: a row has no answer.
    """
    rows: list[Row] = []
    metrics: dict[str, float] = {}
    for size in SIZES:
        stage.say(f"{size} rows as columns: {stage.lengths.batch_rounds} rounds of worker and session alone")
        row, figures = _measure(stage, worker, artifact, size)
        rows.append(row)
        metrics |= figures
    return Batches(rows=tuple(rows), metrics=metrics)


def _measure(stage: Stage, worker: Running, artifact: Path, size: int) -> tuple[Row, dict[str, float]]:
    bodies = stage.bodies(f"batch-{size}", batch_questions(stage.lengths.batch_questions, size))
    seconds = stage.lengths.capacity_seconds

    def ask_worker() -> LoadReport:
        return stage.load(
            worker.port,
            path=BATCH,
            bodies=bodies,
            connections=2,
            streams=2,
            seconds=seconds,
            watched_pids=(worker.pid,),
            check=partial(check_batch, rows=size),
        )

    def run_session() -> SessionSpeed:
        return measure_session(artifact, rows=size, seconds=seconds, core=stage.server_core)

    reports: list[LoadReport] = []
    sessions: list[SessionSpeed] = []
    steps = {"worker": lambda: reports.append(ask_worker()), "session": lambda: sessions.append(run_session())}
    interleave(steps, stage.lengths.batch_rounds)
    mine = [report.calls_per_second * size for report in reports]
    alone = [session.rows_per_second for session in sessions]
    ratio = ratio_by_round(mine, alone)
    row = row_of(f"worker, {size} rows", "closed", reports, ratio)
    name = f"batch_predict_churn.rows_{size}"
    return row, {
        **row.figures(name),
        f"{name}.rows_per_second": median(mine),
        f"{name}.session_rows_per_second": median(alone),
        f"{name}.ratio_to_session": ratio.middle,
        f"{name}.ratio_to_session_least": ratio.least,
        f"{name}.ratio_to_session_most": ratio.most,
        f"{name}.cpu_ratio_to_session": row.cpu_us / size / median(session.cpu_us_per_row for session in sessions),
    }
