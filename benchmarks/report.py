"""What every benchmark hands back: one JSON shape, and a table with each figure beside its anchor.

A benchmark reports and never fails for a figure: a bad one is printed like a good one.
"""

import json
import math
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

_METRIC_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A figure to stand beside a measured one: a goal, or what others published."""

    at_least: float | None = None
    at_most: float | None = None
    source: str  # where the figure comes from, in words

    def is_reached_by(self, value: float) -> bool:
        """True when the value lies within the anchor's bounds; NaN never does."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        lower = "" if self.at_least is None else f"≥ {_figure(self.at_least)}"
        upper = "" if self.at_most is None else f"≤ {_figure(self.at_most)}"
        return " ".join(part for part in (lower, upper) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One benchmark on one data set."""

    benchmark: str
    data: str  # which data or which subject, with what identifies it
    metrics: Mapping[str, float]  # flat dotted snake_case names
    anchors: Mapping[str, Anchor] = field(default_factory=dict)  # by the same names
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [name for name in (*self.metrics, *self.anchors) if not _METRIC_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"not dotted snake_case: {', '.join(wrong)}")


def describe_environment(packages: Sequence[str] = ()) -> dict[str, str]:
    """What a reader needs to compare two runs: machine, interpreter, versions. Nothing that names the machine."""
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def report_json(report: Report) -> str:
    """The report as JSON; a figure that is not finite becomes null."""
    value = {
        "benchmark": report.benchmark,
        "data": report.data,
        "metrics": {name: (number if math.isfinite(number) else None) for name, number in report.metrics.items()},
        "anchors": {
            name: {key: part for key, part in asdict(anchor).items() if part is not None}
            for name, anchor in report.anchors.items()
        },
        "environment": dict(report.environment),
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(report: Report, path: Path) -> None:
    """Write the report, replacing the file."""
    path.write_text(report_json(report), encoding="utf-8")


def print_report(report: Report, console: Console | None = None) -> None:
    """Print every figure, beside its anchor where it has one."""
    table = Table(title=f"{report.benchmark}: {report.data}", title_justify="left")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("anchor", justify="right")
    table.add_column("")
    for name, value in report.metrics.items():
        anchor = report.anchors.get(name)
        if anchor is None:
            table.add_row(name, _figure(value), "", "")
        else:
            verdict = "[green]reached[/green]" if anchor.is_reached_by(value) else "[red]missed[/red]"
            table.add_row(name, _figure(value), str(anchor), f"{verdict}  {anchor.source}")
    (console or Console(file=sys.stdout)).print(table)


def _figure(value: float) -> str:
    """Four significant digits without an exponent.

    >>> _figure(0.84812), _figure(3171.4), _figure(2.0), _figure(0.0)
    ('0.8481', '3,171', '2', '0')
    """
    if not math.isfinite(value) or value == 0:
        return "0" if value == 0 else str(value)
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 8)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
