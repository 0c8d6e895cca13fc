"""What one run of the generator is asked, and what it reports: plain values that travel as JSON.

Not here: how calls are made (drive.py), how the process is started (run.py).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Final

# Above this share of its core the generator may be what is measured; then CPU microseconds a call decide.
BUSY_SHARE: Final = 0.8


class Loop(Enum):
    """How calls follow one another."""

    CLOSED = "closed"  # a new call when an answer has come: capacity
    FIXED = "fixed"  # evenly spaced, whatever the answers do: latency
    POISSON = "poisson"  # as independent callers send: latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run against one port of this machine."""

    port: int
    path: str  # "/package.Service/Method"
    bodies_file: str  # request messages, each behind a u32 little-endian length; cycled through
    loop: Loop
    connections: int = 4
    streams: int = 8  # calls in flight on each connection, closed loop only
    rate: float = 0.0  # calls a second, open loops only
    warm_seconds: float = 0.3  # not counted, but failures are
    seconds: float = 1.5  # counted
    drain_seconds: float = 5.0  # for answers still on their way at the end
    most_calls: int = 2_000_000
    deadline_seconds: int = 10  # sent as grpc-timeout
    sample_every: int = 0  # keep every n-th answer for checking; 0 keeps none
    most_samples: int = 200
    samples_file: str = ""
    records_file: str = ""  # every call as three doubles: intended time, latency in seconds, status
    watched_pids: tuple[int, ...] = ()  # processes whose CPU time is read at the window's two ends
    core: int | None = None  # the generator's core
    seed: int = 1

    def to_json(self) -> str:
        """As JSON; `plan_of` reads it back."""
        return json.dumps(asdict(self) | {"loop": self.loop.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What one run saw. Latencies are milliseconds over calls of the counted window that ended OK."""

    loop: str
    offered_per_second: float  # 0 in a closed loop
    counted_seconds: float
    ok: int  # answered with grpc-status 0 in the counted window
    failed: int  # anything else, at any time of the run, also calls never answered
    failures: dict[str, int]  # "status message" -> calls
    refused_streams: int  # refused untouched and sent again, as our client does; out of attempts is a failure
    calls_per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_p99_ms: float  # how late the generator sent, against the intended time; inside the latencies above
    generator_cpu_share: float  # of one core
    cpu_seconds: dict[str, float]  # pid -> CPU seconds in the counted window
    ok_by_connection: dict[str, int] = field(default_factory=dict)  # local port -> calls

    @property
    def is_generator_busy(self) -> bool:
        """True when the generator may have been the limit."""
        return self.generator_cpu_share > BUSY_SHARE

    def cpu_us(self, pid: int) -> float:
        """CPU microseconds that one process spent on each OK call; NaN without calls."""
        return self.cpu_seconds[str(pid)] / self.ok * 1e6 if self.ok else math.nan


def plan_of(text: str) -> Plan:
    """The plan that `Plan.to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    values["loop"] = Loop(values["loop"])
    values["watched_pids"] = tuple(values["watched_pids"])
    return Plan(**values)


def report_of(text: str) -> LoadReport:
    """The report that the generator printed."""
    return LoadReport(**json.loads(text))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; NaN of nothing.

    Nearest rank: a value that was seen, never one between two.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
