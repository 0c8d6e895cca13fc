"""A row a method: found in the catalogue, asked with golden requests, held to an echo of the same messages."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from rich.console import Console

from benchmarks.speed.beside_heavy import measure_beside_heavy
from benchmarks.speed.methods import INTERACTIVE_US, check_answer, measure_methods, response_of, snake
from benchmarks.speed.stage import QUICK, Stage
from benchmarks.speed.subjects.echo import echo
from benchmarks.speed.subjects.largest import LARGEST
from benchmarks.speed.subjects.processes import Running
from benchmarks.speed.subjects.questions import WrongAnswerError
from benchmarks.speed.subjects.trained import BATCH_ROWS, Trained
from paedsresus.ml.v1 import common_pb2, learning_pb2, revenue_pb2
from server.catalogue import built_methods
from server.serving.contract import Lane
from server.serving.wire.judge import judge
from tests.fakes.artifacts import write_churn_artifact

METHODS = {method.name: method for method in built_methods()}
SINGLE, BATCH = METHODS["PredictChurn"], METHODS["BatchPredictChurn"]
SHORT = replace(QUICK, method_seconds=0.2, latency_seconds=0.3, questions=60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A registry's folder with golden requests of churn."""
    folder = tmp_path_factory.mktemp("trained")
    write_churn_artifact(folder / "mlruns" / "churn")
    return Trained(folder=folder, users=0)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    console = Console(file=io.StringIO(), width=100)
    return Stage(folder=tmp_path, server_core=None, load_core=None, lengths=SHORT, console=console)


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Running]:
    info = common_pb2.AnswerInfo(prediction_id="p", served_by=[common_pb2.ServedBy(model="churn", version=1)])
    answers = {
        SINGLE.path: revenue_pb2.PredictChurnResponse(info=info),
        BATCH.path: revenue_pb2.BatchPredictChurnResponse(info=info, level=0.9),
    }
    files = {}
    for number, (path, answer) in enumerate(answers.items()):
        files[path] = tmp_path / f"answer-{number}"
        files[path].write_bytes(answer.SerializeToString())
    with echo(files, same_settings=False, core=None) as server:
        yield server


def test_the_echo_has_a_ready_answer_for_each_of_its_methods_and_no_other(floor: Running) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{floor.port}") as channel:
        batch = revenue_pb2.BatchPredictChurnResponse.FromString(channel.unary_unary(BATCH.path)(b"", timeout=10))
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(METHODS["CalculateLtv"].path)(b"", timeout=10)

    assert batch.level == 0.9
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_golden_requests_are_cycled_each_with_an_id_of_its_own(trained: Trained) -> None:
    requests = [revenue_pb2.PredictChurnRequest.FromString(raw) for raw in trained.questions(SINGLE, 50)]

    assert len({request.context.request_id for request in requests}) == 50
    assert requests[0].features == requests[24].features != requests[1].features


def test_a_batch_has_golden_rows(trained: Trained) -> None:
    request = revenue_pb2.BatchPredictChurnRequest.FromString(next(trained.questions(BATCH, 1)))

    assert request.columns.rows == BATCH_ROWS
    assert len(request.columns.tenure_days) == BATCH_ROWS


def test_a_method_that_nothing_was_trained_for_is_named(trained: Trained) -> None:
    with pytest.raises(KeyError, match="price"):
        next(trained.questions(METHODS["CalculateOptimalPrice"], 1))


def test_every_method_has_its_figures_and_single_ones_a_goal(trained: Trained, stage: Stage, floor: Running) -> None:
    found = measure_methods(stage, [SINGLE, BATCH], trained, floor, floor)

    assert {name.partition(".")[0] for name in found.metrics} == {"predict_churn", "batch_predict_churn"}
    assert found.metrics["predict_churn.failed_calls"] == found.metrics["batch_predict_churn.failed_calls"] == 0
    assert found.metrics["predict_churn.calls_per_second"] > 0
    assert {name: anchor.at_most for name, anchor in found.anchors.items()} == {"predict_churn.cpu_us": INTERACTIVE_US}


@pytest.mark.parametrize("answer", [b"\xff", b""], ids=["no message", "from nobody"])
def test_an_answer_that_is_none_stops_the_measurement(answer: bytes) -> None:
    with pytest.raises(WrongAnswerError, match="PredictChurnResponse"):
        check_answer(response_of(SINGLE), answer)


def test_beside_heavy_work_the_same_calls_are_answered(trained: Trained, stage: Stage, floor: Running) -> None:
    found = measure_beside_heavy(stage, SINGLE, [BATCH], trained, floor, rate=50.0)

    assert found.metrics["predict_churn.heavy_calls_beside"] > 0
    assert found.metrics["predict_churn.failed_calls_while_heavy"] == 0
    assert [row.subject for row in found.rows] == ["PredictChurn, quiet", "PredictChurn, HEAVY beside"]


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.lane is Lane.HEAVY))
def test_every_heavy_method_has_a_largest_request_that_the_contract_allows(name: str) -> None:
    kind = getattr(revenue_pb2, f"{name}Request", None) or getattr(learning_pb2, f"{name}Request")

    request = kind.FromString(LARGEST[name]())

    judge(request)
    assert max(len(values) for field, values in request.ListFields() if field.is_repeated) >= 500


@pytest.mark.parametrize(
    ("name", "metric"), [("CalculateLtv", "calculate_ltv"), ("GeneratePath", "generate_path"), ("Ask", "ask")]
)
def test_a_metric_begins_with_the_methods_name(name: str, metric: str) -> None:
    assert snake(name) == metric
