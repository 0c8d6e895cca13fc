"""Retries as our client makes them."""

import json
from random import Random

import pytest

from benchmarks.load import retries
from benchmarks.load.retries import Retries
from paedsresus.ml.policy import service_config


def spend(bucket: Retries, tokens: int) -> None:
    for _ in range(tokens):
        bucket.pause_after(2)


def test_the_figures_are_those_of_our_client() -> None:
    config = json.loads(service_config([]))

    for method in config["methodConfig"]:
        policy = method["retryPolicy"]
        assert "UNAVAILABLE" in policy["retryableStatusCodes"]
        assert policy["maxAttempts"] == retries.ATTEMPTS
        assert policy["initialBackoff"] == f"{retries.FIRST_PAUSE_SECONDS:g}s"
        assert policy["maxBackoff"] == f"{retries.LONGEST_PAUSE_SECONDS:g}s"
        assert policy["backoffMultiplier"] == retries.PAUSE_GROWTH
    assert config["retryThrottling"] == {"maxTokens": retries.TOKENS_MAX, "tokenRatio": retries.TOKENS_BACK}


@pytest.mark.parametrize(
    ("refusals", "middle"), [(1, 0.0), (2, 0.02), (3, 0.08), (4, 0.32)], ids=["at once", "first", "second", "third"]
)
def test_pauses_grow_and_are_spread_by_a_fifth(refusals: int, middle: float) -> None:
    pauses = [Retries(Random(seed)).pause_after(refusals) for seed in range(200)]

    assert all(pause is not None and 0.8 * middle <= pause <= 1.2 * middle for pause in pauses)
    assert middle == 0.0 or len(set(pauses)) > 100


def test_the_fifth_refusal_is_the_calls_failure() -> None:
    assert Retries(Random(1)).pause_after(5) is None


def test_nothing_is_paused_for_once_half_of_the_tokens_are_spent() -> None:
    bucket = Retries(Random(1))

    spend(bucket, 99)
    assert bucket.pause_after(1) == 0.0
    assert bucket.pause_after(2) is None


def test_each_ok_gives_a_tenth_of_a_token_back() -> None:
    bucket = Retries(Random(1))
    spend(bucket, 100)

    for _ in range(11):
        bucket.note_ok()

    assert [bucket.pause_after(2) is None for _ in range(2)] == [False, True]
