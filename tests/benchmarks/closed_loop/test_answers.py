"""Methods that decide nothing, in worlds whose truth or outcomes are known."""

import numpy as np
import pytest

from benchmarks.closed_loop import abilities, platform, purchases
from benchmarks.closed_loop.comparison import Answered, Kind


def test_abilities_are_mostly_where_their_intervals_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "EXAMINED", 60)

    answers = abilities.run(0).answers

    inside, asked = answers["ability"].covered()
    assert asked == 60
    assert inside / asked > 0.7  # 0.9 expected; standard error 0.04
    assert np.corrcoef(answers["ability"].value, answers["ability"].truth)[0, 1] > 0.6


def test_who_bought_more_before_is_foretold_more_and_buys_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purchases, "CUSTOMERS", 500)

    result = purchases.run(0)

    told = result.answers["purchases"]
    assert np.corrcoef(told.value, told.truth)[0, 1] > 0.3
    assert set(np.unique(result.answers["alive"].truth)) <= {0.0, 1.0}
    assert 0.4 < result.figures["foretold_over_bought"] < 2.5


def test_the_platform_answers_for_everybody_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "USERS", 700)
    monkeypatch.setattr(platform, "LEARNERS_ASKED", 60)
    monkeypatch.setattr(platform, "ANSWERS_FITTED", 6_000)

    answers = platform.run(0).answers

    assert {
        "churn_28_days",
        "churn_84_days",
        "ltv_of_subscriptions",
        "lessons_right_answer",
        "certification_passing",
        "certification_score",
    } == set(answers)
    for one in answers.values():
        assert (one.lower <= one.upper).all()
        assert one.value.size > 20
    # The longer the horizon the more have left, and the more are expected to.
    short, long = answers["churn_28_days"], answers["churn_84_days"]
    assert short.truth.mean() < long.truth.mean()
    assert short.value.mean() < long.value.mean()


def test_amounts_are_allowed_the_error_of_their_own_mean() -> None:
    rng = np.random.default_rng(5)
    value = np.linspace(1.0, 2.0, 1_000)
    rows = {"value": value, "lower": value - 0.001, "upper": value + 0.001}

    near = Answered(truth=rng.gamma(2.0, value / 2.0), kind=Kind.AMOUNTS, **rows).covered()
    far = Answered(truth=rng.gamma(2.0, value), kind=Kind.AMOUNTS, **rows).covered()

    assert near[0] >= 7  # nine of ten expected
    assert far[0] == 0
