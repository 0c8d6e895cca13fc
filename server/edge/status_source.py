"""The facts of a status as this worker can gather them: its routes, control's last words, the slots of the others.

Files are read when a status is asked, which is seldom; whatever cannot be read is left out, never raised.
Not here: what the facts mean (monitor/status.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from server.edge.internal import ControlLine
from server.holds import HOLDS_NAME, Hold, read_holds
from server.monitor.facts import (
    CONTROL_NAME,
    live_facts,
    refused_facts,
    registry_fact,
    snapshot_facts,
    switch_facts,
    warning_facts,
)
from server.monitor.status import MODULES, StatusFacts
from server.serving.contract import Method
from server.serving.deployments import Live
from server.settings import Settings
from server.slots import Role, Slots, State


class StatusSource:
    """Gathers facts. `built` are the full names of the methods that this release answers."""

    def __init__(
        self,
        settings: Settings,
        live: Live,
        slots: Slots,
        control: ControlLine,
        *,
        contract: tuple[Method, ...],
        built: frozenset[str],
    ) -> None:
        self._settings = settings
        self._live = live
        self._slots = slots
        self._control = control
        self._built = {module: _names(module, contract, built) for module in MODULES}
        self._models = {module: _models(module, contract, built) for module in MODULES}

    def gather(self) -> StatusFacts:
        """The facts now."""
        state_dir = self._settings.state_dir
        routes = self._live.routes
        control = _read(state_dir / CONTROL_NAME)
        return StatusFacts(
            now=datetime.now(UTC),
            built=self._built,
            models=self._models,
            live=live_facts(routes),
            snapshots=snapshot_facts(routes),
            switches=switch_facts(routes),
            refused=refused_facts(control),
            registry=registry_fact(control),
            warnings=warning_facts(control),
            control_reachable=self._control.reachable,
            workers_ready=self._workers_ready(),
            workers_total=self._settings.workers,
            started_at=_started_at(state_dir / "lock"),
            generation=max(routes.generation, 0),
            holds=_holds(state_dir / HOLDS_NAME),
        )

    def _workers_ready(self) -> int:
        oldest = time.monotonic_ns() - int(self._settings.stale_seconds * 1e9)
        states = [self._slots.read(index) for index in range(self._settings.workers)]
        return sum(
            state is not None
            and state.role is Role.WORKER
            and state.state is State.READY
            and state.heartbeat_ns >= oldest
            for state in states
        )


def _names(module: str, contract: tuple[Method, ...], built: frozenset[str]) -> tuple[str, ...]:
    service = f"paedsresus.ml.v1.{module.capitalize()}Service"
    return tuple(method.name for method in contract if method.service == service and method.path in built)


def _models(module: str, contract: tuple[Method, ...], built: frozenset[str]) -> tuple[str, ...]:
    names = _names(module, contract, built)
    service = f"paedsresus.ml.v1.{module.capitalize()}Service"
    asked: Mapping[str, None] = {
        model: None
        for method in contract
        if method.service == service and method.name in names
        for model in method.models
    }
    return tuple(asked)


def _started_at(lock: Path) -> datetime | None:
    """The supervisor writes its lock once, when the server is started."""
    try:
        return datetime.fromtimestamp(lock.stat().st_mtime, tz=UTC)
    except OSError:
        return None


def _holds(path: Path) -> tuple[Hold, ...]:
    try:
        return read_holds(path)
    except (OSError, ValueError):
        return ()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
