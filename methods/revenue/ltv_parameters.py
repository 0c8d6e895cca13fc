"""What a version of the ltv model knows: parameters.json, checked when it is read.

Not here: what is made of them (ltv.py); where they come from (training/revenue/ltv.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from methods.revenue.churn import ChurnParameters
from methods.revenue.churn import parse_parameters as parse_churn
from methods.revenue.purchases import PurchaseModel
from methods.revenue.subscriptions import BILLING_DAYS, CHURN_PERIOD_DAYS, CohortHazard

BILLING_MOST = 1_500.0  # days; nobody bills more rarely than every four years
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseParameters:
    """What a version knows of single purchases.

    Attributes:
        model: how customers leave.
        theta: its four numbers, each above 0.
        covariance: 4 x 4, of their logs.
        value_theta: p, q and v of Gamma-Gamma; q above 1, so that a mean exists.
        value_covariance: 3 x 3, of log p, log(q - 1) and log v.
        observed_weeks: longest time that a customer of the fit was watched; what lies further ahead is extrapolated.
    """

    model: PurchaseModel
    theta: tuple[float, ...]
    covariance: Matrix
    value_theta: tuple[float, ...]
    value_covariance: Matrix
    observed_weeks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LtvParameters:
    """What a version knows; it has no ONNX graph.

    Attributes:
        purchases: single purchases; None when none were fitted, and then they have no value here.
        cohorts: one life table a plan; none for a plan nobody had.
        margin_rate: share of what is paid that stays, where the request does not say it.
        churn: the churn model whose chances of leaving are read back into curves; None: the plan's course is scaled.
        level: probability that an interval is meant to hold.
        subscription_values: what the subscribers of the fit were worth over the default horizon at the default rate and
            the version's margin, in minor units: quantiles at equal steps from 0 to 1, never falling; empty for none.
        purchase_values: the same of customers of single purchases.
        billing_days: plan -> length of its billing period as it was seen; other plans go by the calendar.
        renewal_share: share of leaving that comes when a paid period ends, 0 to 1.
    """

    purchases: PurchaseParameters | None
    cohorts: tuple[CohortHazard, ...]
    margin_rate: float
    churn: ChurnParameters | None = None
    level: float = 0.9
    subscription_values: tuple[float, ...] = ()
    purchase_values: tuple[float, ...] = ()
    billing_days: Mapping[str, float] = field(default_factory=dict)
    renewal_share: float = 0.0

    def billing(self, plan: str) -> float:
        """Days of a plan's billing period; raises KeyError for a plan that the contract does not have."""
        return self.billing_days.get(plan, BILLING_DAYS[plan])

    def cohort(self, plan: str) -> CohortHazard | None:
        """The life table of a plan, if there is one."""
        return next((each for each in self.cohorts if each.plan == plan), None)

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        bought = self.purchases
        return {
            "level": self.level,
            "margin_rate": self.margin_rate,
            "churn": None if self.churn is None else self.churn.to_json(),
            "purchases": None
            if bought is None
            else {
                "model": bought.model.value,
                "theta": list(bought.theta),
                "covariance": [list(row) for row in bought.covariance],
                "value_theta": list(bought.value_theta),
                "value_covariance": [list(row) for row in bought.value_covariance],
                "observed_weeks": bought.observed_weeks,
            },
            "cohorts": [
                {
                    "plan": each.plan,
                    "period_days": each.period_days,
                    "hazards": list(each.hazards),
                    "variances": list(each.variances),
                }
                for each in self.cohorts
            ],
            "subscription_values": list(self.subscription_values),
            "purchase_values": list(self.purchase_values),
            "billing_days": dict(self.billing_days),
            "renewal_share": self.renewal_share,
        }


