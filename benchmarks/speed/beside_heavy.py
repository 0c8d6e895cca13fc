"""PredictChurn's latency while methods of the heavy lane keep the compute process full, beside a quiet server.

Worker and compute process have one core together, which is the worst that can happen to them; the compute process is
niced. Quiet and busy take turns, and a ratio is taken within a round.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread

from benchmarks.load.plan import LoadReport, Loop
from benchmarks.speed.rounds import interleave, ratio_by_round
from benchmarks.speed.rows import Row, row_of
from benchmarks.speed.stage import Stage
from benchmarks.speed.subjects.processes import Running
from benchmarks.speed.subjects.questions import PREDICT
from benchmarks.speed.subjects.trained import Trained
from server.serving.contract import Method

NAME = "predict_churn"
ROUNDS = 3
_LEAD_SECONDS = 1.0  # before the calls that count begin, and after they have ended


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideHeavy:
    """What was found."""

    rows: tuple[Row, ...]
    metrics: Mapping[str, float]


def measure_beside_heavy(
    stage: Stage, churn: Method, heavy: Sequence[Method], trained: Trained, server: Running, *, rate: float
) -> BesideHeavy:
    """The same calls of PredictChurn with nothing beside them, and with every heavy method asked without a pause.

    Args:
        stage: where.
        churn: PredictChurn.
        heavy: methods of the heavy lane.
        trained: whose golden requests are asked.
        server: the whole server.
        rate: calls of PredictChurn a second.
    """
    stage.say(f"PredictChurn at {rate:,.0f} calls/s, quiet and while {', '.join(each.name for each in heavy)} run")
    bodies = stage.bodies("beside", trained.questions(churn, stage.lengths.questions))
    others = {each: stage.bodies(each.name, trained.questions(each, 100)) for each in heavy}
    seconds = stage.lengths.latency_seconds
    answered: list[LoadReport] = []

    def quiet() -> LoadReport:
        return stage.load(server.port, path=PREDICT, bodies=bodies, loop=Loop.POISSON, rate=rate, seconds=seconds)

    def busy() -> LoadReport:
        with _asked(stage, server, others, seconds + 2 * _LEAD_SECONDS, answered):
            return quiet()

    runs = interleave({"quiet": partial(quiet), "busy": partial(busy)}, ROUNDS)
    ratio = ratio_by_round([run.p99_ms for run in runs["busy"]], [run.p99_ms for run in runs["quiet"]])
    rows = (
        row_of("PredictChurn, quiet", "open", runs["quiet"]),
        row_of("PredictChurn, HEAVY beside", "open", runs["busy"], ratio),
    )
    return BesideHeavy(
        rows=rows,
        metrics={
            f"{NAME}.p50_ms_quiet": rows[0].p50_ms,
            f"{NAME}.p99_ms_quiet": rows[0].p99_ms,
            f"{NAME}.p50_ms_while_heavy": rows[1].p50_ms,
            f"{NAME}.p99_ms_while_heavy": rows[1].p99_ms,
            f"{NAME}.p99_ratio_while_heavy": ratio.middle,
            f"{NAME}.p99_ratio_while_heavy_most": ratio.most,
            f"{NAME}.heavy_calls_beside": sum(report.ok for report in answered),
            f"{NAME}.failed_calls_while_heavy": rows[1].failed,
        },
    )


@contextmanager
def _asked(
    stage: Stage, server: Running, others: Mapping[Method, Path], seconds: float, answered: list[LoadReport]
) -> Iterator[None]:
    """Every method asked in a closed loop of its own while the block runs."""

    def ask(method: Method, bodies: Path) -> None:
        answered.append(
            stage.load(
                server.port,
                path=method.path,
                bodies=bodies,
                connections=1,
                streams=2,
                warm_seconds=0.0,
                seconds=seconds,
            )
        )

    threads = [Thread(target=ask, args=each) for each in others.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
