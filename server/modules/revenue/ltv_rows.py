"""Customers as columns: what is known of each, what is missing for an answer, and the answers of one version.

One request and a batch meet here, so that a batch is its rows one by one. A row that cannot be answered has a problem,
never a number that was made up.
Not here: messages (calculate_ltv.py); the mathematics (methods/revenue/ltv.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from methods.revenue.ltv import (
    LtvAnswer,
    LtvMethod,
    PreparedPurchases,
    add_answers,
    half_width,
    prepare_purchases,
    value_of_purchases,
    value_of_subscriptions,
)
from methods.revenue.ltv_parameters import LtvParameters, parse_parameters
from methods.revenue.purchases import Histories
from methods.revenue.subscriptions import (
    Hazards,
    Subscriptions,
    churn_hazards,
    cohort_hazards,
    scaled_hazards,
)
from paedsresus.ml.v1 import revenue_pb2
from server.desired import Load
from server.errors import Reason
from server.serving.load import Artifact, LoadRefused, ModelKind
from server.serving.whole import PARAMETERS

SUBSCRIPTION, ONE_OFF = revenue_pb2.CONTRACT_KIND_SUBSCRIPTION, revenue_pb2.CONTRACT_KIND_ONE_OFF
MIXED = revenue_pb2.CONTRACT_KIND_MIXED
_PLAN_PREFIX = "SUBSCRIPTION_PLAN_"
_PLANS = {
    value.number: value.name.removeprefix(_PLAN_PREFIX)
    for value in revenue_pb2.SubscriptionPlan.DESCRIPTOR.values
    if value.number
}
_SLACK = 1e-9  # weeks; a recency and a time watched that were computed from one date may differ in the last digit


@dataclass(frozen=True, slots=True, kw_only=True)
class LtvModel:
    """An opened version. `purchases` is None when it knows no single purchases; `currency` is that of its amounts."""

    parameters: LtvParameters
    purchases: PreparedPurchases | None
    currency: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """n customers, each column (n,) float64 and NaN where unknown; the names are those of `CalculateLtvFeatures`.

    `contract` and `plan` are numbers of their enums, 0 where unknown; times are days from the request's moment.
    """

    contract: NDArray[np.float64]
    plan: NDArray[np.float64]
    price: NDArray[np.float64]
    seats: NDArray[np.float64]
    tenure_days: NDArray[np.float64]
    renewal_time: NDArray[np.float64]
    churn_probability_28d: NDArray[np.float64]
    first_transaction_time: NDArray[np.float64]
    frequency: NDArray[np.float64]
    recency_weeks: NDArray[np.float64]
    observed_weeks: NDArray[np.float64]
    mean_value: NDArray[np.float64]
    margin_rate: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.contract)

    def take(self, rows: NDArray[np.int64]) -> Customers:
        """These customers only."""
        return Customers(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why one row has no answer: whose fault it is, the field, and what would help."""

    row: int
    reason: Reason
    field: str
    text: str


def open_ltv(artifact: Artifact, _load: Load) -> LtvModel:
    """Open an ltv artifact.

    Raises: LoadRefused: says what is wrong with it.
    """
    try:
        parameters = parse_parameters(artifact.read_json(PARAMETERS))
    except ValueError as cause:
        raise LoadRefused(f"{PARAMETERS}: {cause}") from cause
    return opened(parameters, artifact.manifest.currency)


def opened(parameters: LtvParameters, currency: str | None) -> LtvModel:
    """A model from parameters that are checked already."""
    bought = parameters.purchases
    purchases = None if bought is None else prepare_purchases(bought, parameters.level)
    return LtvModel(parameters=parameters, purchases=purchases, currency=currency)


KIND = ModelKind(features=None, open=open_ltv)


def settle(customers: Customers, default_margin: float) -> Customers:
    """What follows from what is known: the contract, one seat, the time watched, the version's margin."""
    named = customers.contract > 0
    guessed = np.where((customers.plan > 0) | ~np.isnan(customers.price), SUBSCRIPTION, ONE_OFF)
    since_first = -customers.first_transaction_time / 7.0
    watched = np.where(np.isnan(customers.observed_weeks), since_first, customers.observed_weeks)
    return replace(
        customers,
        contract=np.where(named, customers.contract, guessed),
        seats=_known(customers.seats, 1.0),
        observed_weeks=watched,
        margin_rate=_known(customers.margin_rate, default_margin),
    )


def find_problems(model: LtvModel, customers: Customers, currency: str | None) -> Iterator[Problem]:
    """Rows that cannot be answered, the first problem of each, by row.

    Args:
        model: the version.
        customers: settled.
        currency: of the request's amounts, if it has any.
    """
    for row in range(len(customers)):
        subscribed = customers.contract[row] in (SUBSCRIPTION, MIXED)
        buys = customers.contract[row] in (ONE_OFF, MIXED)
        found = _subscription_problem(model, customers, row) if subscribed else None
        if found is None and buys:
            found = _purchase_problem(model, customers, row, currency)
        if found is not None:
            reason, field, text = found
            yield Problem(row=row, reason=reason, field=field, text=text)


