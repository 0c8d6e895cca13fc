"""The worker as a process: serves without control, answers every method, drains, imports nothing heavy."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from paedsresus.ml.v1 import orchestration_pb2, orchestration_pb2_grpc, revenue_pb2_grpc
from server.desired import ChampionRoute, Desired, Route, write_desired
from server.edge.codes import DETAILS_KEY
from server.ledger.spool import Attempt, read_records
from server.modules.learning import service as learning
from server.modules.revenue import service as revenue
from server.serving.contract import Lane, read_contract
from tests.fakes.artifacts import AS_OF
from tests.fakes.processes import ROOT, environment, free_port, process, wait_until
from tests.fakes.serving import churn_request, load_of, publish_fake

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def want(state_dir: Path, version: int, generation: int = 1) -> None:
    digest = publish_fake(state_dir, version)
    desired = Desired(
        generation=generation,
        load=(load_of(version, digest),),
        route={"churn": Route(champion=ChampionRoute(version=version, digest=digest, since=AS_OF))},
    )
    write_desired(state_dir / "desired.json", desired, written_at=datetime.now(UTC))


BUILT = {
    "/paedsresus.ml.v1.RevenueService/PredictChurn",
    "/paedsresus.ml.v1.RevenueService/BatchPredictChurn",
    *(method.path for service in (revenue, learning) for method in (*service.WHOLE, *service.HEAVY)),
}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    want(folder, 7)
    return folder


@pytest.fixture(scope="module")
def channel(state_dir: Path) -> Iterator[grpc.Channel]:
    port = free_port()
    with process("server.edge", state_dir, slot=0, port=port), grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


def failure(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata():
        if key == DETAILS_KEY:
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return error.code(), info.reason, error.details()


def test_it_answers_from_the_cache_without_control(channel: grpc.Channel) -> None:
    answer = revenue_pb2_grpc.RevenueServiceStub(channel).PredictChurn(churn_request(tenure_days=5), timeout=10)

    assert answer.info.served_by[0].version == 7
    assert len(answer.churn) == 3


def test_every_method_of_the_contract_answers_or_says_why_not(channel: grpc.Channel) -> None:
    for method in read_contract():
        send: Any = channel.unary_stream(method.path) if method.is_stream else channel.unary_unary(method.path)

        def call(send: Any = send, *, is_stream: bool = method.is_stream) -> Any:
            return list(send(b"", timeout=10)) if is_stream else send(b"", timeout=10)

        if "Status" in method.name:
            call()
            continue
        code, reason, text = failure(call)
        if method.lane is Lane.CONTROL:
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "CONTROL_UNAVAILABLE"), method
        elif method.path in BUILT:
            assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), method
        else:
            assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT"), method
            assert text == f"{method.name} is in the contract and not built in this release"


def test_explanations_wait_for_the_compute_process(channel: grpc.Channel) -> None:
    request = churn_request(tenure_days=5)
    request.context.explain = True
    stub = revenue_pb2_grpc.RevenueServiceStub(channel)

    code, reason, _ = failure(lambda: stub.PredictChurn(request, timeout=10))

    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "COMPUTE_UNAVAILABLE")


def test_health_is_per_service_and_overall(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def ask(service: str) -> Any:
        return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status

    assert ask("") == SERVING
    # Churn alone is live: the whole serves, a service that lacks versions of other methods does not.
    assert ask("paedsresus.ml.v1.RevenueService") == ask("paedsresus.ml.v1.KaizenService") == NOT_SERVING
    assert next(health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)).status == SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services(channel: grpc.Channel, version: str) -> None:
    ask: Any = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
    request = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()

    raw = next(ask(iter([request]), timeout=10))

    listed = reflection_pb2.ServerReflectionResponse.FromString(raw).list_services_response.service
    assert {method.service for method in read_contract()} <= {service.name for service in listed}


def test_garbage_is_invalid_also_for_health_and_reflection(channel: grpc.Channel) -> None:
    check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
    reflect: Any = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")

    for call in (lambda: check(b"\xff", timeout=10), lambda: next(reflect(iter([b"\xff"]), timeout=10))):
        assert failure(call)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


def test_the_status_says_what_is_live_and_that_control_is_away(channel: grpc.Channel) -> None:
    stub = orchestration_pb2_grpc.OrchestrationServiceStub(channel)

    status = stub.GetSystemStatus(orchestration_pb2.GetSystemStatusRequest(), timeout=10)

    (live,) = status.modules.revenue.live_versions
    assert (live.version.version, live.share) == (7, 1.0)
    assert not status.control_reachable
    assert (status.workers.ready, status.workers.total, status.generation) == (1, 1, 1)
    built = {"PredictChurn", "BatchPredictChurn", "CalculateLtv", "CalculateOptimalPrice", "GetStatus"}
    assert set(status.modules.revenue.built_methods) >= built


def test_it_follows_the_file_drains_and_ends_well(tmp_path: Path) -> None:
    want(tmp_path, 7)
    port = free_port()
    with (
        process("server.edge", tmp_path, slot=0, port=port, drain_seconds="3") as worker,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = revenue_pb2_grpc.RevenueServiceStub(channel)
        want(tmp_path, 8, generation=2)
        wait_until(
            lambda: stub.PredictChurn(churn_request(), timeout=10).info.served_by[0].version == 8,
            what=lambda: "version 8",
        )
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=30)
        assert next(watching).status == SERVING

        worker.send_signal(signal.SIGTERM)

        assert next(watching).status == NOT_SERVING
        assert worker.wait(30) == 0
    (spool,) = (tmp_path / "spool").iterdir()
    versions = {record.version for record in read_records(spool) if isinstance(record, Attempt)}
    assert versions in ({7, 8}, {8})


def test_without_anything_to_serve_it_is_ready_and_says_no_live_version(tmp_path: Path) -> None:
    port = free_port()
    with process("server.edge", tmp_path, slot=0, port=port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = revenue_pb2_grpc.RevenueServiceStub(channel)

        code, reason, _ = failure(lambda: stub.PredictChurn(churn_request(), timeout=10))
        overall = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status

    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "NO_LIVE_VERSION")
    assert overall == NOT_SERVING


PROBE = """
import asyncio, os, sys
from server.edge.worker import Worker
from server.logs import configure_logs
from server.settings import load_place, load_settings
import grpc

configure_logs("worker-0", "info")

async def main():
    worker = Worker(load_settings(os.environ), load_place(os.environ))
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    request = bytes.fromhex(sys.argv[1])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{sys.argv[2]}") as channel:
        predict = channel.unary_unary("/paedsresus.ml.v1.RevenueService/PredictChurn")
        await predict(request, wait_for_ready=True, timeout=60)
    stop.set()
    await running
    heavy = {"pandas", "sklearn", "scipy", "networkx", "xgboost", "mlflow", "sqlalchemy", "onnx", "matplotlib"}
    print(",".join(sorted(heavy & set(sys.modules))))

asyncio.run(main())
"""


def test_a_worker_that_has_answered_has_loaded_nothing_heavy(tmp_path: Path) -> None:
    want(tmp_path, 7)
    port = free_port()

    done = subprocess.run(
        [sys.executable, "-c", PROBE, churn_request(tenure_days=5).SerializeToString().hex(), str(port)],
        env=environment(tmp_path, slot=0, port=port, drain_seconds="1"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
