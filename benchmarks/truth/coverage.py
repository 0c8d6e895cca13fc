"""Whether intervals of probabilities hold what they say: the true mean within each tenth of the predictions."""

import numpy as np
from numpy.typing import NDArray

TENTHS = 10
NORMAL_90 = 1.6449  # half-width of a 90 % interval in standard errors


def covered_tenths(outcome: NDArray[np.float64], ends: NDArray[np.float64]) -> float:
    """Share of the tenths of rows by prediction whose frequency lies within the mean interval there.

    The frequency is itself drawn: its standard error is added to the interval's half-width, in squares.

    Args:
        outcome: (n,) 0 to 1.
        ends: (n, 3) value, lower and upper end of 90 % intervals.
    """
    inside = []
    for part in np.array_split(np.argsort(ends[:, 0], kind="stable"), TENTHS):
        value, lower, upper = ends[part].mean(axis=0)
        own = NORMAL_90 * np.sqrt(value * (1 - value) / len(part))
        gap = outcome[part].mean() - value
        inside.append(-np.hypot(value - lower, own) <= gap <= np.hypot(upper - value, own))
    return float(np.mean(inside))
