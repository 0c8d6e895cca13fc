"""What seeds say together: differences with intervals, and coverage."""

import numpy as np
import pytest

from benchmarks.closed_loop.comparison import Answered, Kind, coverage_over_seeds, joined, over_seeds


def test_a_difference_is_a_gain_only_when_its_whole_interval_lies_above_zero() -> None:
    clear, unclear = over_seeds([1.0, 1.1, 0.9, 1.05]), over_seeds([1.0, -0.9, 1.1, -0.2])

    assert clear.is_gain
    assert unclear.value > 0
    assert not unclear.is_gain


def test_the_interval_over_seeds_holds_the_mean_of_worlds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [over_seeds(rng.normal(0.3, 1.0, 20)) for _ in range(2_000)]

    held = np.mean([one.lower <= 0.3 <= one.upper for one in found])

    assert held == pytest.approx(0.95, abs=0.015)  # standard error 0.005


def test_one_seed_says_nothing_of_what_worlds_differ_by() -> None:
    assert over_seeds([5.0]).lower == -np.inf


def test_chances_are_judged_by_the_true_mean_of_each_tenth() -> None:
    # The truth differs from row to row by more than any interval, but its mean does not.
    value = np.linspace(0.0, 1.0, 1_000)
    rows = {
        "value": value,
        "lower": value - 0.02,
        "upper": value + 0.02,
        "truth": value + np.tile([0.5, -0.5], 500),
    }

    assert Answered(**rows).covered() == (0.0, 1_000.0)
    assert Answered(kind=Kind.TENTHS, **rows).covered() == (10.0, 10.0)


def test_coverage_counts_intervals_and_worlds_weigh_by_how_many_they_hold() -> None:
    def answered(inside: int, outside: int) -> Answered:
        n = inside + outside
        truth = np.r_[np.zeros(inside), np.full(outside, 9.0)]
        return Answered(value=np.zeros(n), lower=np.full(n, -1.0), upper=np.ones(n), truth=truth)

    found = coverage_over_seeds([answered(9, 1), answered(45, 45)])

    assert found.value == pytest.approx(54 / 100)
    assert 0.0 <= found.lower <= found.value <= found.upper <= 1.0
    assert joined([answered(9, 1), answered(45, 45)]).covered() == (54.0, 100.0)
