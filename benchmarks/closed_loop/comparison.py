"""What a run of one policy in one world gives, and what all seeds together say: a difference with its interval.

A seed draws a world; inside it the policy and its alternatives meet the same people with the same luck. Intervals are
over seeds, so they hold what worlds differ in, not what people do.
Pure. Not here: the policies (their own files); printing (__main__.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from benchmarks.truth.coverage import NORMAL_90, covered_tenths

Floats = NDArray[np.float64]
LEVEL: Final = 0.95  # of intervals over seeds
TENTHS: Final = 10


class Kind(Enum):
    """How the coverage of an interval is counted."""

    EACH = "each"  # the truth of each answer lies inside
    TENTHS = "tenths"  # of a chance: the true mean of each tenth of the answers lies within their mean interval
    OUTCOMES = "tenths of outcomes"  # the same where only 0 or 1 is known of each; their own error is allowed for
    AMOUNTS = "tenths of amounts"  # the same where what came of each is an amount or a count


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Intervals that a method answered, beside the truth; (n,) each."""

    value: Floats
    lower: Floats
    upper: Floats
    truth: Floats
    kind: Kind = Kind.EACH

    def covered(self) -> tuple[float, float]:
        """How many were inside, of how many.

        >>> ends = {"lower": np.zeros(20), "upper": np.ones(20)}
        >>> Answered(value=np.full(20, 0.5), truth=np.r_[np.full(10, 0.5), np.full(10, 2.0)], **ends).covered()
        (10.0, 20.0)
        """
        if self.kind is Kind.EACH:
            return float(((self.truth >= self.lower) & (self.truth <= self.upper)).sum()), float(self.truth.size)
        if self.kind is Kind.OUTCOMES:
            share = covered_tenths(self.truth, np.column_stack([self.value, self.lower, self.upper]))
            return share * TENTHS, float(TENTHS)
        error = NORMAL_90 if self.kind is Kind.AMOUNTS else 0.0
        parts = np.array_split(np.argsort(self.value, kind="stable"), TENTHS)
        inside = [self._holds(part, error) for part in parts if part.size]
        return float(np.sum(inside)), float(len(inside))

    def _holds(self, rows: NDArray[np.int64], error: float) -> bool:
        """Whether the mean interval of these rows, widened by the error of their own mean, holds their true mean."""
        value, lower, upper, truth = (float(getattr(self, name)[rows].mean()) for name in _COLUMNS)
        own = error * float(self.truth[rows].std()) / np.sqrt(rows.size)
        return bool(-np.hypot(value - lower, own) <= truth - value <= np.hypot(upper - value, own))


def joined(parts: Sequence[Answered]) -> Answered:
    """All answers as one; they are counted alike."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return Answered(kind=parts[0].kind, **columns)


_COLUMNS: Final = ("value", "lower", "upper", "truth")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """What one seed gave.

    Attributes:
        gains: by alternative, by how much the policy was better; above 0 is better, in the policy's unit.
        figures: what explains it, by name.
        answers: by interval, what was answered on the way.
    """

    gains: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, Answered] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy with its alternatives.

    Attributes:
        name: the first part of its metrics.
        gains: by alternative, what its difference is, in words with the unit.
        run: draws the world of a seed and runs everybody through it.
        why: words for a difference that is no gain, from the alternative and the mean figures.
    """

    name: str
    gains: Mapping[str, str]
    run: Callable[[int], SeedResult]
    why: Callable[[str, Mapping[str, float]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A mean over seeds with its interval."""

    value: float
    lower: float
    upper: float

    @property
    def is_gain(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.lower > 0.0


def over_seeds(values: Sequence[float] | Floats) -> Difference:
    """Mean and 95 % interval over seeds; without width it is unknown, so one seed has an infinite interval.

    Source: Student 1908, the t distribution: 20 seeds are few.

    >>> found = over_seeds([1.0, 2.0, 3.0])
    >>> found.value, round(found.lower, 2), round(found.upper, 2), found.is_gain
    (2.0, -0.48, 4.48, False)
    """
    column = np.asarray(values, dtype=np.float64)
    mean = float(column.mean())
    if column.size < 2:
        return Difference(value=mean, lower=-np.inf, upper=np.inf)
    reach = float(student_t.ppf((1 + LEVEL) / 2, column.size - 1) * column.std(ddof=1) / np.sqrt(column.size))
    return Difference(value=mean, lower=mean - reach, upper=mean + reach)


def coverage_over_seeds(answers: Sequence[Answered]) -> Difference:
    """Share of intervals that held the truth, with a 95 % interval over seeds, within [0, 1].

    Source: Cochran 1977, Sampling Techniques, ch. 6 (a ratio of totals over clusters).
    """
    counted = np.array([answer.covered() for answer in answers], dtype=np.float64)  # (seeds, 2)
    share = float(counted[:, 0].sum() / counted[:, 1].sum())
    around = over_seeds(share + (counted[:, 0] - share * counted[:, 1]) / counted[:, 1].mean())
    return Difference(value=share, lower=max(0.0, around.lower), upper=min(1.0, around.upper))
