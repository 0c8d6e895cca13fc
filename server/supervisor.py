"""Starts the server's processes, watches their hearts, restarts what falls silent, and stops them in order.

`next_actions` decides, from a snapshot alone; `Supervisor` carries out. It never imports grpc or a model: the one
process that must not crash does nothing that can. Children are started by exec and die with it. What a crashed process
was computing with is read from its slot and appended, fsynced, to `crashes.jsonl`.
Not here: what a crash means for a version (control); whether the server may start at all (preflight.py).
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import assert_never

import structlog

from server.settings import Place, Settings
from server.signals import SignalWaiter, die_with, signal_name
from server.slots import Role, Slots, SlotState, State, control_slot, heavy_slot, slot_count

COMMANDS: Mapping[Role, tuple[str, ...]] = {
    Role.WORKER: (sys.executable, "-m", "server.edge"),
    Role.HEAVY: (sys.executable, "-m", "server.edge.compute"),
    Role.CONTROL: (sys.executable, "-m", "server.control"),
}
EXIT_CLEAN, EXIT_FAILED = 0, 1  # failed: it never came up, or something had to be killed at the stop

STOP_MARGIN_SECONDS = 3.0  # beyond its drain a process gets this to write what it holds; then SIGKILL
STEADY_SECONDS = 30.0  # a process that lived so long has started well: the next restart is quick again
HOPELESS_FAILURES = 5  # of every worker before any was ever ready: about 2 s; once up, a server never gives up
BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS = 0.1, 10.0
# A process here is one core; what numpy's library would start beside it only waits, on the cores of the others.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TICK_SECONDS = 0.1  # between two looks; an ended child or a signal wakes it at once


class Ending(Enum):
    """Why the supervisor killed a process."""

    SILENT = "silent"  # its heart stopped
    NEVER_CLAIMED = "never_claimed"  # it did not come up
    LATE = "late"  # it did not stop in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Patience, in seconds."""

    stale: float
    start: float
    drain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One process as the supervisor sees it; times are seconds of the monotonic clock."""

    slot: int
    role: Role
    pid: int | None = None  # None: not running
    since: float = 0.0  # started, or ended when it is not running
    heartbeat: float | None = None  # None: it has not claimed its slot
    failures: int = 0  # bad endings in a row
    asked_to_stop: float | None = None
    killed: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a decision rests on."""

    children: tuple[Child, ...]
    limits: Limits
    watched_since: float  # since when the supervisor itself has been looking without a pause
    came_up: bool = False  # a worker was ready at least once
    stopping: bool = False  # a signal came, or hope was given up
    hurry: bool = False  # a second one came


@dataclass(frozen=True, slots=True)
class Start:
    """Start the process of a slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a process to drain and leave (SIGTERM)."""

    slot: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process now (SIGKILL)."""

    slot: int
    ending: Ending


@dataclass(frozen=True, slots=True)
class Leave:
    """Everything has ended: the supervisor leaves too."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No worker comes up: stop, so that whoever started the server sees that it did not start."""


Action = Start | Stop | Kill | Leave | GiveUp


def next_actions(snapshot: Snapshot, now: float) -> list[Action]:
    """Decide what to do now. Same snapshot and time, same actions; carrying them out changes the snapshot."""
    if snapshot.stopping:
        return _stopping_actions(snapshot, now)
    workers = [child for child in snapshot.children if child.role is Role.WORKER]
    if not snapshot.came_up and workers and all(child.failures >= HOPELESS_FAILURES for child in workers):
        return [GiveUp()]
    actions: list[Action] = []
    for child in snapshot.children:
        if child.pid is None:
            if now >= child.since + backoff_seconds(child.failures):
                actions.append(Start(child.slot))
        elif child.killed is None and (ending := _silence(child, snapshot, now)):
            actions.append(Kill(child.slot, ending))
    return actions


def backoff_seconds(failures: int) -> float:
    """Pause before the next start: none after a good ending, then doubling from 0.1 s up to 10 s.

    >>> [backoff_seconds(n) for n in (0, 1, 2, 3, 99)]
    [0.0, 0.1, 0.2, 0.4, 10.0]
    """
    if failures == 0:
        return 0.0
    doublings = min(failures - 1, 30)  # a power too large for a float would end the supervisor
    return float(min(BACKOFF_FIRST_SECONDS * 2**doublings, BACKOFF_MOST_SECONDS))


