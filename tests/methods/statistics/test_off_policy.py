"""Values of policies from logs of others: the arithmetic, the refusals, and how often the intervals hold the truth."""

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from methods.statistics.off_policy import (
    LEAST_EFFECTIVE_ROWS,
    Estimator,
    PolicyRefused,
    PolicyValue,
    describe_support,
    doubly_robust_value,
    importance_weights,
    ips_value,
    rates_by_action,
    snips_value,
)

PAGE = Path(__file__).parents[3] / "docs/methods/off_policy.md"
WEIGHTS = arrays(np.float64, st.integers(1, 60), elements=st.floats(0.01, 100.0))


class Log(NamedTuple):
    """A log of a policy that shows better actions more often, and what the uniform policy would have earned."""

    reward: NDArray[np.float64]
    weight: NDArray[np.float64]
    action: NDArray[np.int64]
    truth: float


def draw_log(rng: np.random.Generator, rows: int, rate: float, skew: float, actions: int = 34) -> Log:
    """Rates from a gamma, propensities that grow with them and change ten times, as a bandit's do."""
    rates = rate * rng.gamma(4.0, 0.25, actions)
    habit = rng.dirichlet(np.full(actions, skew)) * rates
    action, propensity = np.empty(rows, dtype=np.int64), np.empty(rows)
    for part in np.array_split(np.arange(rows), 10):
        chance = np.maximum(habit * rng.lognormal(0.0, 0.7, actions) / habit.sum(), 2e-4)
        chance /= chance.sum()
        action[part] = rng.choice(actions, len(part), p=chance)
        propensity[part] = chance[action[part]]
    reward = (rng.random(rows) < rates[action]).astype(np.float64)
    weight = importance_weights(np.full(rows, 1.0 / actions), propensity)
    return Log(reward, weight, action, float(rates.mean()))


def robust(log: Log, actions: int = 34) -> PolicyValue | PolicyRefused:
    predicted, by_action = rates_by_action(log.reward, log.weight, log.action, actions)
    everywhere = np.full(len(log.reward), by_action.mean())
    return doubly_robust_value(log.reward, log.weight, predicted, everywhere, level=0.95)


@given(WEIGHTS)
def test_the_effective_sample_size_lies_between_one_and_the_rows(weight: NDArray[np.float64]) -> None:
    support = describe_support(weight)

    assert 1.0 - 1e-9 <= support.effective_rows <= len(weight) * (1 + 1e-9)


@given(st.floats(0.01, 100.0), st.integers(1, 50))
def test_equal_weights_cost_nothing(weight: float, rows: int) -> None:
    assert describe_support(np.full(rows, weight)).effective_rows == pytest.approx(rows)


@pytest.mark.parametrize("value", [ips_value, snips_value])
def test_with_weights_of_one_the_value_is_the_mean(value: object) -> None:
    reward = np.tile([0.0, 0.0, 0.0, 1.0], 100)

    answer = value(reward, np.ones(400))  # type: ignore[operator]

    assert answer.value == pytest.approx(0.25)
    assert answer.lower < 0.25 < answer.upper


def test_snips_does_not_care_for_the_scale_of_the_weights() -> None:
    rng = np.random.default_rng(0)
    reward, weight = (rng.random(500) < 0.2).astype(float), rng.uniform(0.5, 2.0, 500)

    once, thrice = snips_value(reward, weight), snips_value(reward, 3.0 * weight)

    assert isinstance(once, PolicyValue)
    assert isinstance(thrice, PolicyValue)
    assert (thrice.value, thrice.lower, thrice.upper) == pytest.approx((once.value, once.lower, once.upper))


def test_a_log_that_hardly_says_anything_is_refused_with_its_effective_sample_size() -> None:
    weight = np.r_[np.full(9_999, 0.1), 21_739.0]

    for answer in (ips_value(np.zeros(10_000), weight), snips_value(np.zeros(10_000), weight)):
        assert isinstance(answer, PolicyRefused)
        assert "effective sample size 1.1 of 10,000 rows" in answer.reason
        assert answer.support.effective_rows < LEAST_EFFECTIVE_ROWS


def test_a_log_without_any_weight_is_refused() -> None:
    assert isinstance(snips_value(np.ones(500), np.zeros(500)), PolicyRefused)


def test_without_a_single_reward_the_upper_end_is_above_zero() -> None:
    answer = snips_value(np.zeros(1_000), np.ones(1_000))

    assert isinstance(answer, PolicyValue)
    assert answer.value == answer.lower == 0.0
    assert 0.001 < answer.upper < 0.005


def test_what_the_log_does_not_show_rests_on_the_model_and_widens_the_interval() -> None:
    """Weights of 0.6 and of 1: the log shows six tenths of the policy, or all of it."""
    reward, model = np.tile([0.0, 1.0, 0.0, 0.0, 0.0], 800), np.full(4_000, 0.2)

    part = doubly_robust_value(reward, np.full(4_000, 0.6), model, model)
    whole = doubly_robust_value(reward, np.ones(4_000), model, model)

    assert isinstance(part, PolicyValue)
    assert isinstance(whole, PolicyValue)
    assert part.value == pytest.approx(0.2)
    assert part.half_width > 5 * whole.half_width


