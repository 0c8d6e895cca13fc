"""CalculateOptimalPrice over messages: what is read, what is refused, what is said aloud."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from methods.revenue.price_parameters import PRIOR
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import InvalidField
from server.modules.revenue.calculate_optimal_price import METHOD, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF

MOMENT = Moment(AS_OF.timestamp(), bytes(32))
LADDER = (4_000, 5_000, 6_000)


def _request(current: int = 5_000, ladder: tuple[int, ...] = LADDER) -> Any:
    request = revenue_pb2.CalculateOptimalPriceRequest(
        product_id="pals_monthly", objective=revenue_pb2.PRICE_OBJECTIVE_REVENUE_PER_VISITOR
    )
    for price in ladder:
        request.ladder.add(minor_units=price, currency_code="USD")
    request.current_price.minor_units, request.current_price.currency_code = current, "USD"
    return request


def _seen(
    request: Any,
    price: int,
    visitors: int,
    buyers: int,
    *,
    randomised: bool = True,
    days_ago: float = 1.0,
    currency: str = "USD",
) -> Any:
    entry = request.history.add(exposures=visitors, conversions=buyers, randomised=randomised)
    entry.price.minor_units, entry.price.currency_code = price, currency
    entry.start_time.FromDatetime(AS_OF - timedelta(days=days_ago + 7))
    entry.end_time.FromDatetime(AS_OF - timedelta(days=days_ago))
    return entry


def _tested(request: Any, *, randomised: bool = True) -> Any:
    for price, buyers in zip(LADDER, (2_360, 1_780, 1_700), strict=True):
        _seen(request, price, 20_000, buyers, randomised=randomised)
    return request


def _answer(request: Any, seed: bytes = bytes(32)) -> Any:
    judge(request)
    return solve(PRIOR, request, Moment(MOMENT.as_of, seed))


def test_a_randomised_test_moves_the_price_and_names_what_it_rests_on() -> None:
    response = _answer(_tested(_request()))

    assert response.recommended_price.minor_units == 6_000
    assert response.randomised_evidence
    assert response.info.evidence == common_pb2.EVIDENCE_COHORT
    assert response.info.observations == 60_000
    assert [option.price.minor_units for option in response.options] == list(LADDER)
    assert sum(option.best_probability for option in response.options) == pytest.approx(1.0)
    # 1,700 of 20,000 at 60 dollars bring 5,100 a thousand visitors, less a few refunds of the prior.
    value = response.options[2].value_per_1000_visitors
    assert 420_000 < value.lower.minor_units < value.value.minor_units < value.upper.minor_units < 520_000
    assert response.options[2].conversion.value == pytest.approx(0.085, abs=0.003)
    assert response.text


def test_without_chance_todays_price_stands_and_the_warning_is_said_aloud() -> None:
    response = _answer(_tested(_request(), randomised=False))

    assert response.recommended_price.minor_units == 5_000
    assert not response.randomised_evidence
    assert common_pb2.WARNING_NO_RANDOMISED_EVIDENCE in response.info.warnings
    assert [hit.guardrail for hit in response.guardrail_hits] == [revenue_pb2.PRICE_GUARDRAIL_NO_RANDOMISED_EVIDENCE]
    assert "no randomised visitors" in response.text


def test_without_history_the_answer_is_the_prior_and_says_so() -> None:
    response = _answer(_request())

    assert response.info.evidence == common_pb2.EVIDENCE_PRIOR_ONLY
    assert set(response.info.warnings) >= {
        common_pb2.WARNING_COLD_START,
        common_pb2.WARNING_NO_RANDOMISED_EVIDENCE,
    }
    assert response.recommended_price.minor_units == 5_000


def test_what_ends_after_the_requests_moment_does_not_count() -> None:
    request = _tested(_request())
    before = _answer(request)
    _seen(request, 4_000, 1_000_000, 900_000, days_ago=-1.0)

    assert _answer(request) == before


def test_bounds_and_cost_are_read() -> None:
    request = _tested(_request())
    request.ceiling_price.minor_units, request.ceiling_price.currency_code = 5_500, "USD"
    request.unit_cost.minor_units, request.unit_cost.currency_code = 4_500, "USD"

    response = _answer(request)

    assert response.recommended_price.minor_units == 5_000
    assert [(hit.guardrail, hit.price.minor_units) for hit in response.guardrail_hits] == [
        (revenue_pb2.PRICE_GUARDRAIL_CEILING, 6_000),
        (revenue_pb2.PRICE_GUARDRAIL_COST, 4_000),
    ]
    assert [option.next_share for option in response.options] == [0.0, 1.0, 0.0]


def test_an_objective_is_read() -> None:
    request = _tested(_request())
    request.objective = revenue_pb2.PRICE_OBJECTIVE_LTV_PER_VISITOR

    revenue, lifetime = _answer(_tested(_request())), _answer(request)

    first, second = (each.options[1].value_per_1000_visitors.value.minor_units for each in (revenue, lifetime))
    assert second > 3 * first


def test_the_same_moment_gives_the_same_answer() -> None:
    assert _answer(_tested(_request())) == _answer(_tested(_request()))
    assert _answer(_tested(_request())) != _answer(_tested(_request()), seed=b"\x01" * 32)


def _foreign_history(request: Any) -> None:
    _seen(request, 4_000, 10, 1, currency="KES")


def _foreign_floor(request: Any) -> None:
    request.floor_price.minor_units, request.floor_price.currency_code = 4_000, "KES"


def _off_the_ladder(request: Any) -> None:
    request.current_price.minor_units = 5_100


def _backwards(request: Any) -> None:
    entry = _seen(request, 4_000, 10, 1)
    entry.start_time.FromDatetime(AS_OF)


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (_foreign_history, "history[0].price"),
        (_foreign_floor, "floor_price"),
        (_off_the_ladder, "current_price"),
        (_backwards, "history[0].end_time"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(spoil: Any, field: str) -> None:
    request = _request()
    spoil(request)

    with pytest.raises(InvalidField) as refused:
        _answer(request)

    assert [violation.field for violation in refused.value.field_violations] == [field]


def test_the_method_is_the_contracts() -> None:
    method = revenue_pb2.DESCRIPTOR.services_by_name["RevenueService"].methods_by_name["CalculateOptimalPrice"]

    assert METHOD.path == f"/{method.containing_service.full_name}/{method.name}"
    assert METHOD.model in method.GetOptions().Extensions[common_pb2.model]
