"""Which price of a ladder is best, how sure that is, and who should see which price next.

What was seen at each price gives posteriors of buying, refunds and staying 90 days (demand.py); draws of all three give
each price's value for a visitor by the objective, the probability that it is best, Thompson shares, and how many
more visitors would settle it. Guardrails then say what may be recommended.
Sources: Thompson 1933, Biometrika 25:285; Scott 2010, Appl Stoch Models Bus Ind 26:639 (shares by the probability of
being best); Raiffa and Schlaifer 1961, ch. 5 (what a sample is expected to tell before it is taken).
Pure; the generator comes in. Not here: the demand model; how a version is fitted (training/revenue/price.py).
"""

from __future__ import annotations  # numpy.random, 3 MB, stays out of processes that never draw

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from methods.revenue.demand import (
    Floats,
    Gaussian,
    Line,
    buyers_posterior,
    expit,
    line_prior,
    log_price_design,
    root_of,
)
from methods.revenue.price_parameters import PriceParameters

VISITORS_MOST = 100_000_000  # more for each price than any platform has: "no number would do"
OUTER_DRAWS, INNER_DRAWS = 256, 200  # of what a sample may say, and of what is believed then
RETENTION_DAYS = 90
DAYS_A_MONTH, DAYS_A_YEAR = 365.25 / 12, 365.25


class Objective(Enum):
    """What the best price is best at, for each visitor; names are the contract's without their prefix."""

    REVENUE_PER_VISITOR = "revenue"
    MARGIN_PER_VISITOR = "margin"
    LTV_PER_VISITOR = "lifetime value"


class Guardrail(Enum):
    """What a recommended price may not do; names are the contract's without their prefix, in order of judgement."""

    FLOOR = "is below the lowest price allowed"
    CEILING = "is above the highest price allowed"
    COST = "does not cover the unit cost"
    EXTRAPOLATION = "lies outside the prices that were ever asked"
    STEP = "is too far from today's price for one step"
    NO_RANDOMISED_EVIDENCE = "rests on prices that chance did not assign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What was seen at one price: visitors, buyers among them, and of these refunds and stayers when known."""

    price_minor: int
    exposures: int
    conversions: int
    refunds: int | None = None
    retained_90d: int | None = None
    randomised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuestion:
    """What is asked. Amounts are minor units of one currency.

    Attributes:
        ladder: the prices that may be asked, 2 or more, above 0, all different, in any order.
        current: today's price, one of the ladder.
        history: what was seen.
        unit_cost: of a sale, 0 or more.
        floor, ceiling: bounds of what may be recommended; None for none.
        objective: what to be best at.
        decision_probability: probability of being best that counts as clear.
    """

    ladder: tuple[int, ...]
    current: int
    history: tuple[Exposure, ...] = ()
    unit_cost: int = 0
    floor: int | None = None
    ceiling: int | None = None
    objective: Objective = Objective.REVENUE_PER_VISITOR
    decision_probability: float = 0.95

    def __post_init__(self) -> None:
        if self.current not in self.ladder:
            raise ValueError(f"current_price: {self.current} is not on the ladder {list(self.ladder)}")
        if len(set(self.ladder)) != len(self.ladder) or min(self.ladder) <= 0:
            raise ValueError("ladder: prices must be above 0 and all different")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with the ends of its interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One price: chances and value; value is minor units for one visitor, its posterior mean with its interval."""

    price: int
    best_probability: float
    value: Interval
    conversion: Interval
    next_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A guardrail that changed the answer, and the price that would have been recommended without it."""

    guardrail: Guardrail
    price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceAnswer:
    """What is answered; options stand in the ladder's order.

    Attributes:
        recommended: the allowed price with the highest expected value.
        options: every price of the ladder.
        elasticity: relative change of buying for a relative change of price, from the next lower to the next higher
            price around today's (from or to today's at an end of the ladder).
        additional_visitors: randomised visitors that each price still needs, in expectation, until one is best with the
            decision probability; 0 when that is so, None when no number would do.
        hits: guardrails that changed the recommendation.
        randomised: whether randomised exposures at two prices or more stand behind it.
        level: of all intervals.
    """

    recommended: int
    options: tuple[Option, ...]
    elasticity: Interval
    additional_visitors: int | None
    hits: tuple[Hit, ...]
    randomised: bool
    level: float


