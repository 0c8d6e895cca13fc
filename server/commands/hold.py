"""`hold`, `freeze`, `release`: break-glass orders to the server itself, for when the registry cannot be used.

The order is checked against what this machine holds, written for control to obey, and told back in words.
Not here: the file (holds.py); obeying it (control).
"""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from server.desired import DESIRED_NAME, read_desired
from server.holds import HOLDS_NAME, Hold, HoldKind, add_hold, end_all, holds_in_force
from server.settings import Settings

LONGEST = timedelta(days=7)  # an order that outlives a week is no emergency: set the alias
_END = "to end it now: python -m server release"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class OrderRefused(Exception):  # noqa: N818 - it says what happened; nothing failed
    """The order makes no sense here; the text says why and what would."""


def order_hold(settings: Settings, model: str, version: int, duration: str, *, reason: str, now: datetime) -> str:
    """Keep one version answering; returns what was ordered, in words.

    Raises: OrderRefused: the version is not in this machine's cache, or the duration is none.
    """
    known = versions_here(settings).get(model, {})
    digest = known.get(version)
    if digest is None or not (settings.state_dir / "cache" / digest).is_dir():
        there = ", ".join(str(number) for number in sorted(known)) or "none"
        raise OrderRefused(f"{model} version {version} is not in the cache of {settings.state_dir}; there are: {there}")
    until = now + parse_duration(duration)
    _add(settings, Hold(kind=HoldKind.VERSION, model=model, version=version, start=now, until=until, reason=reason))
    return (
        f"{model} answers from version {version} until {_shown(until)}, or until the registry asks for it too; {_END}"
    )


def order_freeze(settings: Settings, duration: str, *, reason: str, now: datetime) -> str:
    """Keep everything as it is; returns what was ordered, in words.

    Raises: OrderRefused: the duration is none.
    """
    until = now + parse_duration(duration)
    _add(settings, Hold(kind=HoldKind.FREEZE, start=now, until=until, reason=reason))
    return f"what is live stays live until {_shown(until)}; {_END}"


def order_release(settings: Settings, *, now: datetime) -> str:
    """End every order, in force or waiting behind another; returns what ended, in words.

    Raises: OrderRefused: no server has run here.
    """
    _check_ran(settings)
    ended = holds_in_force(end_all(settings.state_dir / HOLDS_NAME), now)
    if not ended:
        return "no hold and no freeze is in force; the registry decides"
    words = [f"{hold.model} held at version {hold.version}" if hold.model else "everything frozen" for hold in ended]
    return f"ended: {', '.join(words)}; the registry decides again"


def versions_here(settings: Settings) -> Mapping[str, Mapping[int, str]]:
    """Versions that this machine knows, as model -> version -> digest: what is to be loaded, and what control lists."""
    found: dict[str, dict[int, str]] = {}
    try:
        models = json.loads((settings.state_dir / "control.json").read_bytes())["models"]
        for model, entry in models.items():
            found.setdefault(model, {}).update({row["version"]: row["digest"] for row in entry["versions"]})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # control has not written it yet, or it is broken: the desired state still counts
    desired = read_desired(settings.state_dir / DESIRED_NAME)
    for load in desired.load if desired else ():
        found.setdefault(load.model, {})[load.version] = load.digest
    return found


def parse_duration(text: str) -> timedelta:
    """Read 90s, 30m, 2h or 1d; at most 7 days.

    Raises: OrderRefused: it is none of these.

    >>> parse_duration("2h")
    datetime.timedelta(seconds=7200)
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    duration = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else LONGEST + timedelta(days=1)
    if duration > LONGEST:
        raise OrderRefused(f"{text!r} is not a duration; write 90s, 30m, 2h or 1d, at most 7d")
    return duration


def _add(settings: Settings, hold: Hold) -> None:
    _check_ran(settings)
    by = getpass.getuser()
    add_hold(
        settings.state_dir / HOLDS_NAME,
        Hold(
            kind=hold.kind,
            model=hold.model,
            version=hold.version,
            start=hold.start,
            until=hold.until,
            reason=hold.reason,
            by=by,
        ),
    )


def _check_ran(settings: Settings) -> None:
    if not settings.state_dir.is_dir():
        raise OrderRefused(f"{settings.state_dir} does not exist: no server has run here")


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
