"""Control's socket: workers confirm what they have loaded, and forward the public methods that control answers.

One Unix socket (0600), bytes in and out. `Confirm` is internal and speaks JSON; public methods keep their name and
their messages, so a worker forwards raw bytes and hands back whatever comes, error details included. A method of the
contract that is not built here answers NOT_BUILT.

Not here: what a confirmation changes (follow.py); codes and details (edge/codes.py).
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc
import structlog
from google.longrunning import operations_pb2
from google.protobuf.message import Message

from paedsresus.ml.v1 import common_pb2, rollout_pb2
from server.control.follow import View
from server.control.registry import CHALLENGER, CHAMPION
from server.control.rollout import Confirmation
from server.control.writeback import LIVE, LOADING, REFUSED, RETIRED, Recorded, VersionKey
from server.desired import SHARE_MAX_BP
from server.edge.codes import failure_of, unforeseen
from server.errors import FieldViolation, MalformedRequest, NotBuilt, NotFound, ServingError
from server.serving.wire.judge import invalid, judge, parse

CONFIRM = "/paedsresus.ml.internal.v1.Control/Confirm"
PAGE_SIZE = 100
WATCH_SECONDS = 0.2
SOCKET_NAME = "control.sock"
_OPERATIONS = "/google.longrunning.Operations/"
_ROLLOUT = "/paedsresus.ml.v1.RolloutService/"
_STATES = {
    LOADING: rollout_pb2.DEPLOYMENT_STATE_LOADING,
    LIVE: rollout_pb2.DEPLOYMENT_STATE_LIVE,
    REFUSED: rollout_pb2.DEPLOYMENT_STATE_REFUSED,
    "rolled_back": rollout_pb2.DEPLOYMENT_STATE_ROLLED_BACK,
    "suspended": rollout_pb2.DEPLOYMENT_STATE_SUSPENDED,
    "quarantined": rollout_pb2.DEPLOYMENT_STATE_QUARANTINED,
    RETIRED: rollout_pb2.DEPLOYMENT_STATE_RETIRED,
}
_ROLES = {CHAMPION: common_pb2.ROLE_CHAMPION, CHALLENGER: common_pb2.ROLE_CHALLENGER}
_MODES = {"shadow": rollout_pb2.TRAFFIC_MODE_SHADOW, "canary": rollout_pb2.TRAFFIC_MODE_CANARY}
M = TypeVar("M", bound=Message)
Unary = Callable[[bytes], bytes]
Stream = Callable[[bytes], AsyncIterator[bytes]]


class InternalService:
    """What control answers. `confirmed` takes a worker's word; `view` gives the present picture."""

    def __init__(self, *, confirmed: Callable[[int, Confirmation], None], view: Callable[[], View]) -> None:
        self._confirmed, self._view = confirmed, view

    def unary(self) -> Mapping[str, Unary]:
        """Methods with one answer, by full name."""
        named: dict[str, Unary] = {CONFIRM: self.confirm, _ROLLOUT + "ListDeployments": self.list_deployments}
        named[_OPERATIONS + "ListOperations"] = self.list_operations
        for method, request in _OPERATION_REQUESTS.items():
            named[_OPERATIONS + method] = _UnknownOperation(request)
        return named

    def streams(self) -> Mapping[str, Stream]:
        """Methods that answer with a stream, by full name."""
        return {_ROLLOUT + "WatchDeployments": self.watch_deployments}

    def confirm(self, request: bytes) -> bytes:
        """A process says which generation it has carried out, what it has loaded, and what it could not."""
        slot, confirmation = parse_confirmation(request)
        self._confirmed(slot, confirmation)
        return b"{}"

    def list_deployments(self, request: bytes) -> bytes:
        """One page of deployments, by model, newest version first."""
        asked = _read(rollout_pb2.ListDeploymentsRequest, request)
        start = _read_token(asked.page_token, asked.model)
        found = deployments_of(self._view(), asked.model)
        size = asked.page_size or PAGE_SIZE
        page = found[start : start + size]
        more = start + size < len(found)
        token = _token(start + size, asked.model) if more else ""
        return rollout_pb2.ListDeploymentsResponse(deployments=page, next_page_token=token).SerializeToString()

    async def watch_deployments(self, request: bytes) -> AsyncIterator[bytes]:
        """All deployments, then each that changes, until the caller goes."""
        asked = _read(rollout_pb2.WatchDeploymentsRequest, request)
        sent: dict[VersionKey, bytes] = {}
        is_first = True
        while True:
            view = self._view()
            changed = []
            for deployment in deployments_of(view, asked.model):
                key, content = (deployment.model, deployment.version), deployment.SerializeToString(deterministic=True)
                if sent.get(key) != content:
                    sent[key] = content
                    changed.append(deployment)
            if changed or is_first:
                answer = rollout_pb2.WatchDeploymentsResponse(deployments=changed, generation=view.desired.generation)
                answer.update_time.FromDatetime(view.written_at)
                yield answer.SerializeToString()
                is_first = False
            await asyncio.sleep(WATCH_SECONDS)

    def list_operations(self, request: bytes) -> bytes:
        """No operation was ever started: this release runs none."""
        _read(operations_pb2.ListOperationsRequest, request)
        return bytes(operations_pb2.ListOperationsResponse().SerializeToString())


