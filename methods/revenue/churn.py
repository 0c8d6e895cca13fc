"""From a churn model's raw score to the chance of having left by a horizon: a discrete-time hazard, calibrated.

A row's score f(x) (the artifact's `margin`, log-odds) is bent by a calibration curve g, and the chance of leaving in
the k-th period of 28 days, given still subscribed at its start, is sigmoid(a_k * g(f) + b_k). One score therefore gives
the whole survival curve. Intervals widen the cumulative hazard by factors that depend on the score.
Sources: Singer and Willett 1993, J Educ Stat 18:155 (discrete-time hazard); Platt 1999 (slope and offset); Efron and
Tibshirani 1993, ch. 13 (percentile bootstrap).
Pure. `churn_by_horizon` is for columns of rows, `churn_at` its scalar twin for one row on the hot path; a test holds
them equal. Not here: how the score is computed (the artifact's ONNX graph); how the numbers are fitted
(training/revenue/churn.py).
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.revenue.churn_cause import CauseParameters, parse_cause
from methods.revenue.churn_intervention import RetentionEffect, parse_effect

DEFAULT_HORIZONS = (28, 90, 180)  # days; the contract's answer to an empty `horizon_days`
SOFTPLUS_IS_LINEAR = 37.0  # log(1 + e^z) = z in float64 from here on: e^-37 < 2^-53


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnParameters:
    """What a version knows beside its ONNX graph.

    Attributes:
        period_days: length of a period, days.
        slopes: a_k, one for each period, 0 or more: how much the score still says about a later period.
        offsets: b_k, log-odds, one for each period. The last day that can be asked for is period_days * len(slopes).
        calibration_margins: knots of g, rising strictly; empty when g is the identity.
        calibration_logits: g at the knots, never falling; linear between them, slope 1 beyond the ends.
        interval_margins: scores at which the interval's factors stand, rising strictly; empty for no interval.
        interval_lowers: factor in (0, 1] on the cumulative hazard for the lower end; linear between, constant beyond.
        interval_uppers: the same for the upper end, 1 or more.
        level: probability that the interval is meant to hold.
        cause: what tells a decision to leave from a failed payment; None when the version says nothing about it.
        intervention: what the best offer changes about staying; None without enough randomised offers.
    """

    period_days: int
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]
    calibration_margins: tuple[float, ...] = ()
    calibration_logits: tuple[float, ...] = ()
    interval_margins: tuple[float, ...] = ()
    interval_lowers: tuple[float, ...] = ()
    interval_uppers: tuple[float, ...] = ()
    level: float = 0.9
    cause: CauseParameters | None = None
    intervention: RetentionEffect | None = None

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {
            **({} if self.cause is None else {"cause": self.cause.to_json()}),
            **({} if self.intervention is None else {"intervention": self.intervention.to_json()}),
            "period_days": self.period_days,
            "slopes": list(self.slopes),
            "offsets": list(self.offsets),
            "calibration": {"margins": list(self.calibration_margins), "logits": list(self.calibration_logits)},
            "interval": {
                "level": self.level,
                "margins": list(self.interval_margins),
                "lowers": list(self.interval_lowers),
                "uppers": list(self.interval_uppers),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnCurve:
    """Chance of having left by each horizon, with its interval; each (n, horizons) float64 in [0, 1]."""

    value: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def parse_parameters(value: Any) -> ChurnParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_parameters({"period_days": 28, "slopes": [1.0], "offsets": []})
    Traceback (most recent call last):
    ValueError: offsets: has 0 entries, slopes has 1
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    period = value.get("period_days")
    if not isinstance(period, int) or isinstance(period, bool) or period < 1:
        raise ValueError("period_days: must be a whole number of days, 1 or more")
    calibration, interval = _part(value, "calibration"), _part(value, "interval")
    parameters = ChurnParameters(
        period_days=period,
        slopes=_numbers(value, "slopes"),
        offsets=_numbers(value, "offsets"),
        calibration_margins=_numbers(calibration, "margins", optional=True),
        calibration_logits=_numbers(calibration, "logits", optional=True),
        interval_margins=_numbers(interval, "margins", optional=True),
        interval_lowers=_numbers(interval, "lowers", optional=True),
        interval_uppers=_numbers(interval, "uppers", optional=True),
        level=float(interval.get("level", 0.9)),
        cause=parse_cause(value["cause"]) if value.get("cause") is not None else None,
        intervention=parse_effect(value["intervention"]) if value.get("intervention") is not None else None,
    )
    _check(parameters)
    return parameters


def churn_at(
    margin: float, parameters: ChurnParameters, horizon_days: tuple[int, ...] = DEFAULT_HORIZONS
) -> list[tuple[float, float, float]]:
    """Chance of having left by each horizon, for one row, in plain floats.

    Args:
        margin: the artifact's raw score of the row, finite.
        parameters: the version's.
        horizon_days: days ahead, each from 1 to period_days * periods.
    Returns: (value, lower, upper) for each horizon, in that order. Within a period the hazard is constant, so survival
        there is (1 - h_k)^(fraction of the period).
    Raises: IndexError: a horizon lies beyond the last period.

    >>> flat = ChurnParameters(period_days=28, slopes=(1.0, 1.0), offsets=(0.0, 0.0))
    >>> [round(p, 6) for p, _, _ in churn_at(0.0, flat, (28, 42, 56))]
    [0.5, 0.646447, 0.75]
    """
    log1p, exp, expm1 = math.log1p, math.exp, math.expm1
    score = _bend_at(margin, parameters.calibration_margins, parameters.calibration_logits)
    low, high = _widen_at(margin, parameters)
    needed, places = _places(horizon_days, parameters.period_days)
    total = 0.0
    sums = [total]  # cumulative hazard, -log of survival, at the end of each period
    for slope, offset in zip(parameters.slopes[:needed], parameters.offsets, strict=False):
        z = slope * score + offset
        total += log1p(exp(z)) if z < SOFTPLUS_IS_LINEAR else z
        sums.append(total)
    answer = []
    for whole, share in places:
        total = sums[whole]
        if share:
            total += (sums[whole + 1] - total) * share
        answer.append((-expm1(-total), -expm1(-total * low), -expm1(-total * high)))
    return answer


def churn_by_horizon(
    margin: NDArray[np.float64], parameters: ChurnParameters, horizon_days: Sequence[int] = DEFAULT_HORIZONS
) -> ChurnCurve:
    """The same for many rows.

    Args:
        margin: (n,) raw scores, finite.
        parameters: the version's.
        horizon_days: days ahead, each from 1 to period_days * periods.
    Returns: (n, horizons) each.
    Raises: IndexError: a horizon lies beyond the last period.
    """
    margin = np.asarray(margin, dtype=np.float64)
    days = np.asarray(horizon_days, dtype=np.int64)
    periods = len(parameters.slopes)
    if days.size and int(days.max()) > periods * parameters.period_days:
        raise IndexError(f"horizon {int(days.max())} days lies beyond the last of {periods} periods")
    whole, rest = np.divmod(days, parameters.period_days)
    needed = int((whole + (rest > 0)).max(initial=0))
    sums = _cumulative_hazards(margin, parameters, needed)  # (n,) -> (needed + 1, n)
    following = sums[np.minimum(whole + 1, needed)] - sums[whole]
    total = sums[whole] + following * (rest / parameters.period_days)[:, None]  # -> (horizons, n)
    low, high = _widen(margin, parameters)
    hazards = np.stack((total, total * low, total * high))
    chances = np.negative(np.expm1(np.negative(hazards, out=hazards), out=hazards), out=hazards)
    return ChurnCurve(value=chances[0].T, lower=chances[1].T, upper=chances[2].T)


def survival_curve(
    margin: float, parameters: ChurnParameters
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Chance of still being subscribed at the end of each period, for one row.

    Returns: days, values, lowers, uppers, each with one entry a period; none of the last three ever rises.
    """
    days = tuple(parameters.period_days * k for k in range(1, len(parameters.slopes) + 1))
    left = churn_at(margin, parameters, days)
    return (
        list(days),
        [1.0 - p for p, _, _ in left],
        [1.0 - high for _, _, high in left],
        [1.0 - low for _, low, _ in left],
    )


