"""An operator's break-glass orders as control obeys them: those in force, read anew each time.

A file that cannot be read ends nothing: what was ordered before goes on, since half an edit must not end a freeze.
Not here: the file and its form (server/holds.py); what an order does to the traffic (rollout.py).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog

from server.desired import DesiredError, render_time
from server.holds import HOLDS_NAME, Hold, end_hold, holds_in_force, read_holds


class Orders:
    """The orders of one state folder. `broken` says why the file cannot be read, empty when it can."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HOLDS_NAME
        self._orders: tuple[Hold, ...] = ()
        self.broken = ""

    def in_force(self, now: datetime) -> tuple[Hold, ...]:
        """Orders that hold now."""
        broken = ""
        try:
            self._orders = read_holds(self._path)
        except DesiredError as error:
            broken = str(error)
        except OSError as error:
            broken = f"{HOLDS_NAME} cannot be read: {error.strerror}"
        if broken and broken != self.broken:
            structlog.get_logger("control").error("holds_unreadable", reason=broken)
        self.broken = broken
        return holds_in_force(self._orders, now)

    def end(self, hold: Hold) -> None:
        """Take an order out of the file."""
        end_hold(self._path, hold)


def orders_json(holds: tuple[Hold, ...]) -> list[dict[str, object]]:
    """Orders as they stand in the audit chain."""
    return [
        {
            "kind": hold.kind.value,
            "model": hold.model,
            "version": hold.version,
            "until": render_time(hold.until),
            "by": hold.by,
            "reason": hold.reason,
        }
        for hold in holds
    ]
