"""Payments whose chance on every route is known: what routing and retries are run on.

Richer than the policy's model: every payer has a luck of his own that no field shows; routes move from week to week,
and one of them is poor for some weeks; how a route gets on with large amounts is its own; what a retry brings depends
on the reason of the decline, on the wait, and on whether the route is another one.
Ranges, drawn for each seed: first attempts that fail 4 to 15 % (the platform's simulator 3 % for the average card; more
across borders), luck 0.7 to 1.2 log odds (simulator 1), routes differ by 0.2 to 0.5 log odds by brand and by country
(simulator -0.5 to 0.4), and by 0.1 to 0.3 for each log unit of amount, weekly moves 0.03 to 0.1, a poor spell of 0.5 to
1.5 log odds over three to eight weeks; fees 1.4 to 3.5 % and 10 to 40 minor units, 0 to 15 for a failure: JUDGEMENT
where no source stands.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.closed_loop.comparison import Floats
from methods.revenue.payments import Route
from training.data import tables

ROUTES: Final = ("A", "B", "C", "D")
COUNTRIES: Final = ("KE", "TZ", "IN", "DE", "GB", "US")
AMOUNTS: Final = (5_000, 13_500, 36_000, 48_000)  # the platform's prices
AMOUNT_SHARES: Final = (0.62, 0.14, 0.06, 0.18)
CURRENCY: Final = "USD"
BRAND_SHARES: Final = (0.5, 0.35, 0.07, 0.08)  # as in the simulator
CODE_SHARES: Final = (0.45, 0.25, 0.12, 0.14, 0.04)  # in the order of tables.DECLINE_CODES, as in the simulator
START: Final = pd.Timestamp("2025-01-06", tz="UTC")
MEDIAN_AMOUNT: Final = 5_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What decides about success; log odds unless said otherwise.

    Attributes:
        base: of the median payer on the average route.
        luck_sd: between payers.
        by_brand, by_country: (routes, brands), (routes, countries).
        by_amount: (routes,) for each log unit of amount over the median.
        weekly: (routes, weeks).
        retry: (codes,) against a first attempt; after hard ones there is no chance.
        waiting: (codes,) gained by waiting five days.
        other_route: gained by another route than the one that declined.
        routes: with their fees.
    """

    base: float
    luck_sd: float
    by_brand: Floats
    by_country: Floats
    by_amount: Floats
    weekly: Floats
    retry: Floats
    waiting: Floats
    other_route: float
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One payment to be taken: whose, when first (days after START), of what; brand and country are codes."""

    payer: int
    day: float
    amount: int
    brand: int
    country: int
    luck: float

    @property
    def time(self) -> pd.Timestamp:
        """When it is first tried."""
        return START + pd.Timedelta(days=self.day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """The last decline of a payment: its code, the route, and the hours since."""

    code: int
    route: int
    hours: float


def draw_market(weeks: int, rng: np.random.Generator) -> Market:
    """One seed's market."""
    count = len(ROUTES)
    failing = rng.uniform(0.04, 0.15)
    luck = rng.uniform(0.7, 1.2)
    weekly = np.cumsum(rng.uniform(0.03, 0.1) * rng.standard_normal((count, weeks)), axis=1)
    begin, length = int(rng.integers(weeks)), int(rng.integers(3, 9))
    weekly[int(rng.integers(count)), begin : begin + length] -= rng.uniform(0.5, 1.5)
    hard = np.array([code in tables.HARD_DECLINES for code in tables.DECLINE_CODES])
    return Market(
        base=math.log((1.0 - failing) / failing)
        * math.sqrt(1.0 + luck**2 / 3.0),  # about: luck pulls the mean to a half
        luck_sd=luck,
        by_brand=rng.uniform(0.2, 0.5) * rng.standard_normal((count, len(BRAND_SHARES))),
        by_country=rng.uniform(0.2, 0.5) * rng.standard_normal((count, len(COUNTRIES))),
        by_amount=rng.uniform(0.1, 0.3) * rng.standard_normal(count),
        weekly=weekly,
        retry=np.where(hard, -30.0, -rng.uniform(2.0, 4.0, hard.size)),
        waiting=rng.uniform(0.0, 2.0, hard.size),
        other_route=rng.uniform(0.0, 0.8),
        routes=tuple(
            Route(
                route_id=name,
                success_fee_share=float(rng.uniform(0.014, 0.035)),
                success_fee_minor=int(rng.integers(10, 41)),
                failure_fee_minor=int(rng.integers(0, 16)),
            )
            for name in ROUTES
        ),
    )


def draw_bills(market: Market, payers: int, weeks: int, rng: np.random.Generator) -> list[Bill]:
    """Monthly payments of so many payers, by time."""
    bills = []
    for payer in range(payers):
        amount, brand = int(rng.choice(AMOUNTS, p=AMOUNT_SHARES)), int(rng.choice(len(BRAND_SHARES), p=BRAND_SHARES))
        country, luck = int(rng.integers(len(COUNTRIES))), float(market.luck_sd * rng.standard_normal())
        bills += [
            Bill(payer=payer, day=float(day), amount=amount, brand=brand, country=country, luck=luck)
            for day in np.arange(rng.uniform(0.0, 30.0), weeks * 7.0, 30.0)
        ]
    return sorted(bills, key=lambda bill: bill.day)


def success_chances(market: Market, bill: Bill, after: Declined | None = None) -> Floats:
    """(routes,) true chance of an attempt now; after a decline, so many hours after it."""
    hours = 0.0 if after is None else after.hours
    week = min(int((bill.day + hours / 24.0) // 7.0), market.weekly.shape[1] - 1)
    logit = market.base + bill.luck + market.by_brand[:, bill.brand] + market.by_country[:, bill.country]
    logit = logit + market.by_amount * math.log(bill.amount / MEDIAN_AMOUNT) + market.weekly[:, week]
    if after is not None:
        logit = logit + market.retry[after.code] + market.waiting[after.code] * min(1.0, hours / 120.0)
        logit = logit + np.where(np.arange(len(ROUTES)) == after.route, 0.0, market.other_route)
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)


def net_values(market: Market, bill: Bill, chances: Floats) -> Floats:
    """(routes,) expected amount less fees, minor units."""
    kept = np.array([bill.amount * (1.0 - r.success_fee_share) - r.success_fee_minor for r in market.routes])
    lost = np.array([float(r.failure_fee_minor) for r in market.routes])
    return np.asarray(chances * kept - (1.0 - chances) * lost, dtype=np.float64)


def draw_code(rng: np.random.Generator) -> int:
    """Why an attempt is declined."""
    return int(rng.choice(len(CODE_SHARES), p=CODE_SHARES))
