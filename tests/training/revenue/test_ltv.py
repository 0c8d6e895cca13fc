"""The ltv model from columns: life tables that count right, parts that are there when their data are."""

import json

import numpy as np
import pytest

from benchmarks.truth.ltv_customers import draw_customers
from methods.revenue.ltv_parameters import parse_parameters
from methods.revenue.purchases import PurchaseModel
from methods.revenue.subscriptions import cohort_hazards
from training.revenue.ltv import COHORT_EVENTS, LtvOptions, SubscriptionSpells, fit_cohorts, fit_ltv


def spells(plan: str, count: int, rate: float, seed: int) -> SubscriptionSpells:
    """Subscriptions that end at a constant rate a day, watched from a random tenure for up to a year."""
    rng = np.random.default_rng(seed)
    entry = rng.uniform(0, 300, count)
    life = rng.exponential(1 / rate, count)
    watched = rng.uniform(30, 365, count)
    return SubscriptionSpells(
        plan=[plan] * count, entry_days=entry, exit_days=entry + np.minimum(life, watched), ended=life <= watched
    )


def test_a_life_table_counts_time_at_risk_and_endings_by_tenure() -> None:
    seen = SubscriptionSpells(
        plan=["ANNUAL"] * 3,
        entry_days=np.array([0.0, 0.0, 28.0]),
        exit_days=np.array([28.0, 70.0, 84.0]),
        ended=np.array([True, False, True]),
    )

    (table,) = fit_cohorts(seen, LtvOptions(periods=2))

    exposure, events = np.array([2.0, 1.5 + 2.0]), np.array([1.0, 1.0])  # later periods count with the last
    weight = exposure + COHORT_EVENTS / (2 / 5.5)
    np.testing.assert_allclose(table.hazards, (events + COHORT_EVENTS) / weight)
    np.testing.assert_allclose(table.variances, (events + COHORT_EVENTS) / weight**2)


def test_the_rate_that_subscriptions_ended_at_is_found_within_its_interval() -> None:
    rate, inside, tries = 0.004, 0, 60
    for seed in range(tries):
        (table,) = fit_cohorts(spells("MONTHLY", 400, rate, seed))
        hazard = cohort_hazards(table, np.zeros(1), 1.645)(np.array([[180.0]]))
        inside += int(hazard.lower[0, 0] <= 180 * rate <= hazard.upper[0, 0])

    assert inside >= tries * 0.9 - 3 * np.sqrt(tries * 0.9 * 0.1)


def test_a_plan_that_nobody_left_has_no_table() -> None:
    stayed = SubscriptionSpells(
        plan=["ANNUAL"], entry_days=np.zeros(1), exit_days=np.array([50.0]), ended=np.array([False])
    )

    assert fit_cohorts(stayed) == ()
    with pytest.raises(ValueError, match="neither"):
        fit_ltv(None, stayed)


@pytest.mark.parametrize("kinds", ["purchases", "subscriptions", "both"])
def test_a_version_holds_what_its_data_hold_and_can_be_read_back(kinds: str) -> None:
    rng = np.random.default_rng(1)
    bought = draw_customers(
        PurchaseModel.PARETO_NBD,
        np.array([0.6, 8.0, 0.8, 12.0]),
        np.array([6.0, 4.0, 1_500.0]),
        rng.uniform(20, 40, 600),
        0.0,
        rng,
    ).histories
    ended = spells("MONTHLY", 300, 0.004, 2)

    fitted = fit_ltv(bought if kinds != "subscriptions" else None, ended if kinds != "purchases" else None)

    assert (fitted.parameters.purchases is None) == (kinds == "subscriptions")
    assert [table.plan for table in fitted.parameters.cohorts] == ([] if kinds == "purchases" else ["MONTHLY"])
    assert parse_parameters(json.loads(json.dumps(fitted.parameters.to_json()))) == fitted.parameters
