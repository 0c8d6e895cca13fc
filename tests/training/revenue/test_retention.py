"""What offers changed about staying: who counts, what is found, and when nothing is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from training.revenue.retention import LEAST_ARM, best_effect, occasions

NOW = pd.Timestamp("2026-03-01", tz="UTC")


def day(number: float) -> pd.Timestamp:
    return NOW + pd.Timedelta(days=number)


def _offers(**changes: object) -> pd.DataFrame:
    rows = {
        "offer_id": ["o1", "o2", "o3", "o4", "o5"],
        "user_id": ["kept", "left", "new", "late", "chosen"],
        "kind": ["BREAK"] * 5,
        "offered_at": [day(-100), day(-100), day(-100), day(-50), day(-100)],
        "shown": [True, False, True, True, True],
        "randomised": [True, True, True, True, False],
        "propensity": [0.5, 0.5, 0.5, 0.5, 1.0],
    }
    return pd.DataFrame({**rows, **changes})


SPELLS = pd.DataFrame(
    {
        "user_id": ["kept", "kept", "left", "new", "late", "chosen"],
        "started_at": [day(-300), day(-60), day(-300), day(-90), day(-300), day(-300)],
        "ended_at": pd.to_datetime([day(-60), pd.NaT, day(-20), pd.NaT, pd.NaT, pd.NaT], utc=True),
    }
)


def test_an_occasion_is_one_of_chance_for_a_subscriber_and_long_enough_ago() -> None:
    table = occasions(_offers(), SPELLS, NOW)

    assert table["user_id"].tolist() == ["kept", "left"]  # not yet subscribed, too late, and chosen by a person
    assert table["stayed"].tolist() == [True, False]
    assert table["shown"].tolist() == [True, False]


def test_who_takes_another_plan_has_stayed() -> None:
    kept = occasions(_offers(), SPELLS, NOW)
    without = occasions(_offers(), SPELLS.drop(index=1), NOW)

    assert bool(kept["stayed"].iloc[0])
    assert not without["stayed"].iloc[0]


def test_what_happens_after_the_moment_changes_nothing() -> None:
    later = pd.DataFrame({"user_id": ["left"], "started_at": [day(3)], "ended_at": pd.to_datetime([pd.NaT], utc=True)})

    assert occasions(_offers(), pd.concat([SPELLS, later]), NOW).equals(occasions(_offers(), SPELLS, NOW))


def _world(effect: float, n: int, seed: int, *, propensity: float = 0.5, kind: str = "BREAK") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    shown = rng.random(n) < propensity
    return pd.DataFrame(
        {
            "offer_id": kind,
            "user_id": np.arange(n),
            "shown": shown,
            "propensity": np.where(shown, propensity, 1 - propensity),
            "stayed": rng.random(n) < 0.7 + effect * shown,
        }
    )


def test_an_offer_that_keeps_is_found_and_treated() -> None:
    table = pd.concat([_world(0.15, 3_000, 1), _world(0.0, 3_000, 2, kind="PACK")])

    found = best_effect(table, np.random.default_rng(0))

    assert found is not None
    assert (found.offer_id, found.treat) == ("BREAK", True)
    assert found.lower < 0.15 < found.upper
    assert found.upper - found.lower < 0.08


def test_an_offer_that_drives_away_is_not_treated() -> None:
    found = best_effect(_world(-0.1, 3_000, 3), np.random.default_rng(0))

    assert found is not None
    assert (found.treat, found.value < 0) == (False, True)


def test_unequal_chances_of_being_shown_are_weighed() -> None:
    mixed = pd.concat([_world(0.0, 4_000, 4, propensity=0.9), _world(0.0, 4_000, 5, propensity=0.1)])
    rarely_stays = mixed.index < 0  # nobody
    mixed["stayed"] = np.where(
        np.arange(len(mixed)) < 4_000,
        mixed["stayed"] | rarely_stays,
        mixed["stayed"] & (np.arange(len(mixed)) % 2 == 0),
    )

    found = best_effect(mixed, np.random.default_rng(0))

    assert found is not None
    assert found.value == pytest.approx(0.0, abs=0.05)  # plain shares differ by 0.28: who is shown often stays often


def test_among_useless_offers_the_best_is_rarely_treated() -> None:
    treated = []
    for seed in range(40):
        table = pd.concat([_world(0.0, 400, 10 * seed + k, kind=f"K{k}") for k in range(3)])
        found = best_effect(table, np.random.default_rng(seed))
        assert found is not None
        treated.append(found.treat)

    assert np.mean(treated) <= 0.15  # 5 % by design, with a standard error of 3.4 points


@pytest.mark.parametrize("rows", [2 * LEAST_ARM - 60, 0], ids=["few", "none"])
def test_too_few_occasions_say_nothing(rows: int) -> None:
    assert best_effect(_world(0.5, rows, 6), np.random.default_rng(0)) is None
