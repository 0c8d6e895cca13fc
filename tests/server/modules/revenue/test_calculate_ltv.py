"""CalculateLtv and BatchCalculateLtv over messages: what is read, what is refused and why, and a batch as its rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from methods.revenue.churn import ChurnParameters
from methods.revenue.ltv import prepare_purchases, value_of_purchases
from methods.revenue.purchases import Histories
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import InvalidField, WrongState
from server.modules.revenue import calculate_ltv, calculate_ltv_batch
from server.modules.revenue.ltv_rows import opened
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF
from tests.fakes.ltv_versions import CHURN, PARAMETERS, PURCHASES

MODEL = opened(PARAMETERS, "USD")
MOMENT = Moment(AS_OF.timestamp(), bytes(32))
BOUGHT: dict[str, Any] = {"frequency": 2, "recency_weeks": 30.0, "observed_weeks": 39.0, "mean_value": (2_000, "USD")}
SUBSCRIBED: dict[str, Any] = {"plan": revenue_pb2.SUBSCRIPTION_PLAN_MONTHLY, "price": (5_000, "USD"), "tenure_days": 90}
MIXED = {"contract": revenue_pb2.CONTRACT_KIND_MIXED, **BOUGHT, **SUBSCRIBED}


def _features(given: dict[str, Any]) -> Any:
    features = revenue_pb2.CalculateLtvFeatures()
    for name, value in given.items():
        if isinstance(value, tuple):
            amount = getattr(features, name)
            amount.minor_units, amount.currency_code = value
        elif isinstance(value, timedelta):
            getattr(features, name).FromDatetime(AS_OF + value)
        else:
            setattr(features, name, value)
    return features


def _request(given: dict[str, Any], **more: Any) -> Any:
    request = revenue_pb2.CalculateLtvRequest(features=_features(given), **more)
    request.context.as_of_time.FromDatetime(AS_OF)
    return request


def _answer(given: dict[str, Any], model: Any = MODEL, **more: Any) -> Any:
    request = _request(given, **more)
    judge(request)
    return calculate_ltv.solve(model, request, MOMENT)


def test_single_purchases_are_valued_by_the_method_itself() -> None:
    response = _answer(BOUGHT, horizon_months=12, discount_rate_annual=0.05)

    one = np.ones(1)
    history = Histories(
        frequency=2 * one, recency_weeks=30 * one, observed_weeks=39 * one, valued=2 * one, mean_value=2_000 * one
    )
    said = value_of_purchases(
        prepare_purchases(PURCHASES, 0.9), history, 0.5 * one, months=12, discount_rate_annual=0.05
    )
    assert response.ltv.value.minor_units == round(float(said.ltv.value[0]))
    assert response.ltv.upper.minor_units == round(float(said.ltv.upper[0]))
    assert response.ltv.value.currency_code == "USD"
    assert response.alive_probability.lower == pytest.approx(said.alive.lower[0])
    assert response.method == revenue_pb2.LTV_METHOD_PARETO_NBD_GAMMA_GAMMA
    assert (response.info.evidence, response.info.observations) == (common_pb2.EVIDENCE_PERSONAL, 3)


def test_a_subscription_is_sure_to_run_and_its_price_sure_to_be_paid() -> None:
    response = _answer({**SUBSCRIBED, "seats": 3, "margin_rate": 1.0})

    assert response.method == revenue_pb2.LTV_METHOD_HAZARD
    assert response.alive_probability.value == 1.0
    assert not response.alive_probability.HasField("lower")
    assert response.expected_value_per_transaction.value.minor_units == 15_000
    assert not response.expected_value_per_transaction.HasField("upper")
    assert response.ltv.value.minor_units < response.expected_transactions.value * 15_000


def test_both_are_the_sum() -> None:
    parts = [_answer(given).ltv.value.minor_units for given in (BOUGHT, SUBSCRIBED)]

    both = _answer(MIXED)

    assert both.method == revenue_pb2.LTV_METHOD_SUM
    assert both.ltv.value.minor_units == pytest.approx(sum(parts), abs=1)


def test_the_curve_ends_at_the_value() -> None:
    response = _answer(MIXED, include_curve=True, horizon_months=7)

    assert [point.month for point in response.curve] == list(range(1, 8))
    values = [point.cumulative_value.value.minor_units for point in response.curve]
    assert values == sorted(values)
    assert response.curve[-1].cumulative_value == response.ltv
    assert not _answer(MIXED).curve


def test_purchases_give_what_their_summary_gives() -> None:
    request = revenue_pb2.CalculateLtvRequest(horizon_months=12)
    request.context.as_of_time.FromDatetime(AS_OF)
    for weeks, amount in ((39, 900), (20, 1_500), (20, 500), (9, 2_000)):  # two of them on one day
        bought = request.transactions.transactions.add()
        bought.transaction_time.FromDatetime(AS_OF - timedelta(weeks=weeks))
        bought.amount.minor_units, bought.amount.currency_code = amount, "USD"
    judge(request)

    response = calculate_ltv.solve(MODEL, request, MOMENT)

    assert response.ltv == _answer(BOUGHT, horizon_months=12).ltv


def test_a_customer_of_whom_nothing_is_known_is_a_new_one_with_a_warning() -> None:
    response = _answer({"contract": revenue_pb2.CONTRACT_KIND_ONE_OFF})

    assert response.ltv.value.minor_units > 0
    assert response.alive_probability.value == 1.0
    assert common_pb2.WARNING_COLD_START in response.info.warnings


@pytest.mark.parametrize("churn", [CHURN, None], ids=["churn_model", "plan_course"])
def test_a_higher_chance_of_leaving_is_worth_less(churn: ChurnParameters | None) -> None:
    model = opened(replace(PARAMETERS, churn=churn), "USD")
    values = [
        _answer({**SUBSCRIBED, "churn_probability_28d": chance}, model).ltv.value.minor_units
        for chance in (0.0, 0.02, 0.2, 1.0)
    ]

    assert values == sorted(values, reverse=True)
    assert values[-1] < 200


def test_a_customer_s_place_in_the_cohort_does_not_depend_on_the_horizon_asked_for() -> None:
    value = _answer({**BOUGHT, "margin_rate": PARAMETERS.margin_rate}).ltv.value.minor_units
    model = opened(replace(PARAMETERS, purchase_values=(0.0, 2.0 * value, 4.0 * value)), "USD")

    for more in ({}, {"horizon_months": 3}, {"discount_rate_annual": 0.5}):
        assert _answer(BOUGHT, model, **more).cohort_quantile == pytest.approx(0.25, abs=1e-3)
    assert _answer({**BOUGHT, "margin_rate": 0.1}, model).cohort_quantile == pytest.approx(0.25, abs=1e-3)
    for given in (SUBSCRIBED, MIXED):
        assert not _answer(given, model).HasField("cohort_quantile")


def test_a_horizon_beyond_all_that_was_seen_says_so() -> None:
    within, beyond = (_answer(BOUGHT, horizon_months=months).info.warnings for months in (12, 120))

    assert common_pb2.WARNING_EXTRAPOLATION not in within
    assert common_pb2.WARNING_EXTRAPOLATION in beyond


def test_reasons_are_the_differences_that_what_is_known_makes() -> None:
    request = _request(BOUGHT)
    request.context.explain = True

    response = calculate_ltv.solve(MODEL, request, MOMENT)

    reasons = {reason.feature: reason for reason in response.reasons}
    assert set(reasons) == {"recency_weeks", "frequency", "mean_value"}
    without = {name: value for name, value in BOUGHT.items() if name != "mean_value"}
    difference = response.ltv.value.minor_units - _answer(without).ltv.value.minor_units
    assert reasons["mean_value"].contribution == pytest.approx(difference, abs=1)
    assert reasons["recency_weeks"].contribution < 0
    assert reasons["frequency"].contribution > 0
    assert reasons["frequency"].unit == "minor units of USD"
    assert [abs(each.contribution) for each in response.reasons] == sorted(
        (abs(each.contribution) for each in response.reasons), reverse=True
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"plan": revenue_pb2.SUBSCRIPTION_PLAN_MONTHLY}, "features.price"),
        ({"price": (5_000, "USD")}, "features.plan"),
        ({**BOUGHT, "mean_value": (2_000, "EUR")}, "features.mean_value"),
        ({**MIXED, "mean_value": (2_000, "EUR")}, "features.mean_value"),
        ({"frequency": 2, "recency_weeks": 3.0}, "features.observed_weeks"),
        ({"frequency": 2, "observed_weeks": 3.0}, "features.recency_weeks"),
        ({"frequency": 0, "recency_weeks": 3.0, "observed_weeks": 9.0}, "features.recency_weeks"),
        (
            {"frequency": 1, "recency_weeks": 9.0, "first_transaction_time": timedelta(weeks=-8)},
            "features.recency_weeks",
        ),
        ({"frequency": 0, "first_transaction_time": timedelta(days=1)}, "features.first_transaction_time"),
    ],
    ids=["price", "plan", "currency", "two_currencies", "watched", "recency", "no_repeat", "too_long", "future"],
)
def test_what_has_no_answer_is_refused_by_the_field_that_is_missing_or_wrong(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        _answer(given)

    assert [violation.field for violation in caught.value.field_violations] == [field]


@pytest.mark.parametrize(
    ("given", "model"),
    [
        (BOUGHT, opened(replace(PARAMETERS, purchases=None), "USD")),
        ({**SUBSCRIBED, "plan": revenue_pb2.SUBSCRIPTION_PLAN_ANNUAL}, MODEL),
    ],
    ids=["no_purchases", "no_such_plan"],
)
def test_a_version_that_knows_nothing_of_such_customers_says_so(given: dict[str, Any], model: Any) -> None:
    with pytest.raises(WrongState):
        _answer(given, model)


@pytest.mark.parametrize("case", ["summary", "future", "currency", "contract"])
def test_purchases_that_contradict_something_are_refused(case: str) -> None:
    request = revenue_pb2.CalculateLtvRequest()
    request.context.as_of_time.FromDatetime(AS_OF)
    for code in ("USD", "EUR" if case == "currency" else "USD"):
        bought = request.transactions.transactions.add()
        bought.transaction_time.FromDatetime(AS_OF + timedelta(days=1 if case == "future" else -1))
        bought.amount.minor_units, bought.amount.currency_code = 100, code
    if case == "summary":
        request.transactions.features.frequency = 1
    if case == "contract":
        request.transactions.features.contract = revenue_pb2.CONTRACT_KIND_SUBSCRIPTION
    judge(request)

    with pytest.raises(InvalidField, match=r"transactions\."):
        calculate_ltv.solve(MODEL, request, MOMENT)


def test_a_batch_is_its_rows_one_by_one_and_bad_rows_cost_no_other_its_answer() -> None:
    rows: list[dict[str, Any]] = [
        BOUGHT,
        SUBSCRIBED,
        {"frequency": 2},
        MIXED,
        {**SUBSCRIBED, "churn_probability_28d": 0.03, "seats": 2, "renewal_time": timedelta(days=12)},
        {**BOUGHT, "margin_rate": 7.0},
        {**SUBSCRIBED, "plan": revenue_pb2.SUBSCRIPTION_PLAN_ANNUAL},
        {"contract": revenue_pb2.CONTRACT_KIND_ONE_OFF},
    ]
    request = _batch(rows)

    response = calculate_ltv_batch.solve_batch(MODEL, request, MOMENT)

    wrong = {error.row: error for error in response.row_errors}
    assert list(wrong) == [2, 5, 6]
    assert wrong[2].message.startswith("observed_weeks:")
    assert wrong[5].message.startswith("margin_rate:")
    assert wrong[6].reason == common_pb2.ERROR_REASON_WRONG_STATE
    assert response.ltv_currency_code == "USD"
    for row, given in enumerate(rows):
        if row in wrong:
            assert (response.ltv_minor_units[row], response.methods[row]) == (0, 0)
            continue
        alone = _answer(given)
        assert response.ltv_minor_units[row] == alone.ltv.value.minor_units
        assert response.ltv_lower_minor_units[row] == alone.ltv.lower.minor_units
        assert response.ltv_upper_minor_units[row] == alone.ltv.upper.minor_units
        assert response.alive_probabilities[row] == pytest.approx(alone.alive_probability.value)
        assert response.expected_transactions[row] == pytest.approx(alone.expected_transactions.value)
        assert response.methods[row] == alone.method


def test_a_batch_is_not_explained() -> None:
    request = _batch([BOUGHT])
    request.context.explain = True

    with pytest.raises(InvalidField) as caught:
        calculate_ltv_batch.solve_batch(MODEL, request, MOMENT)

    assert caught.value.field_violations[0].field == "context.explain"
    assert "CalculateLtv" in str(caught.value)


def _batch(rows: list[dict[str, Any]]) -> Any:
    request: Any = revenue_pb2.BatchCalculateLtvRequest()
    request.context.as_of_time.FromDatetime(AS_OF)
    columns = request.columns
    columns.rows = len(rows)
    for name in {name for row in rows for name in row}:
        bits = bytearray((len(rows) + 7) // 8)
        filled = []
        for row, given in enumerate(rows):
            value = given.get(name)
            if value is not None:
                bits[row // 8] |= 1 << row % 8
            if isinstance(value, tuple):
                setattr(columns, f"{name}_currency_code", value[1])
                value = value[0]
            filled.append(value.total_seconds() / 86_400 if isinstance(value, timedelta) else value or 0)
        ending = {"price": "_minor_units", "mean_value": "_minor_units", "renewal_time": "_days"}.get(name, "")
        getattr(columns, f"{name}{ending}").extend(filled)
        setattr(columns, f"{name}_present", bytes(bits))
    return request


@pytest.mark.parametrize(("transactions", "light"), [(0, True), (256, True), (257, False)])
def test_many_purchases_are_no_light_request(transactions: int, *, light: bool) -> None:
    request = revenue_pb2.CalculateLtvRequest()
    for _ in range(transactions):
        request.transactions.transactions.add()

    assert calculate_ltv.is_light(request) is light


@pytest.mark.parametrize(
    ("rows", "months", "light"), [(50, None, True), (51, None, False), (15, 120, True), (16, 120, False)]
)
def test_a_batch_is_light_by_all_its_months(rows: int, months: int | None, *, light: bool) -> None:
    request = revenue_pb2.BatchCalculateLtvRequest(horizon_months=months)
    request.columns.rows = rows

    assert calculate_ltv_batch.is_light(request) is light


def test_payments_come_in_the_rhythm_that_the_version_has_seen() -> None:
    weekly = opened(replace(PARAMETERS, billing_days={"MONTHLY": 7.0}), "USD")
    at_the_door = opened(replace(PARAMETERS, renewal_share=1.0), "USD")
    soon = {**SUBSCRIBED, "renewal_time": timedelta(days=1)}

    assert _answer(soon, weekly).expected_transactions.value > 3 * _answer(soon).expected_transactions.value
    assert _answer(soon, at_the_door).expected_transactions.value < _answer(soon).expected_transactions.value
