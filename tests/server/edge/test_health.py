"""Health tells what was set, tells changes to watchers, and says NOT_SERVING for good once draining."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc_health.v1 import health_pb2

from server.edge.health import HealthBoard
from server.errors import MalformedRequest, NotFound

STATUS = health_pb2.HealthCheckResponse.ServingStatus


def ask(name: str) -> bytes:
    return bytes(health_pb2.HealthCheckRequest(service=name).SerializeToString())


def read(raw: bytes) -> int:
    return int(health_pb2.HealthCheckResponse.FromString(raw).status)


async def once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


async def test_everything_is_not_serving_until_it_is_shown() -> None:
    board = HealthBoard(("a.B",))
    assert read(await board.check(ask(""))) == STATUS.NOT_SERVING

    board.show({"": True, "a.B": True, "not.here": True})

    assert read(await board.check(ask("a.B"))) == STATUS.SERVING
    with pytest.raises(NotFound):
        await board.check(ask("not.here"))


async def test_a_watcher_gets_the_state_at_once_and_each_change() -> None:
    board = HealthBoard(("a.B",))
    watching = board.watch(once(ask("a.B")))

    assert read(await anext(watching)) == STATUS.NOT_SERVING
    waiting = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    board.show({"": True})
    board.show({"a.B": True})

    assert read(await asyncio.wait_for(waiting, 5)) == STATUS.SERVING


async def test_a_watcher_of_an_unknown_service_is_told_so_and_kept() -> None:
    assert read(await anext(HealthBoard(()).watch(once(ask("x"))))) == STATUS.SERVICE_UNKNOWN


async def test_draining_is_for_good() -> None:
    board = HealthBoard(("a.B",))
    board.show({"": True, "a.B": True})

    board.drain()
    board.show({"": True, "a.B": True})

    listed = health_pb2.HealthListResponse.FromString(await board.list(b""))
    assert {entry.status for entry in listed.statuses.values()} == {STATUS.NOT_SERVING}


async def test_garbage_is_malformed() -> None:
    with pytest.raises(MalformedRequest):
        await HealthBoard(()).check(b"\xff")
