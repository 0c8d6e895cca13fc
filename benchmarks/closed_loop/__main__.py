"""`python -m benchmarks.closed_loop [--json FILE] [--only NAME] [--seeds N]`: policies where the truth is known.

Two tables: what each policy gains over its sensible alternatives, with a 95 % interval over seeds (each draws a world),
and how often the 90 % intervals that methods answer hold the truth. It reports and never fails for a figure.
docs/benchmarks.md says what is run.
"""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.closed_loop import abilities, path, payments, platform, price, purchases, schedule, upsell
from benchmarks.closed_loop.comparison import Difference, Policy, SeedResult, coverage_over_seeds, over_seeds
from benchmarks.report import Anchor, Report, describe_environment, write_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)

SEEDS: Final = 20
COVERAGE: Final = Anchor(at_least=0.87, at_most=0.93, source="90 % intervals, goal")
GAIN: Final = Anchor(at_least=0.0, source="above the alternative")
PACKAGES: Final = ("numpy", "scipy")
WIDTH: Final = 150  # columns of the printed tables


class Name(Enum):
    """What can be run alone: policies, and methods that decide nothing and are judged by their intervals."""

    DIFFICULTY = "difficulty"
    LTV = "ltv"
    PATH = "path"
    PAYMENTS = "payments"
    PLATFORM = "platform"
    PRICE = "price"
    SCHEDULE = "schedule"
    UPSELL = "upsell"


POLICIES: Final[Mapping[Name, Policy]] = {
    Name.PATH: path.POLICY,
    Name.SCHEDULE: schedule.POLICY,
    Name.PRICE: price.POLICY,
    Name.PAYMENTS: payments.POLICY,
    Name.UPSELL: upsell.POLICY,
    Name.DIFFICULTY: abilities.POLICY,
    Name.LTV: purchases.POLICY,
    Name.PLATFORM: platform.POLICY,
}


@app.command()
def measure(
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    only: Annotated[Name | None, typer.Option(help="One of them alone.")] = None,
    seeds: Annotated[int, typer.Option(help="Worlds for each policy.", min=1)] = SEEDS,
) -> None:
    """Run every policy in its worlds; print both tables."""
    chosen = [POLICIES[only]] if only else list(POLICIES.values())
    results = {policy.name: [policy.run(seed) for seed in range(seeds)] for policy in chosen}
    console = Console(width=WIDTH)
    if any(policy.gains for policy in chosen):
        console.print(gains_table(chosen, results))
    console.print(coverage_table(results))
    if json:
        write_json(report_of(chosen, results, seeds), json)


def report_of(policies: list[Policy], results: Mapping[str, list[SeedResult]], seeds: int) -> Report:
    """Everything that was measured, under flat names."""
    metrics: dict[str, float] = {}
    anchors: dict[str, Anchor] = {}
    for policy in policies:
        runs = results[policy.name]
        for alternative, found in _differences(policy, runs).items():
            name = f"{policy.name}.{alternative}"
            metrics |= _with_ends(f"{name}.difference", found)
            metrics[f"{name}.is_gain"] = float(found.is_gain)
            anchors[f"{name}.difference_lower"] = GAIN
        metrics |= {f"{policy.name}.{name}": value for name, value in _figures(runs).items()}
        for name, found in _coverages(runs).items():
            metrics |= _with_ends(f"coverage.{policy.name}.{name}", found)
            anchors[f"coverage.{policy.name}.{name}"] = COVERAGE
    return Report(
        benchmark="closed_loop",
        data=f"{seeds} worlds for each policy",
        metrics=metrics,
        anchors=anchors,
        environment=describe_environment(PACKAGES),
    )


def gains_table(policies: list[Policy], results: Mapping[str, list[SeedResult]]) -> Table:
    """Differences, each with its interval and what they say."""
    table = Table(title="policy against alternative: mean difference, 95 % interval over seeds", title_justify="left")
    for column in ("policy", "against", "difference of", "mean", "interval", "says"):
        table.add_column(column, overflow="fold", justify="right" if column in {"mean", "interval"} else "left")
    for policy in policies:
        runs = results[policy.name]
        for alternative, found in _differences(policy, runs).items():
            says = "gain" if found.is_gain else f"no gain: {policy.why(alternative, _figures(runs))}"
            table.add_row(
                policy.name, alternative, policy.gains[alternative], f"{found.value:+.4g}",
                f"{found.lower:+.4g} to {found.upper:+.4g}", says,
            )  # fmt: skip
    return table


def coverage_table(results: Mapping[str, list[SeedResult]]) -> Table:
    """Shares of 90 % intervals that held the truth."""
    table = Table(
        title="coverage of 90 % intervals: share, 95 % interval over seeds, goal 87-93 %", title_justify="left"
    )
    for column in ("method", "interval", "counted", "share", "over seeds", "says"):
        table.add_column(column, justify="right" if column in {"share", "over seeds"} else "left")
    for name, runs in results.items():
        for interval, found in _coverages(runs).items():
            counted = next(iter(runs)).answers[interval].kind.value
            table.add_row(
                name, interval, counted, f"{found.value:.1%}", f"{found.lower:.1%} to {found.upper:.1%}",
                coverage_verdict(found),
            )  # fmt: skip
    return table


def coverage_verdict(found: Difference) -> str:
    """Whether the goal is reached, and whether the seeds could tell.

    >>> coverage_verdict(Difference(value=0.91, lower=0.88, upper=0.94))
    'reached'
    >>> coverage_verdict(Difference(value=0.86, lower=0.80, upper=0.92))
    'missed, within what seeds differ by'
    """
    if COVERAGE.is_reached_by(found.value):
        return "reached"
    low, high = COVERAGE.at_least or 0.0, COVERAGE.at_most or 1.0
    if found.upper >= low and found.lower <= high:
        return "missed, within what seeds differ by"
    return "too narrow" if found.value < low else "too wide"


def _differences(policy: Policy, runs: list[SeedResult]) -> dict[str, Difference]:
    return {alternative: over_seeds([run.gains[alternative] for run in runs]) for alternative in policy.gains}


def _figures(runs: list[SeedResult]) -> dict[str, float]:
    return {name: float(np.mean([run.figures[name] for run in runs])) for name in runs[0].figures}


def _coverages(runs: list[SeedResult]) -> dict[str, Difference]:
    return {name: coverage_over_seeds([run.answers[name] for run in runs]) for name in runs[0].answers}


def _with_ends(name: str, found: Difference) -> dict[str, float]:
    return {name: found.value, f"{name}_lower": found.lower, f"{name}_upper": found.upper}


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.closed_loop")
