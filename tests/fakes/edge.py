"""A real server on a free port around any methods, and calls to it by raw bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2

from server.edge.calls import Calls, GuardedStream, GuardedUnary
from server.edge.codes import DETAILS_KEY
from server.edge.journal import Journal
from server.edge.listen import open_server
from server.errors import Reason
from server.serving.dispatch import Admission, Answer, Dispatcher, StreamAnswer
from server.serving.identity import request_ids
from server.settings import Settings


class CountingMeters:
    """Ends of calls, as they were told."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, Reason | None]] = []

    def ended(self, method: str, reason: Reason | None, seconds: float) -> None:  # noqa: ARG002 - only the end counts
        self.ends.append((method, reason))


@dataclass
class Ended:
    """How a call ended, read from the wire."""

    code: grpc.StatusCode
    text: str
    reason: str
    trailers: dict[str, Any]


@dataclass
class Edge:
    """The running server."""

    channel: grpc.aio.Channel
    target: str
    admission: Admission
    meters: CountingMeters

    async def call(self, method: str, request: bytes = b"", **options: Any) -> bytes | Ended:
        """One unary call: the answer's bytes, or how it ended."""
        send: Any = self.channel.unary_unary(method)
        try:
            return bytes(await send(request, timeout=options.pop("timeout", 10), **options))
        except grpc.aio.AioRpcError as failure:
            return ended(failure)

    async def stream(self, method: str, request: bytes = b"") -> list[bytes] | Ended:
        """One call whose answer is a stream."""
        send: Any = self.channel.unary_stream(method)
        try:
            return [reply async for reply in send(request, timeout=10)]
        except grpc.aio.AioRpcError as failure:
            return ended(failure)


def ended(failure: grpc.aio.AioRpcError) -> Ended:
    """A failure with its reason from the details."""
    trailers: dict[str, Any] = dict(failure.trailing_metadata() or ())
    info = error_details_pb2.ErrorInfo()
    if DETAILS_KEY in trailers:
        for detail in status_pb2.Status.FromString(trailers[DETAILS_KEY]).details:
            detail.Unpack(info)
    return Ended(failure.code(), failure.details() or "", info.reason, trailers)


@asynccontextmanager
async def running(
    answers: Mapping[str, Answer] | None = None,
    streams: Mapping[str, StreamAnswer] | None = None,
    *,
    beside: Mapping[str, GuardedUnary | GuardedStream] | None = None,
    max_in_flight: int = 10_000,
    log: Any = None,
) -> AsyncIterator[Edge]:
    """A server around these methods; `beside` are handlers that are not dispatched."""
    admission, meters = Admission(max_in_flight), CountingMeters()
    calls = Calls(
        Dispatcher(answers or {}, streams or {}, admission=admission, meters=meters),
        unary=frozenset(answers or {}),
        streams=frozenset(streams or {}),
        served=beside or {},
        admission=admission,
        journal=Journal(log or structlog.get_logger(), slow_seconds=60, sample=0),
        new_request_id=request_ids("test"),
    )
    server, port = open_server(Settings(listen="127.0.0.1:0"), calls)
    await server.start()
    target = f"127.0.0.1:{port}"
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield Edge(channel, target, admission, meters)
    finally:
        await server.stop(None)
