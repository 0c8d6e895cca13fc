"""How recall fades and how practice slows the fading: the FSRS-6 curve with the priors of resuscitation training.

Pure formulas over arrays. Not here: who practises when (studying.py); where the numbers come from (parameters.py).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from training.data.simulator.parameters import MemoryParameters

Array = NDArray[np.float64]
RECALL_AT_STABILITY = 0.9  # stability is the time in days after which recall is 90 %, by definition


def recall(elapsed_days: Array, stability_days: Array, decay: float) -> Array:
    """Chance of recall after a pause.

    Args:
        elapsed_days: (n,), 0 or more.
        stability_days: (n,), above 0.
        decay: exponent, positive.
    Returns: (n,) in (0, 1]; 1 at 0, 0.9 at the stability.
    Source: FSRS-6, R(t) = (1 + f t / S)^-w20 with f chosen so that R(S) = 0.9.

    >>> recall(np.array([0.0, 30.0]), np.array([30.0, 30.0]), 0.1542).round(3).tolist()
    [1.0, 0.9]
    """
    factor = RECALL_AT_STABILITY ** (-1.0 / decay) - 1.0
    return np.asarray((1.0 + factor * elapsed_days / stability_days) ** -decay, dtype=np.float64)


def stability_after(first_days: Array, practice_days: Array, growth: float) -> Array:
    """Stability after so many separate days of practice: the first sets it, each further one multiplies it, by less.

    The factor of day k + 1 is 1 + (growth - 1) / k, as in FSRS-6, where a more stable memory gains a smaller factor:
    the first boosters do most (Sutton 2011), and what was trained often before gains little from spacing (Patocka 2015:
    no difference for compressions, one for bag-mask ventilation).

    Args:
        first_days: (n,), stability after the first practice.
        practice_days: (n,), days with practice so far, 1 or more; massed practice on one day counts once, which is why
            spaced training outlasts massed (Patocka 2015, 2019).
        growth: factor of the second day, above 1.
    Returns: (n,) days.

    >>> stability_after(np.array([100.0]), np.array([3.0]), 2.0).round(6).tolist()  # x 2, then x 1.5
    [300.0]
    """
    days = np.maximum(practice_days, 1.0)
    factors = gammaln(days + growth - 1.0) - gammaln(growth) - gammaln(days)  # log of the product of the factors
    return np.asarray(first_days * np.exp(factors), dtype=np.float64)


def correct_chance(known_logit: Array, recalled: Array, parameters: MemoryParameters) -> Array:
    """Chance of a right answer: known, still recalled and not slipped, or guessed.

    Args:
        known_logit: (n,), ability with what practice added, less the item's difficulty.
        recalled: (n,), chance of recall; 1 before the first practice, when there is nothing to forget.
        parameters: guess and slip.
    Returns: (n,) in (guess, 1 - slip).
    """
    known = recalled / (1.0 + np.exp(-known_logit))
    return parameters.guess * (1.0 - known) + (1.0 - parameters.slip) * known
