"""The table of runs: one row a subject and a loop, with the generator's own share beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.load.plan import BUSY_SHARE, LoadReport, Loop
from benchmarks.speed.rounds import Spread

# Below this share of its core a process that is kept full had to share it with something else.
OWN_CORE_SHARE: Final = 0.9
RUN_FIGURES: Final = (
    "calls_per_second",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "cpu_us",
    "failed_calls",
    "generator_cpu_share",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Rounds of one subject under one load, as medians."""

    subject: str
    loop: str
    calls_per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us: float  # of the processes under test, for each call
    failed: int  # over all rounds
    generator_share: float  # of its core, in the worst round
    core_share: float | None  # of one core for each process under test; None in an open loop, which leaves it idle
    ratio: Spread | None = None

    @property
    def marks(self) -> str:
        """Why calls a second are not to be trusted here, and CPU microseconds a call decide; empty when they are."""
        is_busy = self.generator_share > BUSY_SHARE
        is_shared = self.core_share is not None and self.core_share < OWN_CORE_SHARE
        return " ".join(mark for mark, is_true in (("busy", is_busy), ("shared", is_shared)) if is_true)

    def figures(self, prefix: str) -> dict[str, float]:
        """The row as metrics under a dotted prefix."""
        values = (
            self.calls_per_second,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.cpu_us,
            self.failed,
            self.generator_share,
        )
        return {f"{prefix}.{name}": value for name, value in zip(RUN_FIGURES, values, strict=True)}


def row_of(subject: str, loop: str, reports: Sequence[LoadReport], ratio: Spread | None = None) -> Row:
    """Medians over the rounds of one subject."""
    return Row(
        subject=subject,
        loop=loop,
        calls_per_second=median(report.calls_per_second for report in reports),
        p50_ms=median(report.p50_ms for report in reports),
        p99_ms=median(report.p99_ms for report in reports),
        p999_ms=median(report.p999_ms for report in reports),
        cpu_us=median(sum(report.cpu_seconds.values()) / (report.ok or math.nan) * 1e6 for report in reports),
        failed=sum(report.failed for report in reports),
        core_share=median(_core_share(report) for report in reports) if reports[0].loop == Loop.CLOSED.value else None,
        generator_share=max(report.generator_cpu_share for report in reports),
        ratio=ratio,
    )


def print_rows(title: str, rows: Sequence[Row], console: Console) -> None:
    """Print the rows; one whose generator was busy is marked."""
    table = Table(title=title, title_justify="left")
    for name in ("subject", "load"):
        table.add_column(name)
    for name in ("calls/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "failed", "generator", "ratio", ""):
        table.add_column(name, justify="right")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio.middle:.3f} [{row.ratio.least:.2f}-{row.ratio.most:.2f}]"
        table.add_row(
            row.subject,
            row.loop,
            f"{row.calls_per_second:,.0f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.p999_ms:.2f}",
            f"{row.cpu_us:,.0f}",
            f"{row.failed}",
            f"{row.generator_share:.0%}",
            ratio.replace("[", "\\["),
            f"[red]{row.marks}[/red]" if row.marks else "",
        )
    console.print(table)
    if any(row.marks for row in rows):
        console.print(
            "busy: the generator used more than 80 % of its core; shared: the process under test got less than 90 % of "
            "its own. Calls/s and their ratio say little there: CPU µs a call decide"
        )


def _core_share(report: LoadReport) -> float:
    return sum(report.cpu_seconds.values()) / report.counted_seconds / max(len(report.cpu_seconds), 1)
