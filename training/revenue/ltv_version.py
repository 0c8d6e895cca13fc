"""A version of the model `ltv` from the platform's subscriptions: fitted before a cut, judged on money after it.

The platform sells subscriptions alone, so the version holds life tables of the plans and no single purchases.
Not here: the fit itself (ltv.py); what becomes of the version (training/recipe.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.revenue import ltv, subscriptions
from methods.revenue.churn import ChurnParameters
from methods.revenue.ltv import half_width, value_of_subscriptions
from methods.revenue.ltv_parameters import LtvParameters
from methods.revenue.subscriptions import (
    BILLING_DAYS,
    MONTH_DAYS,
    Bounded,
    CohortHazard,
    Hazards,
    Subscriptions,
    churn_hazards,
    cohort_hazards,
    scaled_hazards,
)
from training.data.mart import Mart
from training.features.churn import mart_currency
from training.features.digest import digest_code
from training.features.landmarks import as_frame
from training.gates import Gate
from training.recipe import Fitted, Recipe, Say
from training.revenue import ltv as fit_code
from training.revenue import ltv_churn, rhythm
from training.revenue.ltv import LtvOptions, SubscriptionSpells, fit_ltv, quantiles_of
from training.revenue.ltv_churn import fit_own_course
from training.revenue.rhythm import Rhythm, rhythm_at
from training.slices import Slices, label_tenure, slices_by

JUDGED_SHARE = 0.25  # of the time, the newest: payments in it are forecast
ENDINGS_FITTED = 50  # as for churn: fewer do not hold a life table
GOLDEN = 24
Z = half_width(0.9)
PURPOSE = (
    "What a subscriber is worth from now on, for CalculateLtv: expected margin, discounted, month by month.",
    "Life tables of the plans by tenure; with a known chance of leaving, the curve that the churn model gives it.",
)
LIMITS = (
    "An interval holds for the mean of such subscribers, as far as chance in who was watched goes.",
    "Hazards beyond the longest tenure watched are those of the last period.",
    "The margin is what stays after payment fees; other costs are not in the data. `margin_rate` says better.",
    "Nothing is known of single purchases: the platform sells none, and requests for them are refused.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """n subscriptions that ran at a moment, (n,) each.

    Attributes:
        plan, asked, tenure_days: what was known of them.
        chance: of leaving within 28 days, as the churn model said it then; NaN where it said nothing.
        paid: what was paid for each within some time after the moment, minor units.
    """

    plan: NDArray[np.str_]
    asked: Subscriptions
    tenure_days: NDArray[np.float64]
    chance: NDArray[np.float64]
    paid: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Money forecast against money paid, over `rows` subscriptions: by the version, and as if nobody left.

    Attributes:
        total_error, stay_total_error: forecast over paid, less 1.
        rmse, stay_rmse: of a subscription, in payments of its own price: a large customer counts like a small one.
        saved: share of the squared error of "nobody left" that the version saves, in the same unit.
        standard_error: of that, over subscriptions.
        rows: subscriptions.
        slices: parts of them, in payments of their own price.
    """

    total_error: float
    rmse: float
    stay_total_error: float
    stay_rmse: float
    saved: float
    standard_error: float
    rows: int
    slices: Slices = field(default_factory=dict)


def read_tables(mart: Mart) -> tuple[pd.DataFrame, pd.DataFrame, str | None]:
    """Subscriptions and successful payments in the platform's main currency, and that currency.

    Raises: ValueError: the mart holds no subscriptions.
    """
    connection = mart.connect()
    try:
        currency = mart_currency(connection.tables)
        bought, paid = connection.tables["subscriptions"], connection.tables["payments"]
        spells = as_frame(
            bought.filter(bought.currency == (currency or ""))
            .select("subscription_id", "user_id", "plan", "price_minor", "seats", "started_at", "ended_at")
            .order_by("subscription_id")
        )
        payments = as_frame(
            paid.filter(paid.currency == (currency or ""))
            .select("subscription_id", "attempted_at", "amount_minor", "fee_minor", "succeeded", "covers_until")
            .order_by("subscription_id", "attempted_at")
        )
    finally:
        connection.backend.disconnect()
    if spells.empty:
        raise ValueError("subscriptions: the mart holds none")
    return spells, payments, currency


