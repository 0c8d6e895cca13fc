"""The command as a whole, with small worlds."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.closed_loop import abilities, path, payments, platform, price, purchases, schedule, upsell
from benchmarks.closed_loop.__main__ import POLICIES, Name, app, coverage_verdict, report_of
from benchmarks.closed_loop.comparison import Difference, Policy, SeedResult

SMALL = {
    path: {"LEARNERS": 3},
    schedule: {"LEARNERS": 3, "FITTED_LEARNERS": 40},
    price: {"JUDGED": 1, "WEEKS": 26, "LOOKS": (4, 13, 25)},
    payments: {"PAYERS": 80},
    upsell: {"LOGGED": 3_000, "CUSTOMERS": 300},
    abilities: {"EXAMINED": 30},
    purchases: {"CUSTOMERS": 400},
    platform: {"USERS": 700, "ANSWERS_FITTED": 6_000, "LEARNERS_ASKED": 60},
}


@pytest.mark.parametrize("name", list(Name), ids=lambda name: name.value)
def test_a_quick_run_prints_its_tables_and_writes_every_figure(
    name: Name, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module, sizes in SMALL.items():
        for constant, value in sizes.items():
            monkeypatch.setattr(module, constant, value)
    file, policy = tmp_path / "figures.json", POLICIES[name]

    command = ["--only", name.value, "--seeds", "2", "--json", str(file)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)

    assert done.exit_code == 0, done.output
    assert ("policy against alternative" in done.output) == bool(policy.gains)
    assert "coverage of 90 % intervals" in done.output
    report = json.loads(file.read_text())
    assert report["benchmark"] == "closed_loop"
    metrics = report["metrics"]
    for alternative in policy.gains:
        value, lower, upper = (
            metrics[f"{policy.name}.{alternative}.difference{end}"] for end in ("", "_lower", "_upper")
        )
        assert lower <= value <= upper
        assert metrics[f"{policy.name}.{alternative}.is_gain"] == float(lower > 0)
    coverage = [value for key, value in metrics.items() if key.startswith(f"coverage.{policy.name}.")]
    assert coverage
    assert all(0.0 <= value <= 1.0 for value in coverage)


def test_what_is_no_gain_says_why_and_what_is_says_so() -> None:
    policy = Policy(name="demo", gains={"other": "points"}, run=lambda _: SeedResult(), why=lambda a, f: f"{a} {f}")
    worse = [SeedResult(gains={"other": value}, figures={"room": 0.5}) for value in (-1.0, 1.0, -1.0)]
    better = [SeedResult(gains={"other": value}, figures={"room": 0.5}) for value in (1.0, 1.1, 1.2)]

    assert report_of([policy], {"demo": worse}, 3).metrics["demo.other.is_gain"] == 0.0
    assert report_of([policy], {"demo": better}, 3).metrics["demo.other.is_gain"] == 1.0
    assert math.isclose(report_of([policy], {"demo": better}, 3).metrics["demo.room"], 0.5)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Difference(value=0.9, lower=0.85, upper=0.95), "reached"),
        (Difference(value=0.7, lower=0.6, upper=0.8), "too narrow"),
        (Difference(value=0.99, lower=0.97, upper=1.0), "too wide"),
        (Difference(value=0.85, lower=0.8, upper=0.9), "missed, within what seeds differ by"),
    ],
)
def test_coverage_is_missed_only_where_seeds_can_tell(found: Difference, words: str) -> None:
    assert coverage_verdict(found) == words
