"""The price model: a population of demand lines, learned from buyers among visitors or from volumes sold.

Products (or brands, or segments) are groups; each has its own line, bent a little, and all share a population whose
mean and spread are estimated by expectation-maximisation over the groups' posteriors. What a version carries is the
population: the prior of a product's line before that product's own exposures, which every request brings itself.
Sources: Dempster, Laird and Rubin 1977, J R Stat Soc B 39:1 (EM); Laird and Ware 1982, Biometrics 38:963 (lines from a
population); McCullagh and Nelder 1989, 4.5 (dispersion by Pearson's statistic).
Pure. Not here: a group's posterior (methods/revenue/demand.py); the platform's rows (training/features/price.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from methods.revenue.demand import (
    Floats,
    Gaussian,
    Line,
    buyers_posterior,
    expit,
    line_prior,
    log_price_design,
    volume_posterior_of,
)
from methods.revenue.price_parameters import PRIOR, PriceParameters

Texts = NDArray[np.str_]

ROUNDS = 200  # of expectation-maximisation; usual are 20 to 60
CONVERGED = 1e-4  # largest relative change of a size from round to round
SPREAD = (1.0, 1.0)  # prior guess of the spread between groups, level and slope: a factor e, an elasticity of one
SPREAD_GROUPS = 2.0  # groups that the guess counts for
BEND_SD, BEND_GROUPS = 0.2, 2.0  # the same of the bends
KNOTS = 9  # places of the bends, at the deciles of a group's prices


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandRows:
    """What was seen, one row for each group, price and stretch of time; every array is (n,).

    Attributes:
        group: product, brand or segment: what has a line of its own.
        price: above 0, in any unit that is the same within a group.
        volume: units sold, above 0; None when buyers are counted.
        trials, buyers: visitors and how many of them bought; None when volumes are.
        randomised: whether chance assigned the price. None: it did nowhere, and bias is left to the reader.
    """

    group: Texts
    price: Floats
    volume: Floats | None = None
    trials: Floats | None = None
    buyers: Floats | None = None
    randomised: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if np.any(bad := ~(np.isfinite(self.price) & (self.price > 0))):
            raise ValueError(f"price: row {int(bad.argmax())} is not a number above 0")
        if (self.volume is None) == (self.trials is None or self.buyers is None):
            raise ValueError("rows have either volume, or trials and buyers")
        if self.volume is not None and np.any(bad := ~(np.isfinite(self.volume) & (self.volume > 0))):
            raise ValueError(f"volume: row {int(bad.argmax())} is not a number above 0")
        if self.trials is not None and self.buyers is not None:
            bad = ~((self.buyers >= 0) & (self.buyers <= self.trials))
            if np.any(bad):
                raise ValueError(f"buyers: row {int(bad.argmax())} is not between 0 and its trials")

    def take(self, rows: NDArray[np.bool_]) -> "DemandRows":
        """The chosen rows."""
        return DemandRows(
            group=self.group[rows],
            price=self.price[rows],
            volume=None if self.volume is None else self.volume[rows],
            trials=None if self.trials is None else self.trials[rows],
            buyers=None if self.buyers is None else self.buyers[rows],
            randomised=None if self.randomised is None else self.randomised[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDemand:
    """One group: its reference price, where its line may bend, and what is believed of its coefficients."""

    reference: float
    knots: tuple[float, ...]
    posterior: Gaussian

    def design(self, price: Floats) -> Floats:
        """Rows of the model for prices that chance would assign."""
        return log_price_design(np.log(price / self.reference), self.knots)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandModel:
    """A fitted population with its groups.

    Attributes:
        kind: what was counted.
        line: the population, as the prior of a group not yet seen: spread between groups and doubt about the mean.
        bend_sd: size of the bends.
        noise_variance: of a log volume; 0 for buyers.
        dispersion: of counts of buyers; 1 for volumes.
        groups: by name.
    """

    kind: Literal["buyers", "volumes"]
    line: Line
    bend_sd: float
    noise_variance: float
    dispersion: float
    groups: Mapping[str, GroupDemand]

    def predict(self, group: str, price: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the curve on the model's scale (log odds, log volume), noise left out.

        A group that was never seen is answered from the population, at the middle of the known reference prices.
        """
        known = self.groups.get(group)
        if known is None:
            reference = math.exp(float(np.median([math.log(g.reference) for g in self.groups.values()])))
            prior = line_prior(self.line, knots=0, bend_sd=0.0, bias_sd=(0.0, 0.0))
            known = GroupDemand(reference=reference, knots=(), posterior=prior)
        return known.posterior.at(known.design(price))

    def elasticity(self, group: str) -> tuple[float, float]:
        """Mean and standard deviation of the elasticity of a group's line at its reference price.

        For volumes it is the slope; for buyers the slope times the chance not to buy.
        """
        demand = self.groups[group].posterior
        factor = 1.0 if self.kind == "volumes" else float(1.0 - expit(demand.mean[:1])[0])
        return factor * float(demand.mean[1]), factor * math.sqrt(float(demand.covariance[1, 1]))


