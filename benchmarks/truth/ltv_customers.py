"""Customers drawn from the models of buying, with what each will do later: the truth that intervals are held against.

Not here: the models' mathematics (methods/revenue/purchases.py), of which nothing is used: rates, lifetimes and
purchases are drawn one by one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.revenue.purchases import Histories, PurchaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """n customers up to now, and (n,) purchases and money of the weeks after."""

    histories: Histories
    purchases: NDArray[np.float64]
    spend: NDArray[np.float64]


def draw_customers(
    model: PurchaseModel,
    theta: NDArray[np.float64],
    value_theta: NDArray[np.float64],
    observed_weeks: NDArray[np.float64],
    weeks_ahead: float,
    rng: np.random.Generator,
) -> Drawn:
    """Draw customers and their purchases.

    Args:
        model: how they leave.
        theta: (4,) its parameters.
        value_theta: (3,) p, q and v of Gamma-Gamma.
        observed_weeks: (n,) time from the first purchase to now.
        weeks_ahead: how long after now is watched.
        rng: chance.
    """
    count = len(observed_weeks)
    rate = rng.gamma(theta[0], 1 / theta[1], count)
    end = observed_weeks + weeks_ahead
    if model is PurchaseModel.PARETO_NBD:
        end = np.minimum(end, rng.exponential(1 / np.maximum(rng.gamma(theta[2], 1 / theta[3], count), 1e-300)))
        most = np.full(count, np.inf)
    else:  # leaves after the geometric-th repeat purchase
        most = np.ceil(
            np.log(rng.uniform(size=count)) / np.log1p(-np.clip(rng.beta(theta[2], theta[3], count), 1e-300, 1 - 1e-16))
        )
        most = np.maximum(most, 1.0)
    histories = _Tally(count, observed_weeks)
    nu = rng.gamma(value_theta[1], 1 / value_theta[2], count)  # rate of a purchase's value
    time, number = np.zeros(count), np.zeros(count)
    rows = np.arange(count)
    while len(rows):
        time[rows] += rng.exponential(1 / np.maximum(rate[rows], 1e-300))
        number[rows] += 1
        rows = rows[(time[rows] <= end[rows]) & (number[rows] <= most[rows])]
        histories.add(rows, time[rows], rng.gamma(value_theta[0], 1 / nu[rows]))
    return histories.drawn()


class _Tally:
    """Sums over purchases, before and after now."""

    def __init__(self, count: int, now: NDArray[np.float64]) -> None:
        self.now = now
        self.frequency, self.last, self.paid = np.zeros(count), np.zeros(count), np.zeros(count)
        self.later, self.later_paid = np.zeros(count), np.zeros(count)

    def add(self, rows: NDArray[np.int64], time: NDArray[np.float64], value: NDArray[np.float64]) -> None:
        """One purchase of each of these customers."""
        past = time <= self.now[rows]
        seen, coming = rows[past], rows[~past]
        self.frequency[seen] += 1
        self.last[seen] = time[past]
        self.paid[seen] += value[past]
        self.later[coming] += 1
        self.later_paid[coming] += value[~past]

    def drawn(self) -> Drawn:
        """What was counted."""
        return Drawn(
            histories=Histories(
                frequency=self.frequency,
                recency_weeks=self.last,
                observed_weeks=self.now,
                valued=self.frequency,
                mean_value=self.paid / np.maximum(self.frequency, 1),
            ),
            purchases=self.later,
            spend=self.later_paid,
        )
