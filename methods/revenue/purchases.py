"""How often a customer buys again and for how much, where leaving is never seen: two models of buying, one of value.

While alive a customer buys at random times with a rate of his own, Gamma(r, alpha) over customers. In Pareto/NBD he
leaves at a random time, with a rate Gamma(s, beta); in BG/NBD after a purchase, with a chance Beta(a, b). Values of
purchases are Gamma(p, nu) with nu ~ Gamma(q, v). Time is in weeks.
Sources: Schmittlein, Morrison and Colombo 1987, Management Science 33:1 (Pareto/NBD); Fader, Hardie and Lee 2005,
Marketing Science 24:275 (BG/NBD); Fader, Hardie and Lee 2005, J Marketing Research 42:415 (Gamma-Gamma).
Everything is for n customers at once and k parameter vectors at once: the first is the estimate, the others carry its
uncertainty (ltv.py). Numpy only: serving loads no scipy. Not here: money over time (ltv.py); fitting
(training/revenue/purchases.py).
"""

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from methods.statistics.hypergeometric import hypergeometric_sum

# 32 Gauss-Legendre nodes integrate exp(-x) over [0, 40] to the last digit; what lies beyond 40 is below e^-40 of it.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_FARTHEST_DECAY = 40.0


class PurchaseModel(Enum):
    """How customers leave, and the names of the four numbers of each model in their order."""

    BG_NBD = "bg_nbd"
    PARETO_NBD = "pareto_nbd"

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Names of the parameters: rate's shape and scale, then those of leaving."""
        return ("r", "alpha", "a", "b") if self is PurchaseModel.BG_NBD else ("r", "alpha", "s", "beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """n customers as the models see them.

    Attributes:
        frequency: (n,) days with a purchase after the day of the first one.
        recency_weeks: (n,) first to last purchase; 0 when there was only one.
        observed_weeks: (n,) first purchase to now, not below recency_weeks.
        valued: (n,) purchases behind the mean value; 0 when none is known.
        mean_value: (n,) mean value of those, in any unit of money; without meaning where `valued` is 0.
    """

    frequency: NDArray[np.float64]
    recency_weeks: NDArray[np.float64]
    observed_weeks: NDArray[np.float64]
    valued: NDArray[np.float64]
    mean_value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frequency)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Histories":
        """These customers only."""
        return Histories(
            frequency=self.frequency[rows],
            recency_weeks=self.recency_weeks[rows],
            observed_weeks=self.observed_weeks[rows],
            valued=self.valued[rows],
            mean_value=self.mean_value[rows],
        )


def summarise_purchases(
    customer: ArrayLike, day: ArrayLike, amount: ArrayLike, as_of_day: float
) -> tuple[NDArray[np.int64], Histories]:
    """Purchases to histories: what is bought on one day counts as one purchase.

    Args:
        customer: (m,) number of the customer of each purchase.
        day: (m,) days since some midnight UTC; the whole part is the day.
        amount: (m,) what was paid.
        as_of_day: now, in the same days; purchases of later days are not looked at.
    Returns: the customers with a purchase by then, rising, and their histories in that order.

    >>> customers, histories = summarise_purchases([7, 7, 7, 7], [0.2, 14.1, 14.9, 99.0], [9.0, 5.0, 6.0, 1.0], 21)
    >>> histories.frequency.tolist(), histories.recency_weeks.tolist(), histories.observed_weeks.tolist()
    ([1.0], [2.0], [3.0])
    >>> histories.mean_value.tolist()
    [11.0]
    """
    days = np.floor(np.asarray(day, dtype=np.float64)).astype(np.int64)
    now = int(np.floor(as_of_day))
    seen = days <= now
    pairs = np.stack((np.asarray(customer, dtype=np.int64)[seen], days[seen]))
    (who, when), place = np.unique(pairs, axis=1, return_inverse=True)  # customer-days, by customer and then by day
    paid = np.bincount(place.ravel(), weights=np.asarray(amount, dtype=np.float64)[seen], minlength=len(who))
    customers, begin, count = np.unique(who, return_index=True, return_counts=True)
    first, last = when[begin], when[begin + count - 1]
    total = np.add.reduceat(paid, begin) if len(begin) else np.empty(0)
    repeats = (count - 1).astype(np.float64)
    return customers, Histories(
        frequency=repeats,
        recency_weeks=(last - first) / 7.0,
        observed_weeks=(now - first) / 7.0,
        valued=repeats,
        mean_value=(total - paid[begin]) / np.maximum(repeats, 1.0),
    )


def log_odds_gone(model: PurchaseModel, theta: NDArray[np.float64], histories: Histories) -> NDArray[np.float64]:
    """Log of the odds that a customer has left by now; -inf where that cannot be.

    Args:
        model: how customers leave.
        theta: (k, 4) parameters above 0, in the order of `model.names`.
        histories: n customers.
    Returns: (n, k).
    Source: BG/NBD: Fader, Hardie and Lee 2008, "Computing P(alive) using the BG/NBD model", eq. 7. Pareto/NBD:
        Schmittlein et al. 1987, eqs. 11-13, as s times the integral over the moment of leaving.
    """
    r, alpha, leave, stay = _columns(theta)  # (1, k) each
    x, recent, watched = (  # (n, 1) each
        histories.frequency[:, None],
        histories.recency_weeks[:, None],
        histories.observed_weeks[:, None],
    )
    match model:
        case PurchaseModel.BG_NBD:  # nobody leaves before his first repeat purchase
            silence = (r + x) * np.log((alpha + watched) / (alpha + recent))
            left = np.log(leave / (stay + np.maximum(x, 1.0) - 1.0)) + silence
            return np.where(x > 0, left, -np.inf)
        case PurchaseModel.PARETO_NBD:
            return np.log(leave) + _log_integral_of_leaving(r + x, alpha, leave, stay, recent, watched)
        case _:
            assert_never(model)


def alive_probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance in [0, 1] that a customer is still one, from the log odds that he is not."""
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum(log_odds, 700.0))), dtype=np.float64)


