"""A logistic regression with an effect of showing that may differ between customers, penalties chosen by the evidence.

logit p(t) = m(z) + (t - c) d(z). Slopes of m and of d have normal priors of their own; how wide is chosen where the
data are most probable under the whole model (their evidence), so an effect that does not differ between customers is
pulled to one number for all. Two separate regressions for shown and held back (a T-learner) are the special case in
which d is as free as m.
Where the chance of being shown differed between rows, rows are weighted by one over the chance of what happened to
them; with a logit link the mean effect is then right if either the regression or the chances are.
Pure numpy. Sources: MacKay 1992, Neural Computation 4:415 (evidence, by a quadratic of the log-likelihood around a
pilot fit); Wooldridge 2007, J Econometrics 141:1281 (weighting by inverse chances with a canonical link).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLAT = 1e-6  # penalty of intercepts: nothing is known of them
PENALTIES = np.geomspace(1.0, 10_000.0, 17)  # of standardised slopes; a prior of sd 1 to 0.01 in log-odds
PILOT = (10.0, 100.0)  # penalties of the first fit; the second stands at the chosen ones
LARGEST_STEP = 1e-6  # of a coefficient, log-odds; smaller is converged
ROUNDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFit:
    """A fitted regression.

    Attributes:
        level: intercept and slopes of m.
        effect: intercept and slopes of d; slopes are 0 where one effect was fitted for all.
        covariance: of (level, effect) or (level, effect's intercept), posterior.
        personalised: whether d has slopes.
        penalties: chosen for slopes of m and of d.
    """

    level: NDArray[np.float64]
    effect: NDArray[np.float64]
    covariance: NDArray[np.float64]
    personalised: bool
    penalties: tuple[float, float]


def inverse_chances(shown: NDArray[np.float64], propensity: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Weights of 1 / chance of what happened, mean about 1 in either group; None where all chances are alike."""
    if np.ptp(propensity) < 1e-9:
        return None
    share = float(shown.mean())
    return np.asarray(np.where(shown == 1, share / propensity, (1.0 - share) / (1.0 - propensity)), dtype=np.float64)


def fit_offer_logistic(
    prepared: NDArray[np.float64],
    shown: NDArray[np.float64],
    accepted: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
    *,
    personalised: bool,
) -> OfferFit:
    """Fits level and effect.

    Args:
        prepared: (n, width) standardised.
        shown: (n,) 0 or 1.
        accepted: (n,) 0 or 1.
        weight: (n,) above 0, or None for 1 each.
        personalised: whether the effect may differ between customers.
    """
    centred = shown - shown.mean()
    ones = np.ones((len(prepared), 1))
    effects = np.hstack([ones, prepared]) if personalised else ones
    design = np.hstack([ones, prepared, effects * centred[:, None]])  # -> (n, coefficients)
    width = prepared.shape[1]
    w = np.ones(len(prepared)) if weight is None else weight
    penalties, start = PILOT, np.zeros(design.shape[1])
    for _ in range(2):
        start, curvature = _newton(design, accepted, w, _penalty(width, penalties, personalised), start)
        penalties = _most_probable(design, accepted, w, start, curvature, width, personalised=personalised)
    mode, curvature = _newton(design, accepted, w, _penalty(width, penalties, personalised), start)
    inverse = np.linalg.inv(curvature + np.diag(_penalty(width, penalties, personalised)))
    if weight is not None:  # the curvature is not the variance of the slope once rows weigh differently
        residual = w * (accepted - _sigmoid(design @ mode))
        slopes = design * residual[:, None]
        inverse = inverse @ (slopes.T @ slopes + np.diag(_penalty(width, penalties, personalised))) @ inverse
    return OfferFit(
        level=mode[: width + 1],
        effect=mode[width + 1 :] if personalised else np.r_[mode[width + 1], np.zeros(width)],
        covariance=np.asarray((inverse + inverse.T) / 2, dtype=np.float64),
        personalised=personalised,
        penalties=penalties,
    )


def fit_level(
    prepared: NDArray[np.float64],
    accepted: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
    penalty: float,
) -> NDArray[np.float64]:
    """Who accepts without being shown the offer: intercept and slopes of a plain regression on rows held back.

    Args:
        prepared: (n, width), rows held back only.
        accepted: (n,) 0 or 1.
        weight: (n,) above 0, or None for 1 each.
        penalty: of the slopes.
    """
    design = np.hstack([np.ones((len(prepared), 1)), prepared])
    w = np.ones(len(prepared)) if weight is None else weight
    penalties = np.r_[FLAT, np.full(prepared.shape[1], penalty)]
    return _newton(design, accepted, w, penalties, np.zeros(design.shape[1]))[0]


def _penalty(width: int, penalties: tuple[float, float], personalised: bool) -> NDArray[np.float64]:  # noqa: FBT001 - private
    """(coefficients,) the prior's precision."""
    slopes = np.full(width, penalties[0]), np.full(width if personalised else 0, penalties[1])
    return np.concatenate([[FLAT], slopes[0], [FLAT], slopes[1]]).astype(np.float64)


def _newton(
    design: NDArray[np.float64],
    accepted: NDArray[np.float64],
    weight: NDArray[np.float64],
    penalty: NDArray[np.float64],
    start: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The posterior's mode, and the curvature of the log-likelihood there."""
    mode = start
    curvature = np.diag(penalty)
    for _ in range(ROUNDS):
        chance = _sigmoid(design @ mode)
        slope = design.T @ (weight * (accepted - chance)) - penalty * mode
        curvature = (design * (weight * chance * (1.0 - chance))[:, None]).T @ design
        step = np.linalg.solve(curvature + np.diag(penalty), slope)
        mode = mode + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))  # separable rows must not run away
        if np.abs(step).max() < LARGEST_STEP:
            break
    return mode, curvature


def _most_probable(
    design: NDArray[np.float64],
    accepted: NDArray[np.float64],
    weight: NDArray[np.float64],
    pilot: NDArray[np.float64],
    curvature: NDArray[np.float64],
    width: int,
    *,
    personalised: bool,
) -> tuple[float, float]:
    """The penalties with the largest evidence, from the log-likelihood's quadratic around the pilot fit."""
    slope = design.T @ (weight * (accepted - _sigmoid(design @ pilot)))
    target = curvature @ pilot + slope
    best, chosen = -np.inf, PILOT
    for level in PENALTIES:
        for effect in PENALTIES if personalised else PENALTIES[-1:]:
            penalty = _penalty(width, (float(level), float(effect)), personalised)
            full = curvature + np.diag(penalty)
            mode = np.linalg.solve(full, target)
            away = mode - pilot
            evidence = (
                slope @ away
                - 0.5 * away @ curvature @ away
                - 0.5 * penalty @ mode**2
                + 0.5 * np.log(penalty).sum()
                - 0.5 * np.linalg.slogdet(full)[1]
            )
            if evidence > best:
                best, chosen = float(evidence), (float(level), float(effect))
    return chosen


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)), dtype=np.float64)
