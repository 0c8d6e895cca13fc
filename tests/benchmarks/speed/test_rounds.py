from functools import partial

import pytest

from benchmarks.speed.rounds import interleave, ratio_by_round, spread_of


def test_every_subject_runs_once_a_round_and_each_begins_in_turn() -> None:
    order: list[str] = []

    results = interleave({name: partial(_note, order, name) for name in "abc"}, rounds=3)

    assert order == list("abcbcacab")
    assert {name: len(values) for name, values in results.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_ratio_is_taken_within_a_round() -> None:
    # The machine was twice as fast in the second round; both subjects saw that.
    spread = ratio_by_round([90.0, 180.0, 85.0], [100.0, 200.0, 100.0])

    assert (spread.middle, spread.least, spread.most) == (0.9, 0.85, 0.9)


def test_rounds_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratio_by_round([1.0], [1.0, 2.0])


def test_a_spread_of_one_value_is_that_value() -> None:
    spread = spread_of([3.0])

    assert (spread.least, spread.middle, spread.most) == (3.0, 3.0, 3.0)


def _note(order: list[str], name: str) -> str:
    order.append(name)
    return name
