"""Intervals of predicted probabilities: how far the log-odds may lie below and above, by where they are.

A band says how well predictions of that height are known to come true, for the mean of subjects with such a prediction.
Pure, plain floats. Not here: how a band is fitted (training/bands.py).
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from methods.statistics.bootstrap import LEVEL


class Interval(NamedTuple):
    """A number with the ends of its interval; lower <= value <= upper."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Shifts of log-odds at knots; linear between them, constant beyond the ends.

    Attributes:
        logits: the knots, rising strictly; empty when there is no interval.
        lowers: shift to the lower end at each knot, 0 or less.
        uppers: shift to the upper end, 0 or more.
        level: probability that the interval is meant to hold.
    """

    logits: tuple[float, ...] = ()
    lowers: tuple[float, ...] = ()
    uppers: tuple[float, ...] = ()
    level: float = LEVEL

    def to_json(self) -> dict[str, Any]:
        """The band as it stands in an artifact's parameters.json."""
        return {
            "level": self.level,
            "logits": list(self.logits),
            "lowers": list(self.lowers),
            "uppers": list(self.uppers),
        }

    def shifts(self, logit: float) -> tuple[float, float]:
        """Shifts to both ends at these log-odds; zeros when there is no interval.

        >>> Band(logits=(0.0, 1.0), lowers=(-0.1, -0.3), uppers=(0.1, 0.1)).shifts(0.5)
        (-0.2, 0.1)
        """
        knots = self.logits
        if not knots:
            return 0.0, 0.0
        if logit <= knots[0]:
            return self.lowers[0], self.uppers[0]
        if logit >= knots[-1]:
            return self.lowers[-1], self.uppers[-1]
        i = bisect_right(knots, logit) - 1
        share = (logit - knots[i]) / (knots[i + 1] - knots[i])
        low, high = self.lowers[i], self.uppers[i]
        return low + (self.lowers[i + 1] - low) * share, high + (self.uppers[i + 1] - high) * share

    def probability(self, logit: float) -> Interval:
        """The probability of these log-odds with its interval."""
        low, high = self.shifts(logit)
        return Interval(sigmoid(logit), sigmoid(logit + low), sigmoid(logit + high))


def sigmoid(logit: float) -> float:
    """The probability of log-odds; never overflows.

    >>> sigmoid(0.0), sigmoid(-1000.0)
    (0.5, 0.0)
    """
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1.0 + odds)


def parse_band(value: Any) -> Band:
    """The band that `to_json` wrote, checked.

    Raises: ValueError: names the field that is not as it must be.

    >>> parse_band({"level": 0.9, "logits": [0.0], "lowers": [0.1], "uppers": [0.2]})
    Traceback (most recent call last):
    ValueError: band.lowers: must be 0 or less
    """
    if not isinstance(value, Mapping):
        raise ValueError("band: not an object")  # noqa: TRY004 - one kind of error for a bad file
    columns = {}
    for name in ("logits", "lowers", "uppers"):
        entries = value.get(name)
        if not isinstance(entries, list) or not all(isinstance(e, int | float) and math.isfinite(e) for e in entries):
            raise ValueError(f"band.{name}: must be a list of finite numbers")
        columns[name] = tuple(float(entry) for entry in entries)
        if len(columns[name]) != len(columns["logits"]):
            raise ValueError(f"band.{name}: has {len(columns[name])} entries, logits has {len(columns['logits'])}")
    level = value.get("level")
    rules = {
        "logits: must rise strictly": all(b > a for a, b in pairwise(columns["logits"])),
        "lowers: must be 0 or less": all(shift <= 0 for shift in columns["lowers"]),
        "uppers: must be 0 or more": all(shift >= 0 for shift in columns["uppers"]),
        "level: must lie between 0 and 1": isinstance(level, float) and 0 < level < 1,
    }
    for rule, holds in rules.items():
        if not holds:
            raise ValueError(f"band.{rule}")
    return Band(**columns, level=float(value["level"]))
