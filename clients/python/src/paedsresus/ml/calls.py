"""One call: over which connection, until when, and what its failure is.

gRPC itself repeats a failed attempt on the same connection (policy.py). A connection whose worker is gone or draining
can use up those attempts; the call then moves to another connection once, and the first one rests for a second.
Not here: typed methods (_services/); what a client is made of (client.py).
"""

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from paedsresus.ml.errors import MlError, Unavailable, error_of
from paedsresus.ml.method import Lane, Method, Req, Res, make_request, request_id_of

REST_SECONDS = 1.0  # an unavailable connection is passed over for so long, while there are others
_FAILS_OVER = ("", "DRAINING")  # said by nobody (the network), or by a worker that leaves: another one can answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Default time for one call, retries included, in seconds; by the method's lane, and for a stream's whole life."""

    interactive: float = 5.0
    heavy: float = 30.0
    control: float = 30.0
    stream: float = 3600.0

    def of(self, lane: Lane) -> float:
        """Default of one lane."""
        return {Lane.INTERACTIVE: self.interactive, Lane.HEAVY: self.heavy, Lane.CONTROL: self.control}[lane]


class Rotation:
    """Whose turn it is among several connections: one after the other, those that rest left out."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._turns = itertools.count()  # `next` on it is atomic: threads share a client
        self._rest_until = [0.0] * count

    def pick(self, now: float) -> int:
        """Return the next connection; when all rest, the one whose turn it would be."""
        turn = next(self._turns)
        for step in range(self._count):
            if self._rest_until[index := (turn + step) % self._count] <= now:
                return index
        return turn % self._count

    def rest(self, index: int, now: float) -> None:
        """Pass this connection over for a while."""
        self._rest_until[index] = now + REST_SECONDS


class _Attempts:
    """The tries of one call: at most two, over different connections, within one deadline."""

    def __init__(self, rotation: Rotation, method: Method[Any, Any], request_id: str, timeout_seconds: float) -> None:
        self._rotation, self._method, self._request_id = rotation, method, request_id
        self._deadline = time.monotonic() + timeout_seconds
        self._failed_over = False

    def next(self) -> tuple[int, float]:
        """Return the connection to use and the seconds left."""
        now = time.monotonic()
        return self._rotation.pick(now), max(0.0, self._deadline - now)

    def judge(self, index: int, failure: grpc.RpcError) -> MlError | None:
        """Return the error to raise, or None when the call should be tried once more."""
        error = typed_error(failure, self._method.path, self._request_id)
        if not isinstance(error, Unavailable) or error.reason not in _FAILS_OVER:
            return error
        now = time.monotonic()
        self._rotation.rest(index, now)
        if self._failed_over or now >= self._deadline:
            return error
        self._failed_over = True
        return None


class Calls:
    """Blocking calls over several channels; threads may share it."""

    def __init__(self, channels: Sequence[grpc.Channel], deadlines: Deadlines) -> None:
        self._channels = channels
        self._deadlines = deadlines
        self._rotation = Rotation(len(channels))
        self._stubs: dict[tuple[int, str], Callable[..., Any]] = {}

    def unary(
        self, method: Method[Req, Res], request: Req | None, fields: Mapping[str, object], timeout_seconds: float | None
    ) -> Res:
        """Send one request, return its answer.

        Raises: MlError: what the call failed with, typed by its code.
        """
        message = make_request(method, request, fields)
        timeout = self._deadlines.of(method.lane) if timeout_seconds is None else timeout_seconds
        attempts = _Attempts(self._rotation, method, request_id_of(message), timeout)
        while True:
            index, left = attempts.next()
            try:
                answer: Res = self._stub(index, method)(message, timeout=left)
            except grpc.RpcError as failure:
                if error := attempts.judge(index, failure):
                    raise error from failure
            else:
                return answer

    def stream(
        self, method: Method[Req, Res], request: Req | None, fields: Mapping[str, object], timeout_seconds: float | None
    ) -> Iterator[Res]:
        """Send one request, yield its answers as they come; closing the iterator ends the call.

        Raises: MlError: what the stream ended with, typed by its code.
        """
        message = make_request(method, request, fields)
        timeout = self._deadlines.stream if timeout_seconds is None else timeout_seconds
        index = self._rotation.pick(time.monotonic())
        answers = self._stub(index, method, streams=True)(message, timeout=timeout)
        try:
            yield from answers
        except grpc.RpcError as failure:
            raise typed_error(failure, method.path, request_id_of(message)) from failure
        finally:
            answers.cancel()

    def close(self) -> None:
        """Close every channel; calls in flight end CANCELLED."""
        for channel in self._channels:
            channel.close()

    def _stub(self, index: int, method: Method[Req, Res], *, streams: bool = False) -> Callable[..., Any]:
        if (stub := self._stubs.get((index, method.path))) is None:
            channel = self._channels[index]
            make = channel.unary_stream if streams else channel.unary_unary
            stub = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._stubs[index, method.path] = stub
        return stub


class AsyncCalls:
    """The same on asyncio. Channels are made at the first call, inside the loop that uses them."""

    def __init__(self, make_channels: Callable[[], Sequence[grpc.aio.Channel]], deadlines: Deadlines) -> None:
        self._make_channels = make_channels
        self._deadlines = deadlines
        self._channels: Sequence[grpc.aio.Channel] = ()
        self._rotation = Rotation(1)
        self._stubs: dict[tuple[int, str], Callable[..., Any]] = {}

    async def unary(
        self, method: Method[Req, Res], request: Req | None, fields: Mapping[str, object], timeout_seconds: float | None
    ) -> Res:
        """Send one request, return its answer.

        Raises: MlError: what the call failed with, typed by its code.
        """
        self._open()
        message = make_request(method, request, fields)
        timeout = self._deadlines.of(method.lane) if timeout_seconds is None else timeout_seconds
        attempts = _Attempts(self._rotation, method, request_id_of(message), timeout)
        while True:
            index, left = attempts.next()
            try:
                answer: Res = await self._stub(index, method)(message, timeout=left)
            except grpc.RpcError as failure:
                if error := attempts.judge(index, failure):
                    raise error from failure
            else:
                return answer

    async def stream(
        self, method: Method[Req, Res], request: Req | None, fields: Mapping[str, object], timeout_seconds: float | None
    ) -> AsyncIterator[Res]:
        """Send one request, yield its answers as they come; closing the iterator ends the call.

        Raises: MlError: what the stream ended with, typed by its code.
        """
        self._open()
        message = make_request(method, request, fields)
        timeout = self._deadlines.stream if timeout_seconds is None else timeout_seconds
        index = self._rotation.pick(time.monotonic())
        answers = self._stub(index, method, streams=True)(message, timeout=timeout)
        try:
            async for answer in answers:
                yield answer
        except grpc.RpcError as failure:
            raise typed_error(failure, method.path, request_id_of(message)) from failure
        finally:
            answers.cancel()

    async def close(self) -> None:
        """Close every channel; calls in flight end CANCELLED."""
        for channel in self._channels:
            await channel.close()

    def _open(self) -> None:
        if not self._channels:
            self._channels = self._make_channels()
            self._rotation = Rotation(len(self._channels))

    def _stub(self, index: int, method: Method[Req, Res], *, streams: bool = False) -> Callable[..., Any]:
        if (stub := self._stubs.get((index, method.path))) is None:
            channel = self._channels[index]
            make: Callable[..., Callable[..., Any]] = channel.unary_stream if streams else channel.unary_unary
            stub = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._stubs[index, method.path] = stub
        return stub


def typed_error(failure: grpc.RpcError, method: str, request_id: str) -> MlError:
    """Return what a gRPC failure says as one of our exceptions."""
    assert isinstance(failure, grpc.Call | grpc.aio.AioRpcError), "gRPC raises errors that are calls"
    trailers = tuple((key, value) for key, value in failure.trailing_metadata() or ())
    code = failure.code()
    name = code.name if code is not None else "UNKNOWN"
    return error_of(name, failure.details() or "", trailers, method=method, request_id=request_id)
