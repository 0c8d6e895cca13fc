"""The generator against a real server: what it counts is what happened."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest_asyncio

from benchmarks.load import http2
from benchmarks.load.bodies import read_bodies, write_bodies
from benchmarks.load.plan import LoadReport, Loop, Plan
from benchmarks.load.run import run_load

PATH = "/test.Echo/Answer"
ANSWERED = http2.END_HEADERS | http2.END_STREAM
OK_TRAILERS = b"\x88\x00\x0bgrpc-status\x010"


async def answer(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
    if request.startswith(b"refuse"):
        context.set_trailing_metadata([("grpc-status-details-bin", b"x" * 300)])
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this field is wrong: é")
    if request.startswith(b"hang"):
        await asyncio.sleep(60)
    return request


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Answer": handler}),))
    bound = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield bound
    await server.stop(None)


def refusal(stream: int) -> bytes:
    return http2.frame(http2.RST_STREAM, 0, stream, (7).to_bytes(4, "big"))


@asynccontextmanager
async def scripted(reply: Callable[[int, bytes], bytes]) -> AsyncIterator[int]:
    """A server that sends `reply(stream, message)` to each call whose message stands in one frame; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http2.settings([]))
        buffer = b""
        while data := await reader.read(4096):
            buffer += data
            buffer = buffer.removeprefix(http2.PREFACE)
            while len(buffer) >= http2.FRAME_HEAD:
                length, kind, _, stream = http2.frame_head(buffer, 0)
                end = http2.FRAME_HEAD + length
                if len(buffer) < end:
                    break
                if kind == http2.DATA:
                    writer.write(reply(stream, buffer[http2.FRAME_HEAD : end]))
                buffer = buffer[end:]
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def run(plan: Plan) -> LoadReport:
    return await asyncio.to_thread(run_load, plan)


def plan_for(port: int, folder: Path, bodies: list[bytes], **values: object) -> Plan:
    write_bodies(folder / "bodies", bodies)
    base: dict[str, object] = {
        "port": port,
        "path": PATH,
        "bodies_file": str(folder / "bodies"),
        "loop": Loop.CLOSED,
        "connections": 2,
        "streams": 3,
        "warm_seconds": 0.05,
        "seconds": 0.2,
        "drain_seconds": 2.0,
    }
    return Plan(**(base | values))  # type: ignore[arg-type]  # a table of overrides


async def test_a_closed_loop_counts_answers_and_keeps_samples(port: int, tmp_path: Path) -> None:
    bodies = [b"first", b"second", b"third"]

    report = await run(
        plan_for(port, tmp_path, bodies, sample_every=1, most_samples=9, samples_file=str(tmp_path / "samples"))
    )

    assert report.ok > 10
    assert report.failed == 0
    assert 0 < report.p50_ms <= report.p99_ms <= report.p999_ms <= report.max_ms
    assert len(report.ok_by_connection) == 2
    assert sorted(set(read_bodies(tmp_path / "samples"))) == sorted(bodies)


async def test_a_refusal_is_a_failure_though_http_says_200(port: int, tmp_path: Path) -> None:
    report = await run(plan_for(port, tmp_path, [b"fine", b"refuse me"], seconds=10.0, most_calls=20))

    assert report.failed == 10
    assert list(report.failures) == ["3 this field is wrong: %C3%A9"]


async def test_an_unknown_method_is_a_failure(port: int, tmp_path: Path) -> None:
    report = await run(plan_for(port, tmp_path, [b"fine"], path="/test.Echo/Nothing", seconds=10.0, most_calls=6))

    assert (report.ok, report.failed) == (0, 6)
    assert [failure.split()[0] for failure in report.failures] == ["12"]


async def test_a_call_that_is_never_answered_is_a_failure(port: int, tmp_path: Path) -> None:
    report = await run(plan_for(port, tmp_path, [b"hang"], seconds=10.0, most_calls=6, drain_seconds=0.1))

    assert (report.ok, report.failed) == (0, 6)
    assert report.failures == {"unanswered": 6}


