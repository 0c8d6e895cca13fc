"""Whatever a method does, a caller gets an answer or a reason, and never a class name, a path or a word of ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import structlog
from structlog.testing import LogCapture

from server.edge.calls import GuardedStream, GuardedUnary
from server.errors import DeadlineExceeded, InvalidField, Reason
from server.serving.dispatch import Admission, Call, Dispatcher
from server.serving.identity import request_ids
from tests.fakes.edge import CountingMeters, Ended, running
from tests.fakes.serving import FakeCall

SECRETS = ("secret", "BrokenError", "KeyError", "TimeoutError", "Cancelled", "Exception", "Traceback", ".py", "<class")


class BrokenError(Exception):
    pass


def hidden(found: object) -> Ended:
    assert isinstance(found, Ended)
    shown = f"{found.text} {found.trailers}"
    assert not [word for word in SECRETS if word in shown]
    return found


def raising(error: BaseException) -> Callable[[bytes, Call], bytes]:
    def answer(_request: bytes, _call: Call) -> bytes:
        raise error

    return answer


def raising_later(error: BaseException) -> Callable[[bytes, Call], object]:
    async def answer(_request: bytes, _call: Call) -> bytes:
        await asyncio.sleep(0)
        raise error

    return answer


async def test_bytes_go_in_and_out_as_they_are() -> None:
    async def later(request: bytes, _call: Call) -> bytes:
        await asyncio.sleep(0)
        return request[::-1]

    async with running({"/t/Now": lambda request, _call: request + b"!", "/t/Later": later}) as edge:
        assert await edge.call("/t/Now", b"hello") == b"hello!"
        assert await edge.call("/t/Later", b"abc") == b"cba"
        assert edge.meters.ends == [("/t/Now", None), ("/t/Later", None)]


@pytest.mark.parametrize("make", [raising, raising_later])
@pytest.mark.parametrize(
    "error",
    [
        BrokenError("secret /secret/path.py"),
        asyncio.CancelledError("secret"),
        TimeoutError("secret"),
        KeyError("secret"),
    ],
)
async def test_the_unforeseen_is_internal_with_an_id_and_the_trace_is_logged(
    error: BaseException, make: Callable[[BaseException], Callable[[bytes, Call], bytes]]
) -> None:
    capture = LogCapture()
    log = structlog.wrap_logger(None, processors=[capture])

    async with running({"/t/Broken": make(error)}, log=log) as edge:
        found = hidden(await edge.call("/t/Broken"))

    assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    (entry,) = capture.entries
    assert entry["log_level"] == "error"
    assert entry["request_id"] in found.text
    assert entry["exc_info"] is error
    assert edge.meters.ends == [("/t/Broken", Reason.INTERNAL)]


async def test_the_unforeseen_in_a_stream_is_internal_too() -> None:
    async def broken(_request: bytes, _call: Call) -> AsyncIterator[bytes]:
        yield b"first"
        raise BrokenError("secret")

    async with running(streams={"/t/Broken": broken}) as edge:
        found = hidden(await edge.stream("/t/Broken"))

    assert found.reason == "INTERNAL"


async def test_a_stream_is_delivered() -> None:
    async def count(request: bytes, _call: Call) -> AsyncIterator[bytes]:
        for number in range(3):
            yield request + bytes([number])

    async with running(streams={"/t/Count": count}) as edge:
        assert await edge.stream("/t/Count", b"n") == [b"n\x00", b"n\x01", b"n\x02"]


async def test_a_reason_arrives_with_its_code() -> None:
    async with running({"/t/No": raising(InvalidField("field x: must be more", metadata={"field": "x"}))}) as edge:
        found = await edge.call("/t/No")

    assert isinstance(found, Ended)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert found.text == "field x: must be more"


@pytest.mark.parametrize("method", ["/t/Nothing", "/", "//", "/a/b/c", "/t/" + "x" * 2_000])
async def test_a_method_that_nobody_has_is_unknown(method: str) -> None:
    async with running() as edge:
        found = hidden(await edge.call(method))

    assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")
    assert len(found.text) < 200


async def test_more_calls_than_allowed_are_shed_with_a_push_back_and_the_others_are_answered() -> None:
    may_end = asyncio.Event()

    async def slow(_request: bytes, _call: Call) -> bytes:
        await may_end.wait()
        return b"done"

    async with running({"/t/Slow": slow}, max_in_flight=5) as edge:
        calls = [asyncio.create_task(edge.call("/t/Slow")) for _ in range(12)]
        while sum(call.done() for call in calls) < 7:  # noqa: ASYNC110 - the ends come from the network
            await asyncio.sleep(0.01)
        may_end.set()
        found = await asyncio.gather(*calls)
        again = await edge.call("/t/Slow")

    shed = [each for each in found if isinstance(each, Ended)]
    assert len(shed) == 7
    assert {(each.code, each.reason) for each in shed} == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")}
    assert all("grpc-retry-pushback-ms" in each.trailers for each in shed)
    assert again == b"done"


async def test_calls_are_counted_out_however_they_end() -> None:
    begun = asyncio.Event()

    async def hang(_request: bytes, _call: Call) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    methods: dict[str, Any] = {"/t/Ok": lambda _r, _c: b"", "/t/Broken": raising(BrokenError("x")), "/t/Hang": hang}
    async with running(methods) as edge:
        await edge.call("/t/Ok")
        await edge.call("/t/Broken")
        await edge.call("/t/Unknown")
        hanging = asyncio.create_task(edge.call("/t/Hang"))
        await begun.wait()
        assert edge.admission.in_flight == 1
        hanging.cancel()
        while edge.admission.in_flight:  # noqa: ASYNC110 - the cancellation travels to the server
            await asyncio.sleep(0.01)


def test_a_call_whose_time_is_over_is_not_begun() -> None:
    begun: list[bytes] = []

    def answer(request: bytes, _call: Call) -> bytes:
        begun.append(request)
        return b""

    dispatcher = Dispatcher({"/t/Answer": answer}, {}, admission=Admission(1), meters=CountingMeters())

    with pytest.raises(DeadlineExceeded):
        dispatcher.dispatch("/t/Answer", b"", FakeCall(remaining=0.0))
    assert begun == []


async def test_thousands_of_calls_at_once_are_all_answered_or_shed_on_purpose() -> None:
    """Holds `grpc.server.max_pending_requests` and its hard twin: at their defaults half of these are CANCELLED."""

    async def slow(_request: bytes, _call: Call) -> bytes:
        await asyncio.sleep(0.2)
        return b"done"

    async with running({"/t/Slow": slow}, max_in_flight=100_000) as edge:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(edge.target, options=options) for _ in range(50)]
        try:
            calls: list[Any] = [channel.unary_unary("/t/Slow") for channel in channels]
            sent = [call(b"", timeout=60) for _ in range(100) for call in calls]
            codes = await asyncio.gather(*(each.code() for each in sent))
        finally:
            await asyncio.gather(*(channel.close() for channel in channels))

    assert set(codes) == {grpc.StatusCode.OK}
    assert len(codes) == 5_000


async def test_a_message_that_is_too_long_is_refused() -> None:
    async with running({"/t/Echo": lambda request, _call: request}) as edge:
        found = await edge.call("/t/Echo", bytes(5 << 20))

    assert isinstance(found, Ended)
    assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_methods_beside_the_contract_keep_the_same_promise() -> None:
    async def broken(_request: bytes) -> bytes:
        raise BrokenError("secret")

    async def broken_stream(_requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield b"first"
        raise asyncio.CancelledError("secret")

    beside: dict[str, Any] = {
        "/b/Unary": GuardedUnary(broken, request_ids("b")),
        "/b/Stream": GuardedStream(broken_stream, request_ids("b")),
    }
    async with running(beside=beside) as edge:
        assert hidden(await edge.call("/b/Unary")).reason == "INTERNAL"
        assert hidden(await edge.stream("/b/Stream")).reason == "INTERNAL"
        assert edge.admission.in_flight == 0
