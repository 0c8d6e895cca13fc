"""Maximum likelihood for the two models of buying and for Gamma-Gamma, with the covariance of what was found.

Everything is fitted on the logs of the parameters. A weak prior on the shapes keeps small data from running off to
infinity, where customers no longer differ; without it the fit is plain maximum likelihood, as published.
Sources: as methods/revenue/purchases.py; the covariance is Laplace's, from the second derivatives at the maximum.
Not here: what the parameters say of a customer (methods/revenue/purchases.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from methods.revenue.purchases import Histories, PurchaseModel, log_odds_gone

LEAST_CUSTOMERS, LEAST_REPEATS = 50, 20  # fewer customers (or repeat buyers) do not hold four numbers
PRIOR_SD = 2.0  # of the log of a shape: 95 % between 1/50 and 50; published shapes lie between 0.2 and 6
STEP = 1e-3  # of the log of a parameter, for second derivatives: their error is then below 1e-5 of them

Objective = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was found.

    Attributes:
        theta: parameters in the model's order.
        covariance: of their logs (for Gamma-Gamma of log p, log(q - 1), log v).
        log_likelihood: of the data, without the prior.
        customers: customers behind it.
    """

    theta: NDArray[np.float64]
    covariance: NDArray[np.float64]
    log_likelihood: float
    customers: int


def fit_purchases(histories: Histories, model: PurchaseModel, *, prior_sd: float | None = PRIOR_SD) -> Fit:
    """How often customers buy and how they leave.

    Args:
        histories: n customers, from their first purchase on.
        model: how customers leave.
        prior_sd: of the logs of the two shapes r and a (or s), around 0; None for none.
    Raises: ValueError: too few customers, too few repeat purchases, or no maximum.
    """
    _require(histories)
    rows = np.stack((histories.frequency, histories.recency_weeks, histories.observed_weeks))
    (x, recent, watched), count = np.unique(rows, axis=1, return_counts=True)  # many customers share a history
    nothing = np.zeros(len(x))
    distinct = Histories(frequency=x, recency_weeks=recent, observed_weeks=watched, valued=nothing, mean_value=nothing)

    def likelihood(logs: NDArray[np.float64]) -> float:
        return float(count @ purchase_log_likelihood(model, np.exp(logs), distinct))

    weeks = float(np.mean(histories.observed_weeks))
    rate = float(histories.frequency.sum() / histories.observed_weeks.sum())
    last = 3.0 if model is PurchaseModel.BG_NBD else weeks
    start = np.log((1.0, 1.0 / rate, 1.0, last))
    logs, covariance = _maximum(likelihood, start, np.array([True, False, True, False]), prior_sd, len(histories))
    return Fit(theta=np.exp(logs), covariance=covariance, log_likelihood=likelihood(logs), customers=len(histories))


def fit_values(histories: Histories, *, prior_sd: float | None = PRIOR_SD) -> Fit:
    """How much customers pay for a purchase, from those with a known mean value above 0.

    Args:
        histories: customers; others than those are passed over.
        prior_sd: of the logs of p and q - 1, around 0; None for none.
    Raises: ValueError: too few of them, or no maximum.
    """
    known = histories.take((histories.valued > 0) & (histories.mean_value > 0))
    if len(known) < LEAST_REPEATS:
        raise ValueError(
            f"values need {LEAST_REPEATS} customers with a repeat purchase above 0, there are {len(known)}"
        )
    count, mean = known.valued, known.mean_value
    unit = float(np.mean(mean))

    def likelihood(logs: NDArray[np.float64]) -> float:
        p, v = np.exp(logs[0]), np.exp(logs[2]) * unit
        q = 1.0 + np.exp(logs[1])
        shape = p * count
        return float(
            np.sum(
                special.gammaln(shape + q)
                - special.gammaln(shape)
                - special.gammaln(q)
                + q * np.log(v)
                + (shape - 1.0) * np.log(mean)
                + shape * np.log(count)
                - (shape + q) * np.log(count * mean + v)
            )
        )

    start = np.log((4.0, 2.0, 0.5))
    logs, covariance = _maximum(likelihood, start, np.array([True, True, False]), prior_sd, len(known))
    p, rest, v = np.exp(logs)
    return Fit(
        theta=np.array([p, 1.0 + rest, v * unit]),
        covariance=covariance,
        log_likelihood=likelihood(logs),
        customers=len(known),
    )


def purchase_log_likelihood(
    model: PurchaseModel, theta: NDArray[np.float64], histories: Histories
) -> NDArray[np.float64]:
    """Log of the chance of each history, (4,) parameters and n customers -> (n,).

    The chance of the history and of being alive, divided by the chance of being alive given the history.
    """
    r, alpha, leave, stay = theta
    x, watched = histories.frequency, histories.observed_weeks
    buying = special.gammaln(r + x) - special.gammaln(r) + r * np.log(alpha) - (r + x) * np.log(alpha + watched)
    if model is PurchaseModel.BG_NBD:
        staying = special.betaln(leave, stay + x) - special.betaln(leave, stay)
    else:
        staying = leave * np.log(stay / (stay + watched))
    odds = log_odds_gone(model, theta[None, :], histories)[:, 0]
    return np.asarray(buying + staying + np.logaddexp(0.0, odds), dtype=np.float64)


def _require(histories: Histories) -> None:
    repeats = int(np.sum(histories.frequency > 0))
    if len(histories) < LEAST_CUSTOMERS or repeats < LEAST_REPEATS:
        raise ValueError(
            f"purchases need {LEAST_CUSTOMERS} customers, {LEAST_REPEATS} of them with a repeat purchase; "
            f"there are {len(histories)} and {repeats}"
        )


def _maximum(
    likelihood: Objective,
    start: NDArray[np.float64],
    shapes: NDArray[np.bool_],
    prior_sd: float | None,
    customers: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place of the maximum and the covariance there."""

    def loss(logs: NDArray[np.float64]) -> float:
        prior = 0.0 if prior_sd is None else float(np.sum((logs[shapes] / prior_sd) ** 2)) / 2
        value = (prior - likelihood(logs)) / customers
        return value if np.isfinite(value) else 1e10

    with np.errstate(over="ignore", invalid="ignore"):  # a step of the search may go too far; it comes back
        found = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
    curvature = _second_derivatives(loss, found.x) * customers
    if not np.all(np.isfinite(curvature)) or np.linalg.eigvalsh(curvature).min() <= 0:
        raise ValueError("the likelihood has no maximum here: customers differ too little, or too few came back")
    return np.asarray(found.x, dtype=np.float64), np.asarray(np.linalg.inv(curvature), dtype=np.float64)


def _second_derivatives(function: Objective, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Central differences, (p,) -> (p, p), symmetric."""
    size = len(at)
    steps = STEP * np.eye(size)
    result = np.empty((size, size))
    for i in range(size):
        for j in range(i, size):
            result[i, j] = result[j, i] = (
                function(at + steps[i] + steps[j])
                - function(at + steps[i] - steps[j])
                - function(at - steps[i] + steps[j])
                + function(at - steps[i] - steps[j])
            ) / (4 * STEP**2)
    return result
