"""The worker's counters: plain lists on the hot path, written to Prometheus's shared files by a timer.

Counting a call is an index and a bisect (1 microsecond inside a loaded server where labels().inc() takes 11). Files are
named by slot, not by process id, so a restarted worker goes on with the numbers of its predecessor, and the number of
files stays that of the slots. Control serves them over HTTP (prometheus_client's MultiProcessCollector).
Labels come from closed sets: methods of the contract, reasons, models, roles, endings; never ids or versions.
"""

from __future__ import annotations

import math
import os
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prometheus_client.mmap_dict
import prometheus_client.utils
import structlog

from server.errors import Reason
from server.ledger.spool import AttemptRole, Ending

_library: Any = prometheus_client  # the two modules below it have no types

FLUSH_SECONDS = 1.0
# Seconds. Fine where PredictChurn lives (0.3 to 20 ms), coarse up to the longest deadline.
BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_USED = struct.Struct("i")
_FILE_BYTES = 1 << 18  # every method with every reason takes 140 kB; the library would double a file that is too small
UNKNOWN = "unknown"  # stands for every method that no contract has
OK = "OK"

CALLS = "paedsresus_calls_total"
CALL_SECONDS = "paedsresus_call_seconds"
ATTEMPTS = "paedsresus_attempts_total"
ROWS = "paedsresus_rows_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A number that is read when the counters are flushed: name, what it means, how to get it.

    A name that ends in `_total` is a counter of this process's own making; any other is a gauge.
    """

    name: str
    about: str
    read: Callable[[], float]


class _Lane:
    """Seconds of one method's answered calls: counts by bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0


class Metrics:
    """All counters of one process. `folder` is the state folder's `metrics`."""

    def __init__(self, folder: Path, slot: int, *, methods: Iterable[str], readings: Iterable[Reading] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lanes = {method: _Lane() for method in (*methods, UNKNOWN)}
        self._failures: dict[tuple[str, Reason], int] = {}
        self._attempts: dict[tuple[str, AttemptRole, Ending], int] = {}
        self._tallies: dict[tuple[str, AttemptRole], list[int]] = {}
        self._readings = list(readings)
        self._counters = _Series(folder / f"counter_{slot}.db")
        self._histograms = _Series(folder / f"histogram_{slot}.db")
        self._gauges = _Series(folder / f"gauge_all_{slot}.db")

    def add(self, *readings: Reading) -> None:
        """Read these too from now on."""
        self._readings += readings

    def ended(self, method: str, reason: Reason | None, seconds: float) -> None:
        """Count one call; seconds are kept of answers only, since refusals are fast and would flatter."""
        lane = self._lanes.get(method)
        if lane is None:
            method = UNKNOWN
            lane = self._lanes[UNKNOWN]
        if reason is None:
            lane.counts[bisect_left(BUCKETS, seconds)] += 1
            lane.total += seconds
        else:
            key = (method, reason)
            self._failures[key] = self._failures.get(key, 0) + 1

    def tally(self, model: str, role: AttemptRole) -> list[int]:
        """The cell [attempts that ended well, their rows] of a model in a role; the hot path adds to it directly."""
        return self._tallies.setdefault((model, role), [0, 0])

    def failed_attempt(self, model: str, role: AttemptRole, ending: Ending) -> None:
        """Count one attempt that did not end well."""
        key = (model, role, ending)
        self._attempts[key] = self._attempts.get(key, 0) + 1

    def flush(self) -> None:
        """Write everything to the files."""
        counters, histograms, gauges = self._counters, self._histograms, self._gauges
        for method, lane in self._lanes.items():
            answered = sum(lane.counts)
            if not answered:
                continue
            histograms.write(CALL_SECONDS, "_sum", {"method": method}, "Seconds of an answered call", lane.total)
            for bound, count in zip((*BUCKETS, math.inf), lane.counts, strict=True):
                labels = {"method": method, "le": _library.utils.floatToGoString(bound)}
                histograms.write(CALL_SECONDS, "_bucket", labels, "Seconds of an answered call", count)
            counters.write(CALLS, "", {"method": method, "reason": OK}, "Calls by how they ended", answered)
        for (method, reason), count in self._failures.items():
            counters.write(CALLS, "", {"method": method, "reason": reason.value}, "Calls by how they ended", count)
        about = "Tries of a version at a request, by how they ended"
        for (model, role, ending), count in self._attempts.items():
            labels = {"model": model, "role": role.name.lower(), "ending": ending.name}
            counters.write(ATTEMPTS, "", labels, about, count)
        for (model, role), (attempts, rows) in self._tallies.items():
            labels = {"model": model, "role": role.name.lower()}
            counters.write(ATTEMPTS, "", {**labels, "ending": Ending.OK.name}, about, attempts)
            counters.write(ROWS, "", labels, "Rows answered", rows)
        for reading in self._readings:
            series = counters if reading.name.endswith("_total") else gauges
            series.write(reading.name, "", {}, reading.about, reading.read())

    def close(self) -> None:
        """Flush for the last time and close the files."""
        self.flush()
        for series in (self._counters, self._histograms, self._gauges):
            series.close()


class _Series:
    """One of Prometheus's shared files; counters go on from what the slot's last process left."""

    def __init__(self, path: Path) -> None:
        if not _is_whole(path):
            path.unlink(missing_ok=True)  # torn by a crash of the machine: numbers are lost, serving is not
        self._file: Any = None
        try:
            _allocate(path)
        except OSError as failure:  # a full disk: the numbers are missed, the answers are not
            structlog.get_logger().error("metrics_not_written", file=path.name, reason=failure.strerror)
        else:
            self._file = _library.mmap_dict.MmapedDict(str(path))
        self._goes_on = not path.name.startswith("gauge")
        self._bases: dict[str, float] = {}

    def write(self, metric: str, suffix: str, labels: dict[str, str], about: str, value: float) -> None:
        """Set one sample to this process's number plus what was there before it."""
        if self._file is None:
            return
        family = metric.removesuffix("_total")
        key = _library.mmap_dict.mmap_key(family, metric + suffix, list(labels), list(labels.values()), about)
        base = self._bases.get(key)
        if base is None:
            base = self._file.read_value(key)[0] if self._goes_on else 0.0
            self._bases[key] = base
        self._file.write_value(key, base + value, 0.0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _allocate(path: Path) -> None:
    """Give the file all the blocks that it will ever need: a mapped page for which the disk has none is SIGBUS.

    Raises: OSError: the disk is full.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, _FILE_BYTES)
        elif (size := os.fstat(handle).st_size) < _FILE_BYTES:
            os.pwrite(handle, bytes(_FILE_BYTES - size), size)
    except OSError:
        path.unlink()  # half a file would be mapped by the next process
        raise
    finally:
        os.close(handle)


def _is_whole(path: Path) -> bool:
    """Whether the library can go on with the file: its first number says how much of it is in use."""
    if not path.exists():
        return True
    with path.open("rb") as file:
        head = file.read(_USED.size)
    if len(head) < _USED.size or not 0 <= _USED.unpack(head)[0] <= path.stat().st_size:
        return False
    try:
        for _ in _library.mmap_dict.MmapedDict.read_all_values_from_file(str(path)):
            pass
    except Exception:  # noqa: BLE001 - whatever garbage makes the library raise
        return False
    return True
