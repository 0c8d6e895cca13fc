"""Predicted against observed frequencies: bins for a plot, and a rising curve that mends the difference.

Pure numpy. Not here: one number for how far off they are (`scores.calibration_error`); slopes and offsets of a hazard
(training/revenue/hazard.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from methods.statistics.scores import CALIBRATION_BINS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Bins of equal count, lowest predictions first; each (bins,)."""

    predicted: NDArray[np.float64]  # mean prediction
    observed: NDArray[np.float64]  # frequency of outcome 1
    rows: NDArray[np.int64]


def reliability(outcome: ArrayLike, probability: ArrayLike, bins: int = CALIBRATION_BINS) -> Reliability:
    """Mean prediction and observed frequency in bins of equal count.

    >>> reliability([0, 1, 1, 1], [0.1, 0.3, 0.8, 1.0], bins=2).observed.tolist()
    [0.5, 1.0]
    """
    y, p = np.asarray(outcome, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if part.size]
    return Reliability(
        predicted=np.array([p[part].mean() for part in parts]),
        observed=np.array([y[part].mean() for part in parts]),
        rows=np.array([part.size for part in parts], dtype=np.int64),
    )


def centred_isotonic(
    position: ArrayLike, value: ArrayLike, weight: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots of the rising curve nearest to the values, one knot at the centre of each pooled block.

    Between knots the curve is meant to be linear, so it rises where plain isotonic regression is flat, and keeps the
    order of scores.

    Args:
        position: (n,) rising.
        value: (n,) what was seen there.
        weight: (n,) above 0.
    Returns: positions and values of the knots, both rising strictly (a single knot when nothing rises).
    Source: Oron and Flournoy 2017, Stat Biopharm Res 9:258 (centred isotonic regression by pooling adjacent violators).

    >>> x, y = centred_isotonic([0, 1, 2, 3], [0.0, 0.4, 0.2, 0.9], [1, 1, 1, 1])
    >>> x.tolist(), [round(v, 6) for v in y.tolist()]
    ([0.0, 1.5, 3.0], [0.0, 0.3, 0.9])
    """
    blocks: list[tuple[float, float, float]] = []  # weight, mean position, mean value
    columns = (np.asarray(column, dtype=np.float64).tolist() for column in (weight, position, value))
    for w, x, v in zip(*columns, strict=True):
        block = (w, x, v)
        while blocks and blocks[-1][2] >= block[2]:
            before = blocks.pop()
            total = before[0] + block[0]
            share = block[0] / total
            block = (total, before[1] + (block[1] - before[1]) * share, before[2] + (block[2] - before[2]) * share)
        blocks.append(block)
    return np.array([x for _, x, _ in blocks]), np.array([v for _, _, v in blocks])
