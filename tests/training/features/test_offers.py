"""Upsell features at each occasion: what is known then, and nothing later."""

import numpy as np
import pandas as pd
import pytest

from training.features.offers import COMPUTED, offer_rows_by_kind, upsell_schema
from training.revenue.upsell import OfferRows

T0 = pd.Timestamp("2025-01-01T00:00:00Z")
END = T0 + pd.Timedelta(days=400)


def day(*days: float | None) -> list[pd.Timestamp]:
    return [pd.NaT if each is None else T0 + pd.Timedelta(days=each) for each in days]  # type: ignore[misc]


OFFERS = pd.DataFrame(
    {
        "offer_id": ["o1", "o2", "o3", "o4"],
        "user_id": ["u", "u", "u", "v"],
        "kind": ["SEAT_PACK"] * 4,
        "offered_at": pd.to_datetime(day(50, 100, 390, 60), utc=True),
        "shown": [True, False, True, True],
        "randomised": [True, True, True, False],
        "propensity": [0.3, 0.7, 0.3, 1.0],
        "price_minor": [900, 900, 900, 900],
        "currency": ["USD"] * 4,
        "bought_at": pd.to_datetime(day(55, None, None, 200), utc=True),
    }
)
SUBSCRIPTIONS = pd.DataFrame(
    {
        "user_id": ["u", "u", "v"],
        "started_at": pd.to_datetime(day(0, 80, 0), utc=True),
        "ended_at": pd.to_datetime(day(80, None, 30), utc=True),
        "plan": ["MONTHLY", "ANNUAL", "MONTHLY"],
        "price_minor": [1_000, 9_000, 1_000],
        "currency": ["USD", "EUR", "USD"],
        "seats": [1, 3, 1],
    }
)
PAYMENTS = pd.DataFrame(
    {
        "user_id": ["u", "u", "u"],
        "attempted_at": pd.to_datetime(day(0, 40, 70), utc=True),
        "amount_minor": [1_000, 1_000, 1_000],
        "currency": ["USD"] * 3,
        "succeeded": [True, False, True],
    }
)
USERS = pd.DataFrame({"user_id": ["u", "v"], "role": ["NURSE", None]})


def read(offers: pd.DataFrame = OFFERS, payments: pd.DataFrame = PAYMENTS, as_of: pd.Timestamp = END) -> OfferRows:
    return offer_rows_by_kind(offers, SUBSCRIPTIONS, payments, USERS, as_of=as_of, currency="USD")["SEAT_PACK"]


def column(rows: OfferRows, name: str) -> list[float | None]:
    values = rows.matrix[:, upsell_schema().columns.index(name)].tolist()
    return [None if np.isnan(value) else value for value in values]


def test_the_names_are_the_contracts() -> None:
    assert set(upsell_schema().names) == set(COMPUTED)


def test_each_occasion_sees_the_subscription_that_ran_then() -> None:
    rows = read()  # o1 on day 50, o4 on day 60, o2 on day 100; o3's 30 days are not over

    assert rows.subject.tolist() == ["u", "v", "u"]
    assert column(rows, "plan=ANNUAL") == [0.0, None, 1.0]
    assert column(rows, "tenure_days") == [50.0, None, 20.0]
    assert column(rows, "seats") == [1.0, None, 3.0]
    assert column(rows, "price") == [1_000.0, None, None]  # the second one is in another currency
    assert column(rows, "role=NURSE") == [1.0, None, 1.0]


def test_money_and_offers_before_the_occasion_count() -> None:
    rows = read()

    assert column(rows, "paid_365d") == [1_000.0, 0.0, 2_000.0]
    assert column(rows, "days_since_last_payment") == [50.0, None, 30.0]
    assert column(rows, "offers_shown_180d") == [0.0, 0.0, 1.0]
    assert column(rows, "offers_accepted_180d") == [0.0, 0.0, 1.0]
    assert column(rows, "days_since_last_offer") == [None, None, 50.0]


def test_acceptance_counts_within_thirty_days_and_chance_is_that_of_being_shown() -> None:
    rows = read()

    assert rows.accepted.tolist() == [1.0, 0.0, 0.0]
    assert rows.propensity.tolist() == pytest.approx([0.3, np.nan, 0.3], nan_ok=True)
    assert len(rows.randomised().shown) == 2


def test_no_occasion_sees_its_future() -> None:
    """Everything after day 60 is deleted: the first two occasions look the same."""
    limit = T0 + pd.Timedelta(days=60)
    earlier = OFFERS[OFFERS["offered_at"] <= limit]
    forgotten = read(earlier, PAYMENTS[PAYMENTS["attempted_at"] <= limit])

    assert np.array_equal(forgotten.matrix, read().matrix[:2], equal_nan=True)


def test_an_occasion_whose_thirty_days_are_not_over_is_left_out() -> None:
    assert len(read(as_of=T0 + pd.Timedelta(days=85)).shown) == 1
