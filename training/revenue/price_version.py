"""A version of the model `price` from the platform's exposures: fitted before a cut in time, judged on what came after.

Not here: the fit itself (price.py); the rows (training/features/price.py); what becomes of the version
(training/recipe.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from methods.revenue import price as price_method
from methods.revenue.price import Exposure, PriceQuestion, answer_price
from methods.revenue.price_parameters import PriceParameters
from training.data.mart import Mart
from training.features import price as price_rows
from training.features.digest import digest_code
from training.features.price import retention_rows, sales_rows
from training.gates import Gate
from training.recipe import Fitted, Recipe, Say
from training.revenue.price import DemandModel, DemandRows, fit_demand, fit_price
from training.slices import ROWS, Slices, slices_by

JUDGED_SHARE = 0.2  # of the exposures, the newest
EVENTS_LEAST = 50  # conversions on either side of the cut
GOLDEN = 24
PURPOSE = (
    "What is believed of a product's demand before its own exposures: the prior of CalculateOptimalPrice.",
    "A population of demand lines, binomial on the log-odds scale, fitted by expectation-maximisation.",
)
LIMITS = (
    "Exposures that chance did not assign may mislead: they carry a bias of their own and never settle the slope.",
    "Refunds are in no table of the platform; their prior is a documented judgement.",
    "Demand is taken as the same across the stretches of a request's history.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Mean log loss of later visitors, nats: by price, and by the segment's rate alone; over `visitors`."""

    model: float
    baseline: float
    standard_error: float  # of the difference, over segments and weeks
    visitors: int
    buyers: int
    slices: Slices = field(default_factory=dict)  # of the same visitors, their count as `rows`


def foretell(model: DemandModel, early: DemandRows, late: DemandRows) -> Foretold:
    """How well later visitors' choices are foretold, each segment at each price.

    Args:
        model: fitted on `early`.
        early: what was known before the cut; gives each segment's rate.
        late: what came after it.
    """
    assert early.trials is not None, "buyers among visitors"
    assert early.buyers is not None, "as above"
    assert late.trials is not None, "as above"
    assert late.buyers is not None, "as above"
    counted = pd.DataFrame({"group": early.group, "trials": early.trials, "buyers": early.buyers})
    sums = counted.groupby("group")[["trials", "buyers"]].sum()
    whole = (sums["buyers"].sum() + 1.0) / (sums["trials"].sum() + 2.0)
    rates = ((sums["buyers"] + 1.0) / (sums["trials"] + 1.0 / whole)).to_dict()
    logits = np.empty(late.price.size)
    for group in np.unique(late.group):
        here = late.group == group
        logits[here] = model.predict(str(group), late.price[here])[0]
    chance = 1.0 / (1.0 + np.exp(-logits))
    rate = np.array([rates.get(str(group), whole) for group in late.group])
    by_price, by_rate = (
        -(late.buyers * np.log(p) + (late.trials - late.buyers) * np.log1p(-p)) for p in (chance, rate)
    )
    visitors = float(late.trials.sum())
    saved = by_rate - by_price
    spread = float(np.sqrt(((saved - saved.sum() / visitors * late.trials) ** 2).sum()) / visitors)

    sums_of = {
        ROWS: late.trials,
        "observed": late.buyers,
        "foretold": late.trials * chance,
        "log_loss": by_price,
        "log_loss of rates": by_rate,
    }
    labels = {"segment": late.group.astype(np.str_), "price": np.array([f"{price:g}" for price in late.price])}
    return Foretold(
        slices=slices_by(labels, partial(_a_visitor, sums_of)),
        model=float(by_price.sum() / visitors),
        baseline=float(by_rate.sum() / visitors),
        standard_error=spread,
        visitors=int(visitors),
        buyers=int(late.buyers.sum()),
    )


def _a_visitor(sums_of: Mapping[str, NDArray[np.float64]], rows: NDArray[np.bool_]) -> Mapping[str, float]:
    """Sums of the chosen rows for each visitor in them, beside the count of visitors."""
    visitors = float(sums_of[ROWS][rows].sum())
    return {name: visitors if name == ROWS else float(part[rows].sum()) / visitors for name, part in sums_of.items()}


def is_not_worse_than_rates(found: Foretold) -> Gate:
    """Knowing the price must not mislead: the log loss saved against the segment's rate reaches 0 within 90 %."""
    saved = found.baseline - found.model
    most = saved + 1.6449 * found.standard_error
    return Gate(
        name="not_worse_than_rates",
        passed=most >= 0,
        reason=f"{saved:+.5f} nats a visitor saved against rates alone (at most {most:+.5f}; must reach 0)",
    )


