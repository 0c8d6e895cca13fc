"""Counting: which calls fall into the counted window, how they ended, how long they took, who used the CPU meanwhile.

Failures count at any time of the run; speed counts in the window only.
"""

import os
import time
from array import array
from collections import Counter
from pathlib import Path

from benchmarks.load.connection import Ended
from benchmarks.load.plan import LoadReport, Loop, Plan, percentile

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU seconds, user and system, that a process has used so far; 0 once it is gone.

    Source: proc(5), fields 14 and 15 of /proc/PID/stat; the name in field 2 may hold spaces.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Tally:
    """Counts of one run; the loop tells it when the window opens and closes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._opens = self._closes = 0.0
        self._latencies = array("d")
        self._lateness = array("d")
        self._records = array("d")
        self._failures: Counter[str] = Counter()
        self._failed = 0
        self._refused = 0
        self._ok_by_line: Counter[int] = Counter()
        self._samples: list[bytes] = []
        self._before: tuple[float, float, dict[int, float]] | None = None
        self._after: tuple[float, float, dict[int, float]] | None = None

    def set_window(self, opens: float, closes: float) -> None:
        """The counted window, on the monotonic clock."""
        self._opens, self._closes = opens, closes

    def look(self, now: float) -> None:
        """Read the CPU clocks when the window's first or last moment has just passed."""
        if self._before is None and now >= self._opens:
            self._before = self._clocks()
        elif self._after is None and now >= self._closes:
            self._after = self._clocks()

    def note_late(self, seconds: float) -> None:
        """The generator sent a call this much after its intended time."""
        self._lateness.append(seconds)

    def note_refused(self) -> None:
        """The server refused a stream untouched, and the call was sent again."""
        self._refused += 1

    def add(self, ended: Ended, now: float, line: int) -> None:
        """Count a call that ended at `now` on connection `line` (its local port)."""
        if ended.status != 0:
            self._failed += 1
            if len(self._failures) < 50 or f"{ended.status} {ended.message}" in self._failures:
                self._failures[f"{ended.status} {ended.message}"] += 1
        else:
            # A closed loop counts answers that came within the window; an open loop calls that were meant for it.
            moment = now if self._plan.loop is Loop.CLOSED else ended.began
            if self._opens <= moment < self._closes:
                self._latencies.append(now - ended.began)
                self._ok_by_line[line] += 1
        if self._plan.records_file:
            self._records.extend((ended.began, now - ended.began, float(ended.status)))
        # Beside records every call has its sample, so that the two stand in the same order; else only answers count.
        is_wanted = ended.status == 0 or bool(self._plan.records_file)
        if is_wanted and ended.body is not None and len(self._samples) < self._plan.most_samples:
            self._samples.append(ended.body)

    def add_unanswered(self, calls: int) -> None:
        """Count calls that never got an answer."""
        if calls:
            self._failed += calls
            self._failures["unanswered"] += calls

    @property
    def samples(self) -> list[bytes]:
        """Answers kept for checking."""
        return self._samples

    @property
    def records(self) -> "array[float]":  # 3.11 cannot subscript it at run time
        """Three doubles a call: intended time, latency in seconds, status."""
        return self._records

    def report(self) -> LoadReport:
        """The run in numbers."""
        before = self._before or self._clocks()
        after = self._after or self._clocks()
        ordered = sorted(self._latencies)
        late = sorted(self._lateness)
        counted = self._closes - self._opens
        clocked = max(after[0] - before[0], 1e-9)
        return LoadReport(
            loop=self._plan.loop.value,
            offered_per_second=self._plan.rate,
            counted_seconds=counted,
            ok=len(ordered),
            failed=self._failed,
            failures=dict(self._failures.most_common(10)),
            refused_streams=self._refused,
            calls_per_second=len(ordered) / counted,
            p50_ms=percentile(ordered, 0.5) * 1e3,
            p99_ms=percentile(ordered, 0.99) * 1e3,
            p999_ms=percentile(ordered, 0.999) * 1e3,
            max_ms=percentile(ordered, 1.0) * 1e3,
            late_p99_ms=percentile(late, 0.99) * 1e3 if late else 0.0,
            generator_cpu_share=(after[1] - before[1]) / clocked,
            cpu_seconds={str(pid): after[2].get(pid, 0.0) - seconds for pid, seconds in before[2].items()},
            ok_by_connection={str(line): calls for line, calls in self._ok_by_line.items()},
        )

    def _clocks(self) -> tuple[float, float, dict[int, float]]:
        watched = {pid: cpu_seconds(pid) for pid in self._plan.watched_pids}
        return time.monotonic(), time.process_time(), watched
