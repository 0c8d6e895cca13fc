"""Fair comparison on a machine that is never quiet: many short rounds, every subject in each, order rotating.

A ratio is taken within a round, where both subjects saw the same weather, and the median over the rounds is reported
with the smallest and the largest. Medians of subjects from different minutes are never divided.
Pure but for `interleave`, which calls what it is given.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of some rounds, with the smallest and the largest."""

    middle: float
    least: float
    most: float


def interleave(subjects: Mapping[str, Callable[[], Result]], rounds: int) -> dict[str, list[Result]]:
    """Run every subject once in each round; the round's first subject changes from round to round.

    Returns: subject -> its results, one for each round, in order.
    """
    names = list(subjects)
    results: dict[str, list[Result]] = {name: [] for name in names}
    for number in range(rounds):
        for name in rotate(names, number):
            results[name].append(subjects[name]())
    return results


def rotate(names: Sequence[str], by: int) -> list[str]:
    """The names, beginning `by` places later.

    >>> rotate(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    start = by % len(names)
    return [*names[start:], *names[:start]]


def spread_of(values: Sequence[float]) -> Spread:
    """Median, smallest and largest of at least one value."""
    return Spread(middle=median(values), least=min(values), most=max(values))


def ratio_by_round(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Spread of the ratios that stand in the same round; a round in which the other did nothing at all is left out.

    >>> ratio_by_round([9.0, 18.0, 8.0], [10.0, 20.0, 10.0])
    Spread(middle=0.9, least=0.8, most=0.9)
    """
    pairs = zip(numerators, denominators, strict=True)
    return spread_of([mine / other for mine, other in pairs if other > 0] or [math.nan])
