"""How well a ranking finds those whom an action changes: Qini curve, Qini coefficient, uplift among the first.

Nobody is seen both with and without the action, so a ranking is judged by groups: among the first k customers, acted on
or not by chance, how many more acted than would have without. The Qini coefficient is the area between that curve and
the straight line of a random order, as a share of what a perfect order would reach; 0 is no better than chance.
Normalised as scikit-uplift does (`qini_auc_score` with negative effects), so that published figures compare.
Pure numpy. Not here: intervals by drawing subjects (bootstrap.py gives the weights).
Sources: Radcliffe 2007, Direct Marketing Analytics Journal 1:14 (Qini); Radcliffe and Surry 2011, Stochastic Solutions
TR-2011-1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Rows in the order of a score, highest first, ready to be judged under many weights.

    Attributes:
        order: (n,) row numbers.
        ends: (groups,) the last place of each run of equal scores; rows with equal scores count together.
        acted: (n,) in that order, 1 where the row was acted on.
        outcome: (n,) in that order, 0 or 1.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    acted: NDArray[np.float64]
    outcome: NDArray[np.float64]

    def curve(self, weight: NDArray[np.float64] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows so far, and how many more outcomes the action made among them than it would have without.

        Args:
            weight: (n,) in the order of the rows as they were given, 0 or more; None means 1 each.
        Returns: (groups + 1,) each, beginning at 0: sum of weights; outcomes of those acted on less those of the
            others, scaled to the same number.
        """
        w = np.ones_like(self.acted) if weight is None else weight[self.order]
        rest = w * (1.0 - self.acted)
        w_acted = w * self.acted
        acted, others, made, free = (
            np.cumsum(column)[self.ends] for column in (w_acted, rest, w_acted * self.outcome, rest * self.outcome)
        )
        share = np.divide(acted, others, out=np.zeros_like(acted), where=others > 0)
        return np.r_[0.0, acted + others], np.r_[0.0, made - free * share]

    def area(self, weight: NDArray[np.float64] | None = None) -> float:
        """Area between the curve and the straight line to its end."""
        rows, gain = self.curve(weight)
        return float(np.trapezoid(gain, rows) - rows[-1] * gain[-1] / 2)


def rank_rows(outcome: ArrayLike, score: ArrayLike, acted: ArrayLike) -> Ranking:
    """Rows in the order of a score.

    Args:
        outcome: (n,) 0 or 1.
        score: (n,) any number that rises with the uplift; finite.
        acted: (n,) 1 where the row was acted on, 0 where not.
    Raises: ValueError: columns differ in length, hold anything else, or only one of the two groups occurs.
    """
    y, s, t = (np.asarray(column, dtype=np.float64) for column in (outcome, score, acted))
    if not y.shape == s.shape == t.shape or y.ndim != 1 or not y.size:
        raise ValueError(f"outcomes {y.shape}, scores {s.shape} and groups {t.shape} must be equally long, not empty")
    if not np.all(np.isfinite(s)):
        raise ValueError("scores must be finite")
    for name, column in (("outcome", y), ("acted", t)):
        if not np.all((column == 0) | (column == 1)):
            raise ValueError(f"{name}: must be 0 or 1 in every row")
    if t.min() == t.max():
        raise ValueError("acted: both groups are needed, rows acted on and rows that were not")
    order = np.argsort(-s, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(s[order])), len(s) - 1]
    return Ranking(order=order, ends=ends, acted=t[order], outcome=y[order])


def perfect_ranking(outcome: ArrayLike, acted: ArrayLike) -> Ranking:
    """The best order that hindsight allows: acted on with outcome first, not acted on with outcome last."""
    y, t = np.asarray(outcome, dtype=np.float64), np.asarray(acted, dtype=np.float64)
    return rank_rows(y, y * t - y * (1.0 - t), t)


def qini_coefficient(
    outcome: ArrayLike, score: ArrayLike, acted: ArrayLike, weight: NDArray[np.float64] | None = None
) -> float:
    """Area of the ranking's Qini curve above a random order, as a share of the perfect one's.

    Args:
        outcome: (n,) 0 or 1.
        score: (n,) predicted uplift.
        acted: (n,) 1 or 0, by chance.
        weight: (n,) 0 or more, such as 1 / propensity where chances differed between rows; None means 1 each.
    Returns: 0 for a random order, 1 for the perfect one, below 0 for one that is worse; NaN when there is no outcome.

    >>> qini_coefficient([1, 0, 0, 1], [0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0])
    1.0
    >>> qini_coefficient([1, 0, 0, 1], [0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0])
    0.0
    """
    perfect = perfect_ranking(outcome, acted).area(weight)
    return rank_rows(outcome, score, acted).area(weight) / perfect if perfect > 0 else math.nan


def uplift_at(outcome: ArrayLike, score: ArrayLike, acted: ArrayLike, share: float = 0.3) -> float:
    """Difference in the frequency of the outcome between the two groups, among the highest-scored share of all rows.

    Returns: NaN when one group is missing there.

    >>> uplift_at([1, 0, 0, 1], [0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], share=0.5)
    1.0
    """
    ranking = rank_rows(outcome, score, acted)
    first = int(len(ranking.order) * share)
    y, t = ranking.outcome[:first], ranking.acted[:first]
    if not 0 < t.sum() < first:
        return math.nan
    return float(y[t == 1].mean() - y[t == 0].mean())
