"""Training timed as a first start runs it: steps from its own lines, and an end without a version is told."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.training import measure, step_seconds

QUIET = Console(file=io.StringIO())


def test_a_step_lasts_until_the_next_begins() -> None:
    lines = [
        (1.0, "collect: simulated platform\n"),
        (3.0, "fit churn: reading features\n"),
        (4.0, "fit churn: fitting 104 trees\n"),
        (9.0, "churn v1 registered with alias champion\n"),
        (10.0, "fit ltv: reading subscriptions\n"),
        (12.5, "snapshot revenue: reading features\n"),
    ]

    assert step_seconds(lines, 14.0) == {
        "training.collect_seconds": 2.0,
        "training.fit_churn_seconds": 7.0,
        "training.fit_ltv_seconds": 2.5,
        "training.snapshot_revenue_seconds": 1.5,
    }


def test_training_that_ends_without_a_version_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="training ended with"):
        measure(tmp_path, 1, QUIET)  # no platform has fewer than a hundred users
