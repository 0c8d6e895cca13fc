"""The port: mutual TLS where the files are set, new certificates without a restart, two workers on one port."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
import structlog

from benchmarks.load import http2
from benchmarks.load.connection import Connection, Ended
from server.edge.calls import Calls
from server.edge.journal import Journal
from server.edge.listen import STREAMS_MAX, open_server
from server.serving.dispatch import Admission, Dispatcher
from server.serving.identity import request_ids
from server.settings import Settings
from tests.fakes.certificates import Authority, make_authority
from tests.fakes.edge import CountingMeters


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[int]:
    admission = Admission(100)
    answers: dict[str, Any] = {"/t/Ask": lambda request, _call: request}
    calls = Calls(
        Dispatcher(answers, {}, admission=admission, meters=CountingMeters()),
        unary=frozenset(answers),
        streams=frozenset(),
        served={},
        admission=admission,
        journal=Journal(structlog.get_logger(), slow_seconds=60, sample=0),
        new_request_id=request_ids("t"),
    )
    server, port = open_server(settings, calls)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def settings_of(folder: Path) -> Settings:
    return Settings(
        listen="127.0.0.1:0",
        tls_certificate_file=folder / "server.pem",
        tls_key_file=folder / "server.key",
        tls_client_ca_file=folder / "authority.pem",
    )


async def ask(port: int, credentials: grpc.ChannelCredentials | None) -> bytes | grpc.StatusCode:
    target = f"127.0.0.1:{port}"
    channel = grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)
    send: Any = channel.unary_unary("/t/Ask")
    async with channel:
        try:
            return bytes(await send(b"hello", timeout=5))
        except grpc.aio.AioRpcError as failure:
            return failure.code()


def as_caller(authority: Authority, name: str | None) -> grpc.ChannelCredentials:
    if name is None:
        return grpc.ssl_channel_credentials(authority.file.read_bytes())
    certificate, key = authority.write(name)
    return grpc.ssl_channel_credentials(authority.file.read_bytes(), key.read_bytes(), certificate.read_bytes())


async def test_only_a_caller_with_a_certificate_of_the_authority_is_answered(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    authority.write("server")
    (tmp_path / "other").mkdir()
    stranger = make_authority(tmp_path / "other")
    certificate, key = stranger.write("stranger")
    strange = grpc.ssl_channel_credentials(authority.file.read_bytes(), key.read_bytes(), certificate.read_bytes())

    async with listening(settings_of(tmp_path)) as port:
        assert await ask(port, as_caller(authority, "caller")) == b"hello"
        assert await ask(port, as_caller(authority, None)) is grpc.StatusCode.UNAVAILABLE
        assert await ask(port, strange) is grpc.StatusCode.UNAVAILABLE
        assert await ask(port, None) is grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    old = make_authority(tmp_path)
    old.write("server")
    async with listening(settings_of(tmp_path)) as port:
        assert await ask(port, as_caller(old, "caller")) == b"hello"

        new = make_authority(tmp_path)
        certificate, _ = new.write("server")
        os.utime(certificate, ns=(0, 1))  # a clock of coarse files: the change must be seen whatever the time

        assert await ask(port, as_caller(new, "caller")) == b"hello"
        assert await ask(port, as_caller(old, "old")) is grpc.StatusCode.UNAVAILABLE


async def test_two_workers_share_a_port() -> None:
    async with (
        listening(Settings(listen="127.0.0.1:0")) as port,
        listening(Settings(listen=f"127.0.0.1:{port}")) as same,
    ):
        assert same == port
        assert await ask(port, None) == b"hello"


@pytest.mark.parametrize("missing", ["server.pem", "server.key", "authority.pem"])
async def test_a_missing_file_stops_the_start(tmp_path: Path, missing: str) -> None:
    make_authority(tmp_path).write("server")
    (tmp_path / missing).unlink()

    with pytest.raises(OSError, match=missing):
        async with listening(settings_of(tmp_path)):
            pass


def fill_twice(port: int, have_seen: Event) -> tuple[list[Ended], list[Ended]]:
    """Keep every stream of a connection busy, then all of them anew as soon as the answers are there.

    Returns: what ended while the server's loop could not run, which it may do once `have_seen` is set; what ended then.
    """
    connection = Connection(authority=f"127.0.0.1:{port}", path="/t/Ask", deadline_seconds=30)
    # The server answers a ping after it has judged every stream that was opened before.
    ping, pong = (http2.frame(http2.PING, flags, 0, b"all seen") for flags in (0, http2.ACK))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:

        def move() -> tuple[list[Ended], bytes]:
            line.sendall(connection.take_outgoing())
            data = line.recv(1 << 16)
            return connection.receive(data), data

        def start_all() -> None:
            for _ in range(STREAMS_MAX):
                connection.start_call(http2.grpc_message(b"hello"), 0.0)

        while not connection.is_greeted:
            move()
        start_all()
        while connection.in_flight:
            move()
        start_all()
        line.sendall(connection.take_outgoing() + ping)
        early: list[Ended] = []
        heard = b""
        while pong not in heard:
            ended, data = move()
            early += ended
            heard += data
        have_seen.set()
        late: list[Ended] = []
        while connection.in_flight:
            late += move()[0]
    return early, late


async def test_a_caller_who_keeps_to_the_limit_is_refused_no_stream() -> None:
    """Answered calls whose memory the loop has not yet given back leave room for as many new ones."""
    loop = asyncio.get_running_loop()
    all_open, have_seen = asyncio.Event(), Event()
    asked = 0

    async def answer(request: bytes, _context: object) -> bytes:
        nonlocal asked
        asked += 1
        if asked == STREAMS_MAX:
            all_open.set()
            loop.call_soon(have_seen.wait, 10)  # behind every answer: all are sent, and none is put away
        await all_open.wait()
        return request

    ask: Any = grpc.unary_unary_rpc_method_handler(answer)
    server, port = open_server(Settings(listen="127.0.0.1:0"), grpc.method_handlers_generic_handler("t", {"Ask": ask}))
    await server.start()
    early, late = await asyncio.to_thread(fill_twice, port, have_seen)
    await server.stop(None)

    assert early == []
    assert [ended.status for ended in late] == [0] * STREAMS_MAX
