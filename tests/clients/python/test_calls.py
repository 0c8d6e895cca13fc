"""Whose turn it is among several connections."""

from hypothesis import given
from hypothesis import strategies as st

from paedsresus.ml.calls import REST_SECONDS, Rotation


@given(count=st.integers(1, 16))
def test_every_connection_has_its_turn_once_a_round(count: int) -> None:
    rotation = Rotation(count)

    assert sorted(rotation.pick(0.0) for _ in range(count)) == list(range(count))


@given(count=st.integers(1, 8), resting=st.sets(st.integers(0, 7)))
def test_a_resting_connection_is_passed_over_while_there_are_others(count: int, resting: set[int]) -> None:
    rotation = Rotation(count)
    resting = {index for index in resting if index < count}
    for index in resting:
        rotation.rest(index, 10.0)

    picked = {rotation.pick(10.5) for _ in range(2 * count)}

    assert picked == (set(range(count)) - resting or set(range(count)))
    assert {rotation.pick(10.0 + REST_SECONDS) for _ in range(count)} == set(range(count))
