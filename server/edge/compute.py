"""The compute process: a Unix socket in front of the compute room. `python -m server.edge.compute`.

Niced, with its own slot; it follows desired.json and confirms like a worker, so that control knows when it has a
version. It is killed and restarted like any other process; meanwhile workers answer COMPUTE_UNAVAILABLE for what needs
it, and everything else goes on.
Not here: what is computed (serving/heavy.py).
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import structlog

from server.catalogue import COMPUTED, HEAVY_METHODS
from server.edge.calls import is_wanted
from server.edge.codes import failure_of, unforeseen
from server.edge.internal import CONTRIBUTIONS, SOLVE, ControlLine, open_line, pack_solved, unpack_job
from server.errors import MalformedRequest, ServingError
from server.logs import configure_logs
from server.monitor.metrics import FLUSH_SECONDS, Metrics, Reading
from server.ranks import COMPUTE, take_rank
from server.serving.answering import VersionFailed
from server.serving.deployments import Live
from server.serving.follow import Follower
from server.serving.heavy import ComputeQueue, contributions, find_version, load_libraries
from server.serving.identity import request_ids
from server.serving.load import load_version
from server.serving.whole import solve_job
from server.settings import Place, Settings, SettingsError, load_place, load_settings
from server.slots import Role, Slots, State, slot_count

BEAT_SECONDS = 0.25
ROWS_MOST = 100


class Compute:
    """The process, put together."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self.settings, self.place = settings, place
        self.log = structlog.get_logger()
        state_dir = settings.state_dir
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.slots = Slots.open(state_dir / "slots", slot_count(settings.workers))
        self.slots.claim(place.slot, Role.HEAVY, os.getpid(), int(place.boot, 16))
        self.queue = ComputeQueue(settings.heavy_queue, functools.partial(self.slots.set_inflight, place.slot))
        self.control = ControlLine(
            open_line(state_dir / "control.sock"), default_seconds=settings.default_deadline_seconds
        )
        self.loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load")
        self.follower = Follower(
            state_dir,
            Live(),
            functools.partial(load_version, state_dir=state_dir, kinds=COMPUTED),
            executor=self.loader,
            log=self.log,
            turn=place.slot,
        )
        self.metrics = Metrics(
            state_dir / "metrics",
            place.slot,
            methods=(),
            readings=[
                Reading(
                    name="paedsresus_compute_waiting",
                    about="Jobs that wait for the compute process or run in it",
                    read=lambda: self.queue.waiting,
                )
            ],
        )
        self._new_request_id = request_ids(f"{place.boot}.c")

    async def run(self, stop: asyncio.Event) -> None:
        """Compute until `stop` is set."""
        socket = self.settings.state_dir / "heavy.sock"
        server = open_socket(socket, {CONTRIBUTIONS: self.contributions, SOLVE: self.solve})
        tasks = [asyncio.create_task(self._beat())]
        preloading = asyncio.get_running_loop().run_in_executor(self.loader, load_libraries)
        await self.follower.catch_up()
        await server.start()
        socket.chmod(0o600)
        self.slots.set_state(self.place.slot, State.READY)
        self.log.info("compute_ready")
        confirm = functools.partial(
            self.control.confirm, slot=self.place.slot, pid=os.getpid(), boot=self.place.boot, role="heavy"
        )
        lasting = (self.follower.follow(), self.follower.keep_confirming(confirm), self._keep_flushing())
        tasks += [asyncio.create_task(work) for work in lasting]
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self.slots.set_state(self.place.slot, State.DRAINING)
        await server.stop(self.settings.drain_seconds / 2)
        preloading.cancel()
        for task in (waiting, *tasks):
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)
        self.queue.close()
        self.metrics.close()
        self.log.info("compute_stopped")
        for task in done - {waiting}:
            task.result()  # lasting work that ended is our own mistake: the process ends with it

    async def contributions(self, body: bytes, context: Any) -> bytes:
        """Heavy/Contributions: JSON in and out; the shape stands in `ComputeLine.contributions`."""
        return await self._answer(self._contributions, body, context)

    async def solve(self, body: bytes, context: Any) -> bytes:
        """Heavy/Solve: what `pack_job` and `pack_solved` write."""
        return await self._answer(self._solve, body, context)

    async def _contributions(self, body: bytes, context: Any) -> bytes:
        digest, rows = _read(body)
        deployment = find_version(self.follower.loaded, digest)
        job = functools.partial(contributions, deployment, rows)
        base, found = await self.queue.run(deployment, job, context.time_remaining)
        return json.dumps({"base": base, "contributions": found}).encode()

    async def _solve(self, body: bytes, context: Any) -> bytes:
        job = unpack_job(body)
        deployment = find_version(self.follower.loaded, job.digest)
        solve = functools.partial(solve_job, HEAVY_METHODS, deployment.asked, job)
        try:
            reply: bytes = await self.queue.run(deployment, solve, context.time_remaining)
        except VersionFailed:
            self.log.exception("version_failed", model=deployment.model, version=deployment.version)
            return pack_solved(None)
        return pack_solved(reply)

    async def _answer(self, work: Callable[[bytes, Any], Awaitable[bytes]], body: bytes, context: Any) -> bytes:
        try:
            return await work(body, context)
        except asyncio.CancelledError as cancelled:
            if is_wanted(cancelled):
                raise
            failure = failure_of(unforeseen(self._new_request_id()))
        except ServingError as error:
            failure = failure_of(error)
        except Exception:
            request_id = self._new_request_id()
            self.log.exception("compute_failed", request_id=request_id)
            failure = failure_of(unforeseen(request_id))
        await context.abort(failure.code, failure.text, failure.trailers)
        raise AssertionError("abort raises")

    async def _beat(self) -> None:
        while True:
            self.slots.beat(self.place.slot)
            await asyncio.sleep(BEAT_SECONDS)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.metrics.flush()


def open_socket(socket: Path, answers: Mapping[str, Any]) -> grpc.aio.Server:
    """A server bound to the Unix socket; one that a dead process left behind is replaced."""
    socket.unlink(missing_ok=True)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
    service, _ = SOLVE.strip("/").split("/")
    handlers: dict[str, Any] = {
        path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(answer) for path, answer in answers.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"unix:{socket}")
    return server


async def serve(settings: Settings, place: Place) -> None:
    """Compute until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Compute(settings, place).run(stop)


def main() -> int:
    """Run until SIGTERM; the exit code."""
    try:
        settings, place = load_settings(os.environ), load_place(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logs("heavy", settings.log_level)
    take_rank(COMPUTE)
    asyncio.run(serve(settings, place))
    return 0


def _read(body: bytes) -> tuple[str, list[list[float | None]]]:
    try:
        document = json.loads(body)
        digest, rows = document["digest"], document["rows"]
        if isinstance(digest, str) and 1 <= len(rows) <= ROWS_MOST:
            return digest, [[None if value is None else float(value) for value in row] for row in rows]
    except (ValueError, KeyError, TypeError):
        pass
    raise MalformedRequest(f"the body is not a digest and 1 to {ROWS_MOST} rows") from None


if __name__ == "__main__":
    sys.exit(main())
