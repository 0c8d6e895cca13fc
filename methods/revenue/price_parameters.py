"""What a version of the price model knows: populations of products, bends, biases, and what to allow.

`PRIOR` is the documented prior that stands when no version was fitted. Pure.
Not here: what is answered with it (price.py); how it is fitted (training/revenue/price.py).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from methods.revenue.demand import Line, logit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceParameters:
    """A version's parameters.

    Attributes:
        conversion: log odds that a visitor buys, at today's price and for each log unit of price.
        refund: likewise that a buyer takes the money back.
        retention: likewise that a buyer is still there after 90 days.
        bend_sd: how far demand may leave its line at each price, log odds.
        bias_sd: how far exposures that chance did not assign may mislead: about the level (log odds) and the slope.
        dispersion: variance of counts against the binomial's, 1 or more.
        largest_step: largest relative change of a price in one step, e.g. 0.25.
        period_days, horizon_months, discount_rate_annual: of the lifetime value.
        level: probability that the intervals are meant to hold.
        draws: from the posterior.
        randomised: whether the version was fitted on randomised exposures.
        observations: visitors that it was fitted on.
    """

    conversion: Line
    refund: Line
    retention: Line
    bend_sd: float = 0.1
    bias_sd: tuple[float, float] = (0.3, 1.8)
    dispersion: float = 1.0
    largest_step: float = 0.25
    period_days: float = 30.0
    horizon_months: float = 36.0
    discount_rate_annual: float = 0.1
    level: float = 0.9
    draws: int = 4000
    randomised: bool = False
    observations: int = 0

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {**asdict(self), "bias_sd": list(self.bias_sd)}


# The slope: meta-analysis of 1,851 elasticities, mean -2.62 (Bijmolt, van Heerde and Pieters 2005, J Mark Res 42:141),
# for goods of daily use; a professional duty is less elastic: JUDGEMENT -1.8, with room from -4.3 to 0.7.
# Levels and refunds: JUDGEMENT, wide. Bias: on Dominick's orange juice a pooled elasticity of -1.6 stands against
# -3.4 by brand, so 1.8 is what a forgotten difference has done.
PRIOR = PriceParameters(
    conversion=Line(level=logit_of(0.04), slope=-1.8, level_sd=1.0, slope_sd=1.5),
    refund=Line(level=logit_of(0.03), slope=0.0, level_sd=1.0, slope_sd=0.5),
    retention=Line(level=logit_of(0.8), slope=-0.5, level_sd=0.7, slope_sd=0.7),
)


def parse_parameters(value: Any) -> PriceParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_parameters(PRIOR.to_json()) == PRIOR
    True
    >>> parse_parameters({**PRIOR.to_json(), "dispersion": 0.5})
    Traceback (most recent call last):
    ValueError: dispersion: must be a number from 1.0 to 1000000.0
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    bias = value.get("bias_sd")
    if not isinstance(bias, list) or len(bias) != 2 or not all(_is_number(entry) and entry >= 0 for entry in bias):
        raise ValueError("bias_sd: must be two numbers, 0 or more")
    randomised = value.get("randomised")
    if not isinstance(randomised, bool):
        raise ValueError("randomised: must be true or false")  # noqa: TRY004 - as above
    return PriceParameters(
        conversion=_line(value, "conversion"),
        refund=_line(value, "refund"),
        retention=_line(value, "retention"),
        bend_sd=_number(value, "bend_sd", 0.0, 10.0),
        dispersion=_number(value, "dispersion", 1.0, 1e6),
        largest_step=_number(value, "largest_step", 0.0, 100.0),
        period_days=_number(value, "period_days", 1.0, 3660.0),
        horizon_months=_number(value, "horizon_months", 1.0, 1200.0),
        discount_rate_annual=_number(value, "discount_rate_annual", 0.0, 10.0),
        level=_number(value, "level", 0.5, 0.999),
        bias_sd=(float(bias[0]), float(bias[1])),
        draws=_count(value, "draws", 100),
        observations=_count(value, "observations", 0),
        randomised=randomised,
    )


def _line(value: Mapping[str, Any], name: str) -> Line:
    part = value.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"{name}: not an object")  # noqa: TRY004 - as above
    tiny = 1e-6
    try:
        return Line(
            level=_number(part, "level", -50.0, 50.0),
            slope=_number(part, "slope", -50.0, 50.0),
            level_sd=_number(part, "level_sd", tiny, 50.0),
            slope_sd=_number(part, "slope_sd", tiny, 50.0),
            correlation=_number(part, "correlation", -1.0 + tiny, 1.0 - tiny),
        )
    except ValueError as cause:
        raise ValueError(f"{name}.{cause}") from cause


def _number(value: Mapping[str, Any], name: str, low: float, high: float) -> float:
    number = value.get(name)
    if number is None or not _is_number(number) or not low <= float(number) <= high:
        raise ValueError(f"{name}: must be a number from {low} to {high}")
    return float(number)


def _count(value: Mapping[str, Any], name: str, low: int) -> int:
    number = value.get(name)
    if not isinstance(number, int) or isinstance(number, bool) or number < low:
        raise ValueError(f"{name}: must be a whole number, {low} or more")
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
