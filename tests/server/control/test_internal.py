"""Control's socket with real gRPC: confirmations, deployments, operations, and errors that tell nothing inner."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2, status_pb2

from paedsresus.ml.v1 import common_pb2, orchestration_pb2, rollout_pb2
from server.control.follow import RegistryView, View
from server.control.internal import CONFIRM, InternalService, serve_internal
from server.control.rollout import Confirmation
from server.control.writeback import Place, Recorded
from server.desired import Desired, Load

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGESTS = {number: f"{number:x}" * 64 for number in range(1, 4)}
LIST = "/paedsresus.ml.v1.RolloutService/ListDeployments"
WATCH = "/paedsresus.ml.v1.RolloutService/WatchDeployments"


def view(**states: str) -> View:
    places = {
        1: Place(state="live", digest=DIGESTS[1], role="champion", share_bp=9_500),
        2: Place(state="live", digest=DIGESTS[2], role="challenger", share_bp=500, mode="canary"),
        3: Place(state="refused", digest=DIGESTS[3], reason="golden answer 3 of 20 differs"),
    }
    for name, state in states.items():
        number = int(name.removeprefix("v"))
        places[number] = Place(state=state, digest=DIGESTS[number])
    load = tuple(Load(model="churn", version=n, digest=DIGESTS[n], folder=f"cache/{DIGESTS[n]}") for n in (1, 2))
    return View(
        desired=Desired(generation=4, load=load),
        written_at=NOW,
        registry=RegistryView(since=NOW),
        versions={("churn", number): Recorded(place=place, since=NOW) for number, place in places.items()},
    )


class Socket:
    """A running socket and a channel to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[tuple[int, Confirmation]] = []
        self.view = view()

    async def __aenter__(self) -> Self:
        service = InternalService(
            confirmed=lambda slot, confirmation: self.said.append((slot, confirmation)), view=lambda: self.view
        )
        self.server = await serve_internal(service, self.path)
        self.channel: Any = grpc.aio.insecure_channel(f"unix:{self.path}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.server.stop(None)

    async def call(self, method: str, request: bytes) -> bytes:
        reply: bytes = await self.channel.unary_unary(method)(request, timeout=10)
        return reply

    async def refusal(self, method: str, request: bytes) -> tuple[grpc.StatusCode, str, str]:
        """Code, reason and text of a call that must fail."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(method, request)
        trailers: Any = caught.value.trailing_metadata()
        details = next(value for key, value in trailers if key == "grpc-status-details-bin")
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details)
        return caught.value.code(), info.reason, str(caught.value.details())


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Socket]:
    async with Socket(tmp_path / "control.sock") as running:
        yield running


async def test_the_socket_is_its_owners_alone(socket: Socket) -> None:
    mode = socket.path.stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_a_confirmation_is_taken_in(socket: Socket) -> None:
    body = {"slot": 1, "pid": 7, "boot": "00", "role": "worker", "generation": 4, "loaded": [DIGESTS[1]]}
    refused = [{"digest": DIGESTS[2], "reason": "no memory"}]

    assert await socket.call(CONFIRM, json.dumps({**body, "refused": refused}).encode()) == b"{}"

    expected = Confirmation(pid=7, generation=4, loaded=frozenset({DIGESTS[1]}), refused={DIGESTS[2]: "no memory"})
    assert socket.said == [(1, expected)]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"slot": 1}', b"\xff", b'{"slot": "x", "pid": 1}'])
async def test_what_is_no_confirmation_changes_nothing(socket: Socket, body: bytes) -> None:
    code, reason, _ = await socket.refusal(CONFIRM, body)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert socket.said == []


async def test_deployments_come_newest_first_with_share_state_and_reason(socket: Socket) -> None:
    reply = rollout_pb2.ListDeploymentsResponse.FromString(await socket.call(LIST, b""))

    assert [deployment.version for deployment in reply.deployments] == [3, 2, 1]
    refused, challenger, champion = reply.deployments
    assert refused.state == rollout_pb2.DEPLOYMENT_STATE_REFUSED
    assert refused.reason == "golden answer 3 of 20 differs"
    assert refused.generation == 0
    assert (challenger.role, challenger.mode) == (common_pb2.ROLE_CHALLENGER, rollout_pb2.TRAFFIC_MODE_CANARY)
    assert challenger.share == pytest.approx(0.05)
    assert (champion.role, champion.state) == (common_pb2.ROLE_CHAMPION, rollout_pb2.DEPLOYMENT_STATE_LIVE)
    assert champion.since_time.ToDatetime(tzinfo=UTC) == NOW
    assert champion.generation == 4


async def test_pages_join_to_the_whole_and_a_token_fits_its_own_question_only(socket: Socket) -> None:
    first = rollout_pb2.ListDeploymentsResponse.FromString(
        await socket.call(LIST, rollout_pb2.ListDeploymentsRequest(page_size=2).SerializeToString())
    )
    again = rollout_pb2.ListDeploymentsRequest(page_size=2, page_token=first.next_page_token)
    second = rollout_pb2.ListDeploymentsResponse.FromString(await socket.call(LIST, again.SerializeToString()))
    assert [d.version for d in (*first.deployments, *second.deployments)] == [3, 2, 1]
    assert second.next_page_token == ""

    other = rollout_pb2.ListDeploymentsRequest(model="churn", page_token=first.next_page_token)
    code, reason, text = await socket.refusal(LIST, other.SerializeToString())
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "page_token" in text


async def test_another_model_has_no_deployments(socket: Socket) -> None:
    request = rollout_pb2.ListDeploymentsRequest(model="ltv").SerializeToString()

    assert await socket.call(LIST, request) == b""


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (rollout_pb2.ListDeploymentsRequest(page_size=1001).SerializeToString(), "INVALID_FIELD"),
        (rollout_pb2.ListDeploymentsRequest(page_token="!").SerializeToString(), "INVALID_FIELD"),  # noqa: S106
        (b"\xff\xff", "MALFORMED_REQUEST"),
    ],
)
async def test_a_wrong_question_is_refused_by_its_field(socket: Socket, request_bytes: bytes, expected: str) -> None:
    code, reason, _ = await socket.refusal(LIST, request_bytes)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, expected)


async def test_a_watcher_gets_everything_first_and_then_what_changes(socket: Socket) -> None:
    stream = socket.channel.unary_stream(WATCH)(b"", timeout=20)
    first = rollout_pb2.WatchDeploymentsResponse.FromString(await asyncio.wait_for(stream.read(), 10))
    socket.view = view(v2="retired")

    second = rollout_pb2.WatchDeploymentsResponse.FromString(await asyncio.wait_for(stream.read(), 10))
    stream.cancel()

    assert [deployment.version for deployment in first.deployments] == [3, 2, 1]
    assert first.generation == 4
    assert [(d.version, d.state) for d in second.deployments] == [(2, rollout_pb2.DEPLOYMENT_STATE_RETIRED)]


@pytest.mark.parametrize("method", ["GetOperation", "DeleteOperation", "CancelOperation", "WaitOperation"])
async def test_no_operation_is_known(socket: Socket, method: str) -> None:
    request = operations_pb2.GetOperationRequest(name="operations/5f0c").SerializeToString()

    code, reason, text = await socket.refusal(f"/google.longrunning.Operations/{method}", request)

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert "operations/5f0c" in text


async def test_the_list_of_operations_is_empty(socket: Socket) -> None:
    assert await socket.call("/google.longrunning.Operations/ListOperations", b"") == b""


@pytest.mark.parametrize(
    "method",
    ["/paedsresus.ml.v1.OrchestrationService/RunAll", "/paedsresus.ml.v1.RevenueService/RunPipeline"],
)
async def test_what_is_not_built_says_so(socket: Socket, method: str) -> None:
    request = orchestration_pb2.RunAllRequest().SerializeToString()

    code, reason, text = await socket.refusal(method, request)

    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT")
    assert method.rsplit("/", 1)[-1] in text


async def test_what_nobody_foresaw_leaves_only_an_id(tmp_path: Path) -> None:
    async with Socket(tmp_path / "control.sock") as socket:
        socket.view = None  # type: ignore[assignment]  # a mistake of ours, on purpose

        code, reason, text = await socket.refusal(LIST, b"")

    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "NoneType" not in text


async def test_a_socket_left_by_a_crash_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "control.sock").touch()

    async with Socket(tmp_path / "control.sock") as socket:
        assert await socket.call(LIST, b"") != b""
