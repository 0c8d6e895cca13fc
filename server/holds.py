"""Break-glass orders of a person to the server itself, for when the registry is away: a small file that control obeys.

A hold keeps one version of a model answering; a freeze keeps everything as it is. Each has an end, none is forever.
The command appends (`add_hold`), control reads at each poll and ends an order when the registry agrees with it.
Not here: what control does about it (control); how a person says it (commands/hold.py).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from server.desired import DesiredError, parse_time, render_time, write_atomically

HOLDS_NAME = "holds.json"
HOLDS_FORMAT = 1


class HoldKind(StrEnum):
    """What an order does."""

    VERSION = "version"  # this version answers, whatever the registry says
    FREEZE = "freeze"  # what is live stays live


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One order. `model` and `version` are None for a freeze."""

    kind: HoldKind
    start: datetime
    until: datetime
    model: str | None = None
    version: int | None = None
    reason: str = ""
    by: str = ""  # account of the person on this machine


def holds_in_force(holds: Iterable[Hold], now: datetime) -> tuple[Hold, ...]:
    """Orders that have begun and not ended, oldest first; a later order for the same model replaces an earlier one."""
    latest: dict[tuple[HoldKind, str | None], Hold] = {}
    for hold in sorted(holds, key=lambda hold: hold.start):
        if hold.start <= now < hold.until:
            latest[hold.kind, hold.model] = hold
    return tuple(sorted(latest.values(), key=lambda hold: hold.start))


def render_holds(holds: Iterable[Hold]) -> bytes:
    """Bytes of the file."""
    document = {
        "format": HOLDS_FORMAT,
        "holds": [
            {
                "kind": hold.kind.value,
                "model": hold.model,
                "version": hold.version,
                "start": render_time(hold.start),
                "until": render_time(hold.until),
                "reason": hold.reason,
                "by": hold.by,
            }
            for hold in holds
        ],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def parse_holds(content: bytes) -> tuple[Hold, ...]:
    """Read the file.

    Raises: DesiredError: it breaks its format; the text names the order and field.
    """
    try:
        document = json.loads(content)
        orders = document["holds"] if document["format"] == HOLDS_FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise DesiredError(f"{HOLDS_NAME} is not a file of holds") from cause
    if not isinstance(orders, list):
        raise DesiredError(f"{HOLDS_NAME} must have format {HOLDS_FORMAT} and a list of holds")
    return tuple(_parse_hold(order, index) for index, order in enumerate(orders))


def read_holds(path: Path) -> tuple[Hold, ...]:
    """Return the file's orders, expired ones too; none when there is no file.

    Raises: DesiredError: the file is there and broken. OSError: it cannot be read.
    """
    try:
        return parse_holds(path.read_bytes())
    except FileNotFoundError:
        return ()


def add_hold(path: Path, hold: Hold) -> None:
    """Add one order and drop those that ended before it began."""
    with _alone(path):
        kept = [old for old in read_holds(path) if old.until > hold.start]
        write_atomically(path, render_holds([*kept, hold]))


def end_all(path: Path) -> tuple[Hold, ...]:
    """Remove every order; returns those that stood there."""
    with _alone(path):
        ended = read_holds(path)
        write_atomically(path, render_holds([]))
    return ended


def end_hold(path: Path, hold: Hold) -> None:
    """Remove one order, as it was read from the file."""
    with _alone(path):
        write_atomically(path, render_holds([other for other in read_holds(path) if other != hold]))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One writer at a time: the command adds while control ends."""
    handle = os.open(path.with_name("holds.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _parse_hold(order: object, index: int) -> Hold:
    place = f"{HOLDS_NAME} holds[{index}]"
    if not isinstance(order, dict):
        raise DesiredError(f"{place} must be a JSON object")
    kind, model, version = order.get("kind"), order.get("model"), order.get("version")
    if kind not in {known.value for known in HoldKind}:
        raise DesiredError(f"{place}.kind must be one of {', '.join(HoldKind)}")
    is_version = isinstance(model, str) and isinstance(version, int) and not isinstance(version, bool) and version > 0
    if kind == HoldKind.VERSION and not is_version:
        raise DesiredError(f"{place} must name a model and a version from 1")
    try:
        start, until = parse_time(str(order.get("start"))), parse_time(str(order.get("until")))
    except DesiredError as wrong:
        raise DesiredError(f"{place}: {wrong}") from wrong
    return Hold(
        kind=HoldKind(kind),
        model=model if is_version else None,
        version=version if is_version else None,
        start=start,
        until=until,
        reason=_readable(order.get("reason")),
        by=_readable(order.get("by")),
    )


def _readable(value: object) -> str:
    """A person's words; bytes of a terminal that were no UTF-8 become question marks, or no answer could carry them."""
    return str(value or "").encode("utf-8", "replace").decode()
