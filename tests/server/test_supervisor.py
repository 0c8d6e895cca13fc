"""The supervisor: decisions from a snapshot, and the loop around them with tiny real children."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.settings import Settings
from server.slots import Role, Slots, SlotState, slot_count
from server.supervisor import (
    HOPELESS_FAILURES,
    STOP_MARGIN_SECONDS,
    Child,
    Ending,
    GiveUp,
    Kill,
    Leave,
    Limits,
    Snapshot,
    Start,
    Stop,
    append_crash,
    next_actions,
)

LIMITS = Limits(stale=10.0, start=60.0, drain=5.0)
WORKER = Child(slot=0, role=Role.WORKER, pid=10, since=0.0, heartbeat=99.9)
HEAVY = Child(slot=1, role=Role.HEAVY, pid=11, since=0.0, heartbeat=99.9)
CONTROL = Child(slot=2, role=Role.CONTROL, pid=12, since=0.0, heartbeat=99.9)
CALM = Snapshot(children=(WORKER, HEAVY, CONTROL), limits=LIMITS, watched_since=0.0)


def test_nothing_is_done_while_every_heart_beats() -> None:
    assert next_actions(CALM, 100.0) == []


def test_a_process_that_is_not_running_is_started() -> None:
    fresh = Snapshot(
        children=(Child(slot=0, role=Role.WORKER), Child(slot=1, role=Role.HEAVY)), limits=LIMITS, watched_since=100.0
    )

    assert next_actions(fresh, 100.0) == [Start(0), Start(1)]


def test_a_process_that_keeps_failing_is_started_after_a_growing_pause() -> None:
    gone = replace(WORKER, pid=None, since=100.0, failures=4)  # 0.8 s
    snapshot = replace(CALM, children=(gone, HEAVY, CONTROL))

    assert next_actions(snapshot, 100.7) == []
    assert next_actions(snapshot, 100.8) == [Start(0)]


def test_a_silent_process_is_killed_once() -> None:
    silent = replace(WORKER, heartbeat=89.0)

    assert next_actions(replace(CALM, children=(silent, HEAVY, CONTROL)), 100.0) == [Kill(0, Ending.SILENT)]
    killed = replace(silent, killed=Ending.SILENT)
    assert next_actions(replace(CALM, children=(killed, HEAVY, CONTROL)), 100.0) == []


def test_a_process_that_never_claims_its_slot_is_killed_after_its_own_patience() -> None:
    starting = replace(WORKER, since=50.0, heartbeat=None)
    snapshot = replace(CALM, children=(starting,))

    assert next_actions(snapshot, 110.0) == []
    assert next_actions(snapshot, 110.1) == [Kill(0, Ending.NEVER_CLAIMED)]


def test_a_server_whose_workers_never_come_up_gives_up_and_one_that_was_up_never_does() -> None:
    broken = tuple(Child(slot=slot, role=Role.WORKER, since=100.0, failures=HOPELESS_FAILURES) for slot in range(2))
    snapshot = Snapshot(children=broken, limits=LIMITS, watched_since=0.0)

    assert next_actions(snapshot, 200.0) == [GiveUp()]
    assert next_actions(replace(snapshot, came_up=True), 200.0) == [Start(0), Start(1)]


def test_silence_while_the_supervisor_itself_was_stopped_is_not_held_against_anyone() -> None:
    after_sleep = replace(CALM, watched_since=5000.0)

    assert next_actions(after_sleep, 5009.0) == []
    assert Kill(0, Ending.SILENT) in next_actions(after_sleep, 5010.1)


def test_workers_are_asked_to_stop_before_those_they_depend_on() -> None:
    stopping = replace(CALM, stopping=True)
    assert next_actions(stopping, 100.0) == [Stop(0)]

    workers_gone = replace(stopping, children=(replace(WORKER, pid=None), HEAVY, CONTROL))
    assert next_actions(workers_gone, 101.0) == [Stop(1), Stop(2)]


def test_a_worker_gets_its_drain_and_a_margin_before_it_is_killed() -> None:
    asked = replace(WORKER, asked_to_stop=100.0)
    stopping = replace(CALM, stopping=True, children=(asked, HEAVY, CONTROL))

    assert next_actions(stopping, 100.0 + 5.0 + STOP_MARGIN_SECONDS) == []
    assert next_actions(stopping, 100.1 + 5.0 + STOP_MARGIN_SECONDS) == [Kill(0, Ending.LATE)]


def test_a_second_signal_kills_everything_at_once() -> None:
    hurried = replace(CALM, stopping=True, hurry=True)

    assert next_actions(hurried, 100.0) == [Kill(0, Ending.LATE), Kill(1, Ending.LATE), Kill(2, Ending.LATE)]


_CHILDREN = st.lists(
    st.builds(
        Child,
        slot=st.just(0),
        role=st.sampled_from(Role),
        pid=st.none() | st.integers(1, 9),
        since=st.floats(0, 100),
        heartbeat=st.none() | st.floats(0, 100),
        failures=st.integers(0, 2000),
        asked_to_stop=st.none() | st.floats(0, 100),
        killed=st.none() | st.sampled_from(Ending),
    ),
    max_size=5,
).map(lambda children: tuple(replace(child, slot=slot) for slot, child in enumerate(children)))


@given(children=_CHILDREN, stopping=st.booleans(), hurry=st.booleans(), now=st.floats(0, 1000))
def test_whatever_the_state_actions_fit_it(
    children: tuple[Child, ...], *, stopping: bool, hurry: bool, now: float
) -> None:
    snapshot = Snapshot(children=children, limits=LIMITS, watched_since=0.0, stopping=stopping, hurry=hurry)

    for action in next_actions(snapshot, now):
        match action:
            case Start(slot):
                assert not stopping
                assert children[slot].pid is None
            case Stop(slot) | Kill(slot):
                assert children[slot].pid is not None
                assert children[slot].killed is None
            case GiveUp():
                assert all(child.failures for child in children if child.role is Role.WORKER)
            case Leave():
                assert stopping
                assert all(child.pid is None for child in children)


def test_crash_records_are_whole_lines_one_after_the_other(tmp_path: Path) -> None:
    for slot in range(3):
        append_crash(tmp_path / "crashes.jsonl", {"slot": slot, "digest_prefix": None})

    lines = (tmp_path / "crashes.jsonl").read_text().splitlines()
    assert [json.loads(line)["slot"] for line in lines] == [0, 1, 2]


# --- with real processes ---

_MAIN = """
import os, sys, structlog
from server.settings import load_settings
from server.slots import Role, Slots, slot_count
from server.supervisor import Supervisor
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
settings = load_settings(os.environ)
child = (sys.executable, "-c", os.environ["CHILD"])
with Slots.open(settings.state_dir / "slots", slot_count(settings.workers)) as slots:
    sys.exit(Supervisor(settings=settings, slots=slots, environ=os.environ, commands=dict.fromkeys(Role, child),
                        on_ready=lambda: print("ready", flush=True) is None).run())
