"""How good predicted probabilities are: discrimination, likelihood, squared error, calibration error, lift.

Pure numpy; every score takes (n,) outcomes 0 or 1 and (n,) probabilities (or any score, where only the order counts).
Rows with equal predictions count alike, so that no score depends on the order of the rows.
Not here: bins for a plot (calibration.py); intervals of a score (bootstrap.py).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

CALIBRATION_BINS = 15  # of equal count, in every table of the house
SMALLEST_PROBABILITY = 1e-15  # keeps the log of a probability of 0 or 1 finite; reached by no calibrated model


def auc(outcome: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Chance that a random row with outcome 1 scores above a random one with outcome 0; ties count half.

    Args:
        outcome: (n,) 0 or 1.
        score: (n,) any number that rises with the chance of 1.
        weight: (n,) 0 or more; None means 1 each.
    Returns: a number in [0, 1]; NaN when only one outcome occurs.
    Source: Mann and Whitney 1947; Hanley and McNeil 1982, Radiology 143:29.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    >>> auc([0, 1], [0.5, 0.5])
    0.5
    """
    y, s = _pair(outcome, score)
    w = np.ones_like(s) if weight is None else np.asarray(weight, dtype=np.float64)
    _, group = np.unique(s, return_inverse=True)
    ones = np.bincount(group, weights=w * y)
    zeros = np.bincount(group, weights=w * (1.0 - y))
    below = np.cumsum(zeros) - zeros / 2  # zeros that score lower, ties half
    pairs = ones.sum() * zeros.sum()
    return float(ones @ below / pairs) if pairs > 0 else math.nan


def log_loss(outcome: ArrayLike, probability: ArrayLike) -> float:
    """Mean of -log of the probability given to what happened, in nats; 0 is perfect.

    >>> round(log_loss([0, 1], [0.5, 0.5]), 4)
    0.6931
    """
    y, p = _pair(outcome, probability)
    p = np.clip(p, SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY)
    return float(-np.mean(y * np.log(p) + (1.0 - y) * np.log1p(-p)))


def brier_score(outcome: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared distance between probability and outcome; 0 is perfect.

    Source: Brier 1950, Mon Weather Rev 78:1.

    >>> brier_score([0, 1], [0.0, 0.5])
    0.125
    """
    y, p = _pair(outcome, probability)
    return float(np.mean((p - y) ** 2))


def calibration_error(outcome: ArrayLike, probability: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """Mean distance between predicted and observed frequency over bins of equal count, weighted by count (ECE).

    Source: Naeini, Cooper and Hauskrecht 2015, AAAI, with quantile bins.

    >>> calibration_error([0, 0, 1, 1], [0.2, 0.2, 0.9, 0.9], bins=2)
    0.15
    """
    y, p = _pair(outcome, probability)
    order = np.argsort(p, kind="stable")
    gap = p[order] - _mean_of_ties(y, p)[order]
    parts = np.array_split(gap, bins)
    return float(sum(abs(part.sum()) for part in parts) / len(p))


def lift_at(outcome: ArrayLike, score: ArrayLike, share: float = 0.1) -> float:
    """Frequency of outcome 1 among the highest-scored share of rows, divided by the frequency among all.

    Returns: 1 for a score that knows nothing; NaN when outcome 1 never occurs.

    >>> lift_at([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4], share=0.25)
    4.0
    """
    y, s = _pair(outcome, score)
    rows = max(1, int(len(s) * share))
    top = np.argsort(-s, kind="stable")[:rows]
    base = y.mean()
    return float(_mean_of_ties(y, s)[top].mean() / base) if base > 0 else math.nan


def _pair(outcome: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64, checked.

    Raises: ValueError: they differ in length, are empty, or hold NaN.
    """
    y, s = np.asarray(outcome, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if y.shape != s.shape or y.ndim != 1 or not y.size:
        raise ValueError(f"outcomes {y.shape} and scores {s.shape} must be two columns of equal length, not empty")
    if np.isnan(y).any() or np.isnan(s).any():
        raise ValueError("outcomes and scores must not hold NaN")
    return y, s


def _mean_of_ties(outcome: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each outcome replaced by the mean outcome of the rows with the same score. (n,) -> (n,)."""
    _, group, count = np.unique(score, return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = (np.bincount(group, weights=outcome) / count)[group]
    return means