def calibrated_score(margin: NDArray[np.float64], parameters: ChurnParameters) -> NDArray[np.float64]:
    """g(f): the raw scores bent by the calibration curve. (n,) -> (n,)."""
    knots = np.asarray(parameters.calibration_margins)
    if not knots.size:
        return margin
    beyond = margin - np.clip(margin, knots[0], knots[-1])  # slope 1 outside the knots
    return np.interp(margin, knots, parameters.calibration_logits) + beyond


def _cumulative_hazards(margin: NDArray[np.float64], parameters: ChurnParameters, periods: int) -> NDArray[np.float64]:
    """(n,) -> (periods + 1, n), -log of survival at the end of each of the first periods, beginning with 0.

    Rows of a period lie side by side: sums along them cost a third of sums across them.
    """
    slopes, offsets = np.asarray(parameters.slopes[:periods]), np.asarray(parameters.offsets[:periods])
    sums = np.zeros((periods + 1, len(margin)))
    z = slopes[:, None] * calibrated_score(margin, parameters) + offsets[:, None]
    hazards = sums[1:]
    np.log1p(np.exp(np.minimum(z, SOFTPLUS_IS_LINEAR, out=hazards), out=hazards), out=hazards)
    np.copyto(hazards, z, where=z >= SOFTPLUS_IS_LINEAR)
    np.cumsum(hazards, axis=0, out=hazards)
    return sums


