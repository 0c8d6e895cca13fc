"""How a payment is taken: a route, a first attempt, retries after soft declines, another card after hard ones.

Not here: when payments fall due and what an unpaid one ends (subscribing.py); rows of the payments table (trading.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.parameters import TradeParameters
from training.data.simulator.people import draw_codes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Log odds of failing by route and card brand: no route is best for every card, which is what routing is for. JUDGEMENT
ROUTE_EFFECT = np.array([[-0.3, 0.2, 0.1, 0.4], [0.2, -0.4, 0.3, 0.0], [0.1, 0.1, -0.5, -0.3]])  # (routes, brands)
ROUTE_SHARES = (0.5, 0.3, 0.2)
DECLINE_SHARES = (0.45, 0.25, 0.12, 0.14, 0.04)  # in the order of tables.DECLINE_CODES. JUDGEMENT
IS_HARD = np.array([code in tables.HARD_DECLINES for code in tables.DECLINE_CODES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Payment attempts; every array is (a,).

    Attributes:
        spell: index of the subscription paid for.
        day: days after the start.
        attempt: 1 for the first of the period.
        route: code.
        succeeded: whether the money came.
        decline: code, -1 on success.
        covers_until: day until which it pays; NaN on failure.
    """

    spell: Integers
    day: Floats
    attempt: Integers
    route: Integers
    succeeded: Flags
    decline: Integers
    covers_until: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Payments that fall due; every array is (k,)."""

    spell: Integers
    day: Floats
    covers_until: Floats
    card: Floats
    brand: Integers


def collect_payment(due: Due, trade: TradeParameters, rng: np.random.Generator) -> tuple[Attempts, Flags]:
    """Takes every payment, retrying as the rules allow.

    Returns: all attempts in no order, and (k,) whether the money came in the end.
    """
    is_paid = np.zeros(due.day.size, dtype=np.bool_)
    is_hard = np.zeros(due.day.size, dtype=np.bool_)
    odds = trade.payment_failure / (1.0 - trade.payment_failure)
    made: list[Attempts] = []
    for number, wait in enumerate((0.0, *trade.retry_days)):
        # A hard decline is never retried on the same card; its one second chance is another card.
        index = np.flatnonzero(~is_paid & (~is_hard | (number == len(trade.retry_days))))
        route = draw_codes(ROUTE_SHARES, index.size, rng)
        if number == 0:
            failing = _failing(due, index, route, odds)
        else:
            failing = 1.0 - np.where(is_hard[index], trade.new_card_success, trade.retry_success)
        succeeded = rng.random(index.size) >= failing
        decline = np.where(succeeded, -1, draw_codes(DECLINE_SHARES, index.size, rng))
        made.append(
            Attempts(
                spell=due.spell[index],
                day=due.day[index] + wait + rng.uniform(0.0, 0.02, index.size),
                attempt=np.full(index.size, number + 1, dtype=np.int64),
                route=route,
                succeeded=succeeded,
                decline=decline,
                covers_until=np.where(succeeded, due.covers_until[index], np.nan),
            )
        )
        is_paid[index] = succeeded
        is_hard[index] = ~succeeded & IS_HARD[decline]
    return joined_attempts(made), is_paid


def joined_attempts(parts: Sequence[Attempts]) -> Attempts:
    """All attempts as one."""
    return Attempts(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Attempts)})


def _failing(due: Due, index: Integers, route: Integers, odds: float) -> Floats:
    """(i,) chance that a first attempt fails, by the card's luck and how the route gets on with its brand."""
    logit = np.log(odds) + due.card[index] + ROUTE_EFFECT[route, due.brand[index]]
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)
