"""Generalised hypergeometric sums on [0, 1), for whole arrays and with numpy alone.

Serving must not load scipy, and its `hyp2f1` knows no 3F2. Terms are added in blocks that double, so that a sum costs
as many terms as its slowest element needs. Near z = 1 that is many: an argument too near is refused, never guessed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOLERANCE = 1e-13  # relative; what is left out of a sum
FIRST_BLOCK, LAST_BLOCK = 16, 1024
TERMS_MAX = 200_000  # about 10 ms a sum; 0.9999 needs it


def hypergeometric_sum(upper: Sequence[ArrayLike], lower: Sequence[ArrayLike], z: ArrayLike) -> NDArray[np.float64]:
    """pFq(upper; lower; z) = sum over n of (u1)_n (u2)_n ... / ((l1)_n ... n!) z^n, with rising factorials (u)_n.

    Args:
        upper: u1 ... up, any shapes that broadcast with z; p is at most q + 1.
        lower: l1 ... lq, each above 0.
        z: argument in [0, 1).
    Returns: the sums, in the broadcast shape.
    Raises: ValueError: an argument lies outside, or is too near 1 to be summed.
    Source: Abramowitz and Stegun 1964, 15.1.1.

    >>> float(hypergeometric_sum((1.0, 1.0), (2.0,), 0.5).round(12))  # -log(1 - z) / z
    1.38629436112
    """
    z = np.asarray(z, dtype=np.float64)
    tops = [np.asarray(value, dtype=np.float64)[..., None] for value in upper]
    bottoms = [np.asarray(value, dtype=np.float64)[..., None] for value in lower]
    if not np.all((z >= 0) & (z < 1)) or any(not np.all(value > 0) for value in bottoms):
        raise ValueError("hypergeometric_sum: z must lie in [0, 1) and the lower parameters above 0")
    coefficient = np.ones(np.broadcast_shapes(*(value.shape for value in (*tops, *bottoms))))  # (..., 1) without z
    power = np.ones((*z.shape, 1))
    total: NDArray[np.float64] = np.zeros(np.broadcast_shapes(coefficient.shape[:-1], z.shape))
    begin, block = 0, FIRST_BLOCK
    while begin < TERMS_MAX:
        n = np.arange(begin, begin + block, dtype=np.float64)
        ratio: NDArray[np.float64] = np.asarray(1.0 / (n + 1.0))
        for value in tops:
            ratio = ratio * (value + n)
        for value in bottoms:
            ratio = ratio / (value + n)
        # -> (..., block + 1): this block's coefficients and the one that begins the next
        ratio = np.broadcast_to(ratio, (*coefficient.shape[:-1], block))
        coefficients = np.cumprod(np.concatenate((coefficient, ratio), axis=-1), axis=-1)
        steps = np.broadcast_to(z[..., None], (*z.shape, block))
        powers = np.cumprod(np.concatenate((power, steps), axis=-1), axis=-1)
        block_sum = np.einsum("...j,...j->...", coefficients[..., :-1], powers[..., :-1])
        total = np.asarray(total + block_sum, dtype=np.float64)
        coefficient = np.asarray(coefficients[..., -1:])
        power = np.asarray(powers[..., -1:])
        left = np.abs(coefficient * power)[..., 0] / (1.0 - z)  # what follows is below this once terms fall like z^n
        if np.all(left <= TOLERANCE * np.abs(total)):
            return total
        begin, block = begin + block, min(2 * block, LAST_BLOCK)
    raise ValueError(f"hypergeometric_sum: {float(z.max())} is too near 1 for {TERMS_MAX:,} terms")
