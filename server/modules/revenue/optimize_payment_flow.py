"""OptimizePaymentFlow: the order of a payment's routes and its retry, as messages.

Not here: the mathematics (methods/revenue/payments.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

from typing import Any

from methods.revenue.payment_parameters import PaymentParameters, parse_parameters
from methods.revenue.payment_success import UNKNOWN, DeclineKind, Payment, Stage, factors_of
from methods.revenue.payments import (
    Estimate,
    Limits,
    NoRetry,
    PaymentAnswer,
    Retry,
    Route,
    answer_payment,
    kind_of_decline,
)
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import InvalidField
from server.serving.load import ModelKind
from server.serving.whole import Moment, Whole, open_parameters

SECONDS_PER_HOUR, SECONDS_PER_DAY = 3_600.0, 86_400.0
NANOS = 1_000_000_000
REASONS_MOST = 5
LIGHT_ROUTES = 20  # 60 microseconds each and more: the draw compares each with each
EXPERIMENT = "payments.first_route"
FIELDS = {  # the request's fields behind a kind of effect
    "country": "country_code",
    "currency": "amount.currency_code",
    "hour": "payer_local_hour",
    "month_part": "payer_day_of_month",
    "history": "payments_365d",
    "failures": "payment_failures_365d",
    "attempt": "attempt_number",
    "decline": "last_decline_code",
    "wait": "last_decline_time",
    "same_route": "last_route_id",
    "route": "routes.route_id",
}

Request, Response = revenue_pb2.OptimizePaymentFlowRequest, revenue_pb2.OptimizePaymentFlowResponse
KIND = ModelKind(features=None, open=open_parameters(parse_parameters))


def solve(parameters: PaymentParameters, request: Any, moment: Moment) -> Any:
    """The answer to one request.

    Raises: InvalidField: two routes share an id, or a fee is in another currency than the amount.
    """
    payment = read_payment(request.features, moment.as_of)
    routes = _routes(request)
    limits = None
    if request.HasField("scheme_limits"):
        days = request.scheme_limits.window.ToNanoseconds() / NANOS / SECONDS_PER_DAY
        limits = Limits(max_attempts=request.scheme_limits.max_attempts, window_days=days)
    chance = None if request.disable_exploration else moment.chance()
    answer = answer_payment(payment, routes, parameters, limits=limits, chance=chance)
    response: Any = Response(ask_for_new_method=answer.ask_for_new_method, text=_text(answer, payment, parameters))
    for ranked in answer.routes:
        said = response.ordered_routes.add(route_id=ranked.route_id, propensity=ranked.propensity)
        _estimate(said.success_probability, ranked.success, answer.level)
        if ranked.net_minor is not None:
            for end in ("value", "lower", "upper"):
                money = getattr(said.expected_net, end)
                money.minor_units = round(getattr(ranked.net_minor, end))
                money.currency_code = request.features.amount.currency_code
            said.expected_net.level, said.expected_net.method = answer.level, common_pb2.ESTIMATE_METHOD_POSTERIOR
    if isinstance(answer.retry, Retry):
        at = moment.as_of + answer.retry.hours_from_now * SECONDS_PER_HOUR
        response.retry.retry_time.FromNanoseconds(round(at * 1_000) * 1_000_000)
        response.retry.route_id = answer.retry.route_id
        _estimate(response.retry.success_probability, answer.retry.success, answer.level)
    else:
        response.no_retry_reason = revenue_pb2.NoRetryReason.Value(f"NO_RETRY_REASON_{answer.retry.name}")
    first = answer.routes[0]
    if chance is not None:
        experiment = response.info.experiment
        experiment.id, experiment.arm, experiment.propensity = EXPERIMENT, first.route_id, first.propensity
    known = parameters.success.blocks.get("route")
    if known is None or first.route_id not in known.columns:
        response.info.warnings.append(common_pb2.WARNING_COLD_START)
    if request.context.explain:
        _explain(response, payment, first.route_id, parameters)
    return response


def is_light(request: Any) -> bool:
    """Whether the answer takes two milliseconds at most."""
    return len(request.routes) <= LIGHT_ROUTES


METHOD = Whole(
    path="/paedsresus.ml.v1.RevenueService/OptimizePaymentFlow",
    model="payments",
    request=Request,
    response=Response,
    solve=solve,
    is_light=is_light,
)


def read_payment(features: Any, as_of: float) -> Payment:
    """The payment of a request, as of its moment; what is absent or unspecified is unknown."""
    hours = None
    if features.HasField("last_decline_time"):
        declined = features.last_decline_time.ToNanoseconds() / NANOS
        hours = max(0.0, (as_of - declined) / SECONDS_PER_HOUR)
    stage = _name(features, "stage", revenue_pb2.PaymentStage, "PAYMENT_STAGE_")
    kind = _name(features, "last_decline_kind", revenue_pb2.DeclineKind, "DECLINE_KIND_")
    return Payment(
        stage=None if stage is None else Stage(stage),
        amount_minor=features.amount.minor_units if features.HasField("amount") else None,
        currency=features.amount.currency_code if features.HasField("amount") else None,
        country=_value(features, "country_code"),
        card_brand=_name(features, "card_brand", revenue_pb2.CardBrand, "CARD_BRAND_"),
        card_funding=_name(features, "card_funding", revenue_pb2.CardFunding, "CARD_FUNDING_"),
        device=_name(features, "device", revenue_pb2.PaymentDevice, "PAYMENT_DEVICE_"),
        attempt_number=_value(features, "attempt_number"),
        attempts_in_window=_value(features, "attempts_in_window"),
        last_decline_code=_value(features, "last_decline_code"),
        last_decline_kind=None if kind is None else DeclineKind(kind),
        last_route=_value(features, "last_route_id"),
        hours_since_decline=hours,
        local_hour=_value(features, "payer_local_hour"),
        day_of_month=_value(features, "payer_day_of_month"),
        payments_365d=_value(features, "payments_365d"),
        failures_365d=_value(features, "payment_failures_365d"),
    )


def _routes(request: Any) -> list[Route]:
    currency = request.features.amount.currency_code if request.features.HasField("amount") else None
    routes: list[Route] = []
    seen: set[str] = set()
    for place, route in enumerate(request.routes):
        if route.route_id in seen:
            raise InvalidField.of(f"routes[{place}].route_id", "must differ from those of the routes before it")
        seen.add(route.route_id)
        for fee in ("success_fee", "failure_fee"):
            money = getattr(route, fee)
            if currency and route.HasField(fee) and money.minor_units and money.currency_code != currency:
                raise InvalidField.of(f"routes[{place}].{fee}", f"must be in the amount's currency, {currency}")
        routes.append(
            Route(
                route_id=route.route_id,
                success_fee_minor=route.success_fee.minor_units,
                success_fee_share=route.success_fee_share,
                failure_fee_minor=route.failure_fee.minor_units,
                is_down=route.is_down,
            )
        )
    return routes


def _explain(response: Any, payment: Payment, route: str, parameters: PaymentParameters) -> None:
    """The largest effects on the first route's log odds."""
    model = parameters.success
    effects = []
    for kind, level in factors_of(payment, route, model.median_amounts):
        block = model.blocks.get(kind)
        if block is not None and level in block.columns and UNKNOWN not in level:
            effects.append((float(model.mean[block.columns[level]]), kind, level))
    for effect, kind, _ in sorted(effects, key=lambda each: -abs(each[0]))[:REASONS_MOST]:
        names = [FIELDS.get(part, part) for part in kind.split("|")]
        response.reasons.add(
            feature=" with ".join(names),
            contribution=effect,
            unit="log-odds",
            text=f"{' with '.join(name.replace('_', ' ') for name in kind.split('|')).capitalize()} "
            f"{'raises' if effect >= 0 else 'lowers'} the chance of a success on route {route}.",
        )


