"""What a customer is worth from now on: expected discounted margin within a horizon, month by month, with its interval.

A running subscription is worth its payments times their chance to come (subscriptions.py); a customer of single
purchases the purchases he is expected to make times their expected value (purchases.py); who has both, the sum.
The interval is that of the expectation: how far the numbers that were fitted may be off. What one customer will really
spend scatters far more widely. It comes from the fit's covariance by differences along its principal axes, on a log
scale for amounts and on log-odds for chances, so that its ends are possible values.
Source of the interval: the delta method, van der Vaart 1998, ch. 3, with central differences one
standard deviation wide.
Pure; columns of n customers. Not here: what a version knows (ltv_parameters.py); fitting (training/revenue/ltv.py);
which version answers (server).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from methods.revenue.ltv_parameters import Matrix, PurchaseParameters
from methods.revenue.purchases import (
    Histories,
    PurchaseModel,
    alive_probability,
    expected_value,
    log_odds_gone,
    purchases_if_alive,
)
from methods.revenue.subscriptions import (
    MONTH_DAYS,
    Bounded,
    Hazards,
    Subscriptions,
    expected_payments,
)
from methods.statistics.normal import normal

DEFAULT_MONTHS, DEFAULT_DISCOUNT = 36, 0.1  # the contract's answers to an absent horizon and rate
MONTH_WEEKS = MONTH_DAYS / 7
QUANTILES = 101  # of a cohort's values: a customer's place in it to a hundredth
SLICE = 128  # customers at once: 128 x 9 x 36 numbers stay in the cache


class LtvMethod(Enum):
    """How a value was computed, by the contract's names."""

    HAZARD = "HAZARD"
    BG_NBD_GAMMA_GAMMA = "BG_NBD_GAMMA_GAMMA"
    PARETO_NBD_GAMMA_GAMMA = "PARETO_NBD_GAMMA_GAMMA"
    SUM = "SUM"