def fit_demand(rows: DemandRows, *, knots: int = KNOTS) -> DemandModel:
    """Fits the population and every group's line.

    Args:
        rows: what was seen.
        knots: places where a line may bend; 0 for straight lines.
    Raises: ValueError: there are no rows.
    """
    if not rows.price.size:
        raise ValueError("rows: there are none")
    if rows.volume is None:
        return _fit(_BuyersFit(rows, knots))
    return _fit(_VolumesFit(rows, knots))


def fit_price(
    sales: DemandRows, *, refunds: DemandRows | None = None, retention: DemandRows | None = None
) -> PriceParameters:
    """A version's parameters.

    Args:
        sales: buyers among visitors.
        refunds: those who took their money back among buyers; None keeps the documented prior.
        retention: those still there after 90 days among buyers; None keeps the documented prior.
    Raises: ValueError: `sales` hold no rows, or volumes.
    """
    if sales.trials is None:
        raise ValueError("sales: a version is fitted on buyers among visitors, not on volumes")
    conversion = fit_demand(sales)
    return replace(
        PRIOR,
        conversion=conversion.line,
        refund=PRIOR.refund if refunds is None else fit_demand(refunds, knots=0).line,
        retention=PRIOR.retention if retention is None else fit_demand(retention, knots=0).line,
        bend_sd=conversion.bend_sd,
        dispersion=conversion.dispersion,
        randomised=sales.randomised is not None and bool(sales.randomised.any()),
        observations=int(sales.trials.sum()),
    )


class _GroupRows:
    """One group's rows as a design."""

    def __init__(self, rows: DemandRows, knots: int) -> None:
        log_price = np.log(rows.price)
        self.log_reference = float(np.median(log_price))
        x = log_price - self.log_reference
        places = np.unique(np.quantile(x, np.linspace(0.0, 1.0, knots + 2)[1:-1])) if knots else np.empty(0)
        self.knots = tuple(places.tolist())
        observed = None if rows.randomised is None else ~rows.randomised
        self.design = log_price_design(x, self.knots, observed)
        self.rows = rows


class _BuyersFit:
    """Posteriors of the groups when buyers are counted."""

    kind: Literal["buyers"] = "buyers"
    start = PRIOR.conversion
    noise_variance = 0.0

    def __init__(self, rows: DemandRows, knots: int) -> None:
        assert rows.trials is not None
        assert rows.buyers is not None
        self.names = np.unique(rows.group).tolist()
        self.groups = [_GroupRows(rows.take(rows.group == name), knots) for name in self.names]
        self.bias_sd = (0.0, 0.0) if rows.randomised is None else PRIOR.bias_sd
        self.dispersion = 1.0
        share = (rows.buyers.sum() + 0.5) / (rows.trials.sum() + 1.0)
        self.start = replace(PRIOR.conversion, level=math.log(share / (1.0 - share)))

    def posteriors(self, prior: tuple[Line, float]) -> list[Gaussian]:
        """Each group's, given the population."""
        return [
            buyers_posterior(
                g.design, _known(g.rows.trials), _known(g.rows.buyers), self.prior(g, prior), self.dispersion
            )
            for g in self.groups
        ]

    def prior(self, group: _GroupRows, prior: tuple[Line, float]) -> Gaussian:
        """The prior of one group."""
        return line_prior(prior[0], knots=len(group.knots), bend_sd=prior[1], bias_sd=self.bias_sd)

    def update(self, posteriors: list[Gaussian]) -> None:
        """Dispersion by Pearson's statistic over all rows, once there are more rows than coefficients that count."""
        statistic, freedom = 0.0, 0.0
        for group, posterior in zip(self.groups, posteriors, strict=True):
            trials, buyers = _known(group.rows.trials), _known(group.rows.buyers)
            chance = expit(group.design @ posterior.mean)
            variance = trials * chance * (1.0 - chance)
            seen = variance > 1e-9
            statistic += float((((buyers - trials * chance)[seen]) ** 2 / variance[seen]).sum())
            fitted = np.einsum("ni,ij,nj->n", group.design, posterior.covariance, group.design) @ variance
            freedom += float(seen.sum()) - float(fitted) / self.dispersion
        self.dispersion = max(1.0, statistic / freedom) if freedom > 1 else 1.0


