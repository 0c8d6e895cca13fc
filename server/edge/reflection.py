"""Server reflection, v1alpha as the library has it, and v1, whose messages are the same: tools ask for it first.

Not here: whether it is offered (setting `reflection`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from server.errors import MalformedRequest

METHODS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


class Reflection:
    """Tells which services and messages there are."""

    def __init__(self, services: Sequence[str]) -> None:
        self._servicer = ReflectionServicer([*services, "grpc.reflection.v1alpha.ServerReflection"])

    async def answer(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """ServerReflectionInfo, bytes in and out."""
        async for reply in self._servicer.ServerReflectionInfo(_parsed(requests), None):
            yield reply.SerializeToString()


async def _parsed(requests: AsyncIterator[bytes]) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for raw in requests:
        try:
            yield reflection_pb2.ServerReflectionRequest.FromString(raw)
        except DecodeError:
            raise MalformedRequest(
                f"the request's {len(raw)} bytes are not a ServerReflectionRequest",
                metadata={"message": "ServerReflectionRequest"},
            ) from None