"""
_CHILD = """
import os, signal, sys, threading
from server.settings import load_place, load_settings
from server.slots import Role, Slots, State, heavy_slot, slot_count
settings, place = load_settings(os.environ), load_place(os.environ)
leave = threading.Event()
signal.signal(signal.SIGTERM, {on_term})
slots = Slots.open(settings.state_dir / "slots", slot_count(settings.workers))
slots.claim(place.slot, Role.WORKER, os.getpid(), int(place.boot, 16))
slots.set_state(place.slot, State.READY)
slots.set_inflight(place.slot, 0xFEED + place.slot)
while not leave.wait(0.05):
    {beat}
"""
OBEDIENT = _CHILD.format(on_term="lambda *_: leave.set()", beat="slots.beat(place.slot)")
STUBBORN = _CHILD.format(on_term="signal.SIG_IGN", beat="slots.beat(place.slot)")
SILENT = _CHILD.format(on_term="lambda *_: leave.set()", beat="place.slot != 1 and slots.beat(place.slot)")


class Running:
    """A supervisor in a process of its own, its slots in view."""

    def __init__(self, state: Path, child: str, workers: int = 2, stale_seconds: float = 10.0) -> None:
        self.settings = Settings(state_dir=state, workers=workers, stale_seconds=stale_seconds)
        self.slots = Slots.open(state / "slots", slot_count(workers))
        environ = {**os.environ, **self.settings.to_environ(), "CHILD": child, "PYTHONPATH": "."}
        self.process = subprocess.Popen([sys.executable, "-c", _MAIN], env=environ, stdout=subprocess.PIPE, text=True)

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.wait_for("all slots claimed", lambda: all(self.said()))

    def said(self) -> list[SlotState | None]:
        return [self.slots.read(slot) for slot in range(self.slots.count)]

    def pids(self) -> list[int]:
        return [said.pid for said in self.said() if said]

    def crashes(self) -> list[dict[str, object]]:
        path = self.settings.state_dir / "crashes.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for(self, what: str, holds: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"{what}: not after {seconds} s; slots {self.said()}"
            time.sleep(0.01)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=20)
        self.wait_for("children gone", lambda: not any(is_running(pid) for pid in self.pids()))
        self.slots.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody has reaped yet is dead all the same.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(child: str, **options: float) -> Running:
        running = Running(tmp_path, child, **options)  # type: ignore[arg-type]  # workers is an int in every call
        started.append(running)
        return running

    yield start
    for running in started:
        running.end()


def test_sigterm_lets_every_process_leave_and_ends_clean(run: Callable[..., Running]) -> None:
    running = run(OBEDIENT)
    running.wait_until_ready()
    pids = running.pids()

    running.process.send_signal(signal.SIGTERM)

    assert running.process.wait(timeout=20) == 0
    assert len(pids) == 4
    assert not any(is_running(pid) for pid in pids)
    assert running.crashes() == []


def test_a_killed_worker_comes_back_and_its_version_is_on_record(run: Callable[..., Running]) -> None:
    running = run(OBEDIENT)
    running.wait_until_ready()
    before = running.slots.read(0)
    assert before is not None

    os.kill(before.pid, signal.SIGKILL)

    running.wait_for(
        "slot 0 claimed anew", lambda: (now := running.slots.read(0)) is not None and now.pid != before.pid
    )
    after = running.slots.read(0)
    assert after is not None
    assert after.boot != before.boot
    (crash,) = running.crashes()
    assert {k: crash[k] for k in ("slot", "role", "pid", "ending", "digest_prefix")} == {
        "slot": 0,
        "role": "worker",
        "pid": before.pid,
        "ending": "SIGKILL",
        "digest_prefix": "000000000000feed",
    }


def test_rubbish_in_the_slots_and_a_signal_without_a_name_end_no_server(run: Callable[..., Running]) -> None:
    running = run(OBEDIENT)
    running.wait_until_ready()
    before = running.slots.read(0)
    assert before is not None
    with (running.settings.state_dir / "slots").open("r+b") as file:
        file.seek(64 + 4)
        file.write(b"\xff" * 4)

    os.kill(before.pid, 40)  # a real-time signal: Python has no name for it

    running.wait_for("the crash on record", lambda: running.crashes() != [])
    running.wait_for("slot 0 claimed anew", lambda: running.slots.read(0) not in {before, None})
    assert [(crash["slot"], crash["ending"]) for crash in running.crashes()] == [(0, "signal 40")]
    assert running.process.poll() is None


def test_a_process_that_falls_silent_is_killed_and_restarted(run: Callable[..., Running]) -> None:
    running = run(SILENT, stale_seconds=1.0)
    running.wait_until_ready()

    running.wait_for("a crash on record", lambda: running.crashes() != [])

    assert (running.crashes()[0]["slot"], running.crashes()[0]["ending"]) == (1, "silent")


def test_a_second_signal_kills_those_that_do_not_leave(run: Callable[..., Running]) -> None:
    running = run(STUBBORN)
    running.wait_until_ready()
    pids = running.pids()

    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGTERM)

    assert running.process.wait(timeout=20) == 1
    assert not any(is_running(pid) for pid in pids)


def test_a_server_whose_workers_cannot_start_ends_by_itself(run: Callable[..., Running]) -> None:
    running = run("raise SystemExit(3)", workers=1)

    assert running.process.wait(timeout=30) == 1
    assert {"exit 3"} == {crash["ending"] for crash in running.crashes()}


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_children_die_with_a_supervisor_that_is_killed(run: Callable[..., Running]) -> None:
    running = run(STUBBORN)
    running.wait_until_ready()
    pids = running.pids()

    running.process.kill()

    running.wait_for("children gone", lambda: not any(is_running(pid) for pid in pids))


def test_the_supervisor_loads_no_grpc_and_no_model_library() -> None:
    heavy = "{'grpc', 'google.protobuf', 'numpy', 'onnxruntime', 'mlflow', 'pandas'}"
    code = f"import sys, server.supervisor, server.preflight; sys.exit({heavy} & set(sys.modules) or 0)"

    ended = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": "."})

    assert ended.returncode == 0
