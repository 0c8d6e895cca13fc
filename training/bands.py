"""Fits what turns held-out scores into probabilities with an interval: slope and offset, and a band.

Scores are log-odds of rows that the scoring model had not seen. Rows of one subject are drawn together.
Sources: Platt 1999 (slope and offset); Efron and Tibshirani 1993, ch. 13 (percentile bootstrap); Field and Welsh 2007,
J R Stat Soc B 69:369 (drawing clusters).
Pure; the generator comes in. Not here: how a band is read (methods/statistics/bands.py).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.statistics.bands import Band
from methods.statistics.bootstrap import LEVEL, draw_weights

STEPS = 50  # of Newton's method at most; ten are usual
SMALLEST_STEP = 1e-10
KNOTS = 10  # deciles of the scores
DRAWS = 200  # a quantile at 5 % to within two points
SHIFT_MOST = 3.0  # log-odds; a range whose rows all ended alike would ask for an endless shift

Floats = NDArray[np.float64]


def chance_of(logit: Floats) -> Floats:
    """Probabilities of log-odds, any shape."""
    return 1.0 / (1.0 + np.exp(-np.clip(logit, -500.0, 500.0)))


def fit_platt(score: Floats, outcome: Floats, weight: Floats | None = None) -> tuple[float, float]:
    """Slope and offset that turn scores into calibrated log-odds, slope * score + offset.

    Args:
        score: (n,) log-odds.
        outcome: (n,) 0 to 1.
        weight: (n,) 0 or more; None means 1 each.
    Raises: ValueError: the outcomes are all the same.
    """
    if np.ptp(outcome) == 0:
        raise ValueError("cannot calibrate on outcomes that are all the same")
    weight = np.ones_like(score) if weight is None else weight
    columns = np.column_stack([score, np.ones_like(score)])  # (n, 2)
    answer = np.array([1.0, 0.0])
    for _ in range(STEPS):
        chance = chance_of(columns @ answer)
        gradient = columns.T @ (weight * (outcome - chance))
        information = (columns * (weight * chance * (1 - chance))[:, None]).T @ columns + 1e-9 * np.eye(2)
        step = np.linalg.solve(information, gradient)
        answer = answer + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < SMALLEST_STEP:
            break
    return float(answer[0]), float(answer[1])


def fit_band(
    logit: Floats,
    outcome: Floats,
    subject: NDArray[Any],
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
    spread: float = 0.0,
    level: float = LEVEL,
) -> Band:
    """How far log-odds of each height may lie from the truth.

    In each draw of subjects and each tenth of the rows by score, the shift is the one under which expected outcomes
    equal those seen; its quantiles are the ends.

    Args:
        logit: (n,) calibrated log-odds of rows that the model had not seen.
        outcome: (n,) 0 to 1.
        subject: (n,) whose rows are drawn together.
        rng: the source of chance.
        draws: number of draws.
        spread: standard deviation of a shift that all rows of a group of subjects share, log-odds: what one cohort may
            differ from the next. 0 when subjects are all of one kind.
        level: probability that the interval is meant to hold.
    """
    parts = [part for part in np.array_split(np.argsort(logit, kind="stable"), KNOTS) if part.size]
    knots = np.array([logit[part].mean() for part in parts])
    shifts = np.empty((draws, len(parts)))
    for row, weight in enumerate(draw_weights(subject, draws, rng)):
        common = spread * rng.standard_normal()
        for column, part in enumerate(parts):
            shifts[row, column] = common + shift_of(logit[part], outcome[part], weight[part])
    lowers, uppers = np.quantile(shifts, [(1 - level) / 2, (1 + level) / 2], axis=0)
    rising = np.concatenate([[True], np.diff(knots) > 0])
    return Band(
        logits=tuple(knots[rising].tolist()),
        lowers=tuple(np.minimum(lowers, 0.0)[rising].tolist()),
        uppers=tuple(np.maximum(uppers, 0.0)[rising].tolist()),
        level=level,
    )


def shift_of(logit: Floats, outcome: Floats, weight: Floats) -> float:
    """The shift of log-odds under which as much is expected as was seen, within SHIFT_MOST; (n,) each."""
    seen = float(weight @ outcome)
    shift = 0.0
    for _ in range(STEPS):
        chance = chance_of(logit + shift)
        slope = float(weight @ (chance * (1 - chance)))
        if slope <= 0:
            return 0.0  # nobody of this range was drawn
        step = (seen - float(weight @ chance)) / slope
        shift = float(np.clip(shift + np.clip(step, -1.0, 1.0), -SHIFT_MOST, SHIFT_MOST))
        if abs(step) < 1e-6 or abs(shift) == SHIFT_MOST:
            break
    return shift
