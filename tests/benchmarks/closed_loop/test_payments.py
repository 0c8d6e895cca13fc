"""The world of payments, and half a year in it."""

import numpy as np
import pytest

from benchmarks.closed_loop import payments as benchmark
from benchmarks.closed_loop.payments import POLICY, run
from benchmarks.closed_loop.worlds.cards import (
    Bill,
    Declined,
    draw_bills,
    draw_market,
    net_values,
    success_chances,
)
from training.data.tables import DECLINE_CODES, HARD_DECLINES

MARKET = draw_market(52, np.random.default_rng(1))
BILL = Bill(payer=0, day=100.0, amount=5_000, brand=0, country=0, luck=0.0)


def test_a_hard_decline_is_never_paid_later_and_a_soft_one_more_often_after_a_wait() -> None:
    hard, soft = DECLINE_CODES.index(HARD_DECLINES[0]), DECLINE_CODES.index("INSUFFICIENT_FUNDS")

    after_hard = success_chances(MARKET, BILL, Declined(code=hard, route=0, hours=1.0))
    at_once, later = (
        success_chances(MARKET, BILL, Declined(code=soft, route=0, hours=hours)) for hours in (0.0, 119.0)
    )

    assert after_hard.max() < 1e-9
    assert (later > at_once).all()
    assert (at_once < success_chances(MARKET, BILL)).all()


def test_a_sure_payment_brings_its_amount_less_the_fees() -> None:
    nets = net_values(MARKET, BILL, np.ones(4))

    fees = [5_000 * route.success_fee_share + route.success_fee_minor for route in MARKET.routes]
    assert nets == pytest.approx([5_000 - fee for fee in fees])


def test_bills_come_by_time_and_about_as_many_fail_as_documented() -> None:
    shares = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        market = draw_market(20, rng)
        bills = draw_bills(market, 100, 20, rng)
        assert [bill.day for bill in bills] == sorted(bill.day for bill in bills)
        shares.append(1.0 - np.mean([success_chances(market, bill).mean() for bill in bills]))

    assert 0.03 < np.mean(shares) < 0.2


def test_half_a_year_is_routed_and_the_best_route_for_each_is_never_beaten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "PAYERS", 120)

    result = run(0)

    assert set(result.gains) == set(POLICY.gains)
    figures = result.figures
    assert figures["net_share.planned"] < figures["net_share.best_route_each"]
    assert figures["net_share.average_route"] < figures["net_share.best_static"] < figures["net_share.best_route_each"]
    assert figures["net_share.planned_with_retries"] > figures["net_share.planned"] - 0.02
    assert {"success", "net_value", "retry_success"} <= set(result.answers)
    assert "exploring costs" in POLICY.why("best_static_route", figures)