def purchases_if_alive(
    model: PurchaseModel, theta: NDArray[np.float64], histories: Histories, weeks: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected purchases within each of these times from now, of a customer who is alive now.

    Args:
        model: how customers leave.
        theta: (k, 4) parameters above 0.
        histories: n customers.
        weeks: (m,) times ahead, 0 or more.
    Returns: (n, k, m). Times `alive_probability` it is the expectation for a customer of whom nobody knows.
    Raises: ValueError: a BG/NBD horizon so many times the time watched that its series cannot be summed.
    Source: Schmittlein et al. 1987, eq. 20; Fader, Hardie and Lee 2005, eq. 10. Both are written so that nothing
        cancels where s or a is 1 and the published forms divide by 0.
    """
    r, alpha, leave, stay = _columns(theta[..., None])  # (1, k, 1) each
    x, watched = histories.frequency[:, None, None], histories.observed_weeks[:, None, None]
    ahead = weeks[None, None, :]
    match model:
        case PurchaseModel.PARETO_NBD:
            length = np.log1p(ahead / (stay + watched))
            return (r + x) * (stay + watched) / (alpha + watched) * _shrunken(leave - 1.0, length)
        case PurchaseModel.BG_NBD:
            # c [1 - (1-z)^(r+x) 2F1(r+x, b+x; c; z)] / (a-1) with c = a+b+x-1, after Euler's transformation
            z = ahead / (alpha + watched + ahead)
            length = np.log1p(ahead / (alpha + watched))  # -log(1 - z)
            c, rest = leave + stay + x - 1.0, leave + stay - 1.0 - r
            tail = hypergeometric_sum((rest + 1.0, leave, 1.0), (c + 1.0, 2.0), z)
            return c * _shrunken(leave - 1.0, length) - np.exp((1.0 - leave) * length) * rest * z * tail
        case _:
            assert_never(model)


def expected_value(theta: NDArray[np.float64], histories: Histories) -> NDArray[np.float64]:
    """Expected value of one purchase, in the unit of `mean_value`.

    Args:
        theta: (k, 3) p, q and v of Gamma-Gamma, q above 1.
        histories: n customers; one without a known value gets the mean of all customers.
    Returns: (n, k). A mean of all customers' and the customer's own, weighed by how many purchases stand behind it.
    Source: Fader, Hardie and Lee 2005, J Marketing Research 42:415, eq. 5.

    >>> nobody = Histories(frequency=np.zeros(1), recency_weeks=np.zeros(1),
    ...     observed_weeks=np.zeros(1), valued=np.zeros(1), mean_value=np.zeros(1))
    >>> expected_value(np.array([[6.25, 3.74, 15.44]]), nobody).round(2).tolist()
    [[35.22]]
    """
    p, q, v = _columns(theta)  # (1, k) each
    count, mean = histories.valued[:, None], np.where(histories.valued > 0, histories.mean_value, 0.0)[:, None]
    return p * (v + count * mean) / (p * count + q - 1.0)


def _columns(theta: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """(k, p) or (k, p, 1) to p columns, each with a first axis for the customers."""
    return [theta[None, :, number] for number in range(theta.shape[1])]


def _shrunken(epsilon: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 - exp(-epsilon * length)) / epsilon, and its limit `length` where epsilon is 0."""
    product = epsilon * length
    small = np.abs(product) < 1e-6  # the series is exact to 1e-13 there
    safe = np.where(small, 1.0, product)
    return length * np.where(small, 1.0 - product / 2.0, -np.expm1(-safe) / safe)


def _log_integral_of_leaving(
    rate_shape: NDArray[np.float64],
    alpha: NDArray[np.float64],
    s: NDArray[np.float64],
    beta: NDArray[np.float64],
    recent: NDArray[np.float64],
    watched: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Log of the integral over t from recency to now of ((alpha+T)/(alpha+t))^(r+x) ((beta+T)/(beta+t))^s / (beta+t).

    All broadcast to (n, k). In log(t + the smaller scale) the integrand is smooth; once it has fallen by e^-40 the
    rest is left out, so that a fixed number of nodes serves customers with a thousand purchases too.
    """
    smaller = np.minimum(alpha, beta)
    fallen = (alpha + recent) * np.expm1(np.minimum(_FARTHEST_DECAY / rate_shape, 50.0)) + recent
    end = np.minimum(watched, fallen)
    low, high = np.log(smaller + recent), np.log(smaller + end)
    half = (high - low)[..., None] / 2.0
    place = (low[..., None] + half * (1.0 + _NODES))[..., :]  # (n, k) -> (n, k, nodes)
    t = np.exp(place) - smaller[..., None]
    decay = rate_shape[..., None] * np.log((alpha[..., None] + t) / (alpha + recent)[..., None])
    decay = decay + (s + 1.0)[..., None] * np.log((beta[..., None] + t) / (beta + recent)[..., None]) - place
    top = np.max(-decay, axis=-1)
    total = np.sum(_WEIGHTS * np.exp(-decay - top[..., None]), axis=-1)
    lift = rate_shape * np.log((alpha + watched) / (alpha + recent)) + s * np.log((beta + watched) / (beta + recent))
    with np.errstate(divide="ignore"):  # a purchase today: nobody has left since, log 0
        return np.asarray(lift + top + np.log(total * half[..., 0]) - np.log(beta + recent), dtype=np.float64)