def spells_known_at(spells: pd.DataFrame, now: pd.Timestamp) -> SubscriptionSpells:
    """What somebody standing at a moment has seen of each subscription."""
    known = spells[spells["started_at"] < now]
    ended = (known["ended_at"] <= now).to_numpy()
    until = known["ended_at"].where(ended, now)
    return SubscriptionSpells(
        plan=known["plan"].astype(str).tolist(),
        entry_days=np.zeros(len(known)),
        exit_days=_days(until - known["started_at"]),
        ended=ended,
    )


def running_at(
    spells: pd.DataFrame,
    payments: pd.DataFrame,
    now: pd.Timestamp,
    months: int,
    chance: "pd.Series[float] | None" = None,
    rhythm: Rhythm | None = None,
) -> Running:
    """Subscriptions that ran at a moment, and what was paid for them in the months after it; `chance` is by user."""
    rhythm = rhythm or Rhythm()
    rows = spells[(spells["started_at"] < now) & ~(spells["ended_at"] <= now)]
    good = payments[payments["succeeded"]]
    until = now + pd.Timedelta(days=months * MONTH_DAYS)
    before, after = good[good["attempted_at"] <= now], good[good["attempted_at"].between(now, until, inclusive="right")]
    covered = rows["subscription_id"].map(before.groupby("subscription_id")["covers_until"].max())
    paid = rows["subscription_id"].map(after.groupby("subscription_id")["amount_minor"].sum())
    plan = rows["plan"].astype(str)
    return Running(
        plan=plan.to_numpy(dtype=np.str_),
        asked=Subscriptions(
            price=(rows["price_minor"] * rows["seats"]).to_numpy(dtype=np.float64),
            billing_days=np.array([{**BILLING_DAYS, **rhythm.billing_days}[each] for each in plan]),
            renewal_days=np.nan_to_num(_days(pd.to_datetime(covered, utc=True) - now)),
            renewal_known=covered.notna().to_numpy(),
            renewal_share=np.full(len(rows), rhythm.renewal_share),
        ),
        tenure_days=_days(now - rows["started_at"]),
        chance=np.asarray(rows["user_id"].map({} if chance is None else chance), dtype=np.float64),
        paid=paid.fillna(0.0).to_numpy(dtype=np.float64),
    )


def course_of(running: Running, rows: NDArray[np.int64], table: CohortHazard, parameters: LtvParameters) -> Hazards:
    """Hazards of subscribers of one plan as an answer takes them: their own where all chances are known."""
    plan, chance = cohort_hazards(table, running.tenure_days[rows], Z), running.chance[rows]
    if np.isnan(chance).any():
        return plan
    return scaled_hazards(plan, chance) if parameters.churn is None else churn_hazards(chance, parameters.churn)


def foretell(running: Running, parameters: LtvParameters, months: int) -> Foretold:
    """How near the forecast of each subscription's payments came.

    Raises: ValueError: none of them ran, or none paid.
    """
    forecast, stay = np.zeros(len(running.paid)), np.zeros(len(running.paid))
    judged = np.zeros(len(running.paid), dtype=bool)
    for rows, table in _groups(running, parameters):
        judged[rows] = True
        asked = _take(running.asked, rows)
        forecast[rows] = _money(asked, course_of(running, rows, table, parameters), months)
        stay[rows] = _money(asked, _nobody_leaves, months)
    paid = running.paid[judged]
    if not paid.sum():
        raise ValueError("nobody of those who subscribed at the cut paid after it: there is nothing to be judged on")
    priced = judged & (running.asked.price > 0)  # for the free there is nothing to be forecast
    told, stayed, came = (money[priced] / running.asked.price[priced] for money in (forecast, stay, running.paid))
    error, other = told - came, stayed - came
    scale = float(np.mean(other**2))
    saved = (other**2 - error**2) / scale
    return Foretold(
        total_error=float(forecast[judged].sum() / paid.sum() - 1),
        rmse=float(np.sqrt(np.mean(error**2))),
        stay_total_error=float(stay[judged].sum() / paid.sum() - 1),
        stay_rmse=float(np.sqrt(scale)),
        saved=float(saved.mean()),
        standard_error=float(saved.std() / np.sqrt(len(saved))),
        rows=len(error),
        slices=slices_by(
            {"plan": running.plan[priced], "tenure": label_tenure(running.tenure_days[priced])},
            partial(_a_subscription, came, told, stayed),
        ),
    )


def cohort_values(running: Running, parameters: LtvParameters) -> tuple[float, ...]:
    """Quantiles of what the subscriptions were worth that ran at the cut, at the version's margin."""
    parts = []
    for rows, table in _groups(running, parameters):
        hazards = course_of(running, rows, table, parameters)
        margin = np.full(rows.size, parameters.margin_rate)
        parts.append(value_of_subscriptions(_take(running.asked, rows), hazards, margin).ltv.value)
    return quantiles_of(np.concatenate(parts)) if parts else ()


