"""What a policy would have earned, from the log of another one that chose by chance: IPS, SNIPS and a clipped DR.

A logged row has the reward and a weight: the probability with which the judged policy would have chosen the row's
action, divided by the probability with which the log did (its propensity). Heavy weights mean that the log hardly ever
did what the policy would do; the effective sample size says how many plain rows the weighted ones are worth. Below
`LEAST_EFFECTIVE_ROWS`, or when the mean weight says that the log shows less than half of the policy, there is a refusal
instead of a number.
The interval of SNIPS rests on rewards seen in heavy rows alone. Where rewards are rare there are none, and the interval
is too narrow, so the clipped DR is the one to decide by: tests/methods/statistics/test_off_policy.py measures how often
either holds the truth.
Pure numpy. Not here: who logs propensities (the ledger); a reward model that looks at more than the action.
Sources: Horvitz and Thompson 1952 (IPS); Swaminathan and Joachims 2015, NeurIPS (SNIPS); Dudík, Langford and Li 2011,
ICML (DR); Ionides 2008, J Comput Graph Stat 17:295 (clipping at the square root of n); Su, Dimakopoulou, Krishnamurthy
and Dudík 2020, ICML (DR with shrunken weights, chosen by a bound on the squared error); Kish 1965 (effective sample
size); Wilson 1927, with the effective number of rows as in Korn and Graubard 1998, Surv Methodol 24:193.
"""

from __future__ import annotations  # numpy.random, 3 MB, stays out of processes that never draw

import math
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from methods.statistics.bootstrap import LEVEL

LEAST_EFFECTIVE_ROWS = 100.0  # coverage was measured from here on; with less an interval means nothing
CLIPS = 25  # places tried for the clip, in equal ratios from 1 to the largest weight
PRIOR_REWARDS = 2.0  # rewards that an action's prior is worth: a rate seen without any is pulled up, not taken as 0
LEAST_SEEN = 0.5  # a mean weight below it: the log never does half of what the policy would do
# What the clip hides may differ from the model by this share of the mean (a standard deviation): the spread of the
# prior above, as if all of it were one action. Smaller narrows the intervals; a test measures their coverage.
HIDDEN_SPREAD = 1.0 / math.sqrt(PRIOR_REWARDS)


class Estimator(Enum):
    """How a value was made."""

    IPS = "ips"  # mean of weight times reward; unbiased, widest
    SNIPS = "snips"  # divided by the sum of weights instead of rows
    DR = "dr"  # a reward model, mended by clipped weights times its errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """How much a log says about a policy.

    Attributes:
        rows: rows in the log.
        effective_rows: Kish's effective sample size, (sum w)^2 / sum w^2; 0 when no row has weight.
        mean_weight: 1 apart from chance when the propensities are right and the log can do all that the policy does.
        largest_weight: the heaviest row's.
    """

    rows: int
    effective_rows: float
    mean_weight: float
    largest_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyValue:
    """Mean reward a row that the judged policy would have earned.

    Attributes:
        value: the estimate.
        lower: lower end of its interval.
        upper: upper end.
        level: probability that the interval is meant to hold.
        estimator: how it was made.
        support: what it rests on.
        clip: largest weight that counted in full; None where nothing was clipped.
    """

    value: float
    lower: float
    upper: float
    level: float
    estimator: Estimator
    support: Support
    clip: float | None = None

    @property
    def half_width(self) -> float:
        """Half the interval's width."""
        return (self.upper - self.lower) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRefused:
    """The log cannot answer for this policy.

    Attributes:
        reason: why, in words, with the effective sample size.
        support: what there is.
    """

    reason: str
    support: Support


def describe_support(weight: ArrayLike) -> Support:
    """What a column of weights can carry.

    Args:
        weight: (n,) probability under the judged policy / propensity, each 0 or more, finite; n at least 1.
    Raises: ValueError: a weight is negative or not finite, or there is none.

    >>> describe_support([1.0, 1.0, 2.0]).effective_rows
    2.6666666666666665
    """
    w = _weights(weight)
    squares = float(w @ w)
    return Support(
        rows=len(w),
        effective_rows=float(w.sum()) ** 2 / squares if squares > 0 else 0.0,
        mean_weight=float(w.mean()),
        largest_weight=float(w.max()),
    )