def _widen(margin: NDArray[np.float64], parameters: ChurnParameters) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors on the cumulative hazard for the interval's ends; (n,) each."""
    if not parameters.interval_margins:
        return np.ones_like(margin), np.ones_like(margin)
    knots = parameters.interval_margins
    return np.interp(margin, knots, parameters.interval_lowers), np.interp(margin, knots, parameters.interval_uppers)


@lru_cache(maxsize=1024)  # callers ask for few different lists of horizons; dividing each time costs 0.4 us
def _places(horizon_days: tuple[int, ...], period_days: int) -> tuple[int, tuple[tuple[int, float], ...]]:
    """Periods needed, and for each horizon how many whole periods and what share of the next it spans."""
    spans = [divmod(days, period_days) for days in horizon_days]
    needed = max((whole + (rest > 0) for whole, rest in spans), default=0)
    return needed, tuple((whole, rest / period_days) for whole, rest in spans)


def _bend_at(margin: float, knots: tuple[float, ...], logits: tuple[float, ...]) -> float:
    """g(f) of one score."""
    if not knots:
        return margin
    if margin <= knots[0]:
        return logits[0] + (margin - knots[0])
    if margin >= knots[-1]:
        return logits[-1] + (margin - knots[-1])
    i = bisect_right(knots, margin) - 1
    left, base = knots[i], logits[i]
    return (logits[i + 1] - base) / (knots[i + 1] - left) * (margin - left) + base


def _widen_at(margin: float, parameters: ChurnParameters) -> tuple[float, float]:
    """Factors on the cumulative hazard of one score."""
    knots = parameters.interval_margins
    if not knots:
        return 1.0, 1.0
    lowers, uppers = parameters.interval_lowers, parameters.interval_uppers
    if margin <= knots[0]:
        return lowers[0], uppers[0]
    if margin >= knots[-1]:
        return lowers[-1], uppers[-1]
    i = bisect_right(knots, margin) - 1
    share = (margin - knots[i]) / (knots[i + 1] - knots[i])
    low, high = lowers[i], uppers[i]
    return low + (lowers[i + 1] - low) * share, high + (uppers[i + 1] - high) * share


def _check(p: ChurnParameters) -> None:
    """Raises ValueError, naming the field, when the parameters are no hazard model."""
    _same_length("offsets", p.offsets, "slopes", p.slopes)
    _same_length("calibration.logits", p.calibration_logits, "calibration.margins", p.calibration_margins)
    _same_length("interval.lowers", p.interval_lowers, "interval.margins", p.interval_margins)
    _same_length("interval.uppers", p.interval_uppers, "interval.margins", p.interval_margins)
    rules = {
        "slopes": bool(p.slopes) and all(slope >= 0 for slope in p.slopes),
        "calibration.margins": _is_rising(p.calibration_margins, strictly=True),
        "calibration.logits": _is_rising(p.calibration_logits, strictly=False),
        "interval.margins": _is_rising(p.interval_margins, strictly=True),
        "interval.lowers": all(0 < factor <= 1 for factor in p.interval_lowers),
        "interval.uppers": all(factor >= 1 for factor in p.interval_uppers),
        "interval.level": 0 < p.level < 1,
    }
    for name, holds in rules.items():
        if not holds:
            raise ValueError(f"{name}: out of order or out of range")


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A nested object; absent means empty."""
    part = value.get(name, {})
    if not isinstance(part, Mapping):
        raise ValueError(f"{name}: not an object")  # noqa: TRY004 - as above
    return part


def _numbers(value: Mapping[str, Any], name: str, *, optional: bool = False) -> tuple[float, ...]:
    """A list of finite numbers."""
    if name not in value and optional:
        return ()
    entries = value.get(name)
    if not isinstance(entries, list) or not all(isinstance(e, int | float) and math.isfinite(e) for e in entries):
        raise ValueError(f"{name}: must be a list of finite numbers")
    return tuple(float(entry) for entry in entries)


def _same_length(name: str, values: tuple[float, ...], other: str, others: tuple[float, ...]) -> None:
    """Raises ValueError when two columns differ in length."""
    if len(values) != len(others):
        raise ValueError(f"{name}: has {len(values)} entries, {other} has {len(others)}")


def _is_rising(values: tuple[float, ...], *, strictly: bool) -> bool:
    """Whether each value is above (or, unless strictly, not below) the one before."""
    return all(b > a or (not strictly and b == a) for a, b in pairwise(values))
