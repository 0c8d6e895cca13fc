"""The inner lines: what control or compute says arrives as it was, and what they never meant to say does not."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.edge.codes import failure_of
from server.edge.internal import CONFIRM, CONTRIBUTIONS, ComputeLine, ControlLine, open_line
from server.errors import FieldViolation, InvalidField, QueueFull, Reason, ServingError
from server.serving.contract import Lane, Method
from server.serving.follow import Confirmation
from tests.fakes.serving import FakeCall

UNARY = Method(path="/p.S/Ask", service="p.S", name="Ask", lane=Lane.CONTROL, models=(), is_stream=False)
STREAM = Method(path="/p.S/Watch", service="p.S", name="Watch", lane=Lane.CONTROL, models=(), is_stream=True)
Handler = Callable[[bytes, Any], Awaitable[bytes]]


@asynccontextmanager
async def other_process(folder: Path, **handlers: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A server on a Unix socket with these methods, by path with "." for "/", and a line to it."""
    server = grpc.aio.server()
    for path, handler in handlers.items():
        service, method = path.strip("/").split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"unix:{folder}/x.sock")
    await server.start()
    line = open_line(folder / "x.sock")
    try:
        yield line
    finally:
        await line.close()
        await server.stop(None)


def unary(answer: Handler) -> Any:
    return grpc.unary_unary_rpc_method_handler(answer)


async def outcome(call: Any) -> Exception:
    with pytest.raises((ServingError, RuntimeError)) as caught:
        await call
    return caught.value


async def test_bytes_are_forwarded_as_they_are(tmp_path: Path) -> None:
    async def answer(request: bytes, _context: Any) -> bytes:
        return request[::-1]

    async with other_process(tmp_path, **{UNARY.path: unary(answer)}) as line:
        forwarded = ControlLine(line, default_seconds=5).forward(UNARY)

        assert await forwarded(b"abc", FakeCall()) == b"cba"  # type: ignore[misc]


async def test_an_error_of_ours_arrives_whole(tmp_path: Path) -> None:
    error = InvalidField(
        "x: no", metadata={"field": "x"}, field_violations=[FieldViolation(field="x", description="no")]
    )

    async def answer(_request: bytes, context: Any) -> bytes:
        failure = failure_of(error)
        await context.abort(failure.code, failure.text, failure.trailers)
        raise AssertionError

    async with other_process(tmp_path, **{UNARY.path: unary(answer)}) as line:
        found = await outcome(ControlLine(line, default_seconds=5).forward(UNARY)(b"", FakeCall()))

    assert vars(found) == vars(error)


async def test_what_control_never_meant_to_say_becomes_unforeseen(tmp_path: Path) -> None:
    async def answer(_request: bytes, _context: Any) -> bytes:
        raise KeyError("secret")

    async with other_process(tmp_path, **{UNARY.path: unary(answer)}) as line:
        found = await outcome(ControlLine(line, default_seconds=5).forward(UNARY)(b"", FakeCall()))

    assert isinstance(found, RuntimeError)  # the edge makes INTERNAL of it, and the log has its text


async def test_a_method_that_control_does_not_have_is_not_built(tmp_path: Path) -> None:
    async with other_process(tmp_path) as line:
        found = await outcome(ControlLine(line, default_seconds=5).forward(UNARY)(b"", FakeCall()))

    assert isinstance(found, ServingError)
    assert found.reason is Reason.NOT_BUILT


async def test_control_away_says_when_to_ask_again(tmp_path: Path) -> None:
    line = open_line(tmp_path / "nobody.sock")

    found = await outcome(ControlLine(line, default_seconds=5).forward(UNARY)(b"", FakeCall()))
    await line.close()

    assert isinstance(found, ServingError)
    assert found.reason is Reason.CONTROL_UNAVAILABLE
    assert found.retry_after_seconds is not None


async def test_the_callers_deadline_goes_with_the_call(tmp_path: Path) -> None:
    seen: list[float] = []

    async def answer(_request: bytes, context: Any) -> bytes:
        seen.append(context.time_remaining())
        return b""

    async with other_process(tmp_path, **{UNARY.path: unary(answer)}) as line:
        forwarded = ControlLine(line, default_seconds=5).forward(UNARY)
        await forwarded(b"", FakeCall(remaining=2.0))  # type: ignore[misc]
        await forwarded(b"", FakeCall())  # type: ignore[misc]

    assert 1 < seen[0] < 2.5 < seen[1] < 5.5


async def test_a_stream_is_forwarded_and_its_error_too(tmp_path: Path) -> None:
    async def answer(_request: bytes, context: Any) -> Any:
        await context.write(b"first")
        failure = failure_of(QueueFull("full"))
        await context.abort(failure.code, failure.text, failure.trailers)

    handler: Any = grpc.unary_stream_rpc_method_handler(answer)
    async with other_process(tmp_path, **{STREAM.path: handler}) as line:
        stream = ControlLine(line, default_seconds=5).forward_stream(STREAM)(b"", FakeCall())
        first = await anext(stream)
        with pytest.raises(ServingError) as caught:
            await anext(stream)

    assert first == b"first"
    assert caught.value.reason is Reason.QUEUE_FULL


async def test_a_confirmation_says_what_was_carried_out_and_control_away_is_no_error(tmp_path: Path) -> None:
    told: list[Any] = []

    async def confirm(request: bytes, _context: Any) -> bytes:
        told.append(json.loads(request))
        return b"{}"

    confirmation = Confirmation(generation=3, loaded=("d1",), refused=(("d2", "why"),))
    async with other_process(tmp_path, **{CONFIRM: unary(confirm)}) as line:
        control = ControlLine(line, default_seconds=5)
        await control.confirm(confirmation, slot=1, pid=2, boot="b", role="worker")
        assert control.reachable
    away = ControlLine(open_line(tmp_path / "nobody.sock"), default_seconds=5)
    await away.confirm(confirmation, slot=1, pid=2, boot="b", role="worker")

    assert not away.reachable
    assert told == [
        {
            "slot": 1,
            "pid": 2,
            "boot": "b",
            "role": "worker",
            "generation": 3,
            "loaded": ["d1"],
            "refused": [{"digest": "d2", "reason": "why"}],
        }
    ]


async def test_contributions_come_back_by_column(tmp_path: Path) -> None:
    async def answer(request: bytes, _context: Any) -> bytes:
        assert json.loads(request) == {"digest": "d", "rows": [[1.0, None]]}
        return json.dumps({"base": 0.5, "contributions": [[1, -2]]}).encode()

    async with other_process(tmp_path, **{CONTRIBUTIONS: unary(answer)}) as line:
        found = await ComputeLine(line, default_seconds=5).contributions("d", [1.0, None], None)

    assert found == (0.5, [1.0, -2.0])


async def test_compute_away_is_said_and_predictions_go_on(tmp_path: Path) -> None:
    line = open_line(tmp_path / "nobody.sock")

    found = await outcome(ComputeLine(line, default_seconds=5).contributions("d", [1.0], 5.0))
    await line.close()

    assert isinstance(found, ServingError)
    assert found.reason is Reason.COMPUTE_UNAVAILABLE
