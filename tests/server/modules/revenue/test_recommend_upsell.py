"""RecommendUpsell over messages: what is read, what is refused, what is said when nobody knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from methods.revenue.upsell_parameters import UpsellParameters
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import InvalidField
from server.modules.revenue.recommend_upsell import METHOD, UpsellVersion, is_light, opened, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF
from tests.fakes.upsell_versions import upsell_parameters


@pytest.fixture(scope="module")
def parameters() -> UpsellParameters:
    return upsell_parameters()


@pytest.fixture(scope="module")
def version(parameters: UpsellParameters) -> UpsellVersion:
    return opened(parameters, "USD")


def request(*offers: str, margin: int = 2_000, cost: int = 0, minutes: float = 500.0) -> Any:
    asked = revenue_pb2.RecommendUpsellRequest(disable_exploration=True)
    asked.features.minutes_28d = minutes
    for name in offers or ("ANNUAL",):
        offer = asked.offers.add(offer_id=name)
        for field, amount in (("price", 4_800), ("margin", margin), ("contact_cost", cost)):
            money = getattr(offer, field)
            money.minor_units, money.currency_code = amount, "USD"
    return asked


def answer(version: UpsellVersion, asked: Any, seed: bytes = bytes(32)) -> Any:
    judge(asked)
    return solve(version, asked, Moment(AS_OF.timestamp(), seed))


def test_the_offer_is_made_to_those_whom_it_changes(version: UpsellVersion) -> None:
    active = answer(version, request(cost=100)).offers[0]
    idle = answer(version, request(cost=100, minutes=100.0)).offers[0]

    assert active.decision == revenue_pb2.OFFER_DECISION_OFFER
    assert active.uplift.lower < active.uplift.value < active.uplift.upper
    assert active.uplift.value > idle.uplift.value
    assert active.expected_incremental_margin.value.minor_units == round(active.uplift.value * 2_000 - 100)
    assert idle.decision != revenue_pb2.OFFER_DECISION_OFFER


def test_nothing_to_personalise_is_said(version: UpsellVersion) -> None:
    said = answer(version, request("SEATS"))

    assert said.personalisation == revenue_pb2.PERSONALISATION_NOTHING_TO_PERSONALISE
    assert "nothing to personalise" in said.offers[0].reason
    assert answer(version, request("ANNUAL")).personalisation == revenue_pb2.PERSONALISATION_SUPPORTED


def test_an_offer_without_evidence_gets_no_number(version: UpsellVersion) -> None:
    said = answer(version, request("NEW"))

    assert said.personalisation == revenue_pb2.PERSONALISATION_NO_RANDOMISED_EVIDENCE
    assert said.offers[0].decision == revenue_pb2.OFFER_DECISION_HOLD
    assert not said.offers[0].HasField("uplift")
    assert not said.HasField("qini")
    assert list(said.info.warnings) == [common_pb2.WARNING_NO_RANDOMISED_EVIDENCE]
    assert said.info.evidence == common_pb2.EVIDENCE_PRIOR_ONLY


def test_a_version_without_any_offer_answers_that_nobody_knows(parameters: UpsellParameters) -> None:
    empty = UpsellParameters(schema=parameters.schema, preparation=parameters.preparation, offers=())

    said = answer(opened(empty, None), request())

    assert said.personalisation == revenue_pb2.PERSONALISATION_NO_RANDOMISED_EVIDENCE


def test_exploration_carries_its_propensity_and_may_be_forbidden(version: UpsellVersion) -> None:
    asked = request("ANNUAL", "SEATS")
    quiet = answer(version, asked)
    asked.disable_exploration = False

    explored = [answer(version, asked, bytes([seed] * 32)) for seed in range(60)]

    assert not quiet.info.HasField("experiment")
    assert {each.propensity for each in quiet.offers} == {1.0}
    assert all(each.info.experiment.propensity in (0.1, 0.9) for each in explored)
    turned = [each for each in explored if each.info.experiment.arm != "as planned"]
    assert turned
    assert all(revenue_pb2.OFFER_DECISION_OFFER not in {o.decision for o in each.offers} for each in turned)


@pytest.mark.parametrize(("offers", "light"), [(3, True), (24, True), (25, False)])
def test_many_offers_are_no_light_request(offers: int, *, light: bool) -> None:
    assert is_light(request(*(f"offer-{n}" for n in range(offers)))) is light


def test_the_same_request_gets_the_same_draw(version: UpsellVersion) -> None:
    asked = request("ANNUAL", "SEATS")
    asked.disable_exploration = False

    assert answer(version, asked, b"a" * 32) == answer(version, asked, b"a" * 32)


def test_past_offers_fill_what_follows_from_them_and_leave_the_request_alone(version: UpsellVersion) -> None:
    told, listed = request(), request()
    told.features.offers_shown_180d, told.features.offers_accepted_180d = 2, 1
    told.features.days_since_last_offer = 10.0
    for days, shown in ((10, True), (90, True), (300, True), (5, False)):
        past = listed.features.past_offers.add(offer_id="ANNUAL", shown=shown, accepted=days == 90)
        past.decision_time.FromDatetime(AS_OF - timedelta(days=days))
    before = listed.SerializeToString(deterministic=True)

    assert answer(version, listed) == answer(version, told)
    assert listed.SerializeToString(deterministic=True) == before


def test_a_price_or_a_currency_that_was_never_shown_is_said(version: UpsellVersion) -> None:
    dear, foreign = request(), request()
    dear.offers[0].price.minor_units = 99_000
    for field in ("price", "margin", "contact_cost"):
        getattr(foreign.offers[0], field).currency_code = "EUR"
    foreign.features.price.minor_units, foreign.features.price.currency_code = 100, "EUR"

    assert common_pb2.WARNING_EXTRAPOLATION in answer(version, dear).info.warnings
    assert set(answer(version, foreign).info.warnings) == {
        common_pb2.WARNING_EXTRAPOLATION,
        common_pb2.WARNING_OUT_OF_RANGE,
    }
    assert not answer(version, request()).info.warnings


def test_reasons_name_the_fields_that_moved_the_effect(version: UpsellVersion) -> None:
    asked = request("ANNUAL")
    asked.context.explain = True

    reasons = answer(version, asked).reasons

    assert reasons[0].feature == "minutes_28d"
    assert reasons[0].contribution > 0


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        pytest.param(lambda r: r.offers.append(r.offers[0]), "offers[1].offer_id", id="two alike"),
        pytest.param(lambda r: setattr(r.offers[0].price, "currency_code", "EUR"), "offers[0].price", id="currency"),
    ],
)
def test_offers_that_cannot_be_compared_are_refused_by_field(version: UpsellVersion, spoil: Any, field: str) -> None:
    asked = request()
    spoil(asked)

    with pytest.raises(InvalidField) as refused:
        answer(version, asked)

    assert refused.value.metadata["field"] == field


def test_the_method_is_the_contracts() -> None:
    service = revenue_pb2.DESCRIPTOR.services_by_name["RevenueService"]
    method = service.methods_by_name["RecommendUpsell"]

    assert METHOD.path == f"/{service.full_name}/{method.name}"
    assert METHOD.request.DESCRIPTOR is method.input_type
    assert METHOD.response.DESCRIPTOR is method.output_type
