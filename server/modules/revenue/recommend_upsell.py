"""RecommendUpsell: what to do about each offer for one customer, as messages.

Not here: the mathematics (methods/revenue/upsell.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.revenue.upsell import (
    Advice,
    Decision,
    Interval,
    LoadedOffer,
    Offer,
    Personalisation,
    advise,
    load_offers,
    personalisation_of,
    prepare,
)
from methods.revenue.upsell_parameters import UpsellParameters, parse_parameters
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.desired import Load
from server.errors import InvalidField
from server.serving.load import Artifact, LoadRefused, ModelKind
from server.serving.whole import PARAMETERS, Moment, Whole
from server.serving.wire.reader import READ_FOREIGN_CURRENCY, Reader, compile_reader

FEATURES = revenue_pb2.RecommendUpsellFeatures.DESCRIPTOR
LIGHT_OFFERS = 24  # 40 microseconds each; five hundred past offers take half a millisecond more
EXPERIMENT = "upsell.turned_decision"
REASONS_MOST = 5
SECONDS_PER_DAY = 86_400.0
PAST_DAYS = 180.0  # of offers_shown_180d and offers_accepted_180d
DECISIONS = {
    Decision.OFFER: revenue_pb2.OFFER_DECISION_OFFER,
    Decision.HOLD: revenue_pb2.OFFER_DECISION_HOLD,
    Decision.DO_NOT_CONTACT: revenue_pb2.OFFER_DECISION_DO_NOT_CONTACT,
}
PERSONALISATIONS = {
    Personalisation.SUPPORTED: revenue_pb2.PERSONALISATION_SUPPORTED,
    Personalisation.NOTHING: revenue_pb2.PERSONALISATION_NOTHING_TO_PERSONALISE,
    Personalisation.NO_EVIDENCE: revenue_pb2.PERSONALISATION_NO_RANDOMISED_EVIDENCE,
}

Request, Response = revenue_pb2.RecommendUpsellRequest, revenue_pb2.RecommendUpsellResponse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UpsellVersion:
    """An opened upsell artifact; `currency` is that of the amounts it was fitted on."""

    parameters: UpsellParameters
    offers: dict[str, LoadedOffer]
    reader: Reader
    currency: str | None


def open_upsell(artifact: Artifact, _load: Load) -> UpsellVersion:
    """Open an upsell artifact.

    Raises: LoadRefused: says what is wrong with it.
    """
    try:
        return opened(parse_parameters(artifact.read_json(PARAMETERS)), artifact.manifest.currency)
    except ValueError as cause:
        raise LoadRefused(f"{PARAMETERS}: {cause}") from cause


def opened(parameters: UpsellParameters, currency: str | None) -> UpsellVersion:
    """A version from parameters that are checked already.

    Raises: ValueError: its schema names a field that the contract has not.
    """
    return UpsellVersion(
        parameters=parameters,
        offers=load_offers(parameters),
        reader=compile_reader(FEATURES, parameters.schema, currency),
        currency=currency,
    )


KIND = ModelKind(features=None, open=open_upsell)


def solve(version: UpsellVersion, request: Any, moment: Moment) -> Any:
    """The answer to one request.

    Raises: InvalidField: two offers share an id, or amounts differ in currency.
    """
    offers, currency = _read_offers(request)
    prepared, is_foreign = _read_customer(version, request.features, moment.as_of)
    budget = request.contact_budget if request.HasField("contact_budget") else 1
    chance = None if request.disable_exploration else moment.chance()
    advice = advise(prepared, offers, version.parameters, version.offers, budget=budget, chance=chance)
    personalisation = personalisation_of(version.parameters, offers)
    response: Any = Response(personalisation=PERSONALISATIONS[personalisation])
    level = version.parameters.level
    for each in advice:
        said = response.offers.add(
            offer_id=each.offer_id,
            decision=DECISIONS[each.decision],
            propensity=each.propensity,
            reason=each.reason,
        )
        if each.effect is not None:
            _estimate(said.uplift, each.effect.uplift, level)
            _estimate(said.accept_probability, each.effect.accepted, level)
        if each.incremental is not None:
            _money(said.expected_incremental_margin, each.incremental, level, currency)
    known = [version.offers[each.offer_id] for each in advice if each.offer_id in version.offers]
    if known:
        value, lower, upper = known[0].model.qini
        _estimate(response.qini, Interval(value=value, lower=lower, upper=upper), level)
        response.qini.method = common_pb2.ESTIMATE_METHOD_BOOTSTRAP
        response.info.observations = sum(offer.model.rows for offer in known)
        if request.context.explain and advice[0].offer_id in version.offers:
            _explain(response, version, known[0], prepared)
    else:
        response.info.evidence = common_pb2.EVIDENCE_PRIOR_ONLY
    _tell_experiment(response, advice, version.parameters.explored)
    _warn(response, version, advice, currency, is_foreign=is_foreign)
    return response


def is_light(request: Any) -> bool:
    """Whether the answer takes two milliseconds at most."""
    return len(request.offers) <= LIGHT_OFFERS


METHOD = Whole(
    path="/paedsresus.ml.v1.RevenueService/RecommendUpsell",
    model="upsell",
    request=Request,
    response=Response,
    solve=solve,
    is_light=is_light,
)


def _read_offers(request: Any) -> tuple[list[Offer], str]:
    """The offers and the one currency of their amounts."""
    currency = request.offers[0].margin.currency_code
    offers: list[Offer] = []
    seen: set[str] = set()
    for place, offer in enumerate(request.offers):
        if offer.offer_id in seen:
            raise InvalidField.of(f"offers[{place}].offer_id", "must differ from those of the offers before it")
        seen.add(offer.offer_id)
        for name in ("price", "margin", "contact_cost"):
            if offer.HasField(name) and getattr(offer, name).currency_code != currency:
                raise InvalidField.of(f"offers[{place}].{name}", f"must be in {currency}, as the first offer's margin")
        offers.append(
            Offer(
                offer_id=offer.offer_id,
                price=float(offer.price.minor_units),
                margin=float(offer.margin.minor_units),
                contact_cost=float(offer.contact_cost.minor_units),
            )
        )
    return offers, currency


def _read_customer(version: UpsellVersion, features: Any, as_of: float) -> tuple[NDArray[np.float64], bool]:
    """The customer as the model reads it, and whether an amount was in a currency that it does not know."""
    row = np.empty((1, len(version.parameters.schema.columns)), dtype=np.float32)
    read = version.reader.unchecked(_with_past_offers(features, as_of), as_of, row)
    return prepare(row, version.parameters.preparation)[0], read == READ_FOREIGN_CURRENCY


def _with_past_offers(features: Any, as_of: float) -> Any:
    """The features, with what follows from the past offers where the caller left it out; never changes the request."""
    if not features.past_offers:
        return features
    known = revenue_pb2.RecommendUpsellFeatures()
    known.CopyFrom(features)
    shown = [offer for offer in features.past_offers if offer.shown]
    ages = [(as_of - offer.decision_time.ToNanoseconds() / 1e9) / SECONDS_PER_DAY for offer in shown]
    recent = [offer for offer, age in zip(shown, ages, strict=True) if 0 <= age <= PAST_DAYS]
    if not known.HasField("offers_shown_180d"):
        known.offers_shown_180d = len(recent)
    if not known.HasField("offers_accepted_180d"):
        known.offers_accepted_180d = sum(offer.accepted for offer in recent)
    past = [age for age in ages if age >= 0]
    if past and not known.HasField("days_since_last_offer"):
        known.days_since_last_offer = min(past)
    return known


def _explain(response: Any, version: UpsellVersion, offer: LoadedOffer, prepared: NDArray[np.float64]) -> None:
    """What moved the first offer's effect most; nothing where the effect is one for all."""
    if not offer.model.personalised:
        return
    schema = version.parameters.schema
    moved = dict.fromkeys(schema.names, 0.0)
    shares = offer.effect[1:] * prepared
    for source, share in zip(version.parameters.preparation.sources, shares.tolist(), strict=True):
        moved[schema.owners[source]] += share
    for name, share in sorted(moved.items(), key=lambda item: -abs(item[1]))[:REASONS_MOST]:
        words = name.replace("_", " ").capitalize()
        response.reasons.add(
            feature=name,
            contribution=share,
            unit="log-odds of the offer's effect",
            text=f"{words} {'raises' if share >= 0 else 'lowers'} what the offer changes.",
        )


