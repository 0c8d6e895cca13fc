"""Intervals by drawing subjects anew: a subject's rows stay together, since they are not independent.

Pure: the generator comes in as an argument.
Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13 (percentile interval); Field and Welsh 2007,
J R Stat Soc B 69:369 (resampling clusters).
"""

from __future__ import annotations  # numpy.random, 3 MB, stays out of processes that never draw

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.9  # probability that the house's intervals are meant to hold


def draw_weights(subject: ArrayLike, draws: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """For each draw, how often each row was drawn; rows of one subject always equally often.

    Args:
        subject: (n,) any labels.
        draws: number of draws.
        rng: the source of chance.
    Yields: (n,) whole numbers as float64.
    """
    labels, code = np.unique(np.asarray(subject), return_inverse=True)
    share = np.full(len(labels), 1.0 / len(labels))
    for _ in range(draws):
        yield rng.multinomial(len(labels), share)[code].astype(np.float64)


def paired_interval(
    difference: Callable[[NDArray[np.float64]], float],
    subject: ArrayLike,
    rng: np.random.Generator,
    *,
    draws: int = 200,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of a difference between two models on the same rows.

    Args:
        difference: (n,) row weights -> the difference; NaN where it cannot be said.
        subject: (n,) whose rows are drawn together.
        rng: the source of chance.
        draws: number of draws; 200 give a quantile at 5 % to within two points.
        level: probability that the interval is meant to hold.
    Returns: lower and upper end.
    """
    values = [difference(weight) for weight in draw_weights(subject, draws, rng)]
    lower, upper = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)
