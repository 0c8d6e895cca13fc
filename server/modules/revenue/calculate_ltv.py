"""CalculateLtv: what one customer is worth, as messages.

Not here: what is missing for an answer, and many customers at once (ltv_rows.py, calculate_ltv_batch.py); the
mathematics (methods/revenue/ltv.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from methods.revenue.ltv import DEFAULT_DISCOUNT, DEFAULT_MONTHS, LtvAnswer, cohort_quantile
from methods.revenue.purchases import summarise_purchases
from methods.revenue.subscriptions import MONTH_DAYS, Bounded
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.errors import InvalidField, Reason, ServingError, WrongState
from server.modules.revenue.ltv_rows import (
    KIND,
    MIXED,
    ONE_OFF,
    SUBSCRIPTION,
    Customers,
    LtvModel,
    find_problems,
    method_number,
    plan_name,
    settle,
    value_customers,
)
from server.serving.whole import Moment, Whole

__all__ = ["KIND", "METHOD", "solve"]

SECONDS_PER_DAY = 86_400.0
NO_CURRENCY = "XXX"  # ISO 4217: no currency is involved
REASONS_MOST = 5
LIGHT_TRANSACTIONS = 256  # 5 microseconds each, and one millisecond for a long horizon
_SUMMARY = ("first_transaction_time", "frequency", "recency_weeks", "observed_weeks", "mean_value")
_TIMES = frozenset({"renewal_time", "first_transaction_time"})
_AMOUNTS = ("price", "mean_value")

Request, Response = revenue_pb2.CalculateLtvRequest, revenue_pb2.CalculateLtvResponse


def solve(model: LtvModel, request: Any, moment: Moment) -> Any:
    """The answer to one request."""
    features = request.transactions.features if request.HasField("transactions") else request.features
    path = "transactions.features" if request.HasField("transactions") else "features"
    known, currency = _read(features, path, moment.as_of)
    if request.HasField("transactions"):
        known, currency = _with_purchases(known, request.transactions, currency, moment.as_of)
    customer = settle(known, model.parameters.margin_rate)
    for problem in find_problems(model, customer, currency):
        raise _error(problem.reason, f"{path}.{problem.field}", problem.text)
    months = request.horizon_months if request.HasField("horizon_months") else DEFAULT_MONTHS
    rate = request.discount_rate_annual if request.HasField("discount_rate_annual") else DEFAULT_DISCOUNT
    answer = value_customers(model, customer, months, rate)
    response: Any = Response(method=method_number(answer.method))  # type: ignore[arg-type]
    code = currency or model.currency or NO_CURRENCY
    _fill(response, answer, customer, model.parameters.level, code)
    _place(response, model, customer, answer, (months, rate))
    if request.include_curve:
        for month in range(months):
            point = response.curve.add(month=month + 1)
            curve = answer.curve
            ends = (float(curve.value[0, month]), float(curve.lower[0, month]), float(curve.upper[0, month]))
            _fill_money(point.cumulative_value, ends, model.parameters.level, code)
    if request.context.explain:
        _explain(response, model, customer, answer, months, rate, code)
    _say(response, model, customer, months)
    return response


def is_light(request: Any) -> bool:
    """Whether the answer takes two milliseconds at most."""
    return len(request.transactions.transactions) <= LIGHT_TRANSACTIONS


METHOD = Whole(
    path="/paedsresus.ml.v1.RevenueService/CalculateLtv",
    model="ltv",
    request=Request,
    response=Response,
    solve=solve,
    is_light=is_light,
)


def _read(features: Any, path: str, as_of: float) -> tuple[Customers, str | None]:
    """The features as one row, and the currency of the amounts; raises InvalidField for two currencies."""
    read = {each.name: math.nan for each in fields(Customers)}
    codes = set()
    for name in read:
        if not features.HasField(name):
            continue
        value = getattr(features, name)
        if name in _TIMES:
            read[name] = (_seconds(value) - as_of) / SECONDS_PER_DAY
        elif name in _AMOUNTS:
            read[name] = float(value.minor_units)
            codes.add(value.currency_code)
        else:
            read[name] = float(value)
    if len(codes) > 1:
        raise _error(Reason.INVALID_FIELD, f"{path}.mean_value", "must be in the currency of price")
    for name in ("contract", "plan"):
        read[name] = 0.0 if math.isnan(read[name]) else read[name]
    return Customers(**{name: np.array([value]) for name, value in read.items()}), next(iter(codes), None)


def _with_purchases(known: Customers, given: Any, currency: str | None, as_of: float) -> tuple[Customers, str]:
    """The row with what follows from the purchases; raises InvalidField where they contradict something."""
    for name in _SUMMARY:
        if given.features.HasField(name):
            raise _error(
                Reason.INVALID_FIELD, f"transactions.features.{name}", "follows from the purchases; leave it out"
            )
    if known.contract[0] == SUBSCRIPTION:
        text = "purchases have no place in a subscription alone; ask for MIXED"
        raise _error(Reason.INVALID_FIELD, "transactions.features.contract", text)
    first = currency or given.transactions[0].amount.currency_code
    for place, each in enumerate(given.transactions):
        if _seconds(each.transaction_time) > as_of:
            where = f"transactions.transactions[{place}].transaction_time"
            raise _error(Reason.INVALID_FIELD, where, "must not lie after as_of_time")
        if each.amount.currency_code != first:
            where = f"transactions.transactions[{place}].amount"
            raise _error(Reason.INVALID_FIELD, where, f"must be in {first}, as the other amounts")
    days = [_seconds(each.transaction_time) / SECONDS_PER_DAY for each in given.transactions]
    amounts = [float(each.amount.minor_units) for each in given.transactions]
    _, history = summarise_purchases([0] * len(days), days, amounts, as_of / SECONDS_PER_DAY)
    named = known.contract[0] > 0
    subscribed = known.plan[0] > 0 or not math.isnan(known.price[0])
    return replace(
        known,
        contract=known.contract if named else np.array([float(MIXED if subscribed else ONE_OFF)]),
        frequency=history.frequency,
        recency_weeks=history.recency_weeks,
        observed_weeks=history.observed_weeks,
        mean_value=np.where(history.valued > 0, history.mean_value, np.nan),
    ), first


def _fill(response: Any, answer: LtvAnswer, customer: Customers, level: float, code: str) -> None:
    per = answer.per_transaction
    _fill_money(response.ltv, _ends(answer.ltv), level, code)
    _fill_estimate(response.expected_transactions, answer.transactions, level)
    if customer.contract[0] == SUBSCRIPTION:  # both are known, not estimated
        response.alive_probability.value = 1.0
        _money(response.expected_value_per_transaction.value, float(per.value[0]), code)
        return
    if customer.contract[0] == MIXED:
        response.alive_probability.value = 1.0
    else:
        _fill_estimate(response.alive_probability, answer.alive, level)
    _fill_money(response.expected_value_per_transaction, _ends(per), level, code)


def _place(response: Any, model: LtvModel, customer: Customers, answer: LtvAnswer, asked: tuple[int, float]) -> None:
    """The customer's place among those of the fit: always by the version's own horizon, rate and margin."""
    contract = customer.contract[0]
    if contract == MIXED:  # no cohort of the fit had both
        return
    known = model.parameters
    own = replace(customer, margin_rate=np.array([known.margin_rate]))
    quantiles = known.subscription_values if contract == SUBSCRIPTION else known.purchase_values
    if not quantiles:
        return
    is_default = asked == (DEFAULT_MONTHS, DEFAULT_DISCOUNT) and customer.margin_rate[0] == known.margin_rate
    same = answer if is_default else value_customers(model, own, DEFAULT_MONTHS, DEFAULT_DISCOUNT)
    quantile = cohort_quantile(float(same.ltv.value[0]), quantiles)
    if quantile is not None:
        response.cohort_quantile = quantile


def _explain(
    response: Any,
    model: LtvModel,
    customer: Customers,
    answer: LtvAnswer,
    months: int,
    rate: float,
    code: str,
) -> None:
    """What the value would be if one thing were not known, or were as with everybody; the largest differences."""
    value = float(answer.ltv.value[0])
    effects = []
    for field, other, text in _alternatives(model, customer):
        effects.append((value - float(value_customers(model, other, months, rate).ltv.value[0]), field, text))
    for effect, field, text in sorted(effects, key=lambda each: -abs(each[0]))[:REASONS_MOST]:
        if round(effect):
            more = "more" if effect > 0 else "less"
            amount = f"{abs(round(effect)):,} minor units of {code}"
            response.reasons.add(
                feature=field,
                contribution=effect,
                unit=f"minor units of {code}",
                text=f"{text}: the customer is worth {amount} {more} for it.",
            )


def _alternatives(model: LtvModel, customer: Customers) -> Iterator[tuple[str, Customers, str]]:
    """What is known, field by field, beside the customer without it."""
    nothing = np.array([math.nan])
    if customer.contract[0] != ONE_OFF:
        plan = plan_name(customer.plan[0])
        chance = customer.churn_probability_28d
        if not math.isnan(chance[0]) and model.parameters.cohort(plan) is not None:
            text = f"The chance of leaving within 28 days is {chance[0]:.1%}, not that of the plan's subscribers"
            yield "churn_probability_28d", replace(customer, churn_probability_28d=nothing), text
        if math.isnan(chance[0]) and customer.tenure_days[0] > 0:
            text = f"The subscription has lasted {customer.tenure_days[0]:.0f} days already"
            yield "tenure_days", replace(customer, tenure_days=np.zeros(1)), text
    if customer.contract[0] != SUBSCRIPTION and customer.frequency[0] > 0:
        silent = customer.observed_weeks[0] - customer.recency_weeks[0]
        text = f"The last purchase was {silent:.0f} weeks ago, not today"
        yield "recency_weeks", replace(customer, recency_weeks=customer.observed_weeks), text
        number, weeks = customer.frequency[0], customer.observed_weeks[0]
        seldom = replace(customer, frequency=np.zeros(1), recency_weeks=np.zeros(1), mean_value=nothing)
        yield "frequency", seldom, f"There were {number:.0f} purchases after the first in {weeks:.0f} weeks, not none"
        if not math.isnan(customer.mean_value[0]):
            text = "The purchases had a mean value of their own, not that of all customers"
            yield "mean_value", replace(customer, mean_value=nothing), text


def _say(response: Any, model: LtvModel, customer: Customers, months: int) -> None:
    """What the answer rests on, and what its reader must know."""
    bought = customer.contract[0] != SUBSCRIPTION
    if bought and customer.frequency[0] >= 0:
        response.info.evidence = common_pb2.EVIDENCE_PERSONAL
        response.info.observations = int(customer.frequency[0]) + 1
    elif not bought and not math.isnan(customer.churn_probability_28d[0]):
        response.info.evidence = common_pb2.EVIDENCE_PERSONAL
        response.info.observations = 1
    elif bought or math.isnan(customer.tenure_days[0]):
        response.info.warnings.append(common_pb2.WARNING_COLD_START)
    seen = model.parameters.purchases
    if bought:
        is_beyond = seen is not None and months * MONTH_DAYS / 7 > seen.observed_weeks
    else:
        is_beyond = _is_beyond_table(model, customer, months)
    if is_beyond:
        response.info.warnings.append(common_pb2.WARNING_EXTRAPOLATION)


def _is_beyond_table(model: LtvModel, customer: Customers, months: int) -> bool:
    """Whether the horizon ends after the last period of which the version knows a hazard."""
    churn = model.parameters.churn
    if churn is not None and not math.isnan(customer.churn_probability_28d[0]):
        return months * MONTH_DAYS > churn.period_days * len(churn.slopes)
    plan = plan_name(customer.plan[0])
    table = model.parameters.cohort(plan)
    tenure = 0.0 if math.isnan(customer.tenure_days[0]) else float(customer.tenure_days[0])
    return table is not None and tenure + months * MONTH_DAYS > table.period_days * len(table.hazards)


def _ends(bounded: Bounded) -> tuple[float, float, float]:
    """Value, lower and upper end of the only row."""
    return float(bounded.value[0]), float(bounded.lower[0]), float(bounded.upper[0])


def _fill_estimate(estimate: Any, bounded: Bounded, level: float) -> None:
    estimate.value, estimate.lower, estimate.upper = _ends(bounded)
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR


def _fill_money(estimate: Any, ends: tuple[float, float, float], level: float, code: str) -> None:
    for money, amount in zip((estimate.value, estimate.lower, estimate.upper), ends, strict=True):
        _money(money, amount, code)
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR


def _money(money: Any, amount: float, code: str) -> None:
    money.minor_units, money.currency_code = round(amount), code


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds + timestamp.nanos * 1e-9)


def _error(reason: Reason, field: str, text: str) -> ServingError:
    """The error of a problem: the caller's, or that of a version that does not know such customers."""
    if reason is Reason.WRONG_STATE:
        return WrongState(f"{field}: {text}", metadata={"field": field})
    return InvalidField.of(field, text)