def answer_price(question: PriceQuestion, version: PriceParameters, rng: np.random.Generator) -> PriceAnswer:
    """Judges the ladder.

    Args:
        question: what is asked and what was seen.
        version: the answering version's parameters.
        rng: chance for the draws; the same seed gives the same answer, in whatever order the ladder is written.
    """
    rising = _judge(replace(question, ladder=tuple(sorted(question.ladder))), version, rng)
    option_of = {option.price: option for option in rising.options}
    return replace(rising, options=tuple(option_of[price] for price in question.ladder))


def _judge(question: PriceQuestion, version: PriceParameters, rng: np.random.Generator) -> PriceAnswer:
    """The same for a ladder that rises."""
    draws = _draw(question, version, rng)
    value = draws.value
    best = _shares(value)
    randomised = has_randomised_evidence(question.history)
    allowed = allowed_prices(question, version)
    recommended, hits = recommend(question, version, value.mean(axis=0), randomised=randomised)
    options = tuple(
        Option(
            price=price,
            best_probability=float(best[i]),
            value=_interval(value[:, i], version.level, float(value[:, i].mean())),
            conversion=_interval(draws.conversion[:, i], version.level),
            next_share=float(share),
        )
        for i, (price, share) in enumerate(zip(question.ladder, _allowed_shares(value, allowed), strict=True))
    )
    return PriceAnswer(
        recommended=recommended,
        options=options,
        elasticity=_interval(draws.elasticity, version.level),
        additional_visitors=visitors_needed(value, draws.noise, question.decision_probability, rng),
        hits=hits,
        randomised=randomised,
        level=version.level,
    )


def has_randomised_evidence(history: Sequence[Exposure]) -> bool:
    """Whether chance assigned at least two prices that anybody saw."""
    return len({seen.price_minor for seen in history if seen.randomised and seen.exposures}) > 1


def allowed_prices(question: PriceQuestion, version: PriceParameters) -> tuple[bool, ...]:
    """Which prices visitors may be shown next: within floor, ceiling and cost; today's price if none is.

    Prices that lie far from today's, or outside what was ever asked, may be shown: only so can they be known.
    """
    explorable = {Guardrail.EXTRAPOLATION, Guardrail.STEP}
    shown = [set(_broken(price, question, version)) <= explorable for price in question.ladder]
    return tuple(shown) if any(shown) else tuple(price == question.current for price in question.ladder)


def recommend(
    question: PriceQuestion, version: PriceParameters, expected: Floats, *, randomised: bool
) -> tuple[int, tuple[Hit, ...]]:
    """The allowed price with the highest expected value, and each guardrail that took a better one away, in order.

    Without randomised evidence today's price stands, or the allowed price next to it. Where no price is allowed,
    today's price stands too.

    Args:
        question: prices and bounds.
        version: holds the largest step.
        expected: (prices,) expected value for a visitor.
        randomised: whether randomised evidence stands behind it.
    """
    left = list(range(len(question.ladder)))
    hits = []
    wanted = max(left, key=lambda i: expected[i])
    for guardrail in list(Guardrail)[:-1]:
        kept = [i for i in left if guardrail not in _broken(question.ladder[i], question, version)]
        if wanted not in kept:
            hits.append(Hit(guardrail=guardrail, price=question.ladder[wanted]))
            if not kept:
                return question.current, tuple(hits)
            wanted = max(kept, key=lambda i: expected[i])
        left = kept
    if not randomised:
        stays = min(left, key=lambda i: abs(math.log(question.ladder[i] / question.current)))
        if stays != wanted:
            hits.append(Hit(guardrail=Guardrail.NO_RANDOMISED_EVIDENCE, price=question.ladder[wanted]))
        wanted = stays
    return question.ladder[wanted], tuple(hits)


