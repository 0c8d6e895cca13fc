"""`python -m server.control`: the process that follows the registry. Puts the parts together and runs until SIGTERM.

Four threads, so that none waits for another: the loop (socket, heartbeat), the registry (a locked database blocks a
read for 20 s), the trial of new versions (up to a minute each), and the follower, the only one that changes state.
Not here: what any of them does (registry.py, artifacts.py, follow.py, internal.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import structlog

from methods.features import FeatureSchema, schema_of
from server.catalogue import KINDS
from server.control.artifacts import Cache, FetchError, Refusal, RefusalCode
from server.control.follow import AliasMove, Follower, View, utc_now
from server.control.internal import SOCKET_NAME, InternalService, serve_internal
from server.control.probe import DRIFT_FACTOR, Limits, probe_folder
from server.control.registry import PREVIOUS, QUIET_SECONDS, MlflowRegistry, RegistryAway, RegistryReader, RegistryState
from server.control.store import Store, StoreError
from server.logs import configure_logs
from server.monitor.exposition import Certificates, Exposition, Gauge, expose_metrics
from server.preflight import is_loopback
from server.ranks import CONTROL, take_rank
from server.settings import Settings, load_place, load_settings, split_address
from server.slots import Role, Slots, State, control_slot, slot_count

BEAT_SECONDS = 0.25
TICK_SECONDS = 0.1
STALE_SECONDS = 3.0  # a process silent for that long is not waited for; the supervisor will see to it
_NO_FIELDS = FeatureSchema(message="", features=())


def offered_schemas() -> dict[str, FeatureSchema]:
    """What requests offer to each model that this release serves; no fields to one that reads them as a whole."""
    return {model: _NO_FIELDS if kind.features is None else schema_of(kind.features) for model, kind in KINDS.items()}


def live_processes(slots: Slots, own: int) -> dict[int, int]:
    """Process id by slot of every worker and compute process that moves."""
    now = time.monotonic_ns()
    found = {}
    for slot in range(slots.count):
        said = None if slot == own else slots.read(slot)
        if said is None or said.role not in {Role.WORKER, Role.HEAVY} or said.state is State.DRAINING:
            continue
        if now - said.heartbeat_ns < STALE_SECONDS * 1e9:
            found[slot] = said.pid
    return found


def watch_registry(follower: Follower, registry: RegistryReader, stop: threading.Event, seconds: float) -> None:
    """Look, write back, wait, until told to stop."""
    while not stop.is_set():
        try:
            follower.sighted(registry.look(follower.watched()))
        except RegistryAway as away:
            follower.missed(away)
        for write in follower.next_writes():
            try:
                if isinstance(write, AliasMove):
                    moved = registry.move_alias(write.model, PREVIOUS, expected=write.expected, version=write.version)
                else:
                    registry.write_tags(write.model, write.version, write.tags)
                    moved = True
            except RegistryAway as away:
                follower.write_failed(away)
                break
            follower.wrote(write, moved=moved)
        stop.wait(min(seconds, QUIET_SECONDS / 2) if follower.is_settling else seconds)


def try_versions(
    follower: Follower,
    registry: RegistryReader,
    cache: Cache,
    probe: Callable[[Path, float], Refusal | None],
    stop: threading.Event,
) -> None:
    """Fetch, verify and probe one version after another. `probe` takes a folder and a tolerance factor."""
    while not stop.is_set():
        wanted = follower.next_check()
        if wanted is None:
            stop.wait(TICK_SECONDS)
            continue
        trial = _Trial(probe, may_drift=follower.was_champion(wanted.digest or ""))
        try:
            refusal = cache.publish(wanted, partial(registry.fetch, wanted.model, wanted.version), trial.run)
        except FetchError as failure:
            follower.fetch_failed(wanted, str(failure))
        except OSError as failure:  # a full disk, a missing right: ours to repair, nothing against the version
            follower.fetch_failed(wanted, f"the local cache cannot be written: {failure.strerror}")
        except Exception:  # noqa: BLE001 - the outer edge of a trial: no file may end the process that follows the rest
            structlog.get_logger("control").error("trial_failed", version=wanted.version, exc_info=True)
            follower.checked(wanted, _UNFORESEEN)
        else:
            follower.checked(wanted, refusal, drift=trial.drift)
            if (keep := follower.kept()) is not None:
                follower.pruned(cache.prune(keep))


_UNFORESEEN = Refusal(
    code=RefusalCode.UNFORESEEN, text="checking it failed in a way that nobody foresaw; control's log has the trace"
)


class _Trial:
    """A probe that gives a version that was live here before a second, larger bound, and remembers that it did."""

    def __init__(self, probe: Callable[[Path, float], Refusal | None], *, may_drift: bool) -> None:
        self._probe, self._may_drift = probe, may_drift
        self.drift = ""

    def run(self, folder: Path) -> Refusal | None:
        refusal = self._probe(folder, 1.0)
        if refusal is None or refusal.code is not RefusalCode.GOLDEN or not self._may_drift:
            return refusal
        self.drift = refusal.text
        return self._probe(folder, DRIFT_FACTOR)


def follow(follower: Follower, stop: threading.Event) -> None:
    """Tick when there is mail and ten times a second otherwise."""
    while not stop.is_set():
        follower.wake.wait(TICK_SECONDS)
        follower.wake.clear()
        follower.tick()


def start_thread(name: str, run: Callable[[], None], failed: Callable[[], None]) -> threading.Thread:
    """Run something in a thread; what nobody foresaw ends the whole process, which the supervisor starts again."""

    def guarded() -> None:
        try:
            run()
        except Exception:  # noqa: BLE001 - the outer edge of a thread
            structlog.get_logger("control").error("thread_failed", thread=name, exc_info=True)
            failed()

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def control_gauges(view: View) -> Iterator[Gauge]:
    """What control itself knows, as gauges."""
    yield Gauge(
        name="registry_up",
        about="1 while the registry answers, 0 while the last verified state is served without it.",
        rows=[((), float(view.registry.state is RegistryState.OK))],
    )
    yield Gauge(
        name="desired_generation",
        about="Generation of the state that workers are told.",
        rows=[((), float(view.desired.generation))],
    )
    yield Gauge(
        name="desired_confirmed",
        about="1 when every live process has carried that generation out.",
        rows=[((), float(view.confirmed))],
    )
    yield Gauge(
        name="version_share",
        about="Share of routing keys that a live version answers, 0 to 1.",
        labels=("model", "version", "role"),
        rows=[
            ((model, str(number), entry.place.role or ""), entry.place.share_bp / 10_000)
            for (model, number), entry in sorted(view.versions.items())
            if entry.place.state == "live"
        ],
    )
    yield Gauge(
        name="versions_taken_out",
        about="Versions with an alias that were refused or taken out of the traffic.",
        labels=("model", "state"),
        rows=_taken_out(view),
    )


def _taken_out(view: View) -> list[tuple[tuple[str, ...], float]]:
    counts: dict[tuple[str, ...], float] = {}
    for (model, _), entry in sorted(view.versions.items()):
        if entry.place.role is not None and entry.place.state in {"refused", "suspended", "quarantined", "rolled_back"}:
            counts[model, entry.place.state] = counts.get((model, entry.place.state), 0.0) + 1.0
    return list(counts.items())


async def run_control(settings: Settings, environ: Mapping[str, str]) -> int:
    """Run until SIGTERM; returns the exit code."""
    place = load_place(environ)
    slots = Slots.open(settings.state_dir / "slots", slot_count(settings.workers))
    own = control_slot(settings.workers)
    slots.claim(place.slot, Role.CONTROL, os.getpid(), int(place.boot, 16))
    schemas = offered_schemas()
    store, cache = Store.open(settings.state_dir / "store.db"), Cache(settings.state_dir / "cache")
    cache.open()
    follower = Follower(
        folder=settings.state_dir,
        store=store,
        cache=cache,
        schemas=schemas,
        runtime=f"onnxruntime {version('onnxruntime')}, numpy {version('numpy')}",
        processes=partial(live_processes, slots, own),
        clock=utc_now,
        steady=time.monotonic,
    )
    follower.recover()
    registry = MlflowRegistry(settings.registry_uri, schemas)
    stopped, stop, code = asyncio.Event(), threading.Event(), [0]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def fail() -> None:
        code[0] = 1
        loop.call_soon_threadsafe(stopped.set)

    pause = settings.poll_seconds if registry.is_local else settings.poll_http_seconds
    service = InternalService(confirmed=follower.confirmed, view=lambda: follower.view)
    server = await serve_internal(service, settings.state_dir / SOCKET_NAME)
    follower_thread = start_thread("follower", partial(follow, follower, stop), fail)
    start_thread("registry", partial(watch_registry, follower, registry, stop, pause), fail)
    start_thread("trial", partial(try_versions, follower, registry, cache, partial(_probe, settings), stop), fail)
    exposition = _expose(settings, follower)
    slots.set_state(place.slot, State.READY)
    while not stopped.is_set():
        slots.beat(place.slot)
        try:
            await asyncio.wait_for(stopped.wait(), BEAT_SECONDS)
        except TimeoutError:
            continue
    slots.set_state(place.slot, State.DRAINING)
    stop.set()
    follower.wake.set()
    await server.stop(grace=1.0)
    follower_thread.join(timeout=2)  # the others may be inside a locked database or a trial; they hold nothing to save
    if exposition is not None:
        exposition.close()
    return code[0]


def _probe(settings: Settings, folder: Path, tolerance_factor: float) -> Refusal | None:
    # A snapshot is mapped, not loaded: its files count as addresses beside the memory that a trial may use.
    mapped = sum(path.stat().st_size for path in folder.glob("*.npy"))
    memory_mb = settings.probe_memory_mb + (mapped >> 20)
    limits = Limits(memory_mb=memory_mb, seconds=settings.probe_seconds, tolerance_factor=tolerance_factor)
    return probe_folder(folder, limits)


def _expose(settings: Settings, follower: Follower) -> Exposition | None:
    try:
        return expose_metrics(
            settings.metrics_listen,
            settings.state_dir / "metrics",
            lambda: control_gauges(follower.view),
            _metrics_certificates(settings),
        )
    except OSError as failure:  # the numbers are missed, the models go on being followed
        structlog.get_logger("control").error(
            "metrics_not_served", listen=settings.metrics_listen, reason=failure.strerror
        )
        return None


def _metrics_certificates(settings: Settings) -> Certificates | None:
    """On loopback scrapes stay plain; elsewhere they prove themselves with the files that gRPC uses too."""
    certificate, key, client_ca = (settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file)
    host, _ = split_address(settings.metrics_listen)
    if is_loopback(host) or certificate is None or key is None or client_ca is None:
        return None  # the supervisor has refused an open address without all three
    return Certificates(certificate=certificate, key=key, client_ca=client_ca)


def main() -> None:
    """Entry of the process."""
    take_rank(CONTROL)
    os.umask(0o077)  # the socket and every file of the state folder are for this account only
    settings = load_settings(os.environ)
    configure_logs("control", settings.log_level)
    try:
        code = asyncio.run(run_control(settings, os.environ))
    except StoreError as unusable:
        structlog.get_logger("control").error("store_unusable", reason=str(unusable))
        code = 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)  # a thread may be blocked inside the registry for 20 s; everything worth keeping is on the disk


if __name__ == "__main__":
    main()
