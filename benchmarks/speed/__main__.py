"""`python -m benchmarks.speed [--json FILE] [--quick]`: what a call costs here, beside a bare grpcio echo.

Everything in one go, on loopback, in a temporary folder: one row and batches, one worker and two, promotions under
load, start-up and memory, every method. About eight minutes; `--quick` takes three and says less. It reports and never
fails for a figure; it stops when an answer is wrong or a refused request was counted as answered.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.report import Report, describe_environment, print_report, write_json
from benchmarks.speed.batches import measure_batches
from benchmarks.speed.beside_heavy import measure_beside_heavy
from benchmarks.speed.goals import ANCHORS
from benchmarks.speed.methods import LOW_SHARE, Methods, ask_until_answered, measure_methods
from benchmarks.speed.one_row import measure_one_row
from benchmarks.speed.pool import WORKERS, measure_pool
from benchmarks.speed.promotion import measure_promotions
from benchmarks.speed.rows import RUN_FIGURES, Row, print_rows
from benchmarks.speed.stage import FULL, QUICK, Stage
from benchmarks.speed.start import measure_server_start, measure_start
from benchmarks.speed.subjects.artifact import describe_subject, write_artifacts
from benchmarks.speed.subjects.echo import echo
from benchmarks.speed.subjects.processes import usable_cores
from benchmarks.speed.subjects.questions import PREDICT, single_questions
from benchmarks.speed.subjects.registry import ChurnRegistry
from benchmarks.speed.subjects.server import ask_once, prepare_state, whole_server, worker
from benchmarks.speed.subjects.trained import train
from server.catalogue import built_methods
from server.serving.contract import Lane

_PACKAGES = ("grpcio", "protobuf", "onnxruntime", "protovalidate", "uvloop", "numpy", "mlflow", "xgboost-cpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON when asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="under a minute, with wider spreads")
    chosen = parser.parse_args(arguments)
    cores = usable_cores()
    console = Console(width=max(140, Console().width))
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        stage = Stage(
            folder=Path(folder),
            server_core=cores[0] if len(cores) > 1 else None,
            load_core=cores[1] if len(cores) > 1 else None,
            lengths=QUICK if chosen.quick else FULL,
            console=console,
        )
        report = measure(stage)
    print_report(summary_of(report), console)
    if chosen.json:
        write_json(report, chosen.json)


def summary_of(report: Report) -> Report:
    """The report without the figures that stand in the tables of runs already, unless they have an anchor."""
    shown = {
        name: value
        for name, value in report.metrics.items()
        if name in report.anchors or name.rpartition(".")[2] not in RUN_FIGURES
    }
    return replace(report, metrics=shown)


def measure(stage: Stage) -> Report:
    """Everything, in one go."""
    artifacts = write_artifacts(stage.folder / "artifacts", stage.lengths.models)
    rows: list[Row] = []
    metrics: dict[str, float] = dict(measure_start(stage, artifacts))
    with ExitStack() as stack:
        prepare_state(stage.folder / "state", artifacts[:1])
        mine = stack.enter_context(worker(stage.folder / "state", core=stage.server_core))
        answer = stage.folder / "answer"
        answer.write_bytes(ask_once(mine.port, next(single_questions(1))))
        plain = stack.enter_context(echo({PREDICT: answer}, same_settings=False, core=stage.server_core))
        same = stack.enter_context(echo({PREDICT: answer}, same_settings=True, core=stage.server_core))
        one_row = measure_one_row(stage, mine, plain, same)
        batches = measure_batches(stage, mine, artifacts[0])
        rows += [*one_row.rows, *batches.rows]
        metrics |= {**one_row.metrics, **batches.metrics}
        print_rows("One worker", rows, stage.console)

        registry = ChurnRegistry(stage.folder / "mlruns", artifacts[:2])
        state = stage.folder / "served"
        metrics |= measure_server_start(stage, state, registry.uri)
        server = stack.enter_context(whole_server(state, registry.uri, workers=WORKERS))
        pool = measure_pool(stage, mine, server)
        promotions = measure_promotions(stage, server, registry, rate=one_row.capacity / 2)
        print_rows("The whole server", [*pool.rows, promotions.row], stage.console)
        metrics |= {**pool.metrics, **promotions.metrics}
    every = measure_every_method(stage)
    print_rows("Every method", every.rows, stage.console)
    return Report(
        benchmark="speed",
        data=describe_subject(artifacts[0]),
        metrics={**metrics, **every.metrics},
        anchors={**ANCHORS, **every.anchors},
        environment=describe_environment(_PACKAGES) | {"load_average": f"{os.getloadavg()[0]:.1f}"},
    )


def measure_every_method(stage: Stage) -> Methods:
    """Train, serve and ask everything that this release answers from a model; then PredictChurn beside heavy work."""
    stage.say(f"training every model on {stage.lengths.users:,} simulated users")
    trained = train(stage.folder / "trained", users=stage.lengths.users)
    methods = built_methods()
    with ExitStack() as stack:
        server = stack.enter_context(
            whole_server(stage.folder / "every", trained.registry_uri, workers=1, core=stage.server_core)
        )
        answers = {}
        for method in methods:
            answers[method.path] = stage.folder / f"{method.name}.answer"
            question = next(trained.questions(method, 1))
            answers[method.path].write_bytes(ask_until_answered(server.port, method.path, question))
        floor = stack.enter_context(echo(answers, same_settings=False, core=stage.server_core))
        found = measure_methods(stage, methods, trained, server, floor)
        heavy = [method for method in methods if method.lane is Lane.HEAVY]
        (churn,) = (method for method in methods if method.path == PREDICT)
        rate = found.metrics["predict_churn.calls_per_second"] * LOW_SHARE
        beside = measure_beside_heavy(stage, churn, heavy, trained, server, rate=rate)
    return replace(found, rows=(*found.rows, *beside.rows), metrics={**found.metrics, **beside.metrics})


if __name__ == "__main__":
    main()