def value_customers(model: LtvModel, customers: Customers, months: int, rate: float) -> LtvAnswer:
    """Answers to customers without a problem, all of one contract.

    Args:
        model: the version.
        customers: settled, one contract, none with a problem.
        months: months ahead.
        rate: discount rate a year.
    """
    contract = int(customers.contract[0])
    if contract == SUBSCRIPTION:
        return _of_subscriptions(model, customers, months, rate)
    assert model.purchases is not None
    bought = value_of_purchases(
        model.purchases, _histories(customers), customers.margin_rate, months=months, discount_rate_annual=rate
    )
    if contract == ONE_OFF:
        return bought
    return add_answers(_of_subscriptions(model, customers, months, rate), bought)


def method_number(method: LtvMethod) -> int:
    """The contract's number of a method."""
    return int(revenue_pb2.LtvMethod.Value(f"LTV_METHOD_{method.value}"))


def plan_name(number: float) -> str:
    """A plan as the life tables name it; raises KeyError for none."""
    return _PLANS[int(number)]


def groups(customers: Customers) -> Iterator[NDArray[np.int64]]:
    """Rows that one call of `value_customers` answers: one contract, one plan, the chance of leaving known or not."""
    is_subscribed = customers.contract != ONE_OFF
    known = ~np.isnan(customers.churn_probability_28d) & is_subscribed
    plan = np.where(is_subscribed, customers.plan, 0)
    key = np.stack((customers.contract, plan, known.astype(np.float64)))
    _, place = np.unique(key, axis=1, return_inverse=True)
    for group in range(int(place.max(initial=-1)) + 1):
        yield np.flatnonzero(place.ravel() == group)


def _of_subscriptions(model: LtvModel, customers: Customers, months: int, rate: float) -> LtvAnswer:
    plan = plan_name(customers.plan[0])
    known = ~np.isnan(customers.renewal_time)
    asked = Subscriptions(
        price=customers.price * customers.seats,
        billing_days=np.full(len(customers), model.parameters.billing(plan)),
        renewal_days=_known(customers.renewal_time, 0.0),
        renewal_known=known,
        renewal_share=np.full(len(customers), model.parameters.renewal_share),
    )
    hazards = _hazards(model, plan, customers)
    return value_of_subscriptions(asked, hazards, customers.margin_rate, months=months, discount_rate_annual=rate)


def _hazards(model: LtvModel, plan: str, customers: Customers) -> Hazards:
    """Hazards of a group: by each one's chance of leaving where it is known, else by plan and tenure."""
    chance = customers.churn_probability_28d
    has_chance = not np.isnan(chance[0])
    if has_chance and model.parameters.churn is not None:
        return churn_hazards(chance, model.parameters.churn)
    cohort = model.parameters.cohort(plan)
    assert cohort is not None
    course = cohort_hazards(cohort, _known(customers.tenure_days, 0.0), half_width(model.parameters.level))
    return scaled_hazards(course, chance) if has_chance else course


def _histories(customers: Customers) -> Histories:
    frequency = _known(customers.frequency, 0.0)
    return Histories(
        frequency=frequency,
        recency_weeks=np.minimum(_known(customers.recency_weeks, 0.0), _known(customers.observed_weeks, 0.0)),
        observed_weeks=_known(customers.observed_weeks, 0.0),
        valued=np.where(np.isnan(customers.mean_value), 0.0, frequency),
        mean_value=_known(customers.mean_value, 0.0),
    )


def _subscription_problem(model: LtvModel, customers: Customers, row: int) -> tuple[Reason, str, str] | None:
    if np.isnan(customers.price[row]):
        return Reason.INVALID_FIELD, "price", "a subscription has no value without its price"
    plan = _PLANS.get(int(customers.plan[row]))
    if plan is None:
        return Reason.INVALID_FIELD, "plan", "a subscription has no rhythm of payments without its plan"
    by_chance = model.parameters.churn is not None and not np.isnan(customers.churn_probability_28d[row])
    if model.parameters.cohort(plan) is None and not by_chance:
        text = f"this version has seen nobody leave plan {plan}; it needs a version fitted on such subscribers"
        return Reason.WRONG_STATE, "plan", text
    return None


def _purchase_problem(
    model: LtvModel, customers: Customers, row: int, currency: str | None
) -> tuple[Reason, str, str] | None:
    recency, watched, bought = customers.recency_weeks[row], customers.observed_weeks[row], customers.frequency[row] > 0
    foreign = currency is not None and model.currency not in {None, currency}
    wrong = Reason.INVALID_FIELD
    checks = (
        (model.purchases is None, Reason.WRONG_STATE, "contract", "this version was fitted without single purchases"),
        (foreign, wrong, "mean_value", f"purchases are valued in {model.currency}, the version's currency"),
        (watched < 0, wrong, "first_transaction_time", "must not lie after as_of_time"),
        (not bought and recency > 0, wrong, "recency_weeks", "must be 0 without a frequency above 0"),
        (bought and np.isnan(watched), wrong, "observed_weeks", "is needed with a frequency above 0"),
        (bought and not recency > 0, wrong, "recency_weeks", "is needed above 0 with a frequency above 0"),
        (recency > watched + _SLACK, wrong, "recency_weeks", "must not be more than the time since the first purchase"),
    )
    return next(((reason, field, text) for is_so, reason, field, text in checks if is_so), None)


def _known(values: NDArray[np.float64], default: float) -> NDArray[np.float64]:
    return np.where(np.isnan(values), default, values)