def _tell_experiment(response: Any, advice: list[Advice], explored: float) -> None:
    """The arm that was drawn, where a decision could have been turned round."""
    least = min(each.propensity for each in advice)
    if least == 1.0:
        return
    is_turned = least <= explored
    experiment = response.info.experiment
    experiment.id = EXPERIMENT
    experiment.arm = next(each.offer_id for each in advice if each.propensity == least) if is_turned else "as planned"
    experiment.propensity = least if is_turned else 1.0 - explored


def _warn(response: Any, version: UpsellVersion, advice: list[Advice], currency: str, *, is_foreign: bool) -> None:
    """What the reader must know before trusting the answer."""
    warnings = {
        common_pb2.WARNING_NO_RANDOMISED_EVIDENCE: any(each.effect is None for each in advice),
        common_pb2.WARNING_EXTRAPOLATION: any(
            each.effect is not None and (each.extrapolated or currency != version.currency) for each in advice
        ),
        common_pb2.WARNING_OUT_OF_RANGE: is_foreign,
    }
    response.info.warnings.extend(warning for warning, holds in warnings.items() if holds)


def _estimate(estimate: Any, value: Interval, level: float) -> None:
    estimate.value, estimate.lower, estimate.upper = value.value, value.lower, value.upper
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR


def _money(estimate: Any, value: Interval, level: float, currency: str) -> None:
    for end in ("value", "lower", "upper"):
        amount = getattr(estimate, end)
        amount.minor_units, amount.currency_code = round(getattr(value, end)), currency
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR
