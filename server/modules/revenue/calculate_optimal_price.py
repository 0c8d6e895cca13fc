"""CalculateOptimalPrice: which price of a ladder is best, as messages.

Not here: the mathematics (methods/revenue/price.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from methods.revenue.price import (
    Exposure,
    Guardrail,
    Hit,
    Interval,
    Objective,
    PriceAnswer,
    PriceQuestion,
    answer_price,
)
from methods.revenue.price_parameters import PriceParameters, parse_parameters
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import InvalidField
from server.serving.load import ModelKind
from server.serving.whole import Moment, Whole, open_parameters

PER_VISITORS = 1_000  # of value_per_1000_visitors
INT32_MOST = 2**31 - 1

Request, Response = revenue_pb2.CalculateOptimalPriceRequest, revenue_pb2.CalculateOptimalPriceResponse
KIND = ModelKind(features=None, open=open_parameters(parse_parameters))


def solve(parameters: PriceParameters, request: Any, moment: Moment) -> Any:
    """The answer to one request.

    Raises: InvalidField: today's price is not on the ladder, currencies are mixed, or a stretch ends before it starts.
    """
    question = _question(request, moment.as_of)
    answer = answer_price(question, parameters, np.random.default_rng(int.from_bytes(moment.seed, "little")))
    currency = request.ladder[0].currency_code
    response: Any = Response(randomised_evidence=answer.randomised, text=_text(answer, question, currency))
    _money(response.recommended_price, answer.recommended, currency)
    for option in answer.options:
        said = response.options.add(best_probability=option.best_probability, next_share=option.next_share)
        _money(said.price, option.price, currency)
        _estimate(said.conversion, option.conversion, answer.level)
        value = said.value_per_1000_visitors
        for end in ("value", "lower", "upper"):
            _money(getattr(value, end), round(PER_VISITORS * getattr(option.value, end)), currency)
        value.level, value.method = answer.level, common_pb2.ESTIMATE_METHOD_POSTERIOR
    _estimate(response.elasticity, answer.elasticity, answer.level)
    if answer.additional_visitors is not None:
        response.additional_visitors_per_price = answer.additional_visitors
    for hit in answer.hits:
        said_hit = response.guardrail_hits.add(
            guardrail=revenue_pb2.PriceGuardrail.Value(f"PRICE_GUARDRAIL_{hit.guardrail.name}"),
            text=_hit_text(hit, currency),
        )
        _money(said_hit.price, hit.price, currency)
    _say(response.info, question, answer, parameters)
    return response


METHOD = Whole(
    path="/paedsresus.ml.v1.RevenueService/CalculateOptimalPrice",
    model="price",
    request=Request,
    response=Response,
    solve=solve,
)


def _question(request: Any, as_of: float) -> PriceQuestion:
    """What is asked; stretches that end after the request's moment are left out.

    Raises: InvalidField: as `solve`.
    """
    currency = request.ladder[0].currency_code
    amounts = {
        name: getattr(request, name)
        for name in ("current_price", "unit_cost", "floor_price", "ceiling_price")
        if request.HasField(name)
    }
    amounts |= {f"history[{place}].price": seen.price for place, seen in enumerate(request.history)}
    for path, amount in amounts.items():
        if amount.currency_code != currency:
            raise InvalidField.of(path, f"must be in the ladder's currency, {currency}")
    ladder = tuple(price.minor_units for price in request.ladder)
    if request.current_price.minor_units not in ladder:
        raise InvalidField.of("current_price", "must be one of the ladder's prices")
    history = []
    for place, seen in enumerate(request.history):
        if seen.end_time.ToNanoseconds() < seen.start_time.ToNanoseconds():
            raise InvalidField.of(f"history[{place}].end_time", "must not lie before start_time")
        if seen.end_time.seconds <= as_of:
            history.append(_exposure(seen))
    return PriceQuestion(
        ladder=ladder,
        current=request.current_price.minor_units,
        history=tuple(history),
        unit_cost=request.unit_cost.minor_units,
        floor=request.floor_price.minor_units if request.HasField("floor_price") else None,
        ceiling=request.ceiling_price.minor_units if request.HasField("ceiling_price") else None,
        objective=Objective[revenue_pb2.PriceObjective.Name(request.objective).removeprefix("PRICE_OBJECTIVE_")],
        decision_probability=request.decision_probability if request.HasField("decision_probability") else 0.95,
    )


def _exposure(seen: Any) -> Exposure:
    return Exposure(
        price_minor=seen.price.minor_units,
        exposures=seen.exposures,
        conversions=seen.conversions,
        refunds=seen.refunds if seen.HasField("refunds") else None,
        retained_90d=seen.retained_90d if seen.HasField("retained_90d") else None,
        randomised=seen.randomised,
    )


def _say(info: Any, question: PriceQuestion, answer: PriceAnswer, parameters: PriceParameters) -> None:
    """What the answer rests on."""
    visitors = sum(seen.exposures for seen in question.history)
    if visitors:
        info.evidence = common_pb2.EVIDENCE_COHORT
        info.observations = min(visitors, INT32_MOST)
    else:
        if not parameters.observations:
            info.evidence = common_pb2.EVIDENCE_PRIOR_ONLY
        info.warnings.append(common_pb2.WARNING_COLD_START)
    if not answer.randomised:
        info.warnings.append(common_pb2.WARNING_NO_RANDOMISED_EVIDENCE)
    if any(hit.guardrail is Guardrail.EXTRAPOLATION for hit in answer.hits):
        info.warnings.append(common_pb2.WARNING_EXTRAPOLATION)


def _text(answer: PriceAnswer, question: PriceQuestion, currency: str) -> str:
    """What the answer means, in a sentence."""
    recommended = next(option for option in answer.options if option.price == answer.recommended)
    price = _amount(answer.recommended, currency)
    begin = f"Stay at {price}" if answer.recommended == question.current else f"Move to {price}"
    if not answer.randomised:
        return f"{begin}: no randomised visitors say what another price would do; show prices by chance first."
    sure = f"the best price of the ladder with {recommended.best_probability:.0%} probability"
    if answer.additional_visitors == 0:
        return (
            f"{begin}: it is {sure}."
            if not answer.hits
            else f"{begin}: a guardrail holds back a better price; it is {sure}."
        )
    needed = answer.additional_visitors
    more = (
        "no number of visitors would settle it"
        if needed is None
        else f"about {needed:,} more visitors at each price would settle it"
    )
    return f"{begin} for now: it is {sure}, and {more}."


def _hit_text(hit: Hit, currency: str) -> str:
    return f"{_amount(hit.price, currency)} would have been recommended, but it {hit.guardrail.value}."


def _amount(minor: int, currency: str) -> str:
    return f"{minor:,} minor units of {currency}"


def _money(money: Any, minor: int, currency: str) -> None:
    money.minor_units, money.currency_code = minor, currency


def _estimate(estimate: Any, interval: Interval, level: float) -> None:
    estimate.value, estimate.lower, estimate.upper = interval.value, interval.lower, interval.upper
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR
