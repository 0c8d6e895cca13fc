"""A version of `payments`: a request can say all that is fitted on, nothing later is known, what misleads fails."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

from methods.revenue.payment_parameters import parse_parameters
from methods.revenue.payment_success import DeclineKind, Payment, Stage
from paedsresus.ml.v1 import revenue_pb2
from server.control.probe import largest_difference
from server.modules.revenue.optimize_payment_flow import METHOD, read_payment, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from training.data.mart import Mart, MartTable, write_rows
from training.data.tables import TABLES
from training.evaluate import Comparison
from training.recipe import Fitted
from training.revenue.payments import Attempts, fit_payments
from training.revenue.payments_version import (
    FAILURES_LEAST,
    RECIPE,
    features_json,
    fit_version,
    foretell,
    has_enough_failures,
    is_not_worse_than_rates,
    rates_of,
    to_the_second,
)

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)


def _names(enum: Any, prefix: str) -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, *(name.removeprefix(prefix) for name, number in enum.items() if number)])


TEXTS = st.none() | st.text(alphabet="AZaz09-", min_size=1, max_size=8)
AMOUNTS = st.one_of(st.just((None, None)), st.tuples(st.integers(1, 10**9), st.sampled_from(["USD", "KES"])))
PAYMENTS = st.builds(
    lambda amount, **rest: Payment(amount_minor=amount[0], currency=amount[1], **rest),
    amount=AMOUNTS,
    stage=st.none() | st.sampled_from(Stage),
    country=st.sampled_from([None, "KE", "DE"]),
    card_brand=_names(revenue_pb2.CardBrand, "CARD_BRAND_"),
    card_funding=_names(revenue_pb2.CardFunding, "CARD_FUNDING_"),
    device=_names(revenue_pb2.PaymentDevice, "PAYMENT_DEVICE_"),
    attempt_number=st.none() | st.integers(1, 1_000),
    attempts_in_window=st.none() | st.integers(0, 1_000),
    last_decline_code=TEXTS,
    last_decline_kind=st.none() | st.sampled_from(DeclineKind),
    last_route=TEXTS,
    hours_since_decline=st.none() | st.floats(0, 10_000),
    local_hour=st.none() | st.integers(0, 23),
    day_of_month=st.none() | st.integers(1, 31),
    payments_365d=st.none() | st.integers(0, 10_000),
    failures_365d=st.none() | st.integers(0, 10_000),
)


@given(payment=PAYMENTS)
def test_all_that_is_fitted_on_can_be_said_in_a_request(payment: Payment) -> None:
    said = to_the_second(payment)

    features = ParseDict(features_json(said, AS_OF), revenue_pb2.OptimizePaymentFlowFeatures())
    request = revenue_pb2.OptimizePaymentFlowRequest(features=features)
    request.routes.add(route_id="A")
    judge(request)

    read = read_payment(features, AS_OF.timestamp())
    assert {field.name: getattr(read, field.name) for field in fields(read)} == {
        field.name: getattr(said, field.name) for field in fields(said)
    }


def _attempts(rng: np.random.Generator, effect: float, rows: int = 4_000) -> tuple[Attempts, np.ndarray]:
    """Renewals that succeed by country as well as by route; and who paid."""
    country, route = rng.integers(0, 4, rows), rng.integers(0, 2, rows)
    logit = 1.0 + effect * (country - 1.5) + 0.5 * route
    attempts = Attempts(
        payments=[Payment(stage=Stage.RENEWAL, country=["KE", "TZ", "DE", "GB"][c], attempt_number=1) for c in country],
        route=["AB"[r] for r in route],
        succeeded=rng.random(rows) < 1 / (1 + np.exp(-logit)),
        age_days=np.linspace(100, 0, rows),
    )
    return attempts, rng.integers(0, 500, rows)


def test_rates_are_those_of_stage_route_and_last_decline_drawn_to_the_whole() -> None:
    payment = Payment(stage=Stage.RENEWAL, country="KE")
    early = Attempts(
        payments=[payment, payment, payment, payment],
        route=["A", "A", "A", "B"],
        succeeded=np.array([True, True, True, False]),
        age_days=np.zeros(4),
    )
    late = replace(
        early, payments=[payment, replace(payment, country="DE"), replace(payment, stage=Stage.RETRY), payment]
    )

    # The overall rate of 0.75 counts for four attempts in each cell; a cell never seen has it alone.
    assert rates_of(early, late).tolist() == [6 / 7, 6 / 7, 0.75, 3 / 5]


def test_what_the_rates_leave_out_helps_and_is_seen_to() -> None:
    rng = np.random.default_rng(1)
    (early, _), (late, payer) = _attempts(rng, 0.8), _attempts(rng, 0.8)

    found = foretell(fit_payments(early), early, late, payer, rng)

    assert found.saved.lower > 0
    assert found.model.auc > found.rates.auc + 0.05
    assert is_not_worse_than_rates(found.saved).passed


def test_a_version_that_misleads_is_refused() -> None:
    rng = np.random.default_rng(2)
    (early, _), (late, payer) = _attempts(rng, 0.8), _attempts(rng, -0.8)

    found = foretell(fit_payments(early), early, late, payer, rng)

    assert not is_not_worse_than_rates(found.saved).passed
    assert is_not_worse_than_rates(Comparison(value=-0.01, lower=-0.03, upper=0.01)).passed


def test_failures_are_needed_on_both_sides_of_the_cut() -> None:
    assert has_enough_failures(FAILURES_LEAST, FAILURES_LEAST).passed
    assert not has_enough_failures(FAILURES_LEAST, FAILURES_LEAST - 1).passed
    assert not has_enough_failures(FAILURES_LEAST - 1, FAILURES_LEAST).passed


@pytest.fixture(scope="module")
def fitted(mart: Mart) -> Fitted:
    return RECIPE.fit(mart, np.random.default_rng(0), lambda _: None)


def test_golden_requests_are_answered_by_the_server_as_they_say(fitted: Fitted) -> None:
    parameters = parse_parameters(fitted.parameters)

    assert len(fitted.golden) >= 20
    for asked, answer in fitted.golden:
        request = ParseDict(asked, METHOD.request())
        judge(request)
        moment = Moment(request.context.as_of_time.seconds, bytes(32))  # type: ignore[attr-defined]
        assert largest_difference(answer, MessageToDict(solve(parameters, request, moment))) < 1e-9


def test_golden_requests_reach_every_kind_of_answer(fitted: Fitted) -> None:
    reasons = {answer.get("noRetryReason", "retry") for _, answer in fitted.golden}

    assert reasons >= {
        "retry",
        "NO_RETRY_REASON_HARD_DECLINE",
        "NO_RETRY_REASON_SCHEME_LIMIT",
        "NO_RETRY_REASON_NOT_WORTH_IT",
    }
    assert {len(answer["orderedRoutes"]) for _, answer in fitted.golden} == {1, 2, 3, 4}


def test_every_judged_attempt_is_in_one_slice_of_each_kind(fitted: Fitted) -> None:
    counted = {what: sum(row["rows"] for row in rows.values()) for what, rows in fitted.slices.items()}

    assert set(counted) == {"stage", "route", "card brand", "country", "last decline"}
    assert len(set(counted.values())) == 1
    assert f"{counted['stage']:,.0f} attempts after the cut" in fitted.facts["judged on"]


def test_attempts_after_the_cut_are_not_fitted_on(fitted: Fitted, mart: Mart) -> None:
    times = mart.read("payments")["attempted_at"].to_pandas()

    assert fitted.observations == int((times <= fitted.data_time).sum())
    assert 0.75 < fitted.observations / len(times) < 0.85


def test_a_mart_without_payments_is_refused(mart: Mart, tmp_path: Path) -> None:
    table = next(table for table in TABLES if table.name == "payments")
    nothing = MartTable(files=(write_rows(tmp_path, table, table.arrow_schema.empty_table()),), watermark=None)

    with pytest.raises(ValueError, match="payments"):
        fit_version(replace(mart, folder=tmp_path, tables={"payments": nothing}), np.random.default_rng(0), print)
