"""Values of customers: laws of every answer, the interval's size, and parameters that are checked when read."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.revenue.churn import ChurnParameters
from methods.revenue.ltv import (
    MONTH_WEEKS,
    SLICE,
    LtvAnswer,
    LtvMethod,
    add_answers,
    expected_transactions,
    half_width,
    prepare_purchases,
    value_of_purchases,
    value_of_subscriptions,
)
from methods.revenue.ltv_parameters import LtvParameters, PurchaseParameters, parse_parameters
from methods.revenue.purchases import Histories, PurchaseModel, purchases_if_alive
from methods.revenue.subscriptions import BILLING_DAYS, CohortHazard, Subscriptions, cohort_hazards

PAGE = Path(__file__).parents[3] / "docs/methods/calculate_ltv.md"
PARETO = PurchaseParameters(
    model=PurchaseModel.PARETO_NBD,
    theta=(0.553, 10.578, 0.606, 11.669),
    covariance=((0.0074, 0.004, 0.0, 0.0), (0.004, 0.0064, 0.0, 0.0), (0.0, 0.0, 0.09, 0.15), (0.0, 0.0, 0.15, 0.28)),
    value_theta=(6.25, 3.744, 1544.36),
    value_covariance=((0.03, 0.0, -0.03), (0.0, 0.01, 0.005), (-0.03, 0.005, 0.05)),
    observed_weeks=39.0,
)
BG = replace(PARETO, model=PurchaseModel.BG_NBD, theta=(0.243, 4.414, 0.793, 2.426))
COHORT = CohortHazard(plan="MONTHLY", period_days=28, hazards=(0.1, 0.05), variances=(0.001, 0.0004))
CHURN = ChurnParameters(period_days=28, slopes=(1.0, 0.8), offsets=(-3.5, -3.4))
PARAMETERS = LtvParameters(
    purchases=PARETO, cohorts=(COHORT,), margin_rate=0.8, churn=CHURN, purchase_values=(1.0, 2.0, 9.5)
)


def customers(seed: int, count: int) -> Histories:
    rng = np.random.default_rng(seed)
    watched = rng.uniform(1, 80, count)
    frequency = rng.poisson(2, count).astype(float)
    return Histories(
        frequency=frequency,
        recency_weeks=np.where(frequency > 0, watched * rng.uniform(0.01, 1, count), 0.0),
        observed_weeks=watched,
        valued=frequency,
        mean_value=rng.uniform(100, 9_000, count),
    )


def subscription_answer(count: int, months: int) -> LtvAnswer:
    asked = Subscriptions(
        price=np.full(count, 5_000.0),
        billing_days=np.full(count, BILLING_DAYS["MONTHLY"]),
        renewal_days=np.full(count, 3.0),
        renewal_known=np.full(count, fill_value=True),
    )
    hazards = cohort_hazards(COHORT, np.full(count, 100.0), half_width(0.9))
    return value_of_subscriptions(asked, hazards, np.full(count, 0.8), months=months)


@pytest.mark.parametrize("parameters", [PARETO, BG], ids=["pareto", "bg"])
@given(seed=st.integers(0, 10_000), months=st.integers(1, 60), rate=st.floats(0, 1))
def test_every_answer_rises_lies_within_its_interval_and_is_what_its_parts_say(
    parameters: PurchaseParameters, seed: int, months: int, rate: float
) -> None:
    prepared = prepare_purchases(parameters, 0.9)
    margin = np.full(3, 0.8)
    answer = value_of_purchases(prepared, customers(seed, 3), margin, months=months, discount_rate_annual=rate)

    assert answer.curve.value.shape == (3, months)
    assert np.all(np.diff(answer.curve.value, axis=1) >= 0)
    for part in (answer.curve, answer.alive, answer.transactions, answer.per_transaction):
        assert np.all(part.lower <= part.value)
        assert np.all(part.value <= part.upper)
    assert np.all((answer.alive.lower >= 0) & (answer.alive.upper <= 1))
    undiscounted = answer.transactions.value * answer.per_transaction.value * margin
    assert np.all(answer.ltv.value <= undiscounted * (1 + 1e-9))
    if rate == 0:
        np.testing.assert_allclose(answer.ltv.value, undiscounted, rtol=1e-9)


@pytest.mark.parametrize("parameters", [PARETO, BG], ids=["pareto", "bg"])
def test_a_batch_is_its_rows_one_by_one_whatever_their_order(parameters: PurchaseParameters) -> None:
    prepared = prepare_purchases(parameters, 0.9)
    many, margin = customers(1, SLICE + 5), np.linspace(0.1, 1.0, SLICE + 5)

    whole = value_of_purchases(prepared, many, margin, months=12).ltv
    turned = value_of_purchases(prepared, many.take(slice(None, None, -1)), margin[::-1], months=12).ltv

    np.testing.assert_allclose(turned.value[::-1], whole.value, rtol=1e-12)
    for row in (0, 7, SLICE, SLICE + 4):
        one = slice(row, row + 1)
        alone = value_of_purchases(prepared, many.take(one), margin[one], months=12).ltv
        np.testing.assert_allclose(
            [alone.value[0], alone.lower[0], alone.upper[0]],
            [whole.value[row], whole.lower[row], whole.upper[row]],
            rtol=1e-9,
        )


def test_a_shorter_horizon_is_the_beginning_of_the_curve() -> None:
    prepared, asked, margin = prepare_purchases(PARETO, 0.9), customers(2, 4), np.ones(4)

    short = value_of_purchases(prepared, asked, margin, months=6)
    long = value_of_purchases(prepared, asked, margin, months=24)

    np.testing.assert_allclose(short.curve.value, long.curve.value[:, :6], rtol=1e-12)
    np.testing.assert_allclose(short.curve.upper, long.curve.upper[:, :6], rtol=1e-12)


def test_transactions_of_39_weeks_are_those_of_the_public_data_set() -> None:
    # Fader, Hardie and Lee 2005, Implementing the BG/NBD Model in Excel: 1.226 for this customer, 39 weeks ahead.
    one = np.ones(1)
    customer = Histories(
        frequency=2 * one, recency_weeks=30.43 * one, observed_weeks=38.86 * one, valued=0 * one, mean_value=0 * one
    )

    said = expected_transactions(prepare_purchases(BG, 0.9), customer, 39.0)

    assert float(said.value[0]) == pytest.approx(1.226, abs=5e-4)


def test_the_interval_is_that_of_draws_of_the_parameters() -> None:
    rng = np.random.default_rng(3)
    asked = customers(4, 5)
    said = value_of_purchases(prepare_purchases(PARETO, 0.9), asked, np.ones(5))
    draws = []
    logs = rng.multivariate_normal(np.log(PARETO.theta), PARETO.covariance, 400)
    p, q, v = PARETO.value_theta
    value_logs = rng.multivariate_normal(np.log((p, q - 1, v)), PARETO.value_covariance, 400)
    for theta, (log_p, log_rest, log_v) in zip(np.exp(logs), value_logs, strict=True):
        drawn = replace(
            PARETO,
            theta=tuple(theta.tolist()),
            value_theta=(float(np.exp(log_p)), float(1 + np.exp(log_rest)), float(np.exp(log_v))),
        )
        draws.append(value_of_purchases(prepare_purchases(drawn, 0.9), asked, np.ones(5)).ltv.value)

    spread = np.std(np.log(draws), axis=0)
    half = np.log(said.ltv.upper / said.ltv.value) / half_width(0.9)
    # 400 draws give a standard deviation to 3.5 %; 10 % more for what is bent between one and two deviations.
    np.testing.assert_allclose(half, spread, rtol=0.2)


def test_without_uncertainty_the_interval_is_a_point() -> None:
    sure = replace(PARETO, covariance=((0.0,) * 4,) * 4, value_covariance=((0.0,) * 3,) * 3)

    ltv = value_of_purchases(prepare_purchases(sure, 0.9), customers(5, 3), np.ones(3)).ltv

    np.testing.assert_allclose(ltv.lower, ltv.upper, rtol=1e-12)


def test_the_sum_of_both_lies_between_the_parts_and_their_plain_sum() -> None:
    one = subscription_answer(3, 24)
    other = value_of_purchases(prepare_purchases(PARETO, 0.9), customers(6, 3), np.ones(3), months=24)

    both = add_answers(one, other)

    assert both.method is LtvMethod.SUM
    np.testing.assert_allclose(both.ltv.value, one.ltv.value + other.ltv.value)
    assert np.all(both.ltv.upper <= one.ltv.upper + other.ltv.upper)
    assert np.all(both.ltv.lower >= one.ltv.lower + other.ltv.lower)
    per, low, high = both.per_transaction.value, one.per_transaction.value, other.per_transaction.value
    assert np.all((per >= np.minimum(low, high)) & (per <= np.maximum(low, high)))
    paid = both.transactions.value * both.per_transaction.value
    parts = sum(each.transactions.value * each.per_transaction.value for each in (one, other))
    np.testing.assert_allclose(paid, parts)


def test_nobody_is_answered_with_nothing() -> None:
    answer = value_of_purchases(prepare_purchases(PARETO, 0.9), customers(7, 0), np.empty(0), months=4)

    assert answer.curve.value.shape == (0, 4)


@pytest.mark.parametrize("purchases", [PARETO, BG, None], ids=["pareto", "bg", "none"])
def test_what_is_written_is_read_back(purchases: PurchaseParameters | None) -> None:
    parameters = replace(PARAMETERS, purchases=purchases)

    assert parse_parameters(json.loads(json.dumps(parameters.to_json()))) == parameters


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("level",), 1.0, "level"),
        (("margin_rate",), float("nan"), "margin_rate"),
        (("margin_rate",), None, "margin_rate"),
        (("cohorts",), None, "cohorts"),
        (("cohorts", 0, "plan"), "", r"cohorts\[0\].plan"),
        (("cohorts", 0, "period_days"), 0, r"cohorts\[0\].period_days"),
        (("cohorts", 0, "hazards"), [0.1, 0.0], r"cohorts\[0\].hazards"),
        (("cohorts", 0, "variances"), [0.1], r"cohorts\[0\].variances"),
        (("purchases", "model"), "weibull", "purchases.model"),
        (("purchases", "theta"), [1.0, 1.0, 1.0], "purchases.theta"),
        (("purchases", "theta"), [1.0, 1.0, 1.0, -1.0], "purchases.theta"),
        (("purchases", "value_theta"), [6.0, 0.9, 15.0], "purchases.value_theta: q"),
        (("purchases", "covariance"), [[1.0] * 4] * 3, "purchases.covariance"),
        (("purchases", "value_covariance"), [[1, 2, 0], [2, 1, 0], [0, 0, 1]], "purchases.value_covariance"),
        (("purchases", "observed_weeks"), 0, "purchases.observed_weeks"),
        (("purchases",), 3, "purchases"),
        (("purchase_values",), [2.0, 1.0], "purchase_values"),
        (("subscription_values",), [2.0], "subscription_values"),
        (("churn", "slopes"), [], r"churn\.offsets"),
        (("churn", "period_days"), 7, r"churn\.period_days"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_wrong_field_is_named(path: tuple[Any, ...], value: Any, named: str) -> None:
    table: Any = json.loads(json.dumps(PARAMETERS.to_json()))
    place = table
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    with pytest.raises(ValueError, match=named):
        parse_parameters(table)


def test_two_tables_of_one_plan_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_parameters(replace(PARAMETERS, cohorts=(COHORT, COHORT)).to_json())


def test_the_page_s_examples_are_what_the_code_says() -> None:
    section = PAGE.read_text().split("## Worked example")[1].split("## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|[^|]*\| ([\d.]+)(?: to ([\d.]+))? \|$", section, re.MULTILINE)
    said = [(name, [float(value) for value in values if value]) for name, *values in rows]
    one = np.ones(1)
    variances, nothing = np.diag((0.0074, 0.0064, 0.01, 0.01)), ((0.0,) * 3,) * 3
    prepared = prepare_purchases(
        replace(PARETO, covariance=tuple(map(tuple, variances.tolist())), value_covariance=nothing), 0.9
    )
    customer = Histories(
        frequency=2 * one, recency_weeks=30.43 * one, observed_weeks=38.86 * one, valued=2 * one, mean_value=2000 * one
    )
    monthly = Subscriptions(
        price=5_000 * one,
        billing_days=BILLING_DAYS["MONTHLY"] * one,
        renewal_days=10 * one,
        renewal_known=np.array([True]),
    )
    hazards = cohort_hazards(replace(COHORT, hazards=(0.10, 0.05)), 14 * one, half_width(0.9))

    bought = value_of_purchases(prepared, customer, 0.8 * one, months=12)
    paid = value_of_subscriptions(monthly, hazards, 0.8 * one, months=2)
    door = replace(monthly, renewal_share=0.4 * one)
    at_the_door = value_of_subscriptions(door, hazards, 0.8 * one, months=2)
    first_at_door = value_of_subscriptions(door, hazards, one, months=1).transactions.value[0]

    weeks = np.array([12 * MONTH_WEEKS])
    if_alive = purchases_if_alive(prepared.model, prepared.points[:1], customer, weeks)
    comes = np.exp(-hazards(np.array([[10.0, 10 + BILLING_DAYS["MONTHLY"]]])).value[0])
    expected = [
        ("chance to be alive", [bought.alive.value[0]]),
        ("its interval", [bought.alive.lower[0], bought.alive.upper[0]]),
        ("purchases if alive, 12 months", [if_alive[0, 0, 0]]),
        ("purchases, 12 months", [bought.transactions.value[0]]),
        ("value of a purchase", [bought.per_transaction.value[0] / 100]),
        ("value of the customer", [bought.ltv.value[0] / 100]),
        ("its interval", [bought.ltv.lower[0] / 100, bought.ltv.upper[0] / 100]),
        ("chance of the first payment", [comes[0]]),
        ("chance of the second payment", [comes[1]]),
        ("value of the subscription", [paid.ltv.value[0] / 100]),
        ("first payment, $\\sigma = 0.4$: to day $10 + 0.4 \\cdot 20.4375$", [first_at_door]),
        ("value of the subscription, $\\sigma = 0.4$", [at_the_door.ltv.value[0] / 100]),
    ]
    assert [name for name, _ in said] == [name for name, _ in expected]
    for (name, values), (_, computed) in zip(said, expected, strict=True):
        digits = 4 if values[0] < 5 else 2
        assert values == [round(float(value), digits) for value in computed], name


def test_a_versions_rhythm_comes_back_and_stands_before_the_calendars() -> None:
    table = CohortHazard(plan="MONTHLY", period_days=28, hazards=(0.1,), variances=(0.0,))
    parameters = LtvParameters(
        purchases=None, cohorts=(table,), margin_rate=0.5, billing_days={"MONTHLY": 30.0}, renewal_share=0.4
    )

    assert parse_parameters(json.loads(json.dumps(parameters.to_json()))) == parameters
    assert (parameters.billing("MONTHLY"), parameters.billing("QUARTERLY")) == (30.0, BILLING_DAYS["QUARTERLY"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"billing_days": {"WEEKLY": 7.0}}, "'WEEKLY' is no plan"),
        ({"billing_days": {"MONTHLY": 0.5}}, "billing_days.MONTHLY: must lie between"),
        ({"billing_days": {"MONTHLY": "30"}}, "billing_days.MONTHLY: must be a finite number"),
        ({"billing_days": [30.0]}, "billing_days: not an object"),
        ({"renewal_share": 1.5}, r"renewal_share: must lie in \[0, 1\]"),
    ],
)
def test_a_rhythm_that_cannot_be_is_refused_by_its_field(change: dict[str, Any], words: str) -> None:
    plain = LtvParameters(purchases=None, cohorts=(), margin_rate=0.5).to_json()

    with pytest.raises(ValueError, match=words):
        parse_parameters({**plain, **change})


def test_versions_from_before_know_no_rhythm() -> None:
    old = LtvParameters(purchases=None, cohorts=(), margin_rate=0.5)

    read = parse_parameters({k: v for k, v in old.to_json().items() if k not in {"billing_days", "renewal_share"}})

    assert read == old
