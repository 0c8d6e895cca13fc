"""Shared-memory slots: one process says that it lives and which version it is computing with right now.

One file in the state folder, one 64-byte slot a process, mapped by all of them. A process writes its own slot only;
the supervisor reads all of them and clears a slot before it starts the process that will claim it. Because the file
outlives a crash, the version that was being computed can be named afterwards.

Every write is one aligned 4- or 8-byte store, so a reader never sees half a number; there is no lock.
Not here: what a silent or crashed process leads to (supervisor.py, control).

Slot, little endian (bytes 40 to 63 are zero)::

    0  u32 magic     8  u32 pid      16 u64 heartbeat, ns of CLOCK_MONOTONIC     32 u64 boot
    4  u32 role     12  u32 state    24 u64 digest prefix in flight, 0 = none
"""

import mmap
import os
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

SLOT_BYTES = 64  # one cache line: two processes never write the same line
_MAGIC = 0x544C5350  # "PSLT"; a slot without it was never claimed
_LAYOUT = struct.Struct("<IIIIQQQ")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")  # on little-endian machines CPython stores this with one 8-byte move
_STATE, _BEAT, _INFLIGHT = 12, 16, 24


class Role(IntEnum):
    """What kind of process holds a slot."""

    WORKER = 1
    HEAVY = 2
    CONTROL = 3


class State(IntEnum):
    """How far a process is."""

    STARTING = 1
    READY = 2
    DRAINING = 3


_ROLES, _STATES = frozenset(Role), frozenset(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """What one slot says. `inflight` is None when no version is being computed with."""

    role: Role
    pid: int
    state: State
    heartbeat_ns: int
    inflight: int | None
    boot: int


def slot_count(workers: int) -> int:
    """Slots needed for that many workers, the compute process and control."""
    return workers + 2


def heavy_slot(workers: int) -> int:
    """Slot number of the compute process: right after the workers."""
    return workers


def control_slot(workers: int) -> int:
    """Slot number of control: the last one."""
    return workers + 1


def digest_prefix(digest: str) -> int:
    """Number that stands for a version in a slot: the first 8 bytes of its digest; never 0, which means none.

    >>> digest_prefix("00000000000000ff" + "0" * 48)
    255
    """
    return int(digest[:16], 16) or 1


class Slots:
    """The mapped slot file. Open it once a process; close it or use it as a context manager."""

    def __init__(self, mapped: mmap.mmap, count: int) -> None:
        self._map = mapped
        self.count = count

    @classmethod
    def open(cls, path: Path, count: int) -> Self:
        """Map `count` slots of the file, making it (0600) or growing it when needed; it never shrinks.

        Shrinking under a process that has it mapped would kill that process with SIGBUS.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            wanted = count * SLOT_BYTES
            if (size := os.fstat(handle).st_size) < wanted:
                os.pwrite(handle, bytes(wanted - size), size)  # zeros, not a hole: that would be SIGBUS on a full disk
            return cls(mmap.mmap(handle, wanted), count)
        finally:
            os.close(handle)

    def claim(self, index: int, role: Role, pid: int, boot: int) -> None:
        """Take a slot for this process: state STARTING, heart beating from now, nothing in flight."""
        start = self._start(index)
        _LAYOUT.pack_into(self._map, start, 0, role, pid, State.STARTING, time.monotonic_ns(), 0, boot)
        _U32.pack_into(self._map, start, _MAGIC)  # last: a reader sees a whole slot or none

    def clear(self, index: int) -> None:
        """Empty a slot; the supervisor does so before it starts the process that will claim it."""
        start = self._start(index)
        self._map[start : start + SLOT_BYTES] = bytes(SLOT_BYTES)

    def set_state(self, index: int, state: State) -> None:
        """Say how far this process is."""
        _U32.pack_into(self._map, self._start(index) + _STATE, state)

    def beat(self, index: int) -> None:
        """Say that this process still moves."""
        _U64.pack_into(self._map, index * SLOT_BYTES + _BEAT, time.monotonic_ns())

    def set_inflight(self, index: int, prefix: int) -> None:
        """Say which version computes from now on (`digest_prefix`), 0 for none. On the hot path: about 0.1 µs."""
        _U64.pack_into(self._map, index * SLOT_BYTES + _INFLIGHT, prefix)

    def read(self, index: int) -> SlotState | None:
        """Return what a slot says; None while nobody has claimed it, or when it holds rubbish.

        A library that writes where it should not can reach the mapping; its process must not take the readers along.
        """
        magic, role, pid, state, beat, inflight, boot = _LAYOUT.unpack_from(self._map, self._start(index))
        if magic != _MAGIC or role not in _ROLES or state not in _STATES:
            return None
        return SlotState(
            role=Role(role),
            pid=pid,
            state=State(state),
            heartbeat_ns=beat,
            inflight=inflight or None,
            boot=boot,
        )

    def close(self) -> None:
        """Unmap the file; the slots stay as they are."""
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self, index: int) -> int:
        if not 0 <= index < self.count:
            msg = f"slot {index} does not exist: the file has slots 0 to {self.count - 1}"
            raise IndexError(msg)
        return index * SLOT_BYTES