def with_own_course(parameters: LtvParameters, churn: ChurnParameters, running: Running, months: int) -> LtvParameters:
    """The parameters with the churn model's curve, where it foretells payments no worse than the plan's course does."""
    own = replace(parameters, churn=churn)
    return own if foretell(running, own, months).rmse <= foretell(running, parameters, months).rmse else parameters


def nearer_than_if_nobody_left(found: Foretold, name: str = "nearer_than_if_nobody_left") -> Gate:
    """Knowing of leaving must help: the squared error saved is above 0 with its 90 % interval."""
    least = found.saved - Z * found.standard_error
    return Gate(
        name=name,
        passed=least > 0,
        reason=f"{found.saved:.3f} of the squared error saved (at least {least:.3f}; above 0 is needed)",
    )


def enough_endings(endings: int) -> Gate:
    """Subscriptions that ended in what was fitted on."""
    return Gate(
        name="enough_endings",
        passed=endings >= ENDINGS_FITTED,
        reason=f"{endings} endings fitted on ({ENDINGS_FITTED} needed)",
    )


def golden_cases(
    parameters: LtvParameters, currency: str, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Subscribers of every plan with a table, and the payments that each must be expected to make.

    Of every second one a chance of leaving is known.
    """
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for number in range(GOLDEN):
        table = parameters.cohorts[number % len(parameters.cohorts)]
        tenure, renewal, months = int(rng.integers(0, 900)), int(rng.integers(0, 30)), int(rng.integers(1, 49))
        price = int(rng.integers(1_000, 50_000))
        request: dict[str, Any] = {
            "context": {"requestId": f"golden-{number}", "asOfTime": _text(as_of)},
            "features": {
                "plan": f"SUBSCRIPTION_PLAN_{table.plan}",
                "price": {"minorUnits": str(price), "currencyCode": currency},
                "tenureDays": tenure,
                "renewalTime": _text(as_of + timedelta(days=renewal)),
            },
            "horizonMonths": months,
        }
        asked = Subscriptions(
            price=np.array([float(price)]),
            billing_days=np.array([parameters.billing(table.plan)]),
            renewal_days=np.array([float(renewal)]),
            renewal_known=np.array([True]),
            renewal_share=np.array([parameters.renewal_share]),
        )
        hazards = cohort_hazards(table, np.array([float(tenure)]), half_width(parameters.level))
        if number % 2:
            chance = float(rng.uniform(0.005, 0.3))
            request["features"]["churnProbability28d"] = chance
            own = parameters.churn
            hazards = (
                scaled_hazards(hazards, np.array([chance])) if own is None else churn_hazards(np.array([chance]), own)
            )
        payments = value_of_subscriptions(asked, hazards, np.ones(1), months=months).transactions
        ends = {name: float(getattr(payments, name)[0]) for name in ("value", "lower", "upper")}
        cases.append((request, {"expectedTransactions": ends}))
    return cases


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits life tables to what was seen before a cut in time, and forecasts the money paid after it.

    Raises: ValueError: the data do not suffice.
    """
    say("reading subscriptions and payments")
    spells, payments, currency = read_tables(mart)
    begin, end = spells["started_at"].min(), pd.Timestamp(mart.data_time)
    months = int((end - begin) * JUDGED_SHARE / pd.Timedelta(days=MONTH_DAYS))
    if months < 1:
        raise ValueError("subscriptions: a value needs four months of data at least, one of them to be judged on")
    cut = end - pd.Timedelta(days=months * MONTH_DAYS)
    known = spells_known_at(spells, cut)
    say(f"fitting life tables to {len(known.plan):,} subscriptions")
    margin = _margin_after_fees(payments[payments["attempted_at"] <= cut])
    parameters = fit_ltv(None, known, LtvOptions(margin_rate=margin)).parameters
    rhythm = rhythm_at(spells, payments, cut)
    parameters = replace(parameters, billing_days=rhythm.billing_days, renewal_share=rhythm.renewal_share)
    say("fitting the subscribers' own course")
    own = fit_own_course(mart, cut.to_pydatetime().astimezone(UTC), rng.spawn(1)[0])
    say("forecasting later payments")
    by_plan = foretell(running_at(spells, payments, cut, months, rhythm=rhythm), parameters, months)
    running = running_at(spells, payments, cut, months, None if own is None else own.chance, rhythm)
    scaled = foretell(running, parameters, months)
    if own is not None:
        parameters = with_own_course(parameters, own.churn, running, months)
    found = foretell(running, parameters, months)
    parameters = replace(parameters, subscription_values=cohort_values(running, parameters))
    return Fitted(
        parameters=parameters.to_json(),
        golden=golden_cases(parameters, currency or "XXX", rng),
        figures={
            "version": {"total_error": found.total_error, "rmse_payments": found.rmse},
            "plan's course, own chance": {"total_error": scaled.total_error, "rmse_payments": scaled.rmse},
            "plan and tenure alone": {"total_error": by_plan.total_error, "rmse_payments": by_plan.rmse},
            "if nobody left": {"total_error": found.stay_total_error, "rmse_payments": found.stay_rmse},
        },
        slices=found.slices,
        gates=[
            enough_endings(int(known.ended.sum())),
            nearer_than_if_nobody_left(found),
            nearer_than_if_nobody_left(by_plan, "nearer_by_plan_alone"),
        ],
        observations=len(known.plan),
        data_time=cut.to_pydatetime().astimezone(UTC),
        facts={
            "endings": f"{int(known.ended.sum()):,}",
            "plans": ", ".join(table.plan for table in parameters.cohorts),
            "a known chance of leaving": "becomes the churn model's curve"
            if parameters.churn is not None
            else "scales the plan's course: the churn model's curve foretold payments no better, or there is none",
            "judged on": f"payments of {found.rows:,} subscriptions in the {months} months after the cut",
            "margin after payment fees": f"{margin:.4f}",
            "leaving when a paid period ends": f"{rhythm.renewal_share:.0%}",
        },
        purpose=PURPOSE,
        limits=LIMITS,
        currency=currency,
    )


def _a_subscription(
    came: NDArray[np.float64], told: NDArray[np.float64], stayed: NDArray[np.float64], rows: NDArray[np.bool_]
) -> Mapping[str, float]:
    """Payments that came and were foretold, and how far off the version was and "nobody left"."""
    off, off_if_nobody_left = (float(np.sqrt(np.mean((each[rows] - came[rows]) ** 2))) for each in (told, stayed))
    means = {"payments": float(came[rows].mean()), "foretold": float(told[rows].mean())}
    return {**means, "rmse_payments": off, "rmse if nobody left": off_if_nobody_left}


def _groups(running: Running, parameters: LtvParameters) -> Iterator[tuple[NDArray[np.int64], CohortHazard]]:
    """Rows of one plan, their chances all known or all unknown, and its table; plans without one are left out."""
    unknown = np.isnan(running.chance)
    for table in parameters.cohorts:
        for kind in (unknown, ~unknown):
            rows = np.flatnonzero((running.plan == table.plan) & kind)
            if rows.size:
                yield rows, table


def _margin_after_fees(payments: pd.DataFrame) -> float:
    """Share of what was paid that stayed after the fees of all attempts, failed ones too."""
    paid = float(payments.loc[payments["succeeded"], "amount_minor"].sum())
    if paid <= 0:
        raise ValueError("payments: none succeeded before the cut, so no margin is known")
    return max(0.0, 1.0 - float(payments["fee_minor"].sum()) / paid)


def _money(asked: Subscriptions, hazards: Hazards, months: int) -> NDArray[np.float64]:
    """Expected payments of the months, not discounted, before margin; (n,) minor units."""
    ones = np.ones(len(asked.price))
    return value_of_subscriptions(asked, hazards, ones, months=months, discount_rate_annual=0.0).ltv.value


def _nobody_leaves(days: NDArray[np.float64]) -> Bounded:
    nothing = np.zeros_like(days)
    return Bounded(value=nothing, lower=nothing, upper=nothing)


def _take(asked: Subscriptions, rows: NDArray[np.int64]) -> Subscriptions:
    return Subscriptions(
        price=asked.price[rows],
        billing_days=asked.billing_days[rows],
        renewal_days=asked.renewal_days[rows],
        renewal_known=asked.renewal_known[rows],
        renewal_share=None if asked.renewal_share is None else asked.renewal_share[rows],
    )


def _days(spans: pd.Series) -> NDArray[np.float64]:
    return np.asarray(spans.dt.total_seconds(), dtype=np.float64) / 86_400.0


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    sources = (__file__, fit_code.__file__, ltv_churn.__file__, rhythm.__file__, ltv.__file__, subscriptions.__file__)
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model="ltv", fit=fit_version, expressions=_expressions)