def importance_weights(target: ArrayLike, propensity: ArrayLike) -> NDArray[np.float64]:
    """Target probability of each logged action over its propensity. (n,), (n,) -> (n,).

    Raises: ValueError: a propensity is not in (0, 1], or a target probability not in [0, 1].

    >>> importance_weights([0.5, 0.5], [0.25, 1.0]).tolist()
    [2.0, 0.5]
    """
    aim, chance = np.asarray(target, dtype=np.float64), np.asarray(propensity, dtype=np.float64)
    if not np.all((chance > 0) & (chance <= 1)):
        raise ValueError("propensity: must be above 0 and at most 1 in every row")
    if not np.all((aim >= 0) & (aim <= 1)):
        raise ValueError("target probability: must be from 0 to 1 in every row")
    return np.asarray(aim / chance, dtype=np.float64)


def ips_value(reward: ArrayLike, weight: ArrayLike, *, level: float = LEVEL) -> PolicyValue | PolicyRefused:
    """Mean of weight times reward.

    Args:
        reward: (n,) finite.
        weight: (n,) 0 or more.
        level: probability that the interval is meant to hold.

    >>> rows = np.arange(400) % 2
    >>> answer = ips_value(rows, np.ones(400))
    >>> answer.value, round(answer.half_width, 3)
    (0.5, 0.041)
    """
    y, w = _pair(reward, weight)
    support = describe_support(w)
    if refused := _refuse(support):
        return refused
    gain = w * y
    value = float(gain.mean())
    error = float(gain.std()) / math.sqrt(len(y))
    return _answer(value, error, y, support, level, Estimator.IPS)


def snips_value(reward: ArrayLike, weight: ArrayLike, *, level: float = LEVEL) -> PolicyValue | PolicyRefused:
    """Sum of weight times reward over the sum of weights; the interval by the delta method.

    Args:
        reward: (n,) finite.
        weight: (n,) 0 or more.
        level: probability that the interval is meant to hold; too narrow with rare rewards and heavy weights (above).

    >>> snips_value([0.0, 1.0] * 200, [1.0, 3.0] * 200).value
    0.75
    """
    y, w = _pair(reward, weight)
    support = describe_support(w)
    if refused := _refuse(support):
        return refused
    total = float(w.sum())
    value = float(w @ y) / total
    error = math.sqrt(float(np.sum((w * (y - value)) ** 2))) / total
    return _answer(value, error, y, support, level, Estimator.SNIPS)


def doubly_robust_value(
    reward: ArrayLike,
    weight: ArrayLike,
    predicted: ArrayLike,
    predicted_for_policy: ArrayLike,
    *,
    level: float = LEVEL,
) -> PolicyValue | PolicyRefused:
    """A reward model's mean under the policy, mended by clipped weights times its errors.

    With weights w clipped at c, v = mean(q_policy) + mean(min(w, c) (y - q)). The share 1 - mean(min(w, c)) of the
    policy that the clip takes out of sight rests on the model alone; it is charged with an error of `HIDDEN_SPREAD`
    times the mean reward, and c is where the sum of that and the variance is smallest. The variance is the larger of
    the one seen and the one that the model expects, since heavy rows without a reward show none.

    Args:
        reward: (n,) finite.
        weight: (n,) 0 or more.
        predicted: (n,) what the model expected of the logged action, not fitted on this row.
        predicted_for_policy: (n,) what it expects of what the policy would do in that row.
        level: probability that the interval is meant to hold.

    >>> rng = np.random.default_rng(0)
    >>> clicks = (rng.random(4000) < 0.1).astype(float)
    >>> answer = doubly_robust_value(clicks, np.ones(4000), np.full(4000, 0.1), np.full(4000, 0.1))
    >>> answer.lower < 0.1 < answer.upper
    True
    """
    y, w = _pair(reward, weight)
    support = describe_support(w)
    if refused := _refuse(support):
        return refused
    q, q_policy = _pair(predicted, predicted_for_policy)
    if q.shape != y.shape:
        raise ValueError(f"predictions {q.shape} and rewards {y.shape} differ in length")
    expected = q * (1.0 - q) if _is_binary(y) else np.full_like(y, float(np.mean((y - q) ** 2)))
    hidden = HIDDEN_SPREAD * math.sqrt(float(np.mean(q_policy**2)))
    least, chosen = math.inf, (0.0, 1.0)
    for clip in np.geomspace(1.0, max(support.largest_weight, 1.0), CLIPS):
        clipped = np.minimum(w, clip)
        mended = clipped * (y - q)
        seen, model = float(mended.var()), float(np.mean(clipped**2 * expected))
        unseen = max(0.0, 1.0 - float(clipped.mean()))
        squared = max(seen, model) / len(y) + (unseen * hidden) ** 2
        if squared < least:
            least, chosen = squared, (float(q_policy.mean() + mended.mean()), float(clip))
    value, clip = chosen
    return _answer(value, math.sqrt(least), y, support, level, Estimator.DR, clip=clip)


