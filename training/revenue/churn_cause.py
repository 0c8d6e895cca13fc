"""Fits what part of leaving is a decision: step functions from boosted stumps, calibrated on held-out leavings.

Only rows that left in their first period count, and only what was known when they stood there: each leaving is one row.
The chosen number of stumps, the calibration and the interval rest on stumps that had not seen the row.
Source: Lou, Caruana and Gehrke 2012, KDD. Two splits a tree did no better: on leavings of the simulated platform that
came later, log loss 0.382 to 0.386 for either, 0.55 to 0.57 for the overall share.
Not here: what is made of the steps (methods/revenue/churn_cause.py); the rows (training/features/churn.py).
"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xgboost as xgb
from numpy.typing import NDArray
from scipy.stats import beta

from methods.revenue.churn_cause import CauseParameters, Steps, place_cause, voluntary_share
from methods.statistics.bands import Band
from methods.statistics.bootstrap import LEVEL
from methods.statistics.scores import auc, log_loss
from training.bands import chance_of, fit_platt, shift_of
from training.boosting import BoostingOptions, fit_boosted
from training.revenue.person_periods import PersonPeriods

LEAST = 30  # leavings of either cause; fewer hold neither a calibration nor an interval
RANGE, RANGES = 20, 10  # leavings behind one entry of the interval's table, and its entries at most
STUMPS = BoostingOptions(depths=(1,), learning_rate=0.1)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseFigures:
    """How well causes were foretold on leavings that were not fitted on, beside the overall share of the fit."""

    rows: int
    auc: float
    log_loss: float
    overall_log_loss: float


def voluntary_of(table: pd.DataFrame) -> Floats:
    """1 for a leaving by decision, 0 for one by a failed payment, NaN where nothing is known; (n,)."""
    if "voluntary" not in table:
        return np.full(len(table), np.nan)
    return np.asarray(table["voluntary"].map({True: 1.0, False: 0.0}), dtype=np.float64)


def fit_cause(
    frame: PersonPeriods, voluntary: Floats, columns: tuple[str, ...], rng: np.random.Generator
) -> CauseParameters | None:
    """Step functions for the columns that tell causes apart; None where too few leavings of either cause are known.

    Args:
        frame: the training rows.
        voluntary: (n,) 1, 0 or NaN (`voluntary_of`).
        columns: names of the matrix columns.
        rng: chance for folds and stumps.
    """
    rows = (frame.left == 1) & ~np.isnan(voluntary)
    matrix, outcome, subject = frame.matrix[rows], voluntary[rows], frame.subject[rows]
    decided = int(outcome.sum())
    if min(decided, len(outcome) - decided) < LEAST:
        return None
    stumps = fit_boosted(matrix, outcome, subject, STUMPS, rng)
    slope, offset = fit_platt(stumps.held_out, outcome)
    logit = slope * stumps.held_out + offset
    alike = np.full(len(outcome), outcome.mean())
    if slope <= 0 or log_loss(outcome, chance_of(logit)) >= log_loss(outcome, alike):
        return _overall(outcome)
    return CauseParameters(
        offset=offset,
        steps=steps_of(stumps.booster, columns, slope),
        band=_band(logit, outcome),
    )


def judge_cause(
    parameters: CauseParameters, fitted: Floats, frame: PersonPeriods, voluntary: Floats, columns: tuple[str, ...]
) -> CauseFigures | None:
    """The fitted steps on other rows; None where they hold no leaving of either cause.

    Args:
        parameters: as fitted.
        fitted: (m,) `voluntary` of the leavings fitted on, for their overall share.
        frame: rows that were not fitted on.
        voluntary: (n,) theirs.
        columns: names of the matrix columns.
    """
    rows = (frame.left == 1) & ~np.isnan(voluntary)
    outcome, cause = voluntary[rows], place_cause(parameters, columns)
    if not 0 < outcome.sum() < len(outcome):
        return None
    chance = np.array([voluntary_share(row, cause).value for row in frame.matrix[rows].tolist()])
    return CauseFigures(
        rows=len(outcome),
        auc=auc(outcome, chance),
        log_loss=log_loss(outcome, chance),
        overall_log_loss=log_loss(outcome, np.full(len(outcome), np.nanmean(fitted))),
    )


def _band(logit: Floats, outcome: Floats) -> Band:
    """Shifts to the ends in ranges of the log-odds: what the leavings there leave open.

    In each range the share of decisions has its Jeffreys interval; an end is the shift under which that share is
    expected. It holds what is left of miscalibration, and a range in which all left alike is not sure of itself. A
    leaving is one row and few subjects leave twice, so rows count as independent.
    Source: Brown, Cai and DasGupta 2001, Stat Sci 16:101 (Jeffreys interval).
    """
    ranges = int(np.clip(len(logit) // RANGE, 1, RANGES))
    edges = np.unique(np.quantile(logit, np.linspace(0, 1, ranges + 1)[1:-1]))
    place = np.searchsorted(edges, logit, side="right")
    knots, lowers, uppers = [], [], []
    for part in (np.flatnonzero(place == each) for each in np.unique(place)):
        decided, rows = float(outcome[part].sum()), len(part)
        ends = beta.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], decided + 0.5, rows - decided + 0.5)
        low, high = (shift_of(logit[part], np.full(rows, end), np.ones(rows)) for end in ends)
        knots.append(float(logit[part].mean()))
        lowers.append(min(low, 0.0))
        uppers.append(max(high, 0.0))
    return Band(logits=tuple(knots), lowers=tuple(lowers), uppers=tuple(uppers))


def _overall(outcome: Floats) -> CauseParameters:
    """One share for all, where no column tells causes apart."""
    middle = float(np.log(outcome.mean() / (1 - outcome.mean())))
    return CauseParameters(offset=middle, steps=(), band=_band(np.full(len(outcome), middle), outcome))


def steps_of(booster: xgb.Booster, columns: tuple[str, ...], slope: float) -> tuple[Steps, ...]:
    """A sum of stumps as one step function a column, by name; leaves times `slope`."""
    trees = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    splits: dict[int, list[tuple[float, float, float, float]]] = {}
    constant = 0.0
    for tree in trees:
        leaves = tree["split_conditions"]  # where a leaf stands, its value
        left, right = tree["left_children"][0], tree["right_children"][0]
        if left == -1:  # nothing was worth a split
            constant += leaves[0]
            continue
        below, above = leaves[left], leaves[right]
        missing = below if tree["default_left"][0] else above
        splits.setdefault(tree["split_indices"][0], []).append((leaves[0], below, above, missing))
    found = [_steps(columns[column], splits[column], slope) for column in sorted(splits)]
    if constant and found:
        found[0] = _raised(found[0], slope * constant)
    return tuple(found)


def _steps(column: str, splits: list[tuple[float, float, float, float]], slope: float) -> Steps:
    """(edge, leaf below, leaf above, leaf of missing) of each stump, summed."""
    edges = sorted({float(np.float32(edge)) for edge, *_ in splits})
    lows = [-np.inf, *edges]  # a range is known by its lower end, which belongs to it
    scores = [sum(below if low < np.float32(edge) else above for edge, below, above, _ in splits) for low in lows]
    return Steps(
        column=column,
        edges=tuple(edges),
        scores=tuple(slope * score for score in scores),
        missing=slope * sum(missing for *_, missing in splits),
    )


def _raised(steps: Steps, by: float) -> Steps:
    return Steps(
        column=steps.column,
        edges=steps.edges,
        scores=tuple(score + by for score in steps.scores),
        missing=steps.missing + by,
    )