class _VolumesFit:
    """Posteriors of the groups when volumes are counted."""

    kind: Literal["volumes"] = "volumes"
    dispersion = 1.0

    def __init__(self, rows: DemandRows, knots: int) -> None:
        self.names = np.unique(rows.group).tolist()
        self.groups = [_GroupRows(rows.take(rows.group == name), knots) for name in self.names]
        self.bias_sd = (0.0, 0.0) if rows.randomised is None else PRIOR.bias_sd
        y = [np.log(_known(g.rows.volume)) for g in self.groups]
        self.sums = [
            (g.design.T @ g.design, g.design.T @ v, float(v @ v), v.size) for g, v in zip(self.groups, y, strict=True)
        ]
        everything = np.concatenate(y)
        self.noise_variance = max(float(everything.var()), 1e-9)
        self.start = Line(level=float(everything.mean()), slope=PRIOR.conversion.slope, level_sd=3.0, slope_sd=3.0)

    def posteriors(self, prior: tuple[Line, float]) -> list[Gaussian]:
        """Each group's, given the population."""
        return [
            volume_posterior_of(gram, moment, self.prior(g, prior), self.noise_variance)
            for g, (gram, moment, _, _) in zip(self.groups, self.sums, strict=True)
        ]

    def prior(self, group: _GroupRows, prior: tuple[Line, float]) -> Gaussian:
        """The prior of one group."""
        return line_prior(prior[0], knots=len(group.knots), bend_sd=prior[1], bias_sd=self.bias_sd)

    def update(self, posteriors: list[Gaussian]) -> None:
        """Noise about the lines: mean expected square of what is left."""
        left, count = 0.0, 0
        for (gram, moment, square, rows), belief in zip(self.sums, posteriors, strict=True):
            left += square - 2.0 * float(belief.mean @ moment) + float(belief.mean @ gram @ belief.mean)
            left += float(np.trace(gram @ belief.covariance))
            count += rows
        self.noise_variance = max(left / count, 1e-9)


def _fit(data: _BuyersFit | _VolumesFit) -> DemandModel:
    """Expectation-maximisation over the population, the bends and the noise."""
    mean, spread = np.array([data.start.level, data.start.slope]), np.diag(SPREAD) ** 2
    prior_mean = mean.copy()
    prior_spread = np.diag([data.start.level_sd**2, data.start.slope_sd**2])
    bend, doubt = BEND_SD, np.zeros((2, 2))
    for _ in range(ROUNDS):
        posteriors = data.posteriors((_line(mean, spread), bend))
        before = np.array([*mean, *np.sqrt(np.diag(spread)), bend, data.noise_variance, data.dispersion])
        doubt = np.linalg.inv(np.linalg.inv(prior_spread) + len(posteriors) * np.linalg.inv(spread))
        pull = np.linalg.inv(prior_spread) @ prior_mean + np.linalg.inv(spread) @ sum(p.mean[:2] for p in posteriors)
        mean = doubt @ pull
        scatter = sum(p.covariance[:2, :2] + np.outer(p.mean[:2] - mean, p.mean[:2] - mean) for p in posteriors)
        spread = (SPREAD_GROUPS * np.diag(SPREAD) ** 2 + scatter) / (SPREAD_GROUPS + len(posteriors))
        bend = _bend(posteriors)
        data.update(posteriors)
        after = np.array([*mean, *np.sqrt(np.diag(spread)), bend, data.noise_variance, data.dispersion])
        if np.all(np.abs(after - before) <= CONVERGED * (np.abs(before) + CONVERGED)):
            break
    posteriors = data.posteriors((_line(mean, spread), bend))
    return DemandModel(
        kind=data.kind,
        line=_line(mean, spread + doubt),
        bend_sd=bend,
        noise_variance=data.noise_variance,
        dispersion=data.dispersion,
        groups={
            name: GroupDemand(reference=math.exp(g.log_reference), knots=g.knots, posterior=posterior)
            for name, g, posterior in zip(data.names, data.groups, posteriors, strict=True)
        },
    )


def _bend(posteriors: list[Gaussian]) -> float:
    """Size of the bends: root of their mean expected square, with the guess counting for a few groups."""
    squares = [float((p.mean[2:-2] ** 2 + np.diag(p.covariance)[2:-2]).sum()) for p in posteriors]
    places = [p.mean.size - 4 for p in posteriors]
    per_group = max(places) if max(places, default=0) else 1
    guess = BEND_GROUPS * per_group
    return math.sqrt((guess * BEND_SD**2 + sum(squares)) / (guess + sum(places)))


def _line(mean: Floats, covariance: Floats) -> Line:
    sd = np.sqrt(np.diag(covariance))
    return Line(
        level=float(mean[0]),
        slope=float(mean[1]),
        level_sd=float(sd[0]),
        slope_sd=float(sd[1]),
        correlation=float(covariance[0, 1] / (sd[0] * sd[1])),
    )


def _known(values: Floats | None) -> Floats:
    assert values is not None
    return values
