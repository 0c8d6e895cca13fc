"""Which route a payment should try first, in what order the others follow, and when a declined one is tried again.

Routes are worth success x (amount - fees) - failure x fee. While exploring, a route is put first with the probability
that it is the best one (Thompson sampling, the probability itself computed so that it can be logged as the propensity),
and no plausible route falls below a least one. A retry is placed where its expected value, less what waiting costs, is
highest; a hard decline is never retried, and no scheme limit is exceeded.
Sources: Thompson 1933, Biometrika 25:285; Agrawal and Goyal 2013, AISTATS; arXiv 2308.01028 (routing of live payments).
Pure: chance and time come in. Not here: the chance of a success (payment_success.py); the fit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from methods.revenue.payment_parameters import NEEDS_PAYER, PaymentParameters
from methods.revenue.payment_success import (
    DeclineKind,
    Payment,
    Stage,
    believe,
    chance_at,
    expected_logits,
    mean_chance,
)

Floats = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)  # for means over a standard normal
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
SMALLEST_SPREAD = 1e-9  # of a route's value, as a share of the largest: keeps quotients finite
HOURS_A_DAY = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route that could take the payment; fees are minor units of its currency, and a share of the amount."""

    route_id: str
    success_fee_minor: int = 0
    success_fee_share: float = 0.0
    failure_fee_minor: int = 0
    is_down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a card scheme allows: attempts at one payment within a window of days, the first one included."""

    max_attempts: int
    window_days: float


class NoRetry(Enum):
    """Why a payment is not tried again; names are the contract's without their prefix."""

    HARD_DECLINE = "the decline was a hard one"
    SCHEME_LIMIT = "the scheme allows no further attempt"
    NOT_WORTH_IT = "a further attempt would cost more than it can be expected to bring"
    PAYER_PRESENT = "the payer is present and can be asked at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with the ends of its interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRoute:
    """One route in its place.

    Attributes:
        route_id: its name.
        success: chance of a success now; the value is the median.
        net_minor: expected amount less fees, the value is the mean; None when the amount is unknown.
        propensity: probability with which it was put first; 0 for what could not be.
    """

    route_id: str
    success: Estimate
    net_minor: Estimate | None
    propensity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Another attempt, so many hours after now, on that route, with that chance."""

    hours_from_now: float
    route_id: str
    success: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAnswer:
    """What is answered: every route in the order to try them, and a retry or why there is none."""

    routes: tuple[RankedRoute, ...]
    retry: Retry | NoRetry
    ask_for_new_method: bool
    level: float


def answer_payment(
    payment: Payment,
    routes: Sequence[Route],
    version: PaymentParameters,
    *,
    limits: Limits | None = None,
    chance: float | None,
) -> PaymentAnswer:
    """Orders the routes and plans the retry.

    Args:
        payment: what is known.
        routes: 1 or more, ids all different.
        version: the answering version's parameters.
        limits: the scheme's; None for the version's own.
        chance: in [0, 1), draws the route to try first; None forbids exploring.
    Raises: ValueError: there is no route, or two share an id.
    """
    if not routes:
        raise ValueError("routes: must hold at least one")
    if len({route.route_id for route in routes}) != len(routes):
        raise ValueError("routes: ids must all be different")
    ranked = rank_routes(payment, routes, version, chance=chance)
    retry = plan_retry(
        payment, routes, version, limits or Limits(max_attempts=version.max_attempts, window_days=version.window_days)
    )
    return PaymentAnswer(
        routes=ranked,
        retry=retry,
        ask_for_new_method=_is_asking_better(payment, ranked, retry, version),
        level=version.level,
    )


def rank_routes(
    payment: Payment, routes: Sequence[Route], version: PaymentParameters, *, chance: float | None
) -> tuple[RankedRoute, ...]:
    """Every route: the one drawn to be first, then by expected net value, those that are down last.

    Without an amount the order is by the chance of a success. Ids decide between equals, and the order of the request
    decides nothing.
    """
    routes = sorted(routes, key=lambda route: route.route_id)
    belief = believe(version.success, payment, [route.route_id for route in routes])
    logits, variances = belief.mean.tolist(), belief.variance.tolist()
    estimates = [_estimate(m, v, version.level) for m, v in zip(logits, variances, strict=True)]
    means = [mean_chance(m, v) for m, v in zip(logits, variances, strict=True)]
    nets = [_net(payment, route, p) for route, p in zip(routes, means, strict=True)]
    stakes = np.array([_net(payment, route, 1.0) - _net(payment, route, 0.0) for route in routes])
    p = np.array(means)
    pull = stakes * p * (1.0 - p)  # change of the net value for a unit of log odds
    values = np.array(nets)
    covariance = belief.contrast * np.outer(pull, pull)
    up = np.array([not route.is_down for route in routes])
    open_ = up if up.any() else np.ones(len(routes), dtype=np.bool_)
    if chance is None:
        propensities = np.zeros(len(routes))
        propensities[int(np.argmax(np.where(open_, values, -np.inf)))] = 1.0
    else:
        propensities = np.zeros(len(routes))
        inside = np.flatnonzero(open_)
        propensities[inside] = first_propensities(
            values[inside], covariance[np.ix_(inside, inside)], version.least_propensity
        )
    first = _drawn(propensities, 0.0 if chance is None else chance)
    order = sorted(range(len(routes)), key=lambda i: (i != first, not open_[i], -values[i]))
    return tuple(
        RankedRoute(
            route_id=routes[i].route_id,
            success=estimates[i],
            net_minor=None
            if payment.amount_minor is None
            else _net_estimate(payment, routes[i], estimates[i], nets[i]),
            propensity=float(propensities[i]),
        )
        for i in order
    )


def first_propensities(value: Floats, covariance: Floats, least: float) -> Floats:
    """Probability that each route is the best one, none that may be best below a least one.

    What all routes share cancels: each keeps its variance about their mean, scaled so that two routes differ by exactly
    the variance of their difference; with more than two that is an approximation. The numbers add up to 1 and are the
    probabilities that are drawn from, so as propensities they are exact.

    Args:
        value: (k,) expected value.
        covariance: (k, k) of the values.
        least: probability that each route that may be best gets at least.
    Source: Scott 2010, Appl Stoch Models Bus Ind 26:639.

    >>> first_propensities(np.array([1.0, 1.0]), np.eye(2), 0.0).round(6).tolist()
    [0.5, 0.5]
    """
    k = value.size
    if k == 1:
        return np.ones(1)
    centre = np.eye(k) - 1.0 / k
    spread = np.sqrt(np.maximum(np.diag(centre @ covariance @ centre), 0.0) * k / (k - 1))
    spread = np.maximum(spread, SMALLEST_SPREAD * max(1.0, float(np.abs(value).max())))
    points = value[:, None] + spread[:, None] * _NODES  # (k, nodes)
    below = _normal_cdf((points[:, :, None] - value) / spread)  # (k, nodes, k)
    below[np.arange(k), :, np.arange(k)] = 1.0
    best = np.maximum(below.prod(axis=2) @ _WEIGHTS, 0.0)
    best = best / best.sum()
    # A route three standard deviations of the difference behind the leader is not explored for exploring's sake.
    leader = int(value.argmax())
    plausible = value + 3.0 * np.hypot(spread, spread[leader]) >= value[leader]
    floor = np.where(plausible, min(least, 1.0 / k), 0.0)
    return np.asarray(floor + (1.0 - floor.sum()) * best, dtype=np.float64)


def kind_of_decline(payment: Payment, version: PaymentParameters) -> DeclineKind | None:
    """Kind of the last decline: hard when the caller or the code says so; None when nothing was declined."""
    if payment.last_decline_kind is DeclineKind.HARD or payment.last_decline_code in version.hard_codes:
        return DeclineKind.HARD
    if payment.last_decline_kind is not None:
        return payment.last_decline_kind
    if payment.last_decline_code is None:
        return None
    return DeclineKind.AUTHENTICATION if payment.last_decline_code in NEEDS_PAYER else DeclineKind.SOFT


def plan_retry(
    payment: Payment, routes: Sequence[Route], version: PaymentParameters, limits: Limits
) -> Retry | NoRetry:
    """When and where to try again after the last decline, or after this attempt should it be declined.

    The waits that are tried are the version's, from the decline on, within the scheme's window; a wait that has passed
    already means now.
    """
    kind = kind_of_decline(payment, version)
    if forbidden := _forbidden(payment, kind, limits):
        return forbidden
    declined = kind is not None
    since = (payment.hours_since_decline or 0.0) if declined else 0.0
    waits = sorted({max(0.0, wait - since) for wait in version.wait_hours if wait <= limits.window_days * HOURS_A_DAY})
    open_ = sorted((route for route in routes if not route.is_down), key=lambda route: route.route_id)
    if not waits or not open_:
        return NoRetry.NOT_WORTH_IT
    names = [route.route_id for route in open_]
    # The doubt hardly changes with the wait: it is taken once, and exactly for the one that is chosen.
    variances = believe(version.success, _later(payment, waits[0], since, declined=declined), names).variance.tolist()
    best: tuple[float, Payment, Route] | None = None
    best_value = 0.0
    for ahead in waits:
        then = _later(payment, ahead, since, declined=declined)
        kept = (1.0 - version.delay_cost_a_day) ** (ahead / HOURS_A_DAY)
        for route, logit, variance in zip(open_, expected_logits(version.success, then, names), variances, strict=True):
            value = kept * _net(then, route, mean_chance(logit, variance))
            if value > best_value:
                best, best_value = (ahead, then, route), value
    if best is None:
        return NoRetry.NOT_WORTH_IT
    ahead, then, route = best
    belief = believe(version.success, then, [route.route_id])
    return Retry(
        hours_from_now=ahead,
        route_id=route.route_id,
        success=_estimate(float(belief.mean[0]), float(belief.variance[0]), version.level),
    )


def _forbidden(payment: Payment, kind: DeclineKind | None, limits: Limits) -> NoRetry | None:
    """Why there can be no retry whatever it were worth; None when there can."""
    if kind is DeclineKind.HARD:
        return NoRetry.HARD_DECLINE
    if payment.stage is Stage.CHECKOUT:
        return NoRetry.PAYER_PRESENT
    made = payment.attempts_in_window
    if made is None:
        made = max(0, (payment.attempt_number or 1) - 1)
    made += 0 if kind else 1  # this attempt comes before its own retry
    if made >= limits.max_attempts:
        return NoRetry.SCHEME_LIMIT
    # Without the payer it can only be declined again.
    return NoRetry.NOT_WORTH_IT if kind is DeclineKind.AUTHENTICATION else None


def _later(payment: Payment, ahead: float, since: float, *, declined: bool) -> Payment:
    """The payment as it will be at its retry."""
    number = payment.attempt_number
    hour, day = payment.local_hour, payment.day_of_month
    hours = int(ahead)
    return replace(
        payment,
        stage=Stage.RETRY,
        attempt_number=None if number is None else number + (0 if declined else 1),
        hours_since_decline=since + ahead,
        last_route=payment.last_route if declined else None,
        local_hour=None if hour is None else (hour + hours) % 24,
        # Months are not known here: after the 31st the first follows, a day or two early at worst.
        day_of_month=None if day is None else (day - 1 + ((hour or 12) + hours) // 24) % 31 + 1,
    )


def _is_asking_better(
    payment: Payment, ranked: Sequence[RankedRoute], retry: Retry | NoRetry, version: PaymentParameters
) -> bool:
    """Whether asking for another way to pay is worth more than the next attempt."""
    kind = kind_of_decline(payment, version)
    if kind in {DeclineKind.HARD, DeclineKind.AUTHENTICATION}:
        return True
    if kind is None:  # nothing was declined: the next attempt is this one
        return version.new_method_chance > ranked[0].success.value
    if isinstance(retry, Retry):
        return version.new_method_chance > retry.success.value
    return retry is not NoRetry.PAYER_PRESENT or version.new_method_chance > ranked[0].success.value


def _net(payment: Payment, route: Route, chance: float) -> float:
    """Expected net value of an attempt, minor units; the chance itself when the amount is unknown."""
    if payment.amount_minor is None:
        return chance
    kept = payment.amount_minor * (1.0 - route.success_fee_share) - route.success_fee_minor
    return chance * kept - (1.0 - chance) * route.failure_fee_minor


def _net_estimate(payment: Payment, route: Route, success: Estimate, net: float) -> Estimate:
    ends = sorted((_net(payment, route, success.lower), _net(payment, route, success.upper)))
    return Estimate(value=net, lower=min(ends[0], net), upper=max(ends[1], net))


def _estimate(mean: float, variance: float, level: float) -> Estimate:
    reach = _reach(level) * math.sqrt(variance)
    return Estimate(value=chance_at(mean), lower=chance_at(mean - reach), upper=chance_at(mean + reach))


@lru_cache(maxsize=8)
def _reach(level: float) -> float:
    """Standard deviations from the middle to the end of an interval."""
    return NormalDist().inv_cdf((1.0 + level) / 2.0)


def _drawn(propensity: Floats, chance: float) -> int:
    """The index on which a number in [0, 1) falls; never one with a propensity of 0."""
    total = 0.0
    for i, share in enumerate(propensity.tolist()):
        total += share
        if chance < total:
            return i
    return int(propensity.argmax())


def _normal_cdf(z: Floats) -> Floats:
    """Distribution function of the standard normal; off by at most 1e-7. numpy has no error function.

    Source: Abramowitz and Stegun 1964, 7.1.26.
    """
    x = np.abs(z) / math.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * poly * np.exp(-x * x)
    cdf: Floats = np.where(z >= 0, 1.0 - tail, tail)
    return cdf
