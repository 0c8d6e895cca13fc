"""The rhythm of payments, and who leaves at the end of a paid period."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.training.revenue.test_ltv_version import NOW, SPELLS, day
from training.revenue.rhythm import rhythm_at


def test_a_plans_rhythm_is_that_of_its_payments_without_the_late_ones() -> None:
    ends = pd.to_datetime([day(28.5 * number) for number in range(-40, 0)], utc=True)
    paid = pd.DataFrame({"subscription_id": "running", "succeeded": True, "covers_until": ends, "attempted_at": ends})
    late = paid.tail(1).assign(covers_until=day(60))
    refused = paid.assign(succeeded=False, covers_until=ends + pd.Timedelta(days=1))

    assert rhythm_at(SPELLS, pd.concat([paid, late, refused]), NOW).billing_days == {"MONTHLY": pytest.approx(28.5)}
    assert rhythm_at(SPELLS, paid, day(-400)).billing_days == {}, "too few by then"


def test_who_leaves_when_the_paid_time_ends_is_told_from_who_leaves_in_its_midst() -> None:
    ended = SPELLS.assign(ended_at=pd.to_datetime([day(-30), day(-8), day(-1), day(20)], utc=True))
    covered = [day(-30), day(-2), day(-1.5), day(20)]
    paid = pd.DataFrame(
        {
            "subscription_id": ended["subscription_id"],
            "succeeded": True,
            "attempted_at": day(-60),
            "covers_until": pd.to_datetime(covered, utc=True),
        }
    )

    assert rhythm_at(ended, paid, NOW).renewal_share == pytest.approx(2 / 3)  # the second left six days early
    assert rhythm_at(ended, paid.assign(succeeded=False), NOW).renewal_share == 0.0