def rates_by_action(
    reward: ArrayLike, weight: ArrayLike, action: ArrayLike, actions: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The plainest reward model for rewards of 0 and 1: each action's rate, pulled towards what the policy would see.

    Args:
        reward: (n,) 0 or 1.
        weight: (n,) 0 or more.
        action: (n,) whole numbers from 0 to actions - 1.
        actions: how many there are.
    Returns: (n,) the rate of each row's action without that row; (actions,) the rate of each action.
    Raises: ValueError: a reward is not 0 or 1, or an action out of range.
    """
    y, w = _pair(reward, weight)
    taken = np.asarray(action, dtype=np.int64)
    if not _is_binary(y):
        raise ValueError("reward: must be 0 or 1 in every row")
    if taken.shape != y.shape or taken.min() < 0 or taken.max() >= actions:
        raise ValueError(f"action: must be a whole number from 0 to {actions - 1} in every row")
    prior = _prior_rate(y, w)
    rows = PRIOR_REWARDS / prior
    seen, earned = np.bincount(taken, minlength=actions), np.bincount(taken, weights=y, minlength=actions)
    without = (earned[taken] - y + rows * prior) / (seen[taken] - 1 + rows)
    return without, np.asarray((earned + rows * prior) / (seen + rows), dtype=np.float64)


def wilson_interval(share: float, rows: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a frequency seen among so many rows, which need not be a whole number.

    Source: Wilson 1927, J Am Stat Assoc 22:209.

    >>> lower, upper = wilson_interval(0.0, 100.0, level=0.95)
    >>> lower, round(upper, 4)
    (0.0, 0.037)
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _answer(
    value: float,
    error: float,
    reward: NDArray[np.float64],
    support: Support,
    level: float,
    estimator: Estimator,
    *,
    clip: float | None = None,
) -> PolicyValue:
    """The value with its interval: Wilson's where rewards are 0 or 1, since clicks are rare and one side is near."""
    if _is_binary(reward) and value < 1.0:
        value = max(value, 0.0)
        rows = value * (1.0 - value) / error**2 if value > 0 and error > 0 else support.effective_rows
        lower, upper = wilson_interval(value, rows, level=level)
    else:
        reach = NormalDist().inv_cdf((1 + level) / 2) * error
        lower, upper = value - reach, value + reach
    return PolicyValue(
        value=value,
        lower=min(lower, value),
        upper=max(upper, value),
        level=level,
        estimator=estimator,
        support=support,
        clip=clip,
    )


def _refuse(support: Support) -> PolicyRefused | None:
    """A refusal when the weighted rows are worth too few plain ones, or show too little of the policy."""
    if support.effective_rows >= LEAST_EFFECTIVE_ROWS:
        if support.mean_weight >= LEAST_SEEN:
            return None
        reason = (
            f"mean weight {support.mean_weight:.2f}, at least {LEAST_SEEN} is needed (1 is right; effective sample "
            f"size {support.effective_rows:,.0f} of {support.rows:,} rows): the log never does most of what this "
            "policy would do, or its propensities are wrong"
        )
        return PolicyRefused(reason=reason, support=support)
    reason = (
        f"effective sample size {support.effective_rows:.1f} of {support.rows:,} rows, at least "
        f"{LEAST_EFFECTIVE_ROWS:.0f} are needed (largest weight {support.largest_weight:,.0f}): the log hardly ever "
        "did what this policy would do; log with a higher least propensity, or judge a policy nearer to the log's"
    )
    return PolicyRefused(reason=reason, support=support)


def _prior_rate(reward: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Rate that an unseen action is believed to have: the clipped SNIPS value, pulled to the log's by one reward."""
    logged = (float(reward.sum()) + 1.0) / (len(reward) + 2.0)
    clipped = np.minimum(weight, math.sqrt(len(reward)))
    squares = float(clipped @ clipped)
    if squares == 0:
        return logged
    total = float(clipped.sum())
    rows = total**2 / squares
    return (rows * float(clipped @ reward) / total + 1.0) / (rows + 1.0 / logged)


def _weights(weight: ArrayLike) -> NDArray[np.float64]:
    w = np.asarray(weight, dtype=np.float64)
    if w.ndim != 1 or not w.size or not np.all(np.isfinite(w)) or np.any(w < 0):
        raise ValueError("weights must be a column of finite numbers of 0 or more, not empty")
    return w


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 columns of equal length, finite."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"columns {a.shape} and {b.shape} must have equal length and not be empty")
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        raise ValueError("columns must hold finite numbers only")
    return a, b


def _is_binary(reward: NDArray[np.float64]) -> bool:
    return bool(np.all((reward == 0.0) | (reward == 1.0)))
