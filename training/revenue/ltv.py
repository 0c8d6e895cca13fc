"""The ltv model: life tables of the plans, and how single purchases come, from columns of what happened.

Both parts are fitted where the data hold them: a platform of subscriptions alone gets life tables alone, and its
version says nothing of single purchases. Default for purchases is Pareto/NBD: a customer may leave at any moment,
not only when he buys, and on the public data it is the nearer of the two to what came (docs/methods/calculate_ltv.md).
Not here: the mathematics of an answer (methods/revenue/ltv.py); the likelihoods (purchases.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.revenue.ltv import QUANTILES, prepare_purchases, value_of_purchases
from methods.revenue.ltv_parameters import LtvParameters, Matrix, PurchaseParameters
from methods.revenue.purchases import Histories, PurchaseModel
from methods.revenue.subscriptions import CohortHazard
from methods.statistics.bootstrap import LEVEL
from training.revenue.purchases import PRIOR_SD, Fit, fit_purchases, fit_values

COHORT_CUSTOMERS = 2_000  # whose values give the cohort's quantiles: each known to a hundredth
COHORT_EVENTS = 5.0  # events that the plan's mean hazard counts for in each period: smooths where few left


@dataclass(frozen=True, slots=True, kw_only=True)
class LtvOptions:
    """How to fit.

    Attributes:
        model: how customers of single purchases leave.
        prior_sd: of the logs of shapes (training/revenue/purchases.py); None for plain maximum likelihood.
        margin_rate: share of what is paid that stays, where a request does not say it.
        period_days: length of a period of the life tables.
        periods: their number; later the last hazard goes on.
        level: probability that an interval is meant to hold.
    """

    model: PurchaseModel = PurchaseModel.PARETO_NBD
    prior_sd: float | None = PRIOR_SD
    margin_rate: float = 0.8
    period_days: int = 28
    periods: int = 39
    level: float = LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpells:
    """n subscriptions as they were watched.

    Attributes:
        plan: (n,) the contract's name of the plan.
        entry_days: (n,) days of tenure when watching began; 0 for those seen from their start.
        exit_days: (n,) days of tenure when it ended, not below entry_days.
        ended: (n,) True when the subscription ended then; False: it still ran.
    """

    plan: Sequence[str]
    entry_days: NDArray[np.float64]
    exit_days: NDArray[np.float64]
    ended: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLtv:
    """The version's parameters, and the fits of purchases behind them; None where there were none."""

    parameters: LtvParameters
    purchases: Fit | None
    values: Fit | None


def fit_ltv(
    purchases: Histories | None, subscriptions: SubscriptionSpells | None, options: LtvOptions | None = None
) -> FittedLtv:
    """Everything the data hold.

    Args:
        purchases: customers of single purchases, values in minor units; None or empty for none.
        subscriptions: spells of subscription; None for none.
        options: how to fit.
    Raises: ValueError: there is neither, or too little of what there is.
    """
    options = options or LtvOptions()
    bought = valued = parameters = None
    worth: tuple[float, ...] = ()
    if purchases is not None and len(purchases):
        bought = fit_purchases(purchases, options.model, prior_sd=options.prior_sd)
        valued = fit_values(purchases, prior_sd=options.prior_sd)
        parameters = purchase_parameters(options.model, bought, valued, float(purchases.observed_weeks.max()))
        some = purchases.take(slice(None, None, max(1, len(purchases) // COHORT_CUSTOMERS)))
        prepared = prepare_purchases(parameters, options.level)
        worth = quantiles_of(value_of_purchases(prepared, some, np.full(len(some), options.margin_rate)).ltv.value)
    cohorts = () if subscriptions is None else fit_cohorts(subscriptions, options)
    if parameters is None and not cohorts:
        raise ValueError("a value needs purchases or subscriptions, and there are neither")
    return FittedLtv(
        parameters=LtvParameters(
            purchases=parameters,
            cohorts=cohorts,
            margin_rate=options.margin_rate,
            level=options.level,
            purchase_values=worth,
        ),
        purchases=bought,
        values=valued,
    )


def quantiles_of(values: NDArray[np.float64]) -> tuple[float, ...]:
    """A cohort's values as an artifact holds them; (n,) over the default horizon at the default rate."""
    return tuple(np.quantile(values, np.linspace(0.0, 1.0, QUANTILES)).tolist())


def purchase_parameters(model: PurchaseModel, bought: Fit, valued: Fit, observed_weeks: float) -> PurchaseParameters:
    """The fits as they stand in an artifact."""
    return PurchaseParameters(
        model=model,
        theta=tuple(bought.theta.tolist()),
        covariance=_rows(bought.covariance),
        value_theta=tuple(valued.theta.tolist()),
        value_covariance=_rows(valued.covariance),
        observed_weeks=observed_weeks,
    )


def fit_cohorts(spells: SubscriptionSpells, options: LtvOptions | None = None) -> tuple[CohortHazard, ...]:
    """One life table a plan: in each period of tenure, those who left over the time that subscribers were at risk.

    A period's hazard is Gamma distributed around the plan's mean with the weight of COHORT_EVENTS events, so that a
    period that nobody reached is the plan's mean with a wide interval, and never 0. Plans that nobody had, or that
    nobody ever left, have no table: nothing is known of their end.

    Source: Gelman et al. 2013, Bayesian Data Analysis, 2.6 (Poisson rate with a Gamma prior).
    """
    options = options or LtvOptions()
    plans = np.asarray(spells.plan)
    tables = []
    for plan in sorted(set(plans.tolist())):
        rows = plans == plan
        exposure, events = _life_table(spells, rows, options)
        if not events.sum():
            continue
        mean = events.sum() / exposure.sum()
        weight = exposure + COHORT_EVENTS / mean
        hazards = (events + COHORT_EVENTS) / weight
        tables.append(
            CohortHazard(
                plan=plan,
                period_days=options.period_days,
                hazards=tuple(hazards.tolist()),
                variances=tuple((hazards / weight).tolist()),
            )
        )
    return tuple(tables)


def _life_table(
    spells: SubscriptionSpells, rows: NDArray[np.bool_], options: LtvOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Periods at risk and endings by period of tenure, (periods,) each; the last period takes all later ones."""
    entry, leave, ended = spells.entry_days[rows], spells.exit_days[rows], spells.ended[rows]
    begin = options.period_days * np.arange(options.periods, dtype=np.float64)
    end = np.append(begin[1:], np.inf)
    within = np.minimum(leave[:, None], end) - np.maximum(entry[:, None], begin)
    exposure = np.sum(np.maximum(within, 0.0), axis=0) / options.period_days
    last = np.maximum(np.ceil(leave[ended] / options.period_days) - 1, 0)
    period = np.minimum(last, options.periods - 1).astype(np.int64)
    return exposure, np.bincount(period, minlength=options.periods).astype(np.float64)


def _rows(matrix: NDArray[np.float64]) -> Matrix:
    return tuple(tuple(row) for row in matrix.tolist())
