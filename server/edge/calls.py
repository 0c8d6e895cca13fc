"""Every call's way in and out: bytes to `dispatch`, an answer's bytes or an error's status back.

One generic handler without (de)serialisers and without interceptors: each costs on every call. One object a call is
handler, context and admission ticket at once. A call is counted in when gRPC accepts it and out when its handler ends;
one whose caller goes away before its bytes are there never gets a handler, and is counted out by its deletion.

Whatever is not a `ServingError` is unforeseen and becomes INTERNAL with the request's id. That includes a
`CancelledError` that nobody asked for: gRPC would leave such a caller waiting for its deadline.
Not here: codes (codes.py); what methods do (serving/dispatch.py and below).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc

from server.edge.codes import failure_of, unforeseen
from server.edge.journal import Journal
from server.errors import ServingError
from server.serving.dispatch import Admission, Dispatcher, Served, unknown_method

Handler = Any  # whatever has the attributes of grpc.RpcMethodHandler


class Calls(grpc.GenericRpcHandler):
    """All methods of the server. `served` are those beside the contract: health and reflection."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        unary: frozenset[str],
        streams: frozenset[str],
        served: Mapping[str, Handler],
        admission: Admission,
        journal: Journal,
        new_request_id: Callable[[], str],
    ) -> None:
        self.dispatcher = dispatcher
        self.admission = admission
        self.journal = journal
        self.new_request_id = new_request_id
        self._served = dict(served)
        self._kinds: dict[str, type[_Call]] = dict.fromkeys(unary, _UnaryCall)
        self._kinds.update(dict.fromkeys(streams, _StreamCall))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """What gRPC asks once a call, as soon as its headers are there."""
        method: str = handler_call_details.method
        kind = self._kinds.get(method)
        if kind is None:
            return self._served.get(method) or _UnknownCall(self, method)
        return kind(self, method)

    def answered(self, call: _Call) -> None:
        """Count and log an answer."""
        seconds = time.perf_counter() - call.started
        self.dispatcher.ended(call, None, seconds)
        self.journal.answered(call, seconds)
        call.leave()

    def failed(self, call: _Call, cause: BaseException) -> ServingError:
        """Count and log an error, and give what the caller may know of it."""
        if isinstance(cause, ServingError):
            error = cause
        else:
            call.request_id = call.request_id or self.new_request_id()
            error = unforeseen(call.request_id)
        seconds = time.perf_counter() - call.started
        self.dispatcher.ended(call, error.reason, seconds)
        self.journal.failed(call, seconds, error, cause if error is not cause else None)
        return error


class _Call:
    """One call; also `dispatch.Call`."""

    request_streaming = False
    response_streaming = False
    request_deserializer = None
    response_serializer = None
    unary_unary: Any = None
    unary_stream: Any = None
    stream_unary: Any = None
    stream_stream: Any = None

    __slots__ = ("_calls", "_counted", "context", "method", "request_id", "served", "started")

    context: Any

    def __init__(self, calls: Calls, method: str) -> None:
        self._calls = calls
        self.method = method
        self.started = time.perf_counter()
        self.request_id = ""
        self.served: Served | None = None
        self._counted = True
        calls.admission.in_flight += 1

    def leave(self) -> None:
        """Count the call out; only the first time counts. Errors make cycles, so deletion alone would come late."""
        if self._counted:
            self._counted = False
            self._calls.admission.in_flight -= 1

    def __del__(self) -> None:
        self.leave()

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None without one."""
        return self.context.time_remaining()  # type: ignore[no-any-return]

    async def end(self, context: Any, cause: BaseException) -> None:
        """End the call with an error; raises gRPC's own AbortError."""
        self.leave()
        failure = failure_of(self._calls.failed(self, cause))
        await context.abort(failure.code, failure.text, failure.trailers)


class _UnaryCall(_Call):
    """A call with one answer."""

    __slots__ = ()

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        """What gRPC runs when the request's bytes are there."""
        self.context = context
        calls = self._calls
        try:
            reply = calls.dispatcher.dispatch(self.method, request, self)
            if not isinstance(reply, bytes):
                reply = await reply
        except asyncio.CancelledError as cancelled:
            if is_wanted(cancelled):
                self.leave()
                raise
            await self.end(context, cancelled)
        except Exception as cause:  # noqa: BLE001 - the outer edge of a request: nothing of it may reach the caller
            await self.end(context, cause)
        else:
            calls.answered(self)
            return reply
        raise AssertionError("abort raises")


class _StreamCall(_Call):
    """A call whose answer is a stream."""

    __slots__ = ()
    response_streaming = True

    async def unary_stream(self, request: bytes, context: Any) -> None:
        """What gRPC runs when the request's bytes are there."""
        self.context = context
        try:
            async for reply in self._calls.dispatcher.dispatch_stream(self.method, request, self):
                await context.write(reply)
        except asyncio.CancelledError as cancelled:
            if is_wanted(cancelled):
                self.leave()
                raise
            await self.end(context, cancelled)
        except Exception as cause:  # noqa: BLE001 - as above
            await self.end(context, cause)
        self._calls.answered(self)


class _UnknownCall(_Call):
    """A call of a method that no contract has; nothing is read of it."""

    __slots__ = ()
    request_streaming = True
    response_streaming = True

    async def stream_stream(self, _requests: object, context: Any) -> None:
        """What gRPC runs at once."""
        await self.end(context, unknown_method(self.method))


class GuardedUnary:
    """A method beside the contract, bytes in and out, with the same promise about errors; not counted as admitted."""

    request_streaming = False
    response_streaming = False
    request_deserializer = None
    response_serializer = None
    unary_stream = stream_unary = stream_stream = None

    def __init__(self, answer: Callable[[bytes], Awaitable[bytes]], new_request_id: Callable[[], str]) -> None:
        self._answer = answer
        self._new_request_id = new_request_id

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        """What gRPC runs."""
        try:
            return await self._answer(request)
        except asyncio.CancelledError as cancelled:
            await _abort_unless_wanted(context, cancelled, self._new_request_id)
        except Exception as cause:  # noqa: BLE001 - the outer edge of a request
            await _abort(context, cause, self._new_request_id)
        raise AssertionError("abort raises")


class GuardedStream:
    """The same for streams both ways; a method that reads one request reads the first of the stream."""

    request_streaming = True
    response_streaming = True
    request_deserializer = None
    response_serializer = None
    unary_unary = unary_stream = stream_unary = None

    def __init__(
        self, answer: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]], new_request_id: Callable[[], str]
    ) -> None:
        self._answer = answer
        self._new_request_id = new_request_id

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """What gRPC runs."""
        try:
            async for reply in self._answer(requests):
                await context.write(reply)
        except asyncio.CancelledError as cancelled:
            await _abort_unless_wanted(context, cancelled, self._new_request_id)
        except Exception as cause:  # noqa: BLE001 - the outer edge of a request
            await _abort(context, cause, self._new_request_id)


def is_wanted(_cancelled: asyncio.CancelledError) -> bool:
    """Whether this task itself was cancelled (the caller went away, the server stops), not something it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _abort_unless_wanted(
    context: Any, cancelled: asyncio.CancelledError, new_request_id: Callable[[], str]
) -> None:
    if is_wanted(cancelled):
        raise cancelled
    await _abort(context, cancelled, new_request_id)


async def _abort(context: Any, cause: BaseException, new_request_id: Callable[[], str]) -> None:
    failure = failure_of(cause if isinstance(cause, ServingError) else unforeseen(new_request_id()))
    await context.abort(failure.code, failure.text, failure.trailers)
