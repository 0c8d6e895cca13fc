"""A version of `ltv` from platform data: what was known when, what was paid after, and answers that serving repeats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from google.protobuf.json_format import ParseDict

from methods.revenue.churn import ChurnParameters
from methods.revenue.ltv_parameters import LtvParameters, parse_parameters
from methods.revenue.subscriptions import MONTH_DAYS, CohortHazard, Subscriptions
from paedsresus.ml.v1 import revenue_pb2
from server.modules.revenue import calculate_ltv
from server.modules.revenue.ltv_rows import opened
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from training.data.mart import Mart, MartTable, write_rows
from training.data.tables import TABLES
from training.recipe import Fitted
from training.revenue.ltv_version import (
    Foretold,
    Running,
    enough_endings,
    fit_version,
    nearer_than_if_nobody_left,
    running_at,
    spells_known_at,
    with_own_course,
)

NOW = pd.Timestamp("2026-03-01", tz="UTC")


def day(number: float) -> pd.Timestamp:
    return NOW + pd.Timedelta(days=number)


SPELLS = pd.DataFrame(
    {
        "subscription_id": ["ended", "running", "will_end", "later"],
        "user_id": ["a", "b", "c", "a"],
        "plan": ["MONTHLY", "MONTHLY", "ANNUAL", "MONTHLY"],
        "price_minor": [5_000, 5_000, 48_000, 5_000],
        "seats": [1, 2, 1, 1],
        "started_at": [day(-100), day(-50), day(-10), day(5)],
        "ended_at": pd.to_datetime([day(-30), pd.NaT, day(20), pd.NaT], utc=True),
    }
)
PAYMENTS = pd.DataFrame(
    {
        "subscription_id": ["running", "running", "running", "running", "will_end", "later"],
        "attempted_at": [day(-20), day(10), day(11), day(70), day(-10), day(5)],
        "amount_minor": [10_000, 10_000, 10_000, 10_000, 48_000, 5_000],
        "fee_minor": [100] * 6,
        "succeeded": [True, False, True, True, True, True],
        "covers_until": pd.to_datetime([day(10), pd.NaT, day(41), day(100), day(355), day(35)], utc=True),
    }
)


@pytest.fixture(scope="module")
def fitted(mart: Mart) -> Fitted:
    return fit_version(mart, np.random.default_rng(0), lambda _: None)


def test_an_ending_after_the_cut_is_not_known_at_it() -> None:
    known = spells_known_at(SPELLS, NOW)

    assert known.plan == ["MONTHLY", "MONTHLY", "ANNUAL"]
    assert known.ended.tolist() == [True, False, False]
    assert known.exit_days.tolist() == [70.0, 50.0, 10.0]


def test_running_subscriptions_know_their_renewal_and_what_was_paid_in_the_months_after() -> None:
    running = running_at(SPELLS, PAYMENTS, NOW, 2)

    assert running.plan.tolist() == ["MONTHLY", "ANNUAL"]
    assert running.asked.price.tolist() == [10_000.0, 48_000.0]
    assert running.asked.renewal_days.tolist() == [10.0, 355.0]
    assert running.paid.tolist() == [10_000.0, 0.0]  # the failed attempt and the payment of day 70 are not in it
    assert np.isnan(running.chance).all()


def test_a_chance_of_leaving_is_its_users_and_of_nobody_else() -> None:
    running = running_at(SPELLS, PAYMENTS, NOW, 2, pd.Series([0.25, 0.5], index=["b", "a"]))

    np.testing.assert_array_equal(running.chance, [0.25, np.nan])


def test_the_curve_that_foretells_payments_better_is_kept() -> None:
    table = CohortHazard(plan="MONTHLY", period_days=28, hazards=(0.1,), variances=(0.001,))
    plain = LtvParameters(purchases=None, cohorts=(table,), margin_rate=1.0)
    falling, rising = (
        ChurnParameters(period_days=28, slopes=(1.0,) * 13, offsets=tuple(np.linspace(-2.0, last, 13)))
        for last in (-8.0, 2.0)
    )
    count = 50
    stayed = Running(
        plan=np.array(["MONTHLY"] * count),
        asked=Subscriptions(
            price=np.ones(count),
            billing_days=np.full(count, MONTH_DAYS),
            renewal_days=np.full(count, 5.0),
            renewal_known=np.ones(count, dtype=bool),
        ),
        tenure_days=np.full(count, 40.0),
        chance=np.full(count, 0.12),
        paid=np.full(count, 8.0),  # of ten payments: they left at first, and then hardly any more
    )

    assert with_own_course(plain, falling, stayed, 10).churn == falling
    assert with_own_course(plain, rising, stayed, 10).churn is None


def test_the_platforms_version_reads_a_chance_by_the_churn_models_curve(fitted: Fitted) -> None:
    parameters = parse_parameters(fitted.parameters)

    assert parameters.churn is not None
    assert parameters.churn.cause is None, "causes are not its business"
    assert len(parameters.churn.slopes) == 13
    assert fitted.figures["version"]["rmse_payments"] <= fitted.figures["plan's course, own chance"]["rmse_payments"]
    asked = [request["features"] for request, _ in fitted.golden]
    assert sum("churnProbability28d" in each for each in asked) == len(asked) // 2


def test_a_version_of_the_platform_s_data_passes_and_its_parameters_are_read_back(fitted: Fitted) -> None:
    parameters = parse_parameters(fitted.parameters)

    assert {table.plan for table in parameters.cohorts} >= {"MONTHLY", "ANNUAL"}
    assert parameters.purchases is None
    assert len(parameters.subscription_values) == 101
    assert parameters.subscription_values[0] < parameters.subscription_values[50] < parameters.subscription_values[100]
    assert 0.9 < parameters.margin_rate < 1
    assert parameters.billing_days["MONTHLY"] == pytest.approx(30.0), "as the simulated platform bills"
    assert 0.2 < parameters.renewal_share < 0.6, "most of the simulated platform's people leave at once"
    assert fitted.failures == ()
    version, stay = fitted.figures["version"], fitted.figures["if nobody left"]
    assert version["rmse_payments"] < stay["rmse_payments"]
    assert abs(version["total_error"]) < 0.1


@pytest.mark.parametrize("what", ["plan", "tenure"])
def test_slices_are_parts_of_what_is_judged(fitted: Fitted, what: str) -> None:
    parts = fitted.slices[what].values()
    rows = np.array([part["rows"] for part in parts])

    assert f"payments of {rows.sum():,.0f} subscriptions" in fitted.facts["judged on"]
    for name, who in (("rmse_payments", "version"), ("rmse if nobody left", "if nobody left")):
        squares = np.array([part[name] ** 2 for part in parts])
        assert np.sqrt(rows @ squares / rows.sum()) == pytest.approx(fitted.figures[who]["rmse_payments"])
    assert all(0 < part["foretold"] < 2 * part["payments"] for part in parts if part["rows"] > 50)


def test_serving_repeats_every_golden_answer(fitted: Fitted) -> None:
    model = opened(parse_parameters(fitted.parameters), fitted.currency)

    assert len(fitted.golden) >= 20
    for asked, expected in fitted.golden:
        request = ParseDict(asked, revenue_pb2.CalculateLtvRequest())
        judge(request)
        moment = Moment(float(request.context.as_of_time.seconds), bytes(32))
        said = calculate_ltv.solve(model, request, moment).expected_transactions
        assert {"value": said.value, "lower": said.lower, "upper": said.upper} == pytest.approx(
            expected["expectedTransactions"]
        )


@pytest.mark.parametrize(("saved", "passes"), [(0.2, True), (0.05, False), (-0.1, False)], ids=str)
def test_a_gain_within_its_error_is_none(saved: float, passes: bool) -> None:  # noqa: FBT001 - a table of cases
    found = Foretold(
        total_error=0.0,
        rmse=1.0,
        stay_total_error=0.1,
        stay_rmse=1.0,
        saved=saved,
        standard_error=0.04,
        rows=100,
    )

    assert nearer_than_if_nobody_left(found).passed is passes


def test_few_endings_hold_no_life_table() -> None:
    assert not enough_endings(49).passed
    assert enough_endings(50).passed


def test_no_subscriptions_are_refused(tmp_path: Path) -> None:
    held = {
        table.name: MartTable(files=(write_rows(tmp_path, table, table.arrow_schema.empty_table()),), watermark=None)
        for table in TABLES
    }

    with pytest.raises(ValueError, match="subscriptions: the mart holds none"):
        fit_version(Mart(folder=tmp_path, source="none", tables=held), np.random.default_rng(0), lambda _: None)