def has_enough_buyers(fitted: int, judged: int) -> Gate:
    """Too few buyers on either side of the cut say nothing."""
    return Gate(
        name="enough_buyers",
        passed=min(fitted, judged) >= EVENTS_LEAST,
        reason=f"{fitted} buyers fitted on, {judged} judged on ({EVENTS_LEAST} needed of each)",
    )


def known_before(exposures: pa.Table, cut: datetime) -> pa.Table:
    """Exposures before `cut` as they looked then: who bought later had not bought yet."""
    early = exposures.filter(pc.less(exposures["shown_at"], pa.scalar(cut, exposures["shown_at"].type)))
    bought = early["converted_at"]
    then = pc.if_else(pc.less(bought, pa.scalar(cut, bought.type)), bought, pa.scalar(None, bought.type))
    return early.set_column(early.schema.get_field_index("converted_at"), "converted_at", then)


def golden_cases(
    parameters: PriceParameters, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Requests with ladders of 2 to 5 prices and 0 to 5 stretches of history, and what each must give."""
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for case in range(GOLDEN):
        ladder = tuple(2_000 + 500 * step for step in range(2 + case % 4))
        history = tuple(
            Exposure(
                price_minor=ladder[place % len(ladder)],
                exposures=int(rng.integers(200, 2_000)),
                conversions=int(rng.integers(2, 100)),
                randomised=bool(case % 2),
            )
            for place in range(case % 6)
        )
        question = PriceQuestion(ladder=ladder, current=ladder[0], history=history)
        answer = answer_price(question, parameters, np.random.default_rng(0))  # a trial run's seed
        request = {
            "context": {"requestId": f"golden-{case}", "asOfTime": _text(as_of)},
            "productId": "golden",
            "ladder": [_money(price) for price in ladder],
            "currentPrice": _money(ladder[0]),
            "objective": "PRICE_OBJECTIVE_REVENUE_PER_VISITOR",
            "history": [
                {
                    "price": _money(seen.price_minor),
                    "exposures": seen.exposures,
                    "conversions": seen.conversions,
                    "randomised": seen.randomised,
                    "startTime": "2025-11-01T00:00:00Z",
                    "endTime": "2025-12-01T00:00:00Z",
                }
                for seen in history
            ],
        }
        expected = {
            "recommendedPrice": {"minorUnits": str(answer.recommended)},
            "options": [
                {"conversion": {name: getattr(option.conversion, name) for name in ("value", "lower", "upper")}}
                for option in answer.options
            ],
        }
        cases.append((request, expected))
    return cases


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits the population of demand lines on what was seen before a cut, and foretells visitors after it.

    Raises: ValueError: the mart holds no exposures.
    """
    say("reading exposures")
    exposures, subscriptions = mart.read("price_exposures"), mart.read("subscriptions")
    if not exposures.num_rows:
        raise ValueError("price_exposures: the mart holds none")
    shown = exposures["shown_at"].to_pandas()
    cut = shown.quantile(1.0 - JUDGED_SHARE).floor("s").to_pydatetime()
    past = known_before(exposures, cut)
    early = sales_rows(past)
    late = sales_rows(
        exposures.filter(pc.greater_equal(exposures["shown_at"], pa.scalar(cut, exposures["shown_at"].type)))
    )
    say(f"fitting demand to {past.num_rows:,} exposures")
    parameters = fit_price(early, retention=_some(retention_rows(past, subscriptions, cut)))
    found = foretell(fit_demand(early), early, late)
    assert early.buyers is not None, "buyers among visitors"
    line = parameters.conversion
    return Fitted(
        parameters=parameters.to_json(),
        golden=golden_cases(parameters, rng),
        figures={"version": {"log_loss": found.model}, "rate of the segment": {"log_loss": found.baseline}},
        slices=found.slices,
        gates=[has_enough_buyers(int(early.buyers.sum()), found.buyers), is_not_worse_than_rates(found)],
        observations=parameters.observations,
        data_time=cut,
        facts={
            "judged on": f"{found.visitors:,} visitors after the cut, {found.buyers} buyers",
            "slope, log odds a log unit of price": f"{line.slope:.2f}, spread {line.slope_sd:.2f}",
            "prices assigned by chance": "some" if parameters.randomised else "none",
        },
        purpose=PURPOSE,
        limits=LIMITS,
    )


def _some(rows: DemandRows) -> DemandRows | None:
    return rows if rows.price.size else None


def _money(minor: int) -> Mapping[str, str]:
    return {"minorUnits": str(minor), "currencyCode": "USD"}


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    sources = (price_rows.__file__, __file__, price_method.__file__)
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model="price", fit=fit_version, expressions=_expressions)
