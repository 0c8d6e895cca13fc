"""How demand answers to price: one partially pooled model, for buyers among visitors and for volumes sold.

On the scale of the model (log odds of buying, or log volume) demand at log price x, counted from a reference price, is
a + b x + h(x) + s (c + d x). a and b belong to a product or segment and come from a population of them; h bends the
line by small independent deviations at knots, linear between them; s is 1 for exposures that chance did not assign, and
c and d are what may then be wrong: a bias of unknown sign and known size. Everything has a normal prior, so the
posterior is normal for log volumes and nearly so (Laplace) for buyers.
Sources: Gelman and Hill 2007, ch. 14 (partially pooled logit); Tierney and Kadane 1986, J Am Stat Assoc 81:82;
Greenland 2005, J R Stat Soc A 168:267 (a bias with a prior); McCullagh and Nelder 1989, 4.5.
Pure. Not here: which price to ask (price.py); how population and sizes are fitted (training/revenue/price.py).
"""

from __future__ import annotations  # numpy.random, 3 MB, stays out of processes that never draw

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NEWTON_STEPS = 100  # the log posterior is concave: ten steps are usual
NEWTON_DONE = 1e-9  # largest change of a coefficient, in posterior standard deviations
HALVINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """A normal belief about coefficients: mean (k,) and covariance (k, k)."""

    mean: Floats
    covariance: Floats

    def at(self, design: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the model's scale for each row of a design; (n, k) -> (n,), (n,)."""
        variance = np.einsum("ni,ij,nj->n", design, self.covariance, design)
        return design @ self.mean, np.sqrt(np.maximum(variance, 0.0))

    def draws(self, count: int, rng: np.random.Generator) -> Floats:
        """(count, k), in pairs mirrored at the mean, so that their average is the mean when `count` is even."""
        half = rng.standard_normal(((count + 1) // 2, self.mean.size)) @ root_of(self.covariance).T
        return self.mean + np.concatenate((half, -half))[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is believed of a product's line before its own data: normal, from a population of products.

    Attributes:
        level, slope: means of a and b.
        level_sd, slope_sd: standard deviations between products, above 0.
        correlation: between a and b, in (-1, 1).
    """

    level: float
    slope: float
    level_sd: float
    slope_sd: float
    correlation: float = 0.0


def log_price_design(log_price: ArrayLike, knots: Sequence[float], observed: ArrayLike | None = None) -> Floats:
    """Rows of the model: 1, x, the hats of h, and s, s x.

    Args:
        log_price: (n,) x, log of price over the reference price.
        knots: places of the deviations, rising strictly; empty for a straight line.
        observed: (n,) s, whether chance did not assign the price; None means nowhere.
    Returns: (n, 2 + knots + 2).

    >>> log_price_design([0.5], (0.0, 1.0), [True]).tolist()
    [[1.0, 0.5, 0.5, 0.5, 1.0, 0.5]]
    """
    x = np.asarray(log_price, dtype=np.float64)
    biased = np.zeros_like(x) if observed is None else np.asarray(observed, dtype=np.float64)
    hats = [np.interp(x, knots, unit) for unit in np.eye(len(knots))]
    return np.stack((np.ones_like(x), x, *hats, biased, biased * x), axis=-1)


def line_prior(line: Line, *, knots: int, bend_sd: float, bias_sd: tuple[float, float]) -> Gaussian:
    """The prior of a design's coefficients.

    Args:
        line: of a and b.
        knots: how many the design has.
        bend_sd: standard deviation of each deviation, 0 or more.
        bias_sd: standard deviations of c and d, 0 or more.
    """
    covariance = np.zeros((4 + knots, 4 + knots))
    shared = line.correlation * line.level_sd * line.slope_sd
    covariance[:2, :2] = [[line.level_sd**2, shared], [shared, line.slope_sd**2]]
    covariance[range(2, 4 + knots), range(2, 4 + knots)] = [*[bend_sd**2] * knots, bias_sd[0] ** 2, bias_sd[1] ** 2]
    mean = np.zeros(4 + knots)
    mean[:2] = line.level, line.slope
    return Gaussian(mean=mean, covariance=covariance)


def buyers_posterior(
    design: Floats, trials: ArrayLike, buyers: ArrayLike, prior: Gaussian, dispersion: float = 1.0
) -> Gaussian:
    """What is believed after `buyers` of `trials` bought, row by row: normal at the posterior's mode.

    Args:
        design: (n, k).
        trials: (n,) visitors, 0 or more.
        buyers: (n,) 0 to trials.
        prior: of the k coefficients; a variance of 0 fixes a coefficient.
        dispersion: variance of the counts against the binomial's, 1 or more; data count 1/dispersion.
    Source: Tierney and Kadane 1986; the mode by Newton's method with halving, since the log posterior is concave.

    >>> wide = Gaussian(mean=np.zeros(1), covariance=np.array([[1e6]]))
    >>> round(float(buyers_posterior(np.ones((1, 1)), [40], [10], wide).mean[0]), 3)  # log of 10/30
    -1.099
    """
    n = np.asarray(trials, dtype=np.float64) / dispersion
    y = np.asarray(buyers, dtype=np.float64) / dispersion
    root = root_of(prior.covariance)  # w = mean + root v, v standard normal: no inverse of the prior is needed
    rows = design @ root
    offset = design @ prior.mean
    v = np.zeros(root.shape[1])
    value = _log_posterior(offset, n, y, v)
    for _ in range(NEWTON_STEPS):
        chance = expit(offset + rows @ v)
        information = (rows.T * (n * chance * (1.0 - chance))) @ rows + np.eye(v.size)
        step = np.linalg.solve(information, rows.T @ (y - n * chance) - v)
        for _ in range(HALVINGS):
            new = _log_posterior(offset + rows @ (v + step), n, y, v + step)
            if new >= value - 1e-12 * abs(value):
                break
            step = step / 2.0
        v, value = v + step, new
        if float(step @ information @ step) < NEWTON_DONE**2:
            break
    chance = expit(offset + rows @ v)
    information = (rows.T * (n * chance * (1.0 - chance))) @ rows + np.eye(v.size)
    return Gaussian(mean=prior.mean + root @ v, covariance=root @ np.linalg.solve(information, root.T))


def volume_posterior(design: Floats, log_volume: ArrayLike, prior: Gaussian, noise_variance: float) -> Gaussian:
    """What is believed after volumes were seen, log-normal about the line; exact.

    Args:
        design: (n, k).
        log_volume: (n,) natural logarithms.
        prior: of the k coefficients.
        noise_variance: of a log volume about the line, above 0.
    """
    y = np.asarray(log_volume, dtype=np.float64)
    return volume_posterior_of(design.T @ design, design.T @ y, prior, noise_variance)


def volume_posterior_of(gram: Floats, moment: Floats, prior: Gaussian, noise_variance: float) -> Gaussian:
    """The same from what is sufficient: design'design (k, k) and design'log_volume (k,)."""
    root = root_of(prior.covariance)
    information = root.T @ gram @ root / noise_variance + np.eye(root.shape[1])
    pull = root.T @ (moment - gram @ prior.mean) / noise_variance
    covariance = root @ np.linalg.solve(information, root.T)
    return Gaussian(mean=prior.mean + root @ np.linalg.solve(information, pull), covariance=covariance)


def expit(logit: Floats) -> Floats:
    """Probability of a log odds, without overflow; any shape.

    >>> expit(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(logit))
    chance: Floats = np.where(logit >= 0, 1.0, small) / (1.0 + small)
    return chance


def logit_of(share: float) -> float:
    """Log odds of a share strictly between 0 and 1."""
    return math.log(share / (1.0 - share))


def root_of(covariance: Floats) -> Floats:
    """A matrix R with R R' = covariance; variances of 0 are allowed. (k, k) -> (k, k).

    >>> root_of(np.array([[4.0, 0.0], [0.0, 0.0]])).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root


def _log_posterior(logit: Floats, n: Floats, y: Floats, v: Floats) -> float:
    """Log posterior up to a constant: y of n at each log odds, v standard normal."""
    return float(y @ logit - n @ np.logaddexp(0.0, logit) - v @ v / 2.0)
