"""What the supervisor noted of dead processes since last time: `crashes.jsonl`, read on from a mark.

The supervisor appends a line for every process that died while it computed, with the version in its slot. A file that
is younger than the mark is read from its beginning; at the very first look only what comes later counts.
Not here: what a crash does to a version (rollout.py); who writes the file (supervisor.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CRASHES_NAME = "crashes.jsonl"
# Endings that say nothing about the version in hand: somebody outside ended the process.
_UNBLAMED = frozenset({"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """One process that died while it computed with the version of that digest (its first 16 digits)."""

    digest_prefix: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What a look found: crashes that blame a version, lines that could not be read, and the mark to read on from."""

    crashes: tuple[Crash, ...]
    unreadable: int
    mark: str


def read_crashes(path: Path, mark: str | None) -> Noted | None:
    """Read on from a mark, None at the very first look; None when there is nothing new."""
    try:
        status = path.stat()
    except OSError:
        return None
    inode, offset = (int(part) for part in mark.split(":")) if mark else (status.st_ino, status.st_size)
    if inode != status.st_ino or offset > status.st_size:
        inode, offset = status.st_ino, 0
    if mark is not None and offset == status.st_size:
        return None
    with path.open("rb") as file:
        file.seek(offset)
        lines = file.read()
    whole = lines[: lines.rfind(b"\n") + 1]
    crashes, unreadable = [], 0
    for line in whole.splitlines():
        try:
            crash = json.loads(line)
            prefix, ending = str(crash["digest_prefix"]), str(crash["ending"])
        except (ValueError, KeyError, TypeError, RecursionError):
            unreadable += 1
            continue
        if ending not in _UNBLAMED:
            detail = {"slot": crash.get("slot"), "ending": ending, "at": crash.get("at")}
            crashes.append(Crash(digest_prefix=prefix, detail=detail))
    return Noted(crashes=tuple(crashes), unreadable=unreadable, mark=f"{inode}:{offset + len(whole)}")
