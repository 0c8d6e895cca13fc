"""grpc.health.v1 for the server as a whole ("") and for each service of the contract.

Not here: when a service is serving (monitor/serving.py says so from what is live); who sets it (worker.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from server.errors import MalformedRequest, NotFound

HEALTH = "grpc.health.v1.Health"
SERVICE_NAME_MAX = 200


class HealthBoard:
    """What the server says of itself. Everything is NOT_SERVING until it is set, and for good once draining."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._serving = dict.fromkeys(("", *services), False)
        self._changed = asyncio.Event()
        self._draining = False

    def show(self, serving: Mapping[str, bool]) -> None:
        """Set the state of services; names that are not on the board are ignored."""
        if self._draining:
            return
        news = {name: serving[name] for name in self._serving if name in serving}
        if any(self._serving[name] != state for name, state in news.items()):
            self._serving.update(news)
            self._wake()

    def drain(self) -> None:
        """NOT_SERVING for all, for good."""
        self._serving = dict.fromkeys(self._serving, False)
        self._draining = True
        self._wake()

    async def check(self, raw: bytes) -> bytes:
        """Health.Check.

        Raises: NotFound: no such service.
        """
        name = _read(raw)
        if name not in self._serving:
            raise NotFound("this server has no such service", metadata={"services": " ".join(sorted(self._serving))})
        return bytes(self._state(name).SerializeToString())

    async def list(self, raw: bytes) -> bytes:
        """Health.List."""
        _parse(health_pb2.HealthListRequest, raw)
        statuses = {name: self._state(name) for name in self._serving}
        return bytes(health_pb2.HealthListResponse(statuses=statuses).SerializeToString())

    async def watch(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Health.Watch: the present state at once, then each change; a name that is not here is SERVICE_UNKNOWN."""
        name = None
        async for raw in requests:
            name = _read(raw)
            break
        if name is None:
            raise MalformedRequest("Health.Watch got no request", metadata={"message": "HealthCheckRequest"})
        last = b""
        while True:
            changed = self._changed
            state = self._state(name).SerializeToString()
            if state != last:
                yield state
                last = state
            await changed.wait()

    def _state(self, name: str) -> health_pb2.HealthCheckResponse:
        status = health_pb2.HealthCheckResponse.ServingStatus
        if name not in self._serving:
            return health_pb2.HealthCheckResponse(status=status.SERVICE_UNKNOWN)
        return health_pb2.HealthCheckResponse(status=status.SERVING if self._serving[name] else status.NOT_SERVING)

    def _wake(self) -> None:
        # Each change has its own event: a watcher that is still writing must not miss the next one.
        self._changed.set()
        self._changed = asyncio.Event()


def _read(raw: bytes) -> str:
    return str(_parse(health_pb2.HealthCheckRequest, raw).service)[:SERVICE_NAME_MAX]


def _parse(kind: type[Message], raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise MalformedRequest(
            f"the request's {len(raw)} bytes are not a {kind.__name__}", metadata={"message": kind.__name__}
        ) from None
