"""What running subscriptions will still pay: payments on their days, each weighed by the chance that it comes.

Leaving is seen here, so no model of silence is needed: hazard gives survival, survival times price gives money. The
hazard is the subscriber's own, carried by one chance of leaving within 28 days, or that of the plan's subscribers by
tenure (a life table). Beyond the last known period the last hazard goes on.
Sources: Gupta et al. 2006, J Service Research 9:139 (value as discounted margin times survival); Singer and Willett
1993, J Educ Stat 18:155 (discrete-time hazard); Kalbfleisch and Prentice 2002, 1.4.2 (interval on the log of the
cumulative hazard).
Columns of n subscriptions; pure. Not here: the churn model (churn.py); single purchases (purchases.py); fitting the
life table (training/revenue/ltv.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.revenue.churn import ChurnParameters, churn_by_horizon

YEAR_DAYS = 365.25
MONTH_DAYS = YEAR_DAYS / 12
BILLING_DAYS = {"MONTHLY": MONTH_DAYS, "QUARTERLY": 3 * MONTH_DAYS, "ANNUAL": YEAR_DAYS, "INSTITUTION": YEAR_DAYS}
SURE = 1e-9  # a chance of leaving of 0 or 1 is read as this near to it: log-odds must be finite
CHURN_PERIOD_DAYS = 28  # of `churn_probability_28d`


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """Values with the ends of their intervals, arrays of one shape."""

    value: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortHazard:
    """Life table of one plan.

    Attributes:
        plan: the contract's name of it, e.g. "MONTHLY".
        period_days: length of a period of tenure.
        hazards: what each period adds to the cumulative hazard (-log of the chance of staying), from the first day on;
            above 0.
        variances: variance of each of those.
    """

    plan: str
    period_days: int
    hazards: tuple[float, ...]
    variances: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriptions:
    """n running subscriptions.

    Attributes:
        price: (n,) of one billing period, all seats together.
        billing_days: (n,) length of a billing period.
        renewal_days: (n,) days until the next payment; below 0: it was due, and the next of the same rhythm is meant.
        renewal_known: (n,) False: payments are spread evenly, as over customers whose days are unknown.
        renewal_share: (n,) share of leaving that comes when a paid period ends, 0 to 1; None: all is spread evenly.
    """

    price: NDArray[np.float64]
    billing_days: NDArray[np.float64]
    renewal_days: NDArray[np.float64]
    renewal_known: NDArray[np.bool_]
    renewal_share: NDArray[np.float64] | None = None


Hazards = Callable[[NDArray[np.float64]], Bounded]  # (n, m) days ahead -> (n, m) cumulative hazard until then


def cohort_hazards(cohort: CohortHazard, tenure_days: NDArray[np.float64], z: float) -> Hazards:
    """Cumulative hazard of subscribers of this tenure, from the plan's life table.

    Args:
        cohort: the life table.
        tenure_days: (n,) days subscribed so far, 0 or more.
        z: half-width of the interval in standard deviations of the log.
    """
    steps, spread = np.asarray(cohort.hazards), np.asarray(cohort.variances)
    end = cohort.period_days * len(steps)
    edges = cohort.period_days * np.arange(len(steps) + 1)
    sums, variances = (np.concatenate(([0.0], np.cumsum(column))) for column in (steps, spread))
    begin = tenure_days[:, None]

    def hazards(days: NDArray[np.float64]) -> Bounded:
        inside = np.minimum(begin + days, end), np.minimum(begin, end)
        beyond = (np.maximum(begin + days - end, 0.0) - np.maximum(begin - end, 0.0)) / cohort.period_days
        value = np.interp(inside[0], edges, sums) - np.interp(inside[1], edges, sums) + beyond * steps[-1]
        variance = np.interp(inside[0], edges, variances) - np.interp(inside[1], edges, variances)
        variance = variance + beyond**2 * spread[-1]  # one number goes on: its errors add up, they do not average out
        factor = np.exp(z * np.sqrt(variance) / np.maximum(value, 1e-300))
        return Bounded(value=value, lower=value / factor, upper=value * factor)

    return hazards


def churn_hazards(probability_28d: NDArray[np.float64], churn: ChurnParameters) -> Hazards:
    """Cumulative hazard of subscribers whose chance of leaving within 28 days is known.

    Args:
        probability_28d: (n,) in [0, 1]; the churn model has one free number a subscriber, and this gives it away.
        churn: parameters of the version that said it.
    Raises: ValueError: the version's periods are not 28 days.
    """
    if churn.period_days != CHURN_PERIOD_DAYS:
        raise ValueError(f"period_days: churn periods of {CHURN_PERIOD_DAYS} days are needed, not {churn.period_days}")
    period, periods = churn.period_days, len(churn.slopes)
    ends = [period * number for number in range(1, periods + 1)]
    left = churn_by_horizon(score_of_chance(probability_28d, churn), churn, ends)
    sums = [
        np.concatenate((np.zeros((len(chance), 1)), -np.log1p(-np.minimum(chance, 1 - SURE))), axis=1)
        for chance in (left.value, left.lower, left.upper)
    ]

    def hazards(days: NDArray[np.float64]) -> Bounded:
        whole = np.minimum(days // period, periods - 1).astype(np.int64)
        share = days / period - whole  # above 1 beyond the last period: its hazard goes on
        at = [np.take_along_axis(each, whole, 1) for each in sums]
        then = [np.take_along_axis(each, whole + 1, 1) for each in sums]
        value, lower, upper = (a + (b - a) * share for a, b in zip(at, then, strict=True))
        return Bounded(value=value, lower=lower, upper=upper)

    return hazards


def scaled_hazards(hazards: Hazards, probability_28d: NDArray[np.float64]) -> Hazards:
    """Hazards bent in proportion, so that each subscriber's chance of leaving within 28 days is the one known.

    For a version without a churn model: his own level, the plan's course (proportional hazards, Cox 1972).

    Args:
        hazards: of the plan, for n subscribers.
        probability_28d: (n,) in [0, 1].
    """
    base = hazards(np.full((len(probability_28d), 1), float(CHURN_PERIOD_DAYS))).value
    factor = -np.log1p(-np.clip(probability_28d, SURE, 1 - SURE))[:, None] / base

    def scaled(days: NDArray[np.float64]) -> Bounded:
        plan = hazards(days)
        return Bounded(value=plan.value * factor, lower=plan.lower * factor, upper=plan.upper * factor)

    return scaled


def score_of_chance(probability_28d: NDArray[np.float64], churn: ChurnParameters) -> NDArray[np.float64]:
    """The churn model's raw score at which it says this chance of leaving in the first period; (n,) -> (n,).

    >>> churn = ChurnParameters(period_days=28, slopes=(1.0, 0.8), offsets=(-3.5, -3.4))
    >>> score_of_chance(np.array([0.07585818002124355]), churn).round(6).tolist()
    [1.0]
    """
    chance = np.clip(probability_28d, SURE, 1 - SURE)
    slope = churn.slopes[0] if churn.slopes[0] > 0 else 1.0  # with slope 0 every score says the same
    bent = (np.log(chance) - np.log1p(-chance) - churn.offsets[0]) / slope
    knots, logits = np.asarray(churn.calibration_margins), np.asarray(churn.calibration_logits)
    if not knots.size:
        return bent
    beyond = bent - np.clip(bent, logits[0], logits[-1])  # slope 1 outside the knots
    return np.asarray(np.interp(bent, logits, knots) + beyond, dtype=np.float64)


def expected_payments(
    subscriptions: Subscriptions, hazards: Hazards, months: int, discount_rate_annual: float
) -> tuple[Bounded, Bounded]:
    """Payments that will come, and their discounted sum by month.

    Args:
        subscriptions: n of them.
        hazards: of the same n.
        months: months ahead, 1 or more.
        discount_rate_annual: a payment after y years counts (1 + rate)^-y; 0 or more.
    Returns: expected number of payments, (n,), and their discounted sum up to the end of each month, (n, months). A
        payment comes when the subscription lives until its day, counted from now. Who leaves when a paid period ends
        does so at the payment's door: that share of the hazard counts to the end of the period that would be paid.
    """
    day, share = _payment_days(subscriptions, months)
    hazard = hazards(day + _at_the_door(subscriptions))
    month = np.clip(np.ceil(day / MONTH_DAYS).astype(np.int64) - 1, 0, months - 1)
    place = (np.arange(len(day))[:, None] * months + month).ravel()
    factor = share * subscriptions.price[:, None] * (1.0 + discount_rate_annual) ** (-day / YEAR_DAYS)

    counts: list[NDArray[np.float64]] = []
    sums: list[NDArray[np.float64]] = []
    for each in (hazard.value, hazard.upper, hazard.lower):  # the lower end of money is the upper end of hazard
        comes = np.exp(-each)
        counts.append(np.sum(share * comes, axis=1))
        by_month = np.bincount(place, weights=(factor * comes).ravel(), minlength=len(day) * months)
        sums.append(np.cumsum(by_month.astype(np.float64).reshape(len(day), months), axis=1))
    return (
        Bounded(value=counts[0], lower=counts[1], upper=counts[2]),
        Bounded(value=sums[0], lower=sums[1], upper=sums[2]),
    )


def _at_the_door(subscriptions: Subscriptions) -> NDArray[np.float64]:
    """Days by which the hazard of a payment runs ahead of its day, (n, 1).

    Hazards are spread evenly over time. When all leave at the end of a paid period, a payment in 5 days of a period of
    30 has the whole period's hazard before it, not a sixth.
    """
    billing, renewal = subscriptions.billing_days, subscriptions.renewal_days
    if subscriptions.renewal_share is None:
        return np.zeros((len(billing), 1))
    due = np.minimum(np.where(renewal < 0, renewal % billing, renewal), billing)
    ahead = np.where(subscriptions.renewal_known, billing - due, billing / 2)
    return (subscriptions.renewal_share * ahead)[:, None]


def _payment_days(subscriptions: Subscriptions, months: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Days ahead of the payments, and which share of a payment falls on each; (n, payments) each, share 0 for none."""
    billing, renewal = subscriptions.billing_days[:, None], subscriptions.renewal_days[:, None]
    horizon = months * MONTH_DAYS
    width = max(months, int(np.ceil(horizon / billing.min(initial=MONTH_DAYS))) + 1)
    number = np.arange(width)[None, :]
    due = np.where(renewal < 0, renewal % billing, renewal) + number * billing
    known = subscriptions.renewal_known[:, None]
    day = np.where(known, due, (number + 0.5) * MONTH_DAYS)
    share = np.where(known, 1.0, MONTH_DAYS / billing) * (day <= horizon)
    return np.minimum(day, horizon), share