def visitors_needed(value: Floats, noise: Floats, probability: float, rng: np.random.Generator) -> int | None:
    """Further randomised visitors for each price until one is best with a probability, in expectation.

    With n more visitors a price, beliefs about the values (normal, covariance V) become V_n, and their means will have
    moved by a normal with covariance V - V_n: for draws of where they move, the probability that the leading price is
    best then; its mean over the draws rises with n.

    Args:
        value: (draws, prices) of the value for a visitor.
        noise: (prices,) standard deviation of one visitor's value.
        probability: that counts as clear.
        rng: chance.
    Returns: 0 when it is clear already, None beyond `VISITORS_MOST`.
    Source: Raiffa and Schlaifer 1961, ch. 5 (preposterior analysis of a normal process).
    """
    if float(_shares(value).max()) >= probability:
        return 0
    mean, belief = value.mean(axis=0), np.cov(value, rowvar=False)
    outer = rng.standard_normal((OUTER_DRAWS, mean.size))
    inner = rng.standard_normal((INNER_DRAWS, mean.size))

    def clear_with(visitors: int) -> bool:
        left = belief @ np.linalg.solve(belief + np.diag(noise**2 / visitors), np.diag(noise**2 / visitors))
        means = mean + outer @ root_of(belief - left).T  # (outer, prices)
        believed = means[:, None, :] + inner @ root_of(left).T  # (outer, inner, prices)
        leads = np.argmax(means, axis=1)
        return float((believed.argmax(axis=2) == leads[:, None]).mean()) >= probability

    if not clear_with(VISITORS_MOST):
        return None
    low, high = 0, VISITORS_MOST
    while high - low > max(1, high // 100):  # a hundredth is finer than the draws are
        # Between 1 and 3 the geometric middle is 1 itself, and the search would never end.
        middle = max(low + 1, math.isqrt(max(1, low) * high)) if high > 2 * max(1, low) else (low + high) // 2
        low, high = (low, middle) if clear_with(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draws:
    """Draws from the posteriors: (draws, prices) each, elasticity (draws,), and one visitor's noise (prices,)."""

    conversion: Floats
    value: Floats
    elasticity: Floats
    noise: Floats


def _draw(question: PriceQuestion, version: PriceParameters, rng: np.random.Generator) -> _Draws:
    knots = tuple(math.log(price / question.current) for price in sorted(question.ladder))
    ladder = log_price_design([math.log(price / question.current) for price in question.ladder], knots)
    seen = [(s, s.exposures, s.conversions) for s in question.history]
    conversion = _posterior(question, version, version.conversion, seen)
    coefficients = conversion.draws(version.draws, rng)
    chance = expit(coefficients @ ladder.T)  # (draws, prices)
    refunds = [(s, s.conversions, s.refunds) for s in question.history if s.refunds is not None]
    refunded = expit(_posterior(question, version, version.refund, refunds).draws(version.draws, rng) @ ladder.T)
    price = np.array(question.ladder, dtype=np.float64)
    sale = price * (1.0 - refunded)  # what a buyer brings, minor units
    if question.objective is not Objective.REVENUE_PER_VISITOR:
        sale = sale - question.unit_cost
    if question.objective is Objective.LTV_PER_VISITOR:
        stays = [(s, s.conversions, s.retained_90d) for s in question.history if s.retained_90d is not None]
        kept = expit(_posterior(question, version, version.retention, stays).draws(version.draws, rng) @ ladder.T)
        sale = sale * expected_payments(kept, version)
    mean_chance, mean_sale = chance.mean(axis=0), sale.mean(axis=0)
    return _Draws(
        conversion=chance,
        value=chance * sale,
        elasticity=_arc_elasticity(chance, question),
        noise=np.maximum(np.abs(mean_sale), 1e-9) * np.sqrt(mean_chance * (1.0 - mean_chance) * version.dispersion),
    )


def _arc_elasticity(chance: Floats, question: PriceQuestion) -> Floats:
    """Change of log chance for log price between the neighbours of today's price; (draws, prices) -> (draws,)."""
    order = sorted(range(len(question.ladder)), key=question.ladder.__getitem__)
    at = order.index(question.ladder.index(question.current))
    low, high = order[max(0, at - 1)], order[min(len(order) - 1, at + 1)]
    change: Floats = np.log(np.maximum(chance[:, high], 1e-300) / np.maximum(chance[:, low], 1e-300))
    return change / math.log(question.ladder[high] / question.ladder[low])


def expected_payments(retained_90d: Floats, version: PriceParameters) -> Floats:
    """Expected discounted payments of a buyer within the version's horizon, the first one included.

    Args:
        retained_90d: chance to be still there after 90 days, any shape; leaving is as likely in every period.
        version: period, horizon and discount rate.

    >>> from methods.revenue.price_parameters import PRIOR
    >>> round(float(expected_payments(np.array([0.0]), PRIOR)[0]), 6)
    1.0
    """
    periods = max(1, round(version.horizon_months * DAYS_A_MONTH / version.period_days))
    discount = (1.0 + version.discount_rate_annual) ** (-version.period_days / DAYS_A_YEAR)
    step = np.asarray(retained_90d, dtype=np.float64) ** (version.period_days / RETENTION_DAYS) * discount
    whole = np.where(step < 1.0, (1.0 - step**periods) / np.where(step < 1.0, 1.0 - step, 1.0), float(periods))
    payments: Floats = whole
    return payments


def _posterior(
    question: PriceQuestion,
    version: PriceParameters,
    line: Line,
    seen: Sequence[tuple[Exposure, int, int | None]],
) -> Gaussian:
    """What is believed of one kind of share after the history."""
    knots = tuple(math.log(price / question.current) for price in sorted(question.ladder))
    prior = line_prior(line, knots=len(knots), bend_sd=version.bend_sd, bias_sd=version.bias_sd)
    counts: dict[tuple[int, bool], list[int]] = {}
    for exposure, tried, succeeded in seen:
        total = counts.setdefault((exposure.price_minor, exposure.randomised), [0, 0])
        total[0] += tried
        total[1] += succeeded or 0
    if not any(total[0] for total in counts.values()):
        return prior
    design = log_price_design(
        [math.log(price / question.current) for price, _ in counts],
        knots,
        [not randomised for _, randomised in counts],
    )
    trials, successes = np.array(list(counts.values()), dtype=np.float64).T
    return buyers_posterior(design, trials, successes, prior, version.dispersion)


def _broken(price: int, question: PriceQuestion, version: PriceParameters) -> list[Guardrail]:
    """Guardrails that a price breaks by itself."""
    asked = [seen.price_minor for seen in question.history if seen.exposures] + [question.current]
    rules = {
        Guardrail.FLOOR: question.floor is not None and price < question.floor,
        Guardrail.CEILING: question.ceiling is not None and price > question.ceiling,
        Guardrail.COST: price < question.unit_cost,
        Guardrail.EXTRAPOLATION: not min(asked) <= price <= max(asked),
        Guardrail.STEP: abs(price / question.current - 1.0) > version.largest_step + 1e-9,
    }
    return [guardrail for guardrail, broken in rules.items() if broken]


def _shares(value: Floats) -> Floats:
    """(prices,) share of the draws in which each price is best."""
    return np.bincount(value.argmax(axis=1), minlength=value.shape[1]) / len(value)


def _allowed_shares(value: Floats, allowed: tuple[bool, ...]) -> Floats:
    """(prices,) share of the draws in which each is the best of the allowed ones."""
    return _shares(np.where(np.array(allowed), value, -np.inf))


def _interval(draws: Floats, level: float, value: float | None = None) -> Interval:
    """Median, or the given value, with the ends between which the draws lie with the level's probability."""
    lower, median, upper = np.quantile(draws, ((1.0 - level) / 2, 0.5, (1.0 + level) / 2)).tolist()
    middle = median if value is None else value
    return Interval(value=middle, lower=min(lower, middle), upper=max(upper, middle))
