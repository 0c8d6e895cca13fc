"""Slices of judged rows: what each holds, and that none is lost."""

from __future__ import annotations

import numpy as np
import pytest

from methods.statistics.scores import log_loss
from training.slices import foretold_slices, label_tenure, label_texts, slices_by


def test_figures_are_those_of_the_slices_own_rows() -> None:
    plan = label_texts(["A", "B", "A", None])
    outcome, model, rival = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.8, 0.3, 0.4, 0.5]), np.full(4, 0.5)

    slices = foretold_slices({"plan": plan}, outcome, model, ("rates", rival))

    assert list(slices["plan"]) == ["A", "B", "unknown"]
    assert slices["plan"]["A"] == pytest.approx(
        {
            "rows": 2.0,
            "observed": 0.5,
            "foretold": 0.6,
            "log_loss": log_loss([1, 0], [0.8, 0.4]),
            "log_loss of rates": np.log(2),
        }
    )


def test_every_row_is_in_one_slice() -> None:
    days = np.array([0.0, 89.9, 90.0, 364.0, 365.0, 4_000.0, np.nan])

    slices = slices_by({"tenure": label_tenure(days)}, lambda rows: {"days": float(days[rows].sum())})

    assert {level: row["rows"] for level, row in slices["tenure"].items()} == {
        "below 90 days": 2.0,
        "90 to 364 days": 2.0,
        "365 days and more": 2.0,
        "unknown": 1.0,
    }


def test_a_count_of_its_own_takes_the_place_of_that_of_rows() -> None:
    visitors = np.array([10.0, 20.0, 30.0])
    price = np.array(["1", "2", "1"])

    slices = slices_by({"price": price}, lambda rows: {"rows": float(visitors[rows].sum())})

    assert {level: row["rows"] for level, row in slices["price"].items()} == {"1": 40.0, "2": 20.0}
