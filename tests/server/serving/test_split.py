"""Routing keys: the same place every time, and only ever into the canary as its share grows."""

from hypothesis import given
from hypothesis import strategies as st

from server.serving.split import BUCKETS, assign_bucket, in_canary

KEYS = st.text(min_size=1, max_size=40)


@given(key=KEYS, salt=st.text(max_size=64))
def test_a_key_has_one_place_within_range(key: str, salt: str) -> None:
    bucket = assign_bucket("churn", salt, key)

    assert 0 <= bucket < BUCKETS
    assert assign_bucket("churn", salt, key) == bucket


@given(key=KEYS, small=st.integers(0, BUCKETS), more=st.integers(0, BUCKETS))
def test_growing_the_share_never_moves_a_key_out_of_the_canary(key: str, small: int, more: int) -> None:
    bucket = assign_bucket("churn", "r1", key)
    large = min(BUCKETS, small + more)

    assert not in_canary(bucket, small) or in_canary(bucket, large)


def test_shares_are_kept_within_four_standard_errors() -> None:
    keys = [f"learner-{index}" for index in range(20_000)]

    found = sum(in_canary(assign_bucket("churn", "r1", key), 500) for key in keys) / len(keys)

    assert abs(found - 0.05) < 4 * (0.05 * 0.95 / len(keys)) ** 0.5


def test_everyone_is_in_a_full_canary_and_nobody_in_an_empty_one() -> None:
    buckets = [assign_bucket("churn", "r1", f"k{index}") for index in range(500)]

    assert all(in_canary(bucket, BUCKETS) for bucket in buckets)
    assert not any(in_canary(bucket, 0) for bucket in buckets)


def test_another_challenger_gets_other_keys() -> None:
    keys = [f"learner-{index}" for index in range(2_000)]

    first = {key for key in keys if in_canary(assign_bucket("churn", "r1", key), 1_000)}
    second = {key for key in keys if in_canary(assign_bucket("churn", "r2", key), 1_000)}

    assert len(first & second) < len(first) / 3