def test_a_log_that_never_does_most_of_what_the_policy_would_do_is_refused() -> None:
    answer = snips_value(np.ones(1_000), np.full(1_000, 0.3))

    assert isinstance(answer, PolicyRefused)
    assert "mean weight 0.30" in answer.reason


def test_a_perfect_model_leaves_nothing_to_mend() -> None:
    rng = np.random.default_rng(0)
    money = rng.normal(10.0, 1.0, 800)

    answer = doubly_robust_value(money, rng.uniform(0.5, 1.5, 800), money, np.full(800, 12.0))

    assert isinstance(answer, PolicyValue)
    assert answer.value == pytest.approx(12.0)
    assert answer.estimator is Estimator.DR


def test_rewards_of_money_have_a_symmetric_interval() -> None:
    rng = np.random.default_rng(0)

    answer = snips_value(rng.normal(5.0, 2.0, 1_000), rng.uniform(0.5, 1.5, 1_000))

    assert isinstance(answer, PolicyValue)
    assert answer.upper - answer.value == pytest.approx(answer.value - answer.lower)


@given(st.integers(0, 2**32 - 1))
def test_rates_lie_strictly_between_zero_and_one_and_do_not_see_their_own_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log = draw_log(rng, rows=200, rate=0.2, skew=1.0, actions=5)
    other = log.reward.copy()
    other[17] = 1.0 - other[17]

    rates, by_action = rates_by_action(log.reward, np.ones(200), log.action, 5)
    changed, _ = rates_by_action(other, np.ones(200), log.action, 5)

    assert 0 < by_action.min() <= by_action.max() < 1
    assert rates[17] == pytest.approx(changed[17], abs=0.01)  # the prior alone moves, by a 200th of a reward


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """400 logs with rare rewards: clipped DR at its level, SNIPS below it; standard error of a share 0.011."""
    rng = np.random.default_rng(0)
    held = {Estimator.DR: 0, Estimator.SNIPS: 0}
    logs = 0
    for skew in (0.5, 1.0):
        for _ in range(200):
            log = draw_log(rng, rows=10_000, rate=0.005, skew=skew)
            for answer in (robust(log), snips_value(log.reward, log.weight, level=0.95)):
                if isinstance(answer, PolicyValue):
                    logs += answer.estimator is Estimator.DR
                    held[answer.estimator] += answer.lower <= log.truth <= answer.upper

    error = math.sqrt(0.95 * 0.05 / logs)
    assert logs > 350
    assert held[Estimator.DR] / logs > 0.95 - 3 * error
    assert held[Estimator.SNIPS] / logs < 0.95 - 3 * error


@pytest.mark.parametrize(
    ("reward", "weight", "said"),
    [
        pytest.param([1.0], [1.0, 1.0], "equal length", id="lengths"),
        pytest.param([], [], "not be empty", id="empty"),
        pytest.param([math.nan], [1.0], "finite", id="nan"),
        pytest.param([1.0], [-1.0], "0 or more", id="negative"),
    ],
)
def test_columns_that_are_no_log_are_refused(reward: list[float], weight: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        snips_value(reward, weight)


@pytest.mark.parametrize("propensity", [0.0, 1.5, math.nan])
def test_a_propensity_that_is_none_is_refused(propensity: float) -> None:
    with pytest.raises(ValueError, match="propensity"):
        importance_weights([0.5], [propensity])


def test_an_action_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        rates_by_action([1.0, 0.0], [1.0, 1.0], [0, 2], 2)


def test_the_worked_example_of_the_page_is_what_the_code_gives() -> None:
    reward = np.r_[np.ones(30), np.zeros(70), np.ones(10), np.zeros(90)]
    weight = importance_weights(np.r_[np.ones(100), np.zeros(100)], np.full(200, 0.5))
    snips, ips = snips_value(reward, weight, level=0.95), ips_value(reward, weight)
    assert isinstance(snips, PolicyValue)
    assert isinstance(ips, PolicyValue)
    section = PAGE.read_text().split("## Worked example")[1].split("##")[0]
    said = dict(re.findall(r"^\| ([^|]+) \|[^|]*\| ([^|]+) \|$", section, re.MULTILINE))

    assert said == {
        "weights": f"{weight[0]:.0f} and {weight[-1]:.0f}",
        "IPS": f"{ips.value:.1f}",
        "SNIPS": f"{snips.value:.1f}",
        "effective sample size": f"{snips.support.effective_rows:.0f}",
        "standard error of SNIPS": f"{np.sqrt(np.sum((weight * (reward - 0.3)) ** 2)) / weight.sum():.4f}",
        "interval at 95 %": f"{snips.lower:.4f} to {snips.upper:.4f}",
    }