async def test_an_open_loop_sends_every_call_it_was_asked_for(port: int, tmp_path: Path) -> None:
    report = await run(
        plan_for(
            port,
            tmp_path,
            [b"fine"],
            loop=Loop.FIXED,
            rate=200.0,
            seconds=0.5,
            records_file=str(tmp_path / "records"),
        )
    )

    assert report.ok == 100
    assert report.failed == 0
    assert (tmp_path / "records").stat().st_size == 110 * 3 * 8  # the warm calls too


async def test_large_messages_wait_for_the_servers_windows(port: int, tmp_path: Path) -> None:
    large = bytes(range(256)) * 1200  # 300 kB: several windows of 64 kB

    report = await run(
        plan_for(
            port, tmp_path, [large], seconds=10.0, most_calls=12, sample_every=1, samples_file=str(tmp_path / "samples")
        )
    )

    assert report.failed == 0
    assert read_bodies(tmp_path / "samples") == [large] * 12


async def test_a_call_refused_untouched_is_sent_again_until_its_attempts_are_spent(tmp_path: Path) -> None:
    """Five sendings of each call: gRPC's own second one, then our client's four attempts; one call after the other."""
    sent: list[bytes] = []

    def refuse(stream: int, message: bytes) -> bytes:
        sent.append(message)
        return refusal(stream)

    async with scripted(refuse) as port:
        report = await run(
            plan_for(port, tmp_path, [b"a", b"b", b"c"], connections=1, streams=1, seconds=10.0, most_calls=3)
        )

    assert (report.ok, report.failed, report.refused_streams) == (0, 3, 12)
    assert report.failures == {"-2 reset with code 7": 3}
    assert sent == [http2.grpc_message(body) for body in (b"a", b"b", b"c") for _ in range(5)]


async def test_a_call_that_is_answered_after_refusals_counts_with_its_pauses(tmp_path: Path) -> None:
    """Refused three times, so paused twice: by 20 and 80 ms, each a fifth less or more."""
    sent = 0

    def refuse_three_of_four(stream: int, _message: bytes) -> bytes:
        nonlocal sent
        sent += 1
        return refusal(stream) if sent % 4 else http2.frame(http2.HEADERS, ANSWERED, stream, OK_TRAILERS)

    async with scripted(refuse_three_of_four) as port:
        report = await run(
            plan_for(port, tmp_path, [b"x"], connections=1, streams=1, warm_seconds=0.0, seconds=10.0, most_calls=3)
        )

    assert (report.ok, report.failed, report.refused_streams) == (3, 0, 9)
    assert report.p50_ms >= 80.0


async def test_a_call_that_waits_to_be_sent_again_is_unanswered_when_the_run_ends(tmp_path: Path) -> None:
    """The drain ends in the third pause, the one of at least 0.256 s."""

    def refuse(stream: int, _message: bytes) -> bytes:
        return refusal(stream)

    async with scripted(refuse) as port:
        report = await run(
            plan_for(port, tmp_path, [b"x"], connections=1, streams=1, seconds=10.0, most_calls=1, drain_seconds=0.15)
        )

    assert (report.ok, report.failed) == (0, 1)
    assert report.failures == {"unanswered": 1}


async def test_a_lost_connection_fails_its_calls_and_no_others(tmp_path: Path) -> None:
    """The server cuts every connection after the first bytes of a call."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes.fromhex("000000040000000000"))  # empty SETTINGS
        seen = 0
        while seen < 200 and (data := await reader.read(4096)):
            seen += len(data)
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        report = await run(plan_for(port, tmp_path, [b"x" * 100], connections=1, streams=1, seconds=10.0, most_calls=3))

    assert (report.ok, report.failed) == (0, 3)
    assert report.failures == {"-3 connection lost": 3}