def parse_parameters(value: Any) -> LtvParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_parameters({"level": 0.9, "margin_rate": 1.2, "purchases": None, "cohorts": []})
    Traceback (most recent call last):
    ValueError: margin_rate: must lie in [0, 1]
    """
    table = _object("parameters", value)
    level, margin_rate = _number(table, "level"), _number(table, "margin_rate")
    if not 0 < level < 1:
        raise ValueError("level: must lie in (0, 1)")
    renewal_share = _number({"renewal_share": 0.0, **table}, "renewal_share")
    if not 0 <= margin_rate <= 1:
        raise ValueError("margin_rate: must lie in [0, 1]")
    if not 0 <= renewal_share <= 1:
        raise ValueError("renewal_share: must lie in [0, 1]")
    bought, cohorts = table.get("purchases"), table.get("cohorts")
    if not isinstance(cohorts, list):
        raise ValueError("cohorts: must be a list")  # noqa: TRY004 - one kind of error for a bad file
    parameters = LtvParameters(
        purchases=None if bought is None else _parse_purchases(_object("purchases", bought)),
        cohorts=tuple(_parse_cohort(f"cohorts[{index}]", each) for index, each in enumerate(cohorts)),
        margin_rate=margin_rate,
        churn=_parse_churn(table.get("churn")),
        level=level,
        subscription_values=_quantiles(table, "subscription_values"),
        purchase_values=_quantiles(table, "purchase_values"),
        billing_days=_parse_billing(table.get("billing_days", {})),
        renewal_share=renewal_share,
    )
    plans = [each.plan for each in parameters.cohorts]
    if len(set(plans)) != len(plans):
        raise ValueError("cohorts: a plan stands there twice")
    return parameters


def _parse_billing(value: Any) -> dict[str, float]:
    table = _object("billing_days", value)
    found = {}
    for plan in table:
        if plan not in BILLING_DAYS:
            raise ValueError(f"billing_days: {plan!r} is no plan; plans are {', '.join(BILLING_DAYS)}")
        found[plan] = _number(table, plan, "billing_days.")
        if not 1 <= found[plan] <= BILLING_MOST:
            raise ValueError(f"billing_days.{plan}: must lie between 1 and {BILLING_MOST:.0f} days")
    return found


def _parse_churn(value: Any) -> ChurnParameters | None:
    if value is None:
        return None
    try:
        churn = parse_churn(value)
    except ValueError as cause:
        raise ValueError(f"churn.{cause}") from cause
    if churn.period_days != CHURN_PERIOD_DAYS:
        raise ValueError(f"churn.period_days: must be {CHURN_PERIOD_DAYS}, the time of churn_probability_28d")
    return churn


def _parse_purchases(table: Mapping[str, Any]) -> PurchaseParameters:
    try:
        model = PurchaseModel(table.get("model"))
    except ValueError as cause:
        known = ", ".join(each.value for each in PurchaseModel)
        raise ValueError(f"purchases.model: must be one of {known}") from cause
    theta, value_theta = _numbers(table, "purchases.theta", 4), _numbers(table, "purchases.value_theta", 3)
    if min(*theta, *value_theta) <= 0:
        raise ValueError("purchases.theta, purchases.value_theta: must be above 0")
    if value_theta[1] <= 1:
        raise ValueError("purchases.value_theta: q must be above 1, else purchases have no mean value")
    weeks = _number(table, "observed_weeks", "purchases.")
    if weeks <= 0:
        raise ValueError("purchases.observed_weeks: must be above 0")
    return PurchaseParameters(
        model=model,
        theta=theta,
        covariance=_covariance(table, "purchases.covariance", 4),
        value_theta=value_theta,
        value_covariance=_covariance(table, "purchases.value_covariance", 3),
        observed_weeks=weeks,
    )


def _parse_cohort(name: str, value: Any) -> CohortHazard:
    table = _object(name, value)
    plan, period = table.get("plan"), table.get("period_days")
    if not isinstance(plan, str) or not plan:
        raise ValueError(f"{name}.plan: must be a name")
    if not isinstance(period, int) or isinstance(period, bool) or period < 1:
        raise ValueError(f"{name}.period_days: must be a whole number of days, 1 or more")
    hazards = _numbers(table, f"{name}.hazards", None)
    variances = _numbers(table, f"{name}.variances", len(hazards))
    if not hazards or min(hazards) <= 0 or min(variances) < 0:
        raise ValueError(f"{name}.hazards, {name}.variances: must be above 0, and 0 or more")
    return CohortHazard(plan=plan, period_days=period, hazards=hazards, variances=variances)


def _quantiles(table: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = _numbers({name: table.get(name, [])}, name, None)
    if len(values) == 1 or any(later < earlier for earlier, later in pairwise(values)):
        raise ValueError(f"{name}: must be two quantiles or more that never fall, or none")
    return values


def _covariance(table: Mapping[str, Any], name: str, size: int) -> Matrix:
    rows = table.get(name.rpartition(".")[2])
    if not isinstance(rows, list) or len(rows) != size:
        raise ValueError(f"{name}: must have {size} rows")
    matrix = tuple(_numbers({"row": row}, f"{name}.row", size) for row in rows)
    array = np.asarray(matrix)
    if not np.allclose(array, array.T) or np.linalg.eigvalsh(array).min() < -1e-9 * max(
        1.0, float(np.abs(array).max())
    ):
        raise ValueError(f"{name}: is no covariance")
    return matrix


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: not an object")  # noqa: TRY004 - as above
    return value


def _number(table: Mapping[str, Any], name: str, prefix: str = "") -> float:
    value = table.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
        raise ValueError(f"{prefix}{name}: must be a finite number")
    return float(value)


def _numbers(table: Mapping[str, Any], name: str, size: int | None) -> tuple[float, ...]:
    entries = table.get(name.rpartition(".")[2])
    if not isinstance(entries, list) or not all(
        isinstance(entry, int | float) and not isinstance(entry, bool) and np.isfinite(entry) for entry in entries
    ):
        raise ValueError(f"{name}: must be a list of finite numbers")
    if size is not None and len(entries) != size:
        raise ValueError(f"{name}: must have {size} entries")
    return tuple(float(entry) for entry in entries)