def _silence(child: Child, snapshot: Snapshot, now: float) -> Ending | None:
    # A supervisor that was stopped itself (SIGSTOP, a laptop asleep) has seen nothing: it counts from its return.
    if child.heartbeat is None:
        quiet = now - max(child.since, snapshot.watched_since)
        return Ending.NEVER_CLAIMED if quiet > snapshot.limits.start else None
    quiet = now - max(child.heartbeat, snapshot.watched_since)
    return Ending.SILENT if quiet > snapshot.limits.stale else None


def _stopping_actions(snapshot: Snapshot, now: float) -> list[Action]:
    running = [child for child in snapshot.children if child.pid is not None]
    if not running:
        return [Leave()]
    alive = [child for child in running if child.killed is None]
    if snapshot.hurry:
        return [Kill(child.slot, Ending.LATE) for child in alive]
    # Workers leave first: what they still answer may need the compute process and control.
    workers = [child for child in running if child.role is Role.WORKER]
    actions: list[Action] = []
    for child in (child for child in alive if child.role is Role.WORKER or not workers):
        patience = STOP_MARGIN_SECONDS + (snapshot.limits.drain if child.role is Role.WORKER else 0.0)
        if child.asked_to_stop is None:
            actions.append(Stop(child.slot))
        elif now - child.asked_to_stop > patience:
            actions.append(Kill(child.slot, Ending.LATE))
    return actions


def ending_in_words(returncode: int, killed: Ending | None) -> str:
    """How a process ended: why it was killed, else the signal's name, else its exit code.

    >>> ending_in_words(-11, None), ending_in_words(3, None), ending_in_words(-9, Ending.SILENT)
    ('SIGSEGV', 'exit 3', 'silent')
    """
    if killed is not None:
        return killed.value
    return f"exit {returncode}" if returncode >= 0 else signal_name(-returncode)


