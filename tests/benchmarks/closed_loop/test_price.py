"""The world of prices, and a year in it."""

import numpy as np
import pytest

from benchmarks.closed_loop.price import run
from benchmarks.closed_loop.worlds.visitors import draw_segments


def test_a_dearer_price_is_bought_by_fewer_and_todays_elasticity_lies_in_the_documented_range() -> None:
    for segment in draw_segments(30, np.random.default_rng(1)):
        prices = np.array(segment.ladder, dtype=np.float64)
        chance = segment.conversion(prices)
        near = segment.conversion(np.array([segment.today * 0.999, segment.today * 1.001]))
        elasticity = np.log(near[1] / near[0]) / np.log(1.001 / 0.999)

        assert (np.diff(chance) < 0).all()
        assert 0.0 < chance[-1] < chance[0] < 0.5
        assert -3.6 < elasticity < -0.1  # those whose employer pays are less elastic than the range of the payers


def test_interest_is_one_on_average() -> None:
    (segment,) = draw_segments(1, np.random.default_rng(2))

    interest = segment.weekly_interest(200_000, np.random.default_rng(3))

    assert interest.mean() == pytest.approx(1.0, abs=0.02)
    assert interest.std() > 0.05


def test_a_year_learns_towards_the_best_price_and_never_beats_it() -> None:
    result = run(0)

    assert result.gains["oracle"] < 0.0
    assert result.figures["regret_last_quarter"] < result.figures["regret_first_quarter"]
    assert {"conversion", "value", "elasticity"} <= set(result.answers)
    assert all((one.lower <= one.upper).all() for one in result.answers.values())


def test_the_same_seed_gives_the_same_year() -> None:
    assert run(1).gains == run(1).gains
