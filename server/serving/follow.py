"""Follows desired.json: reads it when it changes, takes the steps of `next_swap`, and confirms.

The file is looked at every 50 milliseconds (one `stat`); opening and warming run in a thread beside the requests; a
swap is one assignment. Control may be away: the file is all that is needed.
Not here: which step is next (deployments.py); how a confirmation travels (edge/internal.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.desired import DESIRED_NAME, Desired, DesiredError, Load, read_desired
from server.serving.deployments import (
    Deployment,
    DropStep,
    Live,
    LoadStep,
    RouteStep,
    Snapshot,
    make_routes,
    next_swap,
    routed_digests,
)
from server.serving.load import LoadRefused

LOOK_SECONDS = 0.05
TURN_SECONDS = 0.05  # a version is opened in 15 to 40 milliseconds
TURNS_MOST = 10
CONFIRM_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What this process tells control: the generation it has carried out, what is loaded, what it refused and why."""

    generation: int
    loaded: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


Confirm = Callable[[Confirmation], Awaitable[None]]


class Follower:
    """Brings one process to the desired state, and keeps it there.

    `load` opens a version in a thread and raises LoadRefused; `changed` is told after every step, on the loop.
    """

    def __init__(
        self,
        state_dir: Path,
        live: Live,
        load: Callable[[Load], Deployment[Any]],
        *,
        executor: Executor,
        log: Any,
        turn: int = 0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`turn`: how many processes open a version before this one does, once it answers callers."""
        self._path = state_dir / DESIRED_NAME
        self._live = live
        self._load = load
        self._executor = executor
        self._log = log
        self._turn_seconds = min(turn, TURNS_MOST) * TURN_SECONDS
        self._changed = changed
        self._seen: tuple[int, int, int] | None = None
        self._desired = Desired()
        self._loaded: dict[str, Deployment[Any]] = {}
        self._refused: dict[str, str] = {}
        self._routed_generation = -1
        self.news = asyncio.Event()
        """Set after every step: time to confirm."""

    @property
    def loaded(self) -> dict[str, Deployment[Any]]:
        """Versions in memory, by digest."""
        return self._loaded

    async def catch_up(self) -> None:
        """Read the file and take every step that is left."""
        self._look()
        while (step := next_swap(self._snapshot())) is not None:
            match step:
                case LoadStep(load=load):
                    if self._live.routes.by_model:  # it answers: processes open in turns, not all on the same cores
                        await asyncio.sleep(self._turn_seconds)
                    await self._open(load)
                    self._look()
                case RouteStep():
                    self._live.routes = make_routes(self._desired, self._loaded, self._live.routes)
                    self._routed_generation = self._desired.generation
                    self._log.info("routes_swapped", generation=self._desired.generation)
                case DropStep(digests=digests):
                    for digest in digests:
                        gone = self._loaded.pop(digest)
                        self._log.info("version_dropped", model=gone.model, version=gone.version)
            self._changed()
            self.news.set()

    async def follow(self) -> None:
        """Keep up with the file until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.catch_up()

    async def keep_confirming(self, confirm: Confirm) -> None:
        """Confirm after every step, and every second, so that a control that was away learns of it."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), CONFIRM_SECONDS)
            self.news.clear()
            await confirm(self.confirmation())

    def confirmation(self) -> Confirmation:
        """What to tell control now."""
        return Confirmation(
            generation=self._routed_generation,
            loaded=tuple(sorted(self._loaded)),
            refused=tuple(sorted(self._refused.items())),
        )

    def _look(self) -> None:
        """Read the file if it changed; a broken or older one is left alone, the state we have goes on."""
        try:
            found = self._path.stat()
        except OSError:
            return
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            desired = read_desired(self._path)
        except (DesiredError, OSError) as error:
            self._log.error("desired_unreadable", text=str(error) if isinstance(error, DesiredError) else "")
            return
        if desired is None or desired.generation <= self._desired.generation:
            return
        self._desired = desired
        self._refused = {}  # a new generation is a new chance: the cache may have been repaired

    async def _open(self, load: Load) -> None:
        loop = asyncio.get_running_loop()
        try:
            deployment = await loop.run_in_executor(self._executor, self._load, load)
        except LoadRefused as refusal:
            self._refuse(load, str(refusal))
        except Exception as cause:  # noqa: BLE001 - the outer edge of a load: the champion goes on, whatever happens here
            self._refuse(load, "the version could not be opened; the worker's log has the trace", cause)
        else:
            self._loaded[load.digest] = deployment
            self._log.info("version_loaded", model=load.model, version=load.version, digest=load.digest[:12])

    def _refuse(self, load: Load, reason: str, cause: BaseException | None = None) -> None:
        self._refused[load.digest] = reason
        self._log.error("version_refused", model=load.model, version=load.version, reason=reason, exc_info=cause)

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            desired=self._desired,
            loaded=frozenset(self._loaded),
            refused=frozenset(self._refused),
            routed=routed_digests(self._live.routes),
            routed_generation=self._routed_generation,
        )