_METHODS = {
    PurchaseModel.BG_NBD: LtvMethod.BG_NBD_GAMMA_GAMMA,
    PurchaseModel.PARETO_NBD: LtvMethod.PARETO_NBD_GAMMA_GAMMA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LtvAnswer:
    """n answers.

    Attributes:
        method: how they were computed.
        curve: (n, months) discounted margin up to the end of each month; the last is the value asked for.
        alive: (n,) chance of still being a customer; value and ends 1 for a running subscription.
        transactions: (n,) expected payments within the horizon.
        per_transaction: (n,) expected value of one, before margin and discount.
    """

    method: LtvMethod
    curve: Bounded
    alive: Bounded
    transactions: Bounded
    per_transaction: Bounded

    @property
    def ltv(self) -> Bounded:
        """(n,) value within the whole horizon."""
        curve = self.curve
        return Bounded(value=curve.value[:, -1], lower=curve.lower[:, -1], upper=curve.upper[:, -1])


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPurchases:
    """Purchase parameters ready to answer: the estimate first, then pairs of points along the axes of uncertainty."""

    model: PurchaseModel
    points: NDArray[np.float64]  # (9, 4)
    value_points: NDArray[np.float64]  # (7, 3)
    z: float  # half-width of the interval in standard deviations


def half_width(level: float) -> float:
    """Standard deviations on each side of a normal interval that holds with this probability.

    >>> round(half_width(0.9), 4)
    1.6449
    """
    return normal().inv_cdf((1 + level) / 2)


def prepare_purchases(parameters: PurchaseParameters, level: float) -> PreparedPurchases:
    """Once a version: the points at which everything is evaluated."""
    p, q, v = parameters.value_theta
    value_points = np.exp(_points(np.log((p, q - 1.0, v)), parameters.value_covariance))
    value_points[:, 1] += 1.0
    return PreparedPurchases(
        model=parameters.model,
        points=np.exp(_points(np.log(parameters.theta), parameters.covariance)),
        value_points=value_points,
        z=half_width(level),
    )


def value_of_purchases(
    prepared: PreparedPurchases,
    histories: Histories,
    margin_rate: NDArray[np.float64],
    *,
    months: int = DEFAULT_MONTHS,
    discount_rate_annual: float = DEFAULT_DISCOUNT,
) -> LtvAnswer:
    """Worth of customers who buy single things.

    Args:
        prepared: the version's parameters.
        histories: n customers; `mean_value` in minor units.
        margin_rate: (n,) share of what is paid that stays.
        months: months ahead, 1 or more.
        discount_rate_annual: what comes after y years counts (1 + rate)^-y; a month's purchases count at its middle.
    Raises: ValueError: a horizon that BG/NBD cannot sum (purchases_if_alive).
    """
    parts = [
        _value_of_slice(
            prepared, histories.take(slice(at, at + SLICE)), margin_rate[at : at + SLICE], months, discount_rate_annual
        )
        for at in range(0, max(len(histories), 1), SLICE)
    ]
    return parts[0] if len(parts) == 1 else _stacked(parts)


def expected_transactions(prepared: PreparedPurchases, histories: Histories, weeks: float) -> Bounded:
    """Expected purchases within so many weeks, (n,) each: what `value_of_purchases` counts, for any time ahead."""
    odds = log_odds_gone(prepared.model, prepared.points, histories)
    within = purchases_if_alive(prepared.model, prepared.points, histories, np.array([weeks]))[..., 0]
    return _of_logs(_log(within) - np.logaddexp(0.0, odds), None, prepared.z)


def value_of_subscriptions(
    subscriptions: Subscriptions,
    hazards: Hazards,
    margin_rate: NDArray[np.float64],
    *,
    months: int = DEFAULT_MONTHS,
    discount_rate_annual: float = DEFAULT_DISCOUNT,
) -> LtvAnswer:
    """Worth of running subscriptions.

    Args:
        subscriptions: n of them; prices in minor units.
        hazards: their cumulative hazards (subscriptions.cohort_hazards or churn_hazards).
        margin_rate: (n,) share of what is paid that stays.
        months: months ahead, 1 or more.
        discount_rate_annual: a payment after y years counts (1 + rate)^-y.
    """
    counts, paid = expected_payments(subscriptions, hazards, months, discount_rate_annual)
    rate, ones, price = margin_rate[:, None], np.ones(len(margin_rate)), subscriptions.price
    return LtvAnswer(
        method=LtvMethod.HAZARD,
        curve=Bounded(value=paid.value * rate, lower=paid.lower * rate, upper=paid.upper * rate),
        alive=Bounded(value=ones, lower=ones, upper=ones),
        transactions=counts,
        per_transaction=Bounded(value=price, lower=price, upper=price),
    )


def add_answers(subscription: LtvAnswer, purchases: LtvAnswer) -> LtvAnswer:
    """Worth of customers who have both. The two errors are taken as independent: they come from different fits."""
    count, more = subscription.transactions, purchases.transactions
    share = count.value / np.maximum(count.value + more.value, 1e-300)
    each, other = subscription.per_transaction, purchases.per_transaction
    return LtvAnswer(
        method=LtvMethod.SUM,
        curve=_sum(subscription.curve, purchases.curve),
        alive=subscription.alive,
        transactions=_sum(count, more),
        per_transaction=Bounded(
            value=share * each.value + (1 - share) * other.value,
            lower=share * each.lower + (1 - share) * other.lower,
            upper=share * each.upper + (1 - share) * other.upper,
        ),
    )


def cohort_quantile(value: float, quantiles: Sequence[float]) -> float | None:
    """Share of a cohort that is worth less, in [0, 1]; None when nothing is known of it.

    Args:
        value: of the customer, over the default horizon at the default rate.
        quantiles: of the cohort's values, at equal steps from 0 to 1 (LtvParameters).

    >>> cohort_quantile(15.0, (0.0, 10.0, 20.0))
    0.75
    """
    if not quantiles:
        return None
    return float(np.interp(value, quantiles, np.linspace(0.0, 1.0, len(quantiles))))


def _value_of_slice(
    prepared: PreparedPurchases,
    histories: Histories,
    margin_rate: NDArray[np.float64],
    months: int,
    discount_rate_annual: float,
) -> LtvAnswer:
    ends = np.arange(1, months + 1)
    odds = log_odds_gone(prepared.model, prepared.points, histories)  # (n, k)
    log_alive = -np.logaddexp(0.0, odds)
    within = purchases_if_alive(
        prepared.model, prepared.points, histories, np.asarray(ends * MONTH_WEEKS, dtype=np.float64)
    )  # (n, k, months)
    discount = (1.0 + discount_rate_annual) ** (-(ends - 0.5) / 12)
    discounted = np.cumsum(np.diff(within, axis=2, prepend=0.0) * discount, axis=2)
    log_value = np.log(expected_value(prepared.value_points, histories))  # (n, k')
    log_count = _log(discounted) + log_alive[..., None]
    curve = _of_logs(log_count, log_value[..., None], prepared.z)
    rate = margin_rate[:, None]
    return LtvAnswer(
        method=_METHODS[prepared.model],
        curve=Bounded(value=curve.value * rate, lower=curve.lower * rate, upper=curve.upper * rate),
        alive=_alive(odds, prepared.z),
        transactions=_of_logs(_log(within[..., -1]) + log_alive, None, prepared.z),
        per_transaction=_of_logs(log_value, None, prepared.z),
    )


def _of_logs(logs: NDArray[np.float64], more: NDArray[np.float64] | None, z: float) -> Bounded:
    """Value and ends from logs at the points, (n, k, ...) -> (n, ...); `more` is an independent factor's."""
    middle, variance = logs[:, 0], _variance(logs)
    if more is not None:
        middle, variance = middle + more[:, 0], variance + _variance(more)
    factor = np.exp(z * np.sqrt(variance))
    value = np.exp(middle)
    return Bounded(value=value, lower=value / factor, upper=value * factor)


def _alive(odds: NDArray[np.float64], z: float) -> Bounded:
    """Chance of being alive and its ends, (n, k) log odds of being gone -> (n,)."""
    certain = np.isneginf(odds[:, 0])
    finite = np.where(certain[:, None], 0.0, odds)
    reach = z * np.sqrt(_variance(finite))
    value, lower, upper = (
        np.where(certain, 1.0, alive_probability(finite[:, 0] + step)) for step in (0.0, reach, -reach)
    )
    return Bounded(value=value, lower=lower, upper=upper)


def _variance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of a function of the parameters from its values at the points, (n, 1 + 2 axes, ...) -> (n, ...)."""
    half = (values[:, 1::2] - values[:, 2::2]) / 2.0
    return np.asarray(np.sum(half**2, axis=1), dtype=np.float64)


def _points(middle: NDArray[np.float64], covariance: Matrix) -> NDArray[np.float64]:
    """The estimate, then one standard deviation to both sides along each principal axis; (p,) -> (1 + 2p, p)."""
    variances, axes = np.linalg.eigh(np.asarray(covariance))
    steps = (axes * np.sqrt(np.maximum(variances, 0.0))).T  # (axes, p)
    both = np.stack((middle + steps, middle - steps), axis=1).reshape(-1, len(middle))
    return np.concatenate((middle[None, :], both))


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of what is 0 or more; of 0, that of the smallest number there is."""
    return np.log(np.maximum(values, 1e-300))


def _sum(one: Bounded, other: Bounded) -> Bounded:
    """Sum of two independent estimates: distances to the ends add up as squares."""
    value = one.value + other.value
    down = np.hypot(one.value - one.lower, other.value - other.lower)
    up = np.hypot(one.upper - one.value, other.upper - other.value)
    return Bounded(value=value, lower=np.maximum(value - down, 0.0), upper=value + up)


def _stacked(parts: list[LtvAnswer]) -> LtvAnswer:
    def join(columns: list[Bounded]) -> Bounded:
        return Bounded(
            value=np.concatenate([column.value for column in columns]),
            lower=np.concatenate([column.lower for column in columns]),
            upper=np.concatenate([column.upper for column in columns]),
        )

    return LtvAnswer(
        method=parts[0].method,
        curve=join([part.curve for part in parts]),
        alive=join([part.alive for part in parts]),
        transactions=join([part.transactions for part in parts]),
        per_transaction=join([part.per_transaction for part in parts]),
    )
