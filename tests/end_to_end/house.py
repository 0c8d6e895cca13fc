"""A whole running server for tests: registry, model, supervisor and its children, all in a temporary folder.

Waits are always *until a condition holds*, with a deadline that reports what was seen.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paedsresus.ml import Client
from paedsresus.ml.errors import MlError
from server.slots import Role, Slots, SlotState, State, slot_count

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A loopback port that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """First true value of `condition`; AssertionError with the last value when `seconds` pass without one."""
    deadline = time.monotonic() + seconds
    seen: object = None
    while time.monotonic() < deadline:
        seen = condition()
        if seen:
            return seen
        time.sleep(0.05)  # the pause of a poll: the condition decides, never the pause
    raise AssertionError(f"{what}: not within {seconds} s; last seen {seen!r}")


@dataclass(slots=True, kw_only=True)
class House:
    """One server over one registry; `folder` holds everything it writes."""

    folder: Path
    port: int
    metrics_port: int
    workers: int = 2
    process: subprocess.Popen[bytes] | None = None

    @property
    def registry_uri(self) -> str:
        """The embedded registry of this house."""
        return f"sqlite:///{self.folder}/mlruns/mlflow.db"

    @property
    def target(self) -> str:
        """Where clients call."""
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which every command of the house runs here."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAEDSRESUS_", "MLFLOW_"))}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python/src")]),
            "PAEDSRESUS_LISTEN": self.target,
            "PAEDSRESUS_METRICS_LISTEN": f"127.0.0.1:{self.metrics_port}",
            "PAEDSRESUS_WORKERS": str(self.workers),
            "PAEDSRESUS_STATE_DIR": str(self.folder / "state"),
            "PAEDSRESUS_REGISTRY_URI": self.registry_uri,
        }

    def run(self, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `python -m …` to its end in the house's environment; its output is in the error when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self) -> None:
        """Start the server and return at once."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server", "serve"], cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def stop(self) -> int:
        """End the server as an operator would and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def log(self) -> str:
        """Everything the processes have said so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def state(self, name: str) -> Any:
        """A JSON file of the state folder, None while there is none."""
        path = self.folder / "state" / name
        return json.loads(path.read_text()) if path.exists() else None

    def champion(self, model: str = "churn") -> int | None:
        """Version that the desired state routes as champion."""
        route = ((self.state("desired.json") or {}).get("route") or {}).get(model)
        return route["champion"]["version"] if route and route.get("champion") else None

    def version_tag(self, version: int, key: str, model: str = "churn") -> str | None:
        """One tag of a registered version, read beside MLflow so that a test needs no second client."""
        with sqlite3.connect(f"file:{self.folder}/mlruns/mlflow.db?mode=ro", uri=True) as database:
            row = database.execute(
                "select value from model_version_tags where name = ? and version = ? and key = ?",
                (model, version, key),
            ).fetchone()
        return row[0] if row else None

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are ready, from the shared slots."""
        return [slot.pid for slot in self._slots() if slot.role is Role.WORKER and slot.state is State.READY]

    def pid_of(self, role: str) -> int | None:
        """Process id of the first living process in that role."""
        pids = [slot.pid for slot in self._slots() if slot.role is Role[role.upper()] and is_alive(slot.pid)]
        return pids[0] if pids else None

    def kill(self, pid: int | None) -> None:
        """End one process of this house at once, as a crash would."""
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def _slots(self) -> list[SlotState]:
        path = self.folder / "state/slots"
        if not path.exists():
            return []
        with Slots.open(path, slot_count(self.workers)) as slots:
            return [state for index in range(slots.count) if (state := slots.read(index)) is not None]


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists."""
    return Path(f"/proc/{pid}").exists()


def is_answering(house: House) -> bool:
    """Whether PredictChurn gets an answer."""
    try:
        with Client(house.target) as client:
            client.revenue.predict_churn(features={"tenure_days": 100}, timeout_seconds=2)
    except MlError:
        return False
    return True
