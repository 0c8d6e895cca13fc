"""Fitting causes: what is found, what is not said, and that the steps are the stumps."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from methods.revenue.churn_cause import place_cause, voluntary_share
from training.boosting import BoostingOptions, boost, margin_of
from training.revenue.churn_cause import LEAST, fit_cause, judge_cause, steps_of, voluntary_of
from training.revenue.person_periods import PersonPeriods

COLUMNS = ("overdue_days", "noise", "failures")


def _leavings(
    n: int, seed: int, strength: float = 3.0
) -> tuple[PersonPeriods, NDArray[np.float64], NDArray[np.float64]]:
    """Rows of which half left in their first period, whether by decision, and the true share."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, 3)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(0.8 - strength * (matrix[:, 0] > 0.7) - 0.3 * strength * (matrix[:, 2] > 0))))
    matrix[rng.random(n) < 0.1, 1] = np.nan
    left = (np.arange(n) % 2).astype(np.int64)
    voluntary = np.where(left == 1, (rng.random(n) < chance).astype(np.float64), np.nan)
    frame = PersonPeriods(
        matrix=matrix,
        subject=np.arange(n),
        time=np.zeros(n),
        observed=np.ones(n, dtype=np.int64),
        left=left,
    )
    return frame, voluntary, chance


def test_what_tells_causes_apart_is_found_and_foretells_later_leavings() -> None:
    frame, voluntary, _ = _leavings(2_000, 1)
    later, causes, chance = _leavings(2_000, 2)

    cause = fit_cause(frame, voluntary, COLUMNS, np.random.default_rng(0))

    assert cause is not None
    figures = judge_cause(cause, voluntary, later, causes, COLUMNS)
    assert figures is not None
    assert figures.rows == 1_000
    assert figures.auc > 0.75
    assert figures.log_loss < figures.overall_log_loss - 0.1
    shares = [voluntary_share(row, place_cause(cause, COLUMNS)).value for row in later.matrix.tolist()]
    assert np.abs(np.array(shares) - chance).mean() < 0.05


def test_where_nothing_tells_causes_apart_there_is_one_share_for_all_with_an_interval() -> None:
    frame, voluntary, _ = _leavings(2_000, 3, strength=0.0)

    cause = fit_cause(frame, voluntary, COLUMNS, np.random.default_rng(0))

    assert cause is not None
    assert cause.steps == ()
    share = voluntary_share((0.0, 0.0, 0.0), place_cause(cause, COLUMNS))
    assert share.value == pytest.approx(np.nanmean(voluntary))
    assert share.lower < 1 / (1 + math.exp(-0.8)) < share.upper
    assert 0.02 < share.upper - share.lower < 0.08


def test_too_few_leavings_of_one_cause_say_nothing() -> None:
    frame, voluntary, _ = _leavings(2_000, 4)
    failed = np.flatnonzero(voluntary == 0)
    voluntary[failed[LEAST - 1 :]] = np.nan

    assert fit_cause(frame, voluntary, COLUMNS, np.random.default_rng(0)) is None


def test_rows_that_did_not_leave_in_the_first_period_take_no_part() -> None:
    frame, voluntary, _ = _leavings(1_000, 5)
    stayed = frame.left == 0
    other = np.where(stayed, 1.0, voluntary)

    one, same = (fit_cause(frame, each, COLUMNS, np.random.default_rng(0)) for each in (voluntary, other))

    assert one == same


def test_the_steps_are_the_stumps() -> None:
    frame, voluntary, _ = _leavings(1_000, 6)
    rows = frame.left == 1
    booster = boost(frame.matrix[rows], voluntary[rows], 1, 60, BoostingOptions(learning_rate=0.3), seed=1)

    steps = steps_of(booster, COLUMNS, slope=1.0)

    holes = np.where(np.random.default_rng(0).random(frame.matrix.shape) < 0.3, np.float32(np.nan), frame.matrix)
    edges = np.array([[edge] * 3 for each in steps for edge in each.edges], dtype=np.float32)
    judged = np.concatenate([holes, edges, np.full((1, 3), np.nan, dtype=np.float32)])
    places = [COLUMNS.index(each.column) for each in steps]
    sums = [
        sum(
            each.missing if math.isnan(row[at]) else each.scores[int(np.searchsorted(each.edges, row[at], "right"))]
            for at, each in zip(places, steps, strict=True)
        )
        for row in judged.tolist()
    ]
    np.testing.assert_allclose(sums, margin_of(booster, judged), atol=1e-5)


def test_the_interval_holds_the_true_share_of_most_rows() -> None:
    inside = []
    for seed in range(6):
        frame, voluntary, _ = _leavings(1_200, 10 + seed)
        cause = fit_cause(frame, voluntary, COLUMNS, np.random.default_rng(seed))
        assert cause is not None
        later, _, chance = _leavings(600, 50 + seed)
        shares = [voluntary_share(row, place_cause(cause, COLUMNS)) for row in later.matrix.tolist()]
        lower, value, upper = (np.array([getattr(each, end) for each in shares]) for end in ("lower", "value", "upper"))
        deciles = np.array_split(np.argsort(value), 10)  # the true mean within each predicted decile
        inside += [lower[part].mean() <= chance[part].mean() <= upper[part].mean() for part in deciles]

    assert np.mean(inside) > 0.75


def test_a_table_without_causes_has_none() -> None:
    table = pd.DataFrame({"subject_id": ["a", "b", "c"]})

    assert np.isnan(voluntary_of(table)).all()
    known = voluntary_of(table.assign(voluntary=[True, False, None]))
    np.testing.assert_array_equal(known, [1.0, 0.0, np.nan])
