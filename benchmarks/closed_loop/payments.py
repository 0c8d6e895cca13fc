"""OptimizePaymentFlow taking half a year of monthly payments, against one route for all of them.

Half a year before, routes were chosen by chance and declined payments tried again after 1, 3 and 7 days; the version is
fitted on that log, and once more on its own attempts after a quarter. One static route is the best of the log; another
is known in hindsight, from the true chances, which no product could. With retries both keep the usual days. Where
attempts are drawn, all meet the same luck. A later payment is worth a hundredth less each day, for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.closed_loop.comparison import Answered, Floats, Kind, Policy, SeedResult
from benchmarks.closed_loop.worlds.cards import (
    COUNTRIES,
    CURRENCY,
    ROUTES,
    Bill,
    Declined,
    Market,
    draw_bills,
    draw_code,
    draw_market,
    net_values,
    success_chances,
)
from methods.revenue.payment_parameters import PaymentParameters
from methods.revenue.payment_success import Payment, Stage
from methods.revenue.payments import Retry, answer_payment
from training.data import tables
from training.features.payments import BRANDS, read_log
from training.revenue.payments import fit_payments

PAYERS, WEEKS_BEFORE, WEEKS = 700, 26, 26
LOGGED_SHARES: Final = (0.4, 0.3, 0.2, 0.1)
USUAL_WAITS: Final = (24.0, 72.0, 168.0)  # hours after the first decline
REFIT_WEEKS: Final = 13
DELAY_COST_A_DAY: Final = 0.01
ATTEMPTS_MOST: Final = 4  # of one payment, for everybody
YEAR: Final = 365.0


def run(seed: int) -> SeedResult:
    """One market: a log, a fit, then every payment by the policy and by each static route."""
    market = draw_market(WEEKS_BEFORE + WEEKS, np.random.default_rng([seed, 31]))
    bills = draw_bills(market, PAYERS, WEEKS_BEFORE + WEEKS, np.random.default_rng([seed, 32]))
    desk = _Desk(market, np.random.default_rng([seed, 33]))
    judged = [number for number, bill in enumerate(bills) if bill.day >= WEEKS_BEFORE * 7.0]
    for number in range(judged[0]):
        desk.take_by_chance(number, bills[number])
    first, whole_static = np.zeros(len(ROUTES)), np.zeros(len(ROUTES))
    logged = desk.best_of_log()
    planned = best_each = whole = amounts = unexplored = 0.0
    for number in judged:
        bill = bills[number]
        luck = np.random.default_rng([seed, 34, number])
        uniform, code = luck.random(ATTEMPTS_MOST), [draw_code(luck) for _ in range(ATTEMPTS_MOST)]
        nets = net_values(market, bill, success_chances(market, bill))
        route, expected, value = desk.take_by_policy(number, bill, uniform, code)
        planned, whole, best_each = planned + float(nets[route]), whole + value, best_each + float(nets.max())
        unexplored += float(nets[expected])
        first += nets
        whole_static += [_take_statically(market, bill, at, uniform, code) for at in range(len(ROUTES))]
        amounts += bill.amount
    return SeedResult(
        gains={
            "static_route_of_the_log": 100.0 * (planned - float(first[logged])) / amounts,
            "static_route_of_the_log_with_retries": 100.0 * (whole - float(whole_static[logged])) / amounts,
            "best_static_route": 100.0 * (planned - float(first.max())) / amounts,
            "best_static_route_with_retries": 100.0 * (whole - float(whole_static.max())) / amounts,
        },
        figures={
            "net_share.planned": planned / amounts,
            "net_share.planned_without_exploring": unexplored / amounts,
            "net_share.static_of_the_log": float(first[logged]) / amounts,
            "net_share.best_static": float(first.max()) / amounts,
            "net_share.average_route": float(first.mean()) / amounts,
            "net_share.best_route_each": best_each / amounts,
            "net_share.planned_with_retries": whole / amounts,
            "net_share.best_static_with_retries": float(whole_static.max()) / amounts,
        },
        answers=desk.answers(),
    )


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """What stood in the way."""
    room = figures["net_share.best_route_each"] - figures["net_share.best_static"]
    cost = figures["net_share.planned_without_exploring"] - figures["net_share.planned"]
    words = f"exploring costs {100 * cost:.2f} points"
    if alternative.startswith("best_static"):
        behind = figures["net_share.best_static"] - figures["net_share.static_of_the_log"]
        words += (
            f"; the best static route is known in hindsight alone, {100 * behind:.2f} points above the log's best; the "
            f"truly best route for each payment would bring {100 * room:.2f} more"
        )
    return words


POLICY: Final = Policy(
    name="payments",
    gains={
        "static_route_of_the_log": "net value of first attempts, points of the amount",
        "static_route_of_the_log_with_retries": "net value with retries, points of the amount",
        "best_static_route": "net value of first attempts, points, against the route best in hindsight",
        "best_static_route_with_retries": "the same with retries",
    },
    run=run,
    why=why,
)


@dataclass(slots=True)
class _Desk:
    """Where payments are taken: the log that the product sees, and the version that answers.

    Attributes:
        rows: of the log, one an attempt.
        history: by payer, days of successes and of failures of earlier payments.
        told: by kind of interval, rows of value, lower, upper and truth.
        version: the one in force, and the week of its fit.
    """

    market: Market
    rng: np.random.Generator
    rows: list[dict[str, object]] = field(default_factory=list)
    history: dict[int, tuple[list[float], list[float]]] = field(default_factory=dict)
    told: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)
    version: PaymentParameters | None = None
    fitted_week: int = -1

    def take_by_chance(self, number: int, bill: Bill) -> None:
        """As before the policy: a route by chance, again after the usual days."""
        after: Declined | None = None
        hours = 0.0
        for attempt in range(ATTEMPTS_MOST):
            route = int(self.rng.choice(len(ROUTES), p=LOGGED_SHARES))
            chance = success_chances(self.market, bill, after)[route]
            code = None if self.rng.random() < chance else draw_code(self.rng)
            self._note(number, bill, attempt, hours, route, code)
            if code is None or attempt == len(USUAL_WAITS) or _is_hard(code):
                break
            wait = _usual_wait(attempt)
            hours, after = hours + wait, Declined(code=code, route=route, hours=wait)
        self._remember(bill, is_paid=code is None, failures=attempt + (code is not None))

    def take_by_policy(self, number: int, bill: Bill, uniform: Floats, codes: list[int]) -> tuple[int, int, float]:
        """The route of the first attempt, the one with the highest expected value, and what came with retries."""
        version = self._version(bill)
        answer = answer_payment(self._payment(bill), self.market.routes, version, chance=float(self.rng.random()))
        truth = success_chances(self.market, bill)
        for ranked in answer.routes:
            at = ROUTES.index(ranked.route_id)
            self._tell("success", ranked.success.value, ranked.success.lower, ranked.success.upper, float(truth[at]))
            if net := ranked.net_minor:
                true_net = float(net_values(self.market, bill, truth)[at])
                scale = float(bill.amount)  # shares of the amount, so that small and large payments count alike
                self._tell("net_value", net.value / scale, net.lower / scale, net.upper / scale, true_net / scale)
        first = route = ROUTES.index(answer.routes[0].route_id)
        expected = max(answer.routes, key=lambda ranked: ranked.net_minor.value if ranked.net_minor else 0.0).route_id
        hours, value, after, code = 0.0, 0.0, None, None
        for attempt in range(ATTEMPTS_MOST):
            chances = success_chances(self.market, bill, after)
            is_paid = bool(uniform[attempt] < chances[route])
            value += _brought(self.market, bill, route, hours, is_paid=is_paid)
            code = None if is_paid else codes[attempt]
            self._note(number, bill, attempt, hours, route, code)
            if code is None or attempt == ATTEMPTS_MOST - 1:
                break
            after = Declined(code=code, route=route, hours=0.0)
            retry = answer_payment(
                self._payment(bill, after, attempt + 2), self.market.routes, version, chance=None
            ).retry
            if not isinstance(retry, Retry):
                break
            hours += retry.hours_from_now
            route = ROUTES.index(retry.route_id)
            after = Declined(code=code, route=after.route, hours=retry.hours_from_now)
            truth = success_chances(self.market, bill, after)
            told = retry.success
            self._tell("retry_success", told.value, told.lower, told.upper, float(truth[route]))
        self._remember(bill, is_paid=code is None, failures=attempt + (code is not None))
        return first, ROUTES.index(expected), value

    def best_of_log(self) -> int:
        """The route with the highest net value an attempt so far: what a team would choose for all from its log."""
        frame = pd.DataFrame(self.rows)
        first = frame[frame["attempt"] == 1]
        rates = first.groupby("route")["succeeded"].mean().reindex(ROUTES).fillna(0.0)
        amount = float(first["amount_minor"].mean())
        nets = [
            rate * (amount * (1.0 - r.success_fee_share) - r.success_fee_minor) - (1.0 - rate) * r.failure_fee_minor
            for rate, r in zip(rates.tolist(), self.market.routes, strict=True)
        ]
        return int(np.argmax(nets))

    def answers(self) -> dict[str, Answered]:
        """Chances are counted by tenths: a payer's own luck is in no field, so only means can be right."""
        columns = {name: np.array(rows).T for name, rows in self.told.items()}
        return {
            name: Answered(value=value, lower=lower, upper=upper, truth=truth, kind=Kind.TENTHS)
            for name, (value, lower, upper, truth) in columns.items()
        }

    def _version(self, bill: Bill) -> PaymentParameters:
        """The version in force, fitted anew every REFIT_WEEKS on everything so far."""
        week = int(bill.day // 7.0)
        if self.version is None or week >= self.fitted_week + REFIT_WEEKS:
            self.version = fit_payments(read_log(pd.DataFrame(self.rows)).attempts)
            self.fitted_week = week
        return self.version

    def _payment(self, bill: Bill, after: Declined | None = None, attempt: int = 1) -> Payment:
        """What the product knows of an attempt."""
        paid, failed = self.history.get(bill.payer, ([], []))
        year = [sum(bill.day - YEAR <= day < bill.day for day in days) for days in (paid, failed)]
        stage = Stage.RENEWAL if year[0] else Stage.CHECKOUT
        brand = tables.CARD_BRANDS[bill.brand]
        return Payment(
            stage=stage if after is None else Stage.RETRY,
            amount_minor=bill.amount,
            currency=CURRENCY,
            country=COUNTRIES[bill.country],
            card_brand=BRANDS.get(brand, brand),
            attempt_number=attempt,
            last_decline_code=None if after is None else tables.DECLINE_CODES[after.code],
            last_route=None if after is None else ROUTES[after.route],
            hours_since_decline=None if after is None else after.hours,
            local_hour=bill.time.hour,
            day_of_month=bill.time.day,
            payments_365d=year[0],
            failures_365d=year[1],
        )

    def _note(self, number: int, bill: Bill, attempt: int, hours: float, route: int, code: int | None) -> None:
        self.rows.append(
            {
                "time": bill.time + pd.Timedelta(hours=hours),
                "amount_minor": bill.amount,
                "currency": CURRENCY,
                "country": COUNTRIES[bill.country],
                "card_brand": tables.CARD_BRANDS[bill.brand],
                "route": ROUTES[route],
                "succeeded": float(code is None),
                "decline_code": None if code is None else tables.DECLINE_CODES[code],
                "attempt": attempt + 1,
                "payer_id": str(bill.payer),
                "payment_id": str(number),
            }
        )

    def _remember(self, bill: Bill, *, is_paid: bool, failures: int) -> None:
        paid, failed = self.history.setdefault(bill.payer, ([], []))
        paid += [bill.day] * is_paid
        failed += [bill.day] * failures

    def _tell(self, name: str, *row: float) -> None:
        value, lower, upper, truth = row
        self.told.setdefault(name, []).append((value, lower, upper, truth))


def _take_statically(market: Market, bill: Bill, route: int, uniform: Floats, codes: list[int]) -> float:
    """What a payment brings on one route with the usual retries."""
    value, hours, after = 0.0, 0.0, None
    for attempt in range(ATTEMPTS_MOST):
        is_paid = bool(uniform[attempt] < success_chances(market, bill, after)[route])
        value += _brought(market, bill, route, hours, is_paid=is_paid)
        if is_paid or attempt == len(USUAL_WAITS) or _is_hard(codes[attempt]):
            return value
        wait = _usual_wait(attempt)
        hours, after = hours + wait, Declined(code=codes[attempt], route=route, hours=wait)
    return value


def _brought(market: Market, bill: Bill, route: int, hours: float, *, is_paid: bool) -> float:
    """Amount less fees, minor units, worth less the later it comes."""
    chance = np.full(len(ROUTES), float(is_paid))
    kept = (1.0 - DELAY_COST_A_DAY) ** (hours / 24.0) if is_paid else 1.0
    return kept * float(net_values(market, bill, chance)[route])


def _usual_wait(attempt: int) -> float:
    """Hours from this attempt, from 0, to the next one."""
    return USUAL_WAITS[attempt] - (USUAL_WAITS[attempt - 1] if attempt else 0.0)


def _is_hard(code: int) -> bool:
    return tables.DECLINE_CODES[code] in tables.HARD_DECLINES