def _text(answer: PaymentAnswer, payment: Payment, parameters: PaymentParameters) -> str:
    """Why, in a sentence or two."""
    first = answer.routes[0]
    text = f"Try route {first.route_id} first: it succeeds with about {first.success.value:.0%}."
    if answer.retry is NoRetry.HARD_DECLINE:
        text = "Do not try this card again: the decline was a hard one."
    elif isinstance(answer.retry, Retry):
        hours = answer.retry.hours_from_now
        when = f"after {hours:.0f} hours on route {answer.retry.route_id}"
        is_declined = kind_of_decline(payment, parameters) is not None
        text += f" The next retry is due {when}." if is_declined else f" Should it be declined, try again {when}."
    else:
        text += f" No retry is planned: {answer.retry.value}."
    return text + (" Ask the payer for another way to pay." if answer.ask_for_new_method else "")


def _value(features: Any, name: str) -> Any:
    return getattr(features, name) if features.HasField(name) else None


def _name(features: Any, name: str, enum: Any, prefix: str) -> str | None:
    """An enum's value without its prefix; None when it is absent or unspecified."""
    number = getattr(features, name)
    return str(enum.Name(number).removeprefix(prefix)) if features.HasField(name) and number else None


def _estimate(estimate: Any, value: Estimate, level: float) -> None:
    estimate.value, estimate.lower, estimate.upper = value.value, value.lower, value.upper
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR
