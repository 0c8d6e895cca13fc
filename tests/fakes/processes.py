"""Worker and compute processes over a state folder of a test: started for real, stopped for sure."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from server.slots import Slots, State

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
SLOTS = 3  # one worker, the compute process, control
READY_SECONDS = 60  # a busy machine starts Python slowly; nothing waits that long on a free one


def free_port() -> int:
    """A loopback port that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(state_dir: Path, *, slot: int, port: int = 0, **settings: str) -> dict[str, str]:
    """What the supervisor would hand to the process in that slot."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAEDSRESUS_")}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python/src")]),
        "PAEDSRESUS_STATE_DIR": str(state_dir),
        "PAEDSRESUS_LISTEN": f"127.0.0.1:{port}",
        "PAEDSRESUS_WORKERS": "1",
        "PAEDSRESUS_SLOT": str(slot),
        "PAEDSRESUS_BOOT": os.urandom(8).hex(),
        **{f"PAEDSRESUS_{name.upper()}": value for name, value in settings.items()},
    }


@contextmanager
def process(
    module: str, state_dir: Path, *, slot: int, port: int = 0, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m module`, ready; killed at the end when it is still there. Its log is `<module>.log` in the folder."""
    log = state_dir / f"{module}.log"
    with log.open("ab") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment(state_dir, slot=slot, port=port, **settings),
            stdout=out,
            stderr=out,
        )
    try:
        with Slots.open(state_dir / "slots", SLOTS) as slots:
            wait_until(
                lambda: started.poll() is not None or is_ready(slots, slot, started.pid),
                what=lambda: f"{module} to be ready: {log.read_text()}",
            )
        assert started.poll() is None, log.read_text()
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGKILL)
        started.wait(30)


def is_ready(slots: Slots, slot: int, pid: int) -> bool:
    """Whether that very process says that it is ready."""
    state = slots.read(slot)
    return state is not None and state.pid == pid and state.state is State.READY


def wait_until(condition: Callable[[], T | None], *, seconds: float = READY_SECONDS, what: Callable[[], str]) -> T:
    """The first true value of a condition; fails with `what` when `seconds` pass without one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)  # the pause of a poll: the condition decides, never the pause
    raise AssertionError(f"waited {seconds} s for {what()}")
