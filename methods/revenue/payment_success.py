"""Chance that a payment succeeds on a route, with its doubt: a logistic model of small, shrunken effects.

The log odds of a success are the sum of an intercept, of one effect for each factor of the payment (country, brand,
route, amount, hour, attempt, decline code, hours since the decline, and pairs of them), and of one for its cell
(country, brand, route). Each kind of effect has its own spread, learned from the data: with few rows an effect stays
near 0, and an unknown level adds the spread of its kind to the doubt. Cells are learned from payments that count for
less the older they are, so that a route that has changed is doubted again.
Sources: Gelman and Hill 2007, ch. 14 (many small effects with a spread of their own); Tierney and Kadane 1986, J Am
Stat Assoc 81:82 (Laplace); Garivier and Moulines 2011, ALT (discounting).
Pure. `factors_of` is what training and serving share. Not here: what to do (payments.py); the fit
(training/revenue/payments.py); reading parameters (payment_parameters.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

INTERCEPT = 0  # its column
UNKNOWN = "?"
AMOUNT_EDGES = (0.3, 0.6, 0.9, 1.1, 1.6, 3.0)  # of the currency's median amount
HOUR_EDGES = (6, 12, 18)
MONTH_EDGES = (4, 15, 18, 25)  # first days, mid-month, and last days are when salaries come
HISTORY_EDGES = (1, 2, 4, 8, 13)  # successful payments in 365 days
FAILURES_EDGES = (1, 2, 3, 5)  # failed attempts in 365 days
WAIT_HOURS_EDGES = (1.0, 6.0, 18.0, 36.0, 60.0, 120.0, 200.0, 400.0)
ATTEMPTS_MOST = 6  # later attempts count as this one


class Stage(Enum):
    """Where in a customer's life a payment stands; names are the contract's without their prefix."""

    CHECKOUT = "CHECKOUT"
    RENEWAL = "RENEWAL"
    RETRY = "RETRY"


class DeclineKind(Enum):
    """Kind of a decline; names are the contract's without their prefix."""

    SOFT = "SOFT"
    HARD = "HARD"
    AUTHENTICATION = "AUTHENTICATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What is known of a payment before an attempt; None is unknown.

    Attributes:
        stage: where it stands.
        amount_minor, currency: what is to be paid, minor units, above 0; ISO 4217.
        country: of the payer's bank, ISO 3166-1 alpha-2.
        card_brand, card_funding, device: names as in the contract's enums, without their prefix.
        attempt_number: of this payment, this one included, from 1.
        attempts_in_window: within the scheme's window so far, this one not included.
        last_decline_code, last_decline_kind, last_route: of the last decline.
        hours_since_decline: hours since it, 0 or more.
        local_hour, day_of_month: where the payer is, 0 to 23 and 1 to 31.
        payments_365d, failures_365d: attempts of this payer in the year before that succeeded, and that did not;
            those at this very payment left out.
    """

    stage: Stage | None = None
    amount_minor: int | None = None
    currency: str | None = None
    country: str | None = None
    card_brand: str | None = None
    card_funding: str | None = None
    device: str | None = None
    attempt_number: int | None = None
    attempts_in_window: int | None = None
    last_decline_code: str | None = None
    last_decline_kind: DeclineKind | None = None
    last_route: str | None = None
    hours_since_decline: float | None = None
    local_hour: int | None = None
    day_of_month: int | None = None
    payments_365d: int | None = None
    failures_365d: int | None = None


class Block(NamedTuple):
    """One kind of effect: the standard deviation between its levels, and each level's column."""

    sd: float
    columns: Mapping[str, int]


class Cell(NamedTuple):
    """What is believed of one cell's own log odds: mean and variance."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SuccessModel:
    """A fitted model.

    Attributes:
        blocks: kinds of effects by name.
        mean: (d,) of the effects, the intercept first.
        covariance: (d, d).
        cells: by name, see `cell_of`.
        cell_sd: standard deviation between cells.
        median_amounts: minor units by currency.
    """

    blocks: Mapping[str, Block]
    mean: Floats
    covariance: Floats
    cells: Mapping[str, Cell]
    cell_sd: float
    median_amounts: Mapping[str, float]


class Belief(NamedTuple):
    """What is believed of the log odds of a payment on k routes.

    Attributes:
        mean: (k,).
        variance: (k,) all doubt.
        contrast: (k, k) covariance, without the doubt about levels never seen that all routes share.
    """

    mean: Floats
    variance: Floats
    contrast: Floats


def factors_of(payment: Payment, route: str, median_amounts: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every factor of an attempt as (kind, level); unknown levels are `?`. The one list of the model's factors.

    >>> dict(factors_of(Payment(country="KE", attempt_number=9), "A", {}))["route|country"]
    'A|KE'
    """
    return payment_factors(payment, median_amounts) + route_factors(payment, route)


