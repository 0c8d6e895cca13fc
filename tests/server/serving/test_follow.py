"""The follower brings a process to desired.json, confirms, and survives every kind of broken file."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from server.desired import ChampionRoute, Desired, Load, Route, write_desired
from server.modules.revenue.service import KINDS
from server.serving.deployments import Deployment, Live
from server.serving.follow import TURNS_MOST, Confirmation, Follower
from server.serving.load import load_version
from tests.fakes.artifacts import AS_OF
from tests.fakes.serving import load_of, publish_fake


@pytest.fixture
async def follower(tmp_path: Path) -> AsyncIterator[Follower]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        load = partial(load_version, state_dir=tmp_path, kinds=KINDS)
        yield Follower(tmp_path, Live(), load, executor=executor, log=structlog.get_logger())


def want(folder: Path, generation: int, *versions: int, champion: int) -> dict[int, str]:
    digests = {version: publish_fake(folder, version) for version in versions}
    desired = Desired(
        generation=generation,
        load=tuple(load_of(version, digest) for version, digest in digests.items()),
        route={"churn": Route(champion=ChampionRoute(version=champion, digest=digests[champion], since=AS_OF))},
    )
    write_desired(folder / "desired.json", desired, written_at=datetime.now(UTC))
    return digests


def champion(follower: Follower) -> int | None:
    route = follower._live.route("churn")
    return route.champion.version if route is not None and route.champion is not None else None


async def test_without_a_file_there_is_nothing_to_do(follower: Follower) -> None:
    await follower.catch_up()

    assert follower.confirmation() == Confirmation(generation=0, loaded=(), refused=())


async def test_versions_are_loaded_routed_and_dropped(follower: Follower, tmp_path: Path) -> None:
    want(tmp_path, 1, 7, champion=7)
    await follower.catch_up()
    assert champion(follower) == 7

    want(tmp_path, 2, 7, 8, champion=7)
    await follower.catch_up()
    assert champion(follower) == 7
    assert len(follower.loaded) == 2

    digests = want(tmp_path, 3, 8, champion=8)
    await follower.catch_up()
    assert champion(follower) == 8
    assert follower.confirmation() == Confirmation(generation=3, loaded=(digests[8],), refused=())


async def test_processes_that_answer_open_a_version_in_turns(tmp_path: Path) -> None:
    opened: list[tuple[str, int]] = []

    def load(name: str, wanted: Load) -> Deployment[Any]:
        opened.append((name, wanted.version))
        return load_version(wanted, tmp_path, KINDS)

    want(tmp_path, 1, 7, champion=7)
    with ThreadPoolExecutor(max_workers=2) as executor:
        last, first = (
            Follower(
                tmp_path,
                Live(),
                partial(load, name),
                executor=executor,
                log=structlog.get_logger(),
                turn=TURNS_MOST * turn,
            )
            for turn, name in ((1, "last"), (0, "first"))
        )
        await last.catch_up()  # nothing answers yet: nobody to spare
        await first.catch_up()
        want(tmp_path, 2, 7, 8, champion=7)
        await asyncio.gather(last.catch_up(), first.catch_up())

    assert opened == [("last", 7), ("first", 7), ("first", 8), ("last", 8)]


async def test_an_older_generation_is_ignored(follower: Follower, tmp_path: Path) -> None:
    want(tmp_path, 5, 8, champion=8)
    await follower.catch_up()

    want(tmp_path, 4, 7, champion=7)
    await follower.catch_up()

    assert champion(follower) == 8


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 99}', b"\xff"])
async def test_a_broken_file_leaves_the_state_as_it_is(follower: Follower, tmp_path: Path, content: bytes) -> None:
    want(tmp_path, 1, 7, champion=7)
    await follower.catch_up()

    (tmp_path / "desired.json").write_bytes(content)
    await follower.catch_up()

    assert champion(follower) == 7


async def test_a_version_that_cannot_be_opened_is_refused_with_its_reason(follower: Follower, tmp_path: Path) -> None:
    want(tmp_path, 1, 7, champion=7)
    await follower.catch_up()
    digests = want(tmp_path, 2, 7, 8, champion=8)
    (tmp_path / "cache" / digests[8] / "model.onnx").write_bytes(b"changed")

    await follower.catch_up()

    assert champion(follower) == 7
    ((digest, reason),) = follower.confirmation().refused
    assert digest == digests[8]
    assert "differs from its sha256" in reason


async def test_each_step_is_confirmed_at_once(follower: Follower, tmp_path: Path) -> None:
    told: asyncio.Queue[Confirmation] = asyncio.Queue()
    confirming = asyncio.create_task(follower.keep_confirming(told.put))
    want(tmp_path, 1, 7, champion=7)

    await follower.catch_up()
    confirmation = await asyncio.wait_for(told.get(), 0.9)  # before the regular one, a second later

    assert confirmation.generation == 1
    confirming.cancel()


async def test_the_loop_is_free_while_a_version_loads(tmp_path: Path) -> None:
    digest = publish_fake(tmp_path, 7)
    want(tmp_path, 1, 7, champion=7)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    with ThreadPoolExecutor(max_workers=1) as executor:
        follower = Follower(
            tmp_path,
            Live(),
            partial(load_version, state_dir=tmp_path, kinds=KINDS),
            executor=executor,
            log=structlog.get_logger(),
        )
        ticking = asyncio.create_task(tick())
        await follower.catch_up()
        ticking.cancel()

    assert digest in follower.loaded
    assert ticks > 10