@dataclass(slots=True, kw_only=True)
class _Process:
    """What changes about one child; `Child` is its frozen picture."""

    slot: int
    role: Role
    handle: subprocess.Popen[bytes] | None = None
    since: float = 0.0
    failures: int = 0
    asked_to_stop: float | None = None
    killed: Ending | None = None


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """The loop around `next_actions`. `run` returns the exit code."""

    settings: Settings
    slots: Slots
    environ: Mapping[str, str]
    commands: Mapping[Role, tuple[str, ...]] = field(default_factory=lambda: COMMANDS)
    on_ready: Callable[[], bool] = lambda: True  # asked at each look once every worker answers, until it says True
    _processes: list[_Process] = field(default_factory=list, init=False)
    _signals: int = field(default=0, init=False)
    _watched_since: float = field(default=0.0, init=False)
    _was_ready: bool = field(default=False, init=False)
    _came_up: bool = field(default=False, init=False)
    _gave_up: bool = field(default=False, init=False)
    _killed_at_stop: bool = field(default=False, init=False)

    def run(self) -> int:
        """Start everything, watch it, and return when a signal has stopped it all."""
        workers = self.settings.workers
        self._processes = [_Process(slot=slot, role=Role.WORKER) for slot in range(workers)]
        self._processes.append(_Process(slot=heavy_slot(workers), role=Role.HEAVY))
        self._processes.append(_Process(slot=control_slot(workers), role=Role.CONTROL))
        with SignalWaiter(self._count_signal) as waiter:
            try:
                self._watch(waiter)
            finally:
                self._kill_all()  # only after an unforeseen error is anything left
        return EXIT_FAILED if self._killed_at_stop or self._gave_up else EXIT_CLEAN

    def _watch(self, waiter: SignalWaiter) -> None:
        last = self._watched_since = time.monotonic()
        while True:
            now = time.monotonic()
            if now - last > max(10 * TICK_SECONDS, self.settings.stale_seconds / 2):
                self._watched_since = now
            last = now
            for process in self._processes:
                self._reap(process, now)
            for action in next_actions(self._snapshot(), now):
                if isinstance(action, Leave):
                    return
                if isinstance(action, GiveUp):
                    self._gave_up = True
                    _log().error("server_did_not_come_up", failures=HOPELESS_FAILURES)
                else:
                    self._carry_out(action, now)
            self._announce()
            waiter.wait(TICK_SECONDS)

    def _snapshot(self) -> Snapshot:
        limits = Limits(
            stale=self.settings.stale_seconds, start=self.settings.start_seconds, drain=self.settings.drain_seconds
        )
        return Snapshot(
            children=tuple(self._picture(process) for process in self._processes),
            limits=limits,
            watched_since=self._watched_since,
            came_up=self._came_up,
            stopping=self._signals > 0 or self._gave_up,
            hurry=self._signals > 1,
        )

    def _picture(self, process: _Process) -> Child:
        said = self._slot_of(process)
        return Child(
            slot=process.slot,
            role=process.role,
            pid=process.handle.pid if process.handle else None,
            since=process.since,
            heartbeat=said.heartbeat_ns / 1e9 if said else None,
            failures=process.failures,
            asked_to_stop=process.asked_to_stop,
            killed=process.killed,
        )

    def _slot_of(self, process: _Process) -> SlotState | None:
        said = self.slots.read(process.slot)
        return said if said and process.handle and said.pid == process.handle.pid else None

    def _carry_out(self, action: Start | Stop | Kill, now: float) -> None:
        process = self._processes[action.slot]
        match action:
            case Start():
                self._start(process, now)
            case Stop():
                assert process.handle is not None, "only running processes are stopped"
                process.asked_to_stop = now
                process.handle.terminate()
            case Kill(ending=ending):
                assert process.handle is not None, "only running processes are killed"
                process.killed = ending
                self._killed_at_stop |= ending is Ending.LATE
                _log().warning("process_killed", slot=process.slot, pid=process.handle.pid, reason=ending.value)
                process.handle.kill()
            case _:
                assert_never(action)

    def _start(self, process: _Process, now: float) -> None:
        self.slots.clear(process.slot)
        place = Place(slot=process.slot, boot=secrets.token_hex(8))
        process.since, process.asked_to_stop, process.killed = now, None, None
        try:
            process.handle = subprocess.Popen(
                self.commands[process.role],
                env={**ONE_THREAD, **self.environ, **self.settings.to_environ(), **place.to_environ()},
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C reaches the supervisor alone, which drains
                preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - safe here: the supervisor has no threads
            )
        except OSError as failure:  # no memory, too many processes: try again later
            process.failures += 1
            _log().error("process_not_started", slot=process.slot, reason=failure.strerror)
            return
        role = process.role.name.lower()
        _log().info("process_started", slot=process.slot, role=role, pid=process.handle.pid, boot=place.boot)

    def _reap(self, process: _Process, now: float) -> None:
        if process.handle is None or (returncode := process.handle.poll()) is None:
            return
        said = self._slot_of(process)
        pid, process.handle = process.handle.pid, None
        lived, process.since = now - process.since, now
        ending = ending_in_words(returncode, process.killed)
        role = process.role.name.lower()
        if returncode == 0 or process.asked_to_stop is not None:
            process.failures = 0
            _log().info("process_ended", slot=process.slot, role=role, pid=pid, ending=ending)
            return
        process.failures = 1 if lived > STEADY_SECONDS else process.failures + 1
        prefix = f"{said.inflight:016x}" if said and said.inflight else None
        facts = {"slot": process.slot, "role": role, "pid": pid, "ending": ending, "digest_prefix": prefix}
        _log().error("process_crashed", **facts, restart_in_seconds=backoff_seconds(process.failures))
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            append_crash(self.settings.state_dir / "crashes.jsonl", {"at": at, **facts})
        except OSError as failure:  # a full disk must not end the process that keeps the others alive
            _log().error("crash_not_recorded", slot=process.slot, reason=failure.strerror)

    def _announce(self) -> None:
        if self._was_ready or self._signals:
            return
        states = [self._slot_of(process) for process in self._processes if process.role is Role.WORKER]
        ready = [said is not None and said.state is State.READY for said in states]
        self._came_up |= any(ready)
        if all(ready):
            self._was_ready = self.on_ready()

    def _count_signal(self, number: int) -> None:
        self._signals += 1
        _log().info("signal_received", signal=signal.Signals(number).name, count=self._signals)

    def _kill_all(self) -> None:
        for process in self._processes:
            if process.handle is not None:
                process.handle.kill()
                process.handle.wait()


def append_crash(path: Path, record: Mapping[str, object]) -> None:
    """Append one line and see it on the disk before returning.

    Raises: OSError: it could not be written.
    """
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def _log() -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("supervisor")
    return logger


def supervise(settings: Settings, environ: Mapping[str, str], on_ready: Callable[[], bool]) -> int:
    """Run the server in the locked state folder until it is told to stop; returns the exit code."""
    with Slots.open(settings.state_dir / "slots", slot_count(settings.workers)) as slots:
        return Supervisor(settings=settings, slots=slots, environ=environ, on_ready=on_ready).run()