async def serve_internal(service: InternalService, path: Path) -> Any:
    """Open the socket, for this account only, and answer on it; returns the running grpc.aio server."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - before the first call, on the local disk
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
    server.add_generic_rpc_handlers((_Handlers(service),))
    server.add_insecure_port(f"unix:{path}")
    path.chmod(0o600)  # noqa: ASYNC240
    await server.start()
    return server


def parse_confirmation(content: bytes) -> tuple[int, Confirmation]:
    """A confirmation's slot and content.

    Raises: MalformedRequest: it is not what a worker of this release sends.
    """
    try:
        body = json.loads(content)
        confirmation = Confirmation(
            pid=int(body["pid"]),
            generation=int(body["generation"]),
            loaded=frozenset(str(digest) for digest in body["loaded"]),
            refused={str(entry["digest"]): str(entry["reason"]) for entry in body["refused"]},
        )
        return int(body["slot"]), confirmation
    except (ValueError, KeyError, TypeError) as wrong:
        raise MalformedRequest("the body is not a confirmation") from wrong


def deployments_of(view: View, model: str = "") -> list[rollout_pb2.Deployment]:
    """Deployments of one model, or of all, each model's newest version first."""
    keys = sorted(
        (key for key in view.versions if model in {"", key[0]}),
        key=lambda key: (key[0], -key[1]),
    )
    return [_deployment(view, key, view.versions[key]) for key in keys]


def _deployment(view: View, key: VersionKey, entry: Recorded) -> rollout_pb2.Deployment:
    place = entry.place
    deployment = rollout_pb2.Deployment(
        model=key[0],
        version=key[1],
        digest=place.digest or "",
        role=_ROLES.get(place.role or "", common_pb2.ROLE_UNSPECIFIED),
        mode=_MODES.get(place.mode or "", rollout_pb2.TRAFFIC_MODE_UNSPECIFIED),
        share=place.share_bp / SHARE_MAX_BP,
        state=_STATES.get(place.state, rollout_pb2.DEPLOYMENT_STATE_UNSPECIFIED),
        reason=place.reason,
        generation=view.desired.generation if place.digest in view.desired.digests else 0,
    )
    deployment.since_time.FromDatetime(entry.since)
    return deployment


_OPERATION_REQUESTS: Mapping[str, type[Any]] = {
    "GetOperation": operations_pb2.GetOperationRequest,
    "DeleteOperation": operations_pb2.DeleteOperationRequest,
    "CancelOperation": operations_pb2.CancelOperationRequest,
    "WaitOperation": operations_pb2.WaitOperationRequest,
}


class _UnknownOperation:
    """Answer of every method that names one operation: there is none."""

    def __init__(self, request: type[Any]) -> None:
        self._request = request

    def __call__(self, content: bytes) -> bytes:
        name = str(_read(self._request, content).name)
        raise NotFound(
            f"there is no operation {name[:200]!r}; this release has started none", metadata={"operation": name[:200]}
        )


class _Handlers(grpc.GenericRpcHandler):
    """Every method on the socket, without (de)serialisers."""

    def __init__(self, service: InternalService) -> None:
        self._unary, self._streams = service.unary(), service.streams()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method: str = handler_call_details.method
        if (stream := self._streams.get(method)) is not None:
            return grpc.unary_stream_rpc_method_handler(_guard_stream(stream))
        return grpc.unary_unary_rpc_method_handler(_guard(self._unary.get(method) or _not_built(method)))


def _not_built(method: str) -> Unary:
    def refuse(_: bytes) -> bytes:
        name = method.rsplit("/", 1)[-1]
        raise NotBuilt(
            f"{name} is part of the contract and not built in this release", metadata={"method": method.lstrip("/")}
        )

    return refuse


def _guard(answer: Unary) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def call(request: bytes, context: Any) -> bytes:
        try:
            return answer(request)
        except Exception as cause:
            await _abort(context, cause)
            raise AssertionError("abort raises") from cause

    return call


def _guard_stream(answer: Stream) -> Callable[[bytes, Any], Awaitable[None]]:
    async def call(request: bytes, context: Any) -> None:
        try:
            async for reply in answer(request):
                await context.write(reply)
        except Exception as cause:  # noqa: BLE001 - as above
            await _abort(context, cause)

    return call


async def _abort(context: Any, cause: Exception) -> None:
    error = cause if isinstance(cause, ServingError) else unforeseen(request_id := secrets.token_hex(16))
    if error is not cause:
        _log().error("call_failed", request_id=request_id, exc_info=cause)
    failure = failure_of(error)
    await context.abort(failure.code, failure.text, failure.trailers)


def _read(kind: type[M], content: bytes) -> M:
    message: M = parse(kind, content)
    judge(message)
    return message


def _token(start: int, model: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([start, model]).encode()).decode()


def _read_token(token: str, model: str) -> int:
    if not token:
        return 0
    try:
        start, named = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError):
        start, named = -1, ""
    if not isinstance(start, int) or start < 0 or named != model:
        violation = FieldViolation(field="page_token", description="must be the next_page_token of the same question")
        raise invalid((violation,))
    return start


def _log() -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("control")
    return logger
