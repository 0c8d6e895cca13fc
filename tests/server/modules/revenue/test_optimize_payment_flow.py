"""OptimizePaymentFlow over messages: what is read, what is refused, what is never retried."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from methods.revenue.payment_parameters import PaymentParameters
from methods.revenue.payment_success import Block, DeclineKind, Payment, Stage, SuccessModel
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import InvalidField
from server.modules.revenue.optimize_payment_flow import METHOD, is_light, read_payment, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF

COLUMNS = {"A": 1, "B": 2}
PARAMETERS = PaymentParameters(
    success=SuccessModel(
        blocks={
            "route": Block(sd=0.3, columns=COLUMNS),
            "stage": Block(sd=1.0, columns={"RENEWAL": 3, "RETRY": 4}),
            "wait": Block(sd=0.5, columns={"4": 5}),
        },
        mean=np.array([2.0, 0.3, -0.3, 0.5, -1.5, 1.0]),
        covariance=0.02 * np.eye(6),
        cells={},
        cell_sd=0.1,
        median_amounts={"USD": 5_000.0},
    ),
    observations=5_000,
)


def _request(*routes: str, stage: int = revenue_pb2.PAYMENT_STAGE_RENEWAL) -> Any:
    request = revenue_pb2.OptimizePaymentFlowRequest()
    request.features.stage = stage  # type: ignore[assignment]
    request.features.amount.minor_units, request.features.amount.currency_code = 5_000, "USD"
    for route in routes or ("A", "B"):
        request.routes.add(route_id=route)
    return request


def _declined(code: str = "51", days_ago: float = 0.0) -> Any:
    request = _request(stage=revenue_pb2.PAYMENT_STAGE_RETRY)
    request.features.last_decline_code = code
    request.features.attempt_number = 2
    request.features.last_decline_time.FromDatetime(AS_OF - timedelta(days=days_ago))
    return request


def _answer(request: Any, seed: bytes = bytes(32)) -> Any:
    judge(request)
    return solve(PARAMETERS, request, Moment(AS_OF.timestamp(), seed))


def test_routes_come_back_in_order_with_chance_value_and_propensity() -> None:
    request = _request()
    request.disable_exploration = True

    response = _answer(request)

    assert [route.route_id for route in response.ordered_routes] == ["A", "B"]
    assert [route.propensity for route in response.ordered_routes] == [1.0, 0.0]
    first = response.ordered_routes[0]
    assert first.success_probability.value == pytest.approx(1 / (1 + np.exp(-2.8)))
    net = first.expected_net
    assert net.lower.minor_units < net.value.minor_units < net.upper.minor_units <= 5_000
    assert not response.info.HasField("experiment")


def test_exploring_names_the_arm_and_its_propensity() -> None:
    arms = [_answer(_request(), seed=bytes([n]) * 32) for n in range(60)]

    for response in arms:
        first = response.ordered_routes[0]
        assert response.info.experiment.arm == first.route_id
        assert response.info.experiment.propensity == first.propensity
    assert {response.info.experiment.arm for response in arms} == {"A", "B"}


def test_a_route_that_is_down_comes_last_and_is_never_drawn() -> None:
    request = _request()
    request.routes[0].is_down = True

    response = _answer(request)

    assert [route.route_id for route in response.ordered_routes] == ["B", "A"]
    assert [route.propensity for route in response.ordered_routes] == [1.0, 0.0]


def test_a_soft_decline_is_retried_when_it_likes_and_not_before() -> None:
    response = _answer(_declined("51", days_ago=1.0))

    # 36 to 60 hours after the decline are best here; the wait among them is 48 hours, a day from now.
    assert response.retry.retry_time.ToDatetime(tzinfo=AS_OF.tzinfo) == AS_OF + timedelta(days=1)
    assert response.retry.route_id == "A"
    assert response.retry.success_probability.level == 0.9


def test_the_text_tells_a_retry_that_is_due_from_one_that_may_be_needed() -> None:
    due, maybe = _answer(_declined("51", days_ago=1.0)), _answer(_request())

    assert "The next retry is due after 24 hours on route A." in due.text
    assert "Should it be declined, try again after" in maybe.text


@pytest.mark.parametrize("code", ["43", "54", "R1"])
def test_a_hard_decline_is_never_retried(code: str) -> None:
    request = _declined(code)
    request.features.last_decline_kind = revenue_pb2.DECLINE_KIND_SOFT

    response = _answer(request)

    assert response.no_retry_reason == revenue_pb2.NO_RETRY_REASON_HARD_DECLINE
    assert response.ask_for_new_method
    assert "hard" in response.text


def test_the_schemes_limits_are_kept() -> None:
    request = _declined("51")
    request.features.attempts_in_window = 4
    request.scheme_limits.max_attempts = 4
    request.scheme_limits.window.FromTimedelta(timedelta(days=30))

    assert _answer(request).no_retry_reason == revenue_pb2.NO_RETRY_REASON_SCHEME_LIMIT


def test_fees_are_read() -> None:
    request = _request()
    request.disable_exploration = True
    request.routes[0].success_fee_share = 0.5

    assert _answer(request).ordered_routes[0].route_id == "B"


def test_a_route_that_the_version_never_saw_is_answered_with_a_warning_when_it_comes_first() -> None:
    response = _answer(_request("new"))

    assert list(response.info.warnings) == [common_pb2.WARNING_COLD_START]


def test_every_field_is_read_and_what_is_unspecified_is_unknown() -> None:
    features = revenue_pb2.OptimizePaymentFlowFeatures(
        stage=revenue_pb2.PAYMENT_STAGE_RETRY,
        country_code="KE",
        card_brand=revenue_pb2.CARD_BRAND_VISA,
        card_funding=revenue_pb2.CARD_FUNDING_DEBIT,
        device=revenue_pb2.PAYMENT_DEVICE_UNSPECIFIED,
        attempt_number=2,
        attempts_in_window=1,
        last_decline_code="51",
        last_decline_kind=revenue_pb2.DECLINE_KIND_SOFT,
        last_route_id="B",
        payer_local_hour=0,
        payer_day_of_month=31,
        payments_365d=0,
        payment_failures_365d=3,
    )
    features.amount.minor_units, features.amount.currency_code = 100, "KES"
    features.last_decline_time.FromDatetime(AS_OF - timedelta(hours=5))

    assert read_payment(features, AS_OF.timestamp()) == Payment(
        stage=Stage.RETRY,
        amount_minor=100,
        currency="KES",
        country="KE",
        card_brand="VISA",
        card_funding="DEBIT",
        attempt_number=2,
        attempts_in_window=1,
        last_decline_code="51",
        last_decline_kind=DeclineKind.SOFT,
        last_route="B",
        hours_since_decline=5.0,
        local_hour=0,
        day_of_month=31,
        payments_365d=0,
        failures_365d=3,
    )


def test_nothing_known_is_still_answered_without_a_net_value() -> None:
    request = revenue_pb2.OptimizePaymentFlowRequest()
    request.features.SetInParent()
    request.routes.add(route_id="A")

    response = _answer(request)

    assert not response.ordered_routes[0].HasField("expected_net")
    assert 0 < response.ordered_routes[0].success_probability.value < 1


def test_reasons_name_what_moved_the_first_route_most() -> None:
    request = _declined("51", days_ago=2.0)
    request.context.explain = True

    reasons = _answer(request).reasons

    assert [reason.feature for reason in reasons][:2] == ["stage", "last_decline_time"]
    assert reasons[0].contribution == -1.5
    assert all(abs(a.contribution) >= abs(b.contribution) for a, b in pairwise(reasons))


@pytest.mark.parametrize(("routes", "light"), [(3, True), (20, True), (21, False)])
def test_many_routes_are_no_light_request(routes: int, *, light: bool) -> None:
    assert is_light(_request(*(f"route-{n}" for n in range(routes)))) is light


def _twice(request: Any) -> None:
    request.routes[1].route_id = "A"


def _foreign_fee(request: Any) -> None:
    request.routes[1].failure_fee.minor_units, request.routes[1].failure_fee.currency_code = 10, "KES"


@pytest.mark.parametrize(("spoil", "field"), [(_twice, "routes[1].route_id"), (_foreign_fee, "routes[1].failure_fee")])
def test_what_cannot_be_is_refused_by_its_field(spoil: Any, field: str) -> None:
    request = _request()
    spoil(request)

    with pytest.raises(InvalidField) as refused:
        _answer(request)

    assert [violation.field for violation in refused.value.field_violations] == [field]


def test_the_method_is_the_contracts() -> None:
    method = revenue_pb2.DESCRIPTOR.services_by_name["RevenueService"].methods_by_name["OptimizePaymentFlow"]

    assert METHOD.path == f"/{method.containing_service.full_name}/{method.name}"
    assert METHOD.model in method.GetOptions().Extensions[common_pb2.model]
