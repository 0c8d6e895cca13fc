"""One worker from start to end: load what desired.json asks, open the port, serve, follow, drain.

It needs nobody: with control away it starts from the verified cache and serves the last state. It is READY in its slot
when it has loaded (or refused) what the file asks and its port is open.
Not here: which process is started when (supervisor.py); what a call does (calls.py, serving/dispatch.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from server.catalogue import KINDS
from server.edge.calls import Calls, GuardedStream, GuardedUnary, Handler
from server.edge.health import HEALTH, HealthBoard
from server.edge.internal import ComputeLine, ControlLine, open_line
from server.edge.journal import Journal
from server.edge.listen import DRAIN_NOTICE_SECONDS, open_server
from server.edge.reflection import METHODS as REFLECTION_METHODS
from server.edge.reflection import Reflection
from server.edge.status_source import StatusSource
from server.edge.threads import LOADER, let_the_loop_go_first
from server.ledger.spool import Spool
from server.modules.impact.service import ImpactService
from server.modules.kaizen.service import KaizenService
from server.modules.learning.service import LearningService
from server.modules.orchestration.service import OrchestrationService
from server.modules.referral.service import ReferralService
from server.modules.revenue.service import RevenueService
from server.monitor.metrics import FLUSH_SECONDS, Metrics, Reading
from server.monitor.serving import serving_services
from server.serving.answering import Means
from server.serving.breaker import Breakers
from server.serving.contract import complete, read_contract
from server.serving.deployments import Deployment, Live
from server.serving.dispatch import Admission, Dispatcher
from server.serving.follow import Follower
from server.serving.identity import request_ids
from server.serving.load import load_version
from server.serving.shadow import ShadowQueue
from server.settings import Place, Settings
from server.slots import Role, Slots, State, slot_count

BEAT_SECONDS = 0.25
SWITCH_SECONDS = 0.0005  # how long a loading thread may keep the interpreter from the loop; Python's own is 5 ms
STOP_MARGIN_SECONDS = 1.0
# After warm-up nothing that lives long is left to be found by the collector; what requests make dies by counting.
GC_THRESHOLDS = (50_000, 20, 50)


class Worker:
    """All rooms of one worker, put together."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self.settings, self.place = settings, place
        self.log = structlog.get_logger()
        state_dir = settings.state_dir
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.slots = Slots.open(state_dir / "slots", slot_count(settings.workers))
        self.slots.claim(place.slot, Role.WORKER, os.getpid(), int(place.boot, 16))
        self.contract = read_contract()
        self.live = Live()
        self.admission = Admission(settings.max_in_flight)
        self.spool = Spool(state_dir / "spool", slot=place.slot, boot=int(place.boot, 16))
        self.shadow = ShadowQueue()
        self.metrics = Metrics(
            state_dir / "metrics",
            place.slot,
            methods=[method.path for method in self.contract],
            readings=self._readings(),
        )
        self.control = ControlLine(
            open_line(state_dir / "control.sock"), default_seconds=settings.default_deadline_seconds
        )
        self.compute = ComputeLine(
            open_line(state_dir / "heavy.sock"), default_seconds=settings.default_deadline_seconds
        )
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=LOADER)
        self.follower = Follower(
            state_dir,
            self.live,
            functools.partial(load_version, state_dir=state_dir, kinds=KINDS),
            executor=self.executor,
            log=self.log,
            turn=place.slot,
            changed=self._show_health,
        )
        self.health = HealthBoard(tuple(sorted({method.service for method in self.contract})))
        self.built = frozenset[str]()
        self.port = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain."""
        server = self._assemble()
        sys.setswitchinterval(SWITCH_SECONDS)
        beating = asyncio.create_task(self._beat())
        await self.follower.catch_up()
        gc.collect()
        give_back_memory()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await server.start()
        self._show_health()
        self.slots.set_state(self.place.slot, State.READY)
        self.log.info("worker_ready", port=self.port, generation=self.live.routes.generation)
        tasks = [beating, *(asyncio.create_task(work) for work in self._lasting_work())]
        await self._until(stop, tasks)
        await self._drain(server)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.metrics.close()
        self.spool.close()
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.log.info("worker_stopped")

    def _assemble(self) -> Any:
        """Services, dispatcher and the bound, unstarted server."""
        means = Means(
            live=self.live,
            recorder=self.spool,
            mark=functools.partial(self.slots.set_inflight, self.place.slot),
            meters=self.metrics,
            shadow=self.shadow,
            breakers=Breakers(time.monotonic),
            boot=self.place.boot,
            failed=self._version_failed,
        )
        facts = self._facts
        answers = {
            **RevenueService(means, facts, self.compute.contributions, self.compute.solve).methods(),
            **LearningService(means, facts, self.compute.solve).methods(),
            **{
                name: answer
                for service in (KaizenService, ReferralService, ImpactService, OrchestrationService)
                for name, answer in service(facts).methods().items()
            },
        }
        self.built = frozenset(answers)
        self.status = StatusSource(
            self.settings, self.live, self.slots, self.control, contract=self.contract, built=self.built
        )
        unary, streams = complete(self.contract, answers, self.control.forward, self.control.forward_stream)
        dispatcher = Dispatcher(unary, streams, admission=self.admission, meters=self.metrics)
        new_request_id = request_ids(f"{self.place.boot}.e")
        calls = Calls(
            dispatcher,
            unary=frozenset(unary),
            streams=frozenset(streams),
            served=self._served(new_request_id),
            admission=self.admission,
            journal=Journal(self.log, slow_seconds=self.settings.slow_seconds, sample=self.settings.log_sample),
            new_request_id=new_request_id,
        )
        server, self.port = open_server(self.settings, calls)
        return server

    def _facts(self) -> Any:
        return self.status.gather()

    def _served(self, new_request_id: Any) -> dict[str, Handler]:
        served: dict[str, Any] = {
            f"/{HEALTH}/Check": GuardedUnary(self.health.check, new_request_id),
            f"/{HEALTH}/List": GuardedUnary(self.health.list, new_request_id),
            f"/{HEALTH}/Watch": GuardedStream(self.health.watch, new_request_id),
        }
        if self.settings.reflection:
            reflection = Reflection([*sorted({method.service for method in self.contract}), HEALTH])
            served.update({name: GuardedStream(reflection.answer, new_request_id) for name in REFLECTION_METHODS})
        return served

    def _lasting_work(self) -> list[Coroutine[Any, Any, None]]:
        confirm = functools.partial(
            self.control.confirm, slot=self.place.slot, pid=os.getpid(), boot=self.place.boot, role="worker"
        )
        return [
            self.follower.follow(),
            self.follower.keep_confirming(confirm),
            self.shadow.run(),
            self._keep_flushing(),
        ]

    async def _until(self, stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for `stop`; lasting work that ends is our own mistake, and the process ends with it, to be restarted."""
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if waiting not in done:
            waiting.cancel()
            for task in done:
                task.result()

    async def _drain(self, server: Any) -> None:
        """Say that we go, let balancers notice, let running calls end."""
        self.log.info("worker_draining", in_flight=self.admission.in_flight)
        self.slots.set_state(self.place.slot, State.DRAINING)
        self.health.drain()
        await asyncio.sleep(min(DRAIN_NOTICE_SECONDS, self.settings.drain_seconds))
        await server.stop(max(self.settings.drain_seconds - DRAIN_NOTICE_SECONDS - STOP_MARGIN_SECONDS, 0.1))

    async def _beat(self) -> None:
        while True:
            self.slots.beat(self.place.slot)
            await asyncio.sleep(BEAT_SECONDS)

    async def _keep_flushing(self) -> None:
        settled = let_the_loop_go_first()
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.metrics.flush()
            settled = let_the_loop_go_first(settled)

    def _show_health(self) -> None:
        self.health.show(serving_services(self.contract, self.built, self.live.routes))

    def _version_failed(self, deployment: Deployment[Any], request_id: str) -> None:
        """Called from the except clause that caught it."""
        self.log.exception(  # noqa: LOG004 - the caller is in an except clause
            "version_failed", model=deployment.model, version=deployment.version, request_id=request_id
        )

    def _readings(self) -> list[Reading]:
        return [
            Reading(
                name="paedsresus_in_flight",
                about="Calls that the worker holds now",
                read=lambda: self.admission.in_flight,
            ),
            Reading(
                name="paedsresus_generation",
                about="Generation of the desired state that the worker serves",
                read=lambda: self.live.routes.generation,
            ),
            Reading(
                name="paedsresus_spool_records_total",
                about="Attempts recorded before their answer left",
                read=lambda: self.spool.records,
            ),
            Reading(name="paedsresus_spool_bytes_total", about="Bytes of these records", read=lambda: self.spool.bytes),
            Reading(
                name="paedsresus_spool_lost_total",
                about="Attempts that could not be recorded; their answers left all the same",
                read=lambda: self.spool.lost,
            ),
            Reading(
                name="paedsresus_shadow_dropped_total",
                about="Copies for a version that did not answer, dropped because too many waited",
                read=lambda: self.shadow.dropped,
            ),
        ]


def give_back_memory() -> None:
    """Return what loading freed to the system: 4 MB of 20 models. glibc only; elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def serve(settings: Settings, place: Place) -> None:
    """A worker until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Worker(settings, place).run(stop)