def payment_factors(payment: Payment, median_amounts: Mapping[str, float]) -> list[tuple[str, str]]:
    """The factors that are the same on every route."""
    stage = UNKNOWN if payment.stage is None else payment.stage.value
    country, brand = payment.country or UNKNOWN, payment.card_brand or UNKNOWN
    number = payment.attempt_number
    attempt = UNKNOWN if number is None else str(min(number, ATTEMPTS_MOST))
    median = median_amounts.get(payment.currency) if payment.currency else None
    relative = None if median is None or payment.amount_minor is None else payment.amount_minor / median
    history, failures = _bin(payment.payments_365d, HISTORY_EDGES), _bin(payment.failures_365d, FAILURES_EDGES)
    factors = [
        ("stage", stage),
        ("country", country),
        ("card_brand", brand),
        ("card_funding", payment.card_funding or UNKNOWN),
        ("device", payment.device or UNKNOWN),
        ("currency", payment.currency or UNKNOWN),
        ("amount", _bin(relative, AMOUNT_EDGES)),
        ("hour", _bin(payment.local_hour, HOUR_EDGES)),
        ("month_part", _bin(payment.day_of_month, MONTH_EDGES)),
        ("history", history),
        ("stage|history", f"{stage}|{history}"),
        ("failures", failures),
        ("stage|failures", f"{stage}|{failures}"),
        ("attempt", attempt),
        ("country|card_brand", f"{country}|{brand}"),
    ]
    if _is_after_decline(payment):
        decline, wait = payment.last_decline_code or UNKNOWN, _bin(payment.hours_since_decline, WAIT_HOURS_EDGES)
        factors += [
            ("decline", decline),
            ("wait", wait),
            ("decline|wait", f"{decline}|{wait}"),
            ("decline|attempt", f"{decline}|{attempt}"),
        ]
    return factors


def route_factors(payment: Payment, route: str) -> list[tuple[str, str]]:
    """The factors that name the route."""
    stage = UNKNOWN if payment.stage is None else payment.stage.value
    country, brand = payment.country or UNKNOWN, payment.card_brand or UNKNOWN
    factors = [
        ("route", route),
        ("route|card_brand", f"{route}|{brand}"),
        ("route|country", f"{route}|{country}"),
        ("route|stage", f"{route}|{stage}"),
        ("route|card_brand|stage", f"{route}|{brand}|{stage}"),
    ]
    if _is_after_decline(payment):
        factors.append(("same_route", UNKNOWN if payment.last_route is None else str(payment.last_route == route)))
    return factors


def cell_of(payment: Payment, route: str) -> str:
    """The cell of an attempt: country, brand and route."""
    return f"{payment.country or UNKNOWN}|{payment.card_brand or UNKNOWN}|{route}"


def believe(model: SuccessModel, payment: Payment, routes: Sequence[str]) -> Belief:
    """What is believed of the log odds of a payment on each of several routes.

    A level that the model never saw counts as 0 with the spread of its kind.
    """
    shared, doubt = _columns(model, payment_factors(payment, model.median_amounts))
    own = [_columns(model, route_factors(payment, route)) for route in routes]
    cells = [model.cells.get(cell_of(payment, route)) for route in routes]
    used = sorted({INTERCEPT, *shared, *(column for columns, _ in own for column in columns)})
    place = {column: at for at, column in enumerate(used)}
    rows = np.zeros((len(routes), len(used)))
    rows[:, [place[column] for column in (INTERCEPT, *shared)]] = 1.0
    for row, (columns, _) in enumerate(own):
        rows[row, [place[column] for column in columns]] = 1.0
    index = np.array(used)
    contrast = rows @ model.covariance[index[:, None], index] @ rows.T  # (k, used) -> (k, k)
    contrast[np.diag_indices(len(routes))] += [
        unseen + (model.cell_sd**2 if cell is None else cell.variance)
        for (_, unseen), cell in zip(own, cells, strict=True)
    ]
    return Belief(
        mean=rows @ model.mean[index] + [0.0 if cell is None else cell.mean for cell in cells],
        variance=np.maximum(contrast.diagonal() + doubt, 0.0),
        contrast=contrast,
    )


def expected_logits(model: SuccessModel, payment: Payment, routes: Sequence[str]) -> list[float]:
    """The means of `believe` alone, for searches: a few microseconds a route."""
    effects = model.mean.tolist()
    shared, _ = _columns(model, payment_factors(payment, model.median_amounts))
    base = effects[INTERCEPT] + sum(effects[column] for column in shared)
    answer = []
    for route in routes:
        columns, _ = _columns(model, route_factors(payment, route))
        cell = model.cells.get(cell_of(payment, route))
        answer.append(base + sum(effects[column] for column in columns) + (0.0 if cell is None else cell.mean))
    return answer


def mean_chance(mean: float, variance: float) -> float:
    """Mean of the chance whose log odds are normal.

    Source: MacKay 1992, Neural Comput 4:720 (the probit approximation); off by at most 0.02.

    >>> mean_chance(0.0, 4.0), round(mean_chance(2.0, 0.0), 4)
    (0.5, 0.8808)
    """
    return chance_at(mean / math.sqrt(1.0 + math.pi * variance / 8.0))


def chance_at(logit: float) -> float:
    """Probability of a log odds, without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    small = math.exp(logit)
    return small / (1.0 + small)


def _bin(value: float | None, edges: Sequence[float]) -> str:
    """The number of edges at or below the value."""
    if value is None:
        return UNKNOWN
    at = 0
    for edge in edges:
        at += value >= edge
    return str(at)


def _columns(model: SuccessModel, factors: Sequence[tuple[str, str]]) -> tuple[list[int], float]:
    """Columns of the levels that the model knows, and the variance of those that it does not."""
    columns, unseen = [], 0.0
    for kind, level in factors:
        block = model.blocks.get(kind)
        if block is None:
            continue
        column = block.columns.get(level)
        if column is None:
            unseen += block.sd**2
        else:
            columns.append(column)
    return columns, unseen


def _is_after_decline(payment: Payment) -> bool:
    return payment.last_decline_code is not None or payment.hours_since_decline is not None
