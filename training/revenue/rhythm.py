"""When subscribers pay and when they leave, as the platform's payments show it.

Not here: what follows for a value (methods/revenue/subscriptions.py); who leaves (ltv.py, churn.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from methods.revenue.subscriptions import BILLING_DAYS

AT_END = pd.Timedelta(days=1)  # before the end of what is paid; who leaves earlier does so in its midst
BILLING_PAIRS = 30  # pairs of payments behind a plan's days
BILLING_NEAR = 0.2  # how far from the calendar a pair may lie: further, and one of them was late or early


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """When payments come, and when people leave.

    Attributes:
        billing_days: plan -> days of its billing period; other plans go by the calendar.
        renewal_share: share of leaving that comes when a paid period ends.
    """

    billing_days: Mapping[str, float] = field(default_factory=dict)
    renewal_share: float = 0.0


def rhythm_at(spells: pd.DataFrame, payments: pd.DataFrame, now: pd.Timestamp) -> Rhythm:
    """What was seen of it by a moment: a month of 30 days instead of the calendar's is 1.4 % more money."""
    paid = payments[(payments["attempted_at"] <= now) & payments["succeeded"]]
    covered = paid.groupby("subscription_id")["covers_until"].max().rename("covered")
    ended = spells[spells["ended_at"] <= now].merge(covered, left_on="subscription_id", right_index=True)
    at_end = ended["ended_at"] >= ended["covered"] - AT_END
    return Rhythm(
        billing_days=_billing_seen(spells, paid),
        renewal_share=float(at_end.mean()) if len(at_end) else 0.0,
    )


def _billing_seen(spells: pd.DataFrame, paid: pd.DataFrame) -> dict[str, float]:
    """Days by plan from the end of one paid period to that of the next, where enough such pairs were paid in time."""
    paid = paid.sort_values(["subscription_id", "covers_until"], kind="stable")
    gap = paid.groupby("subscription_id")["covers_until"].diff().dt.total_seconds() / 86_400.0
    plan = paid["subscription_id"].map(spells.set_index("subscription_id")["plan"].astype(str))
    found = {}
    for name, days in BILLING_DAYS.items():
        near = gap[(plan == name) & ((gap / days - 1).abs() < BILLING_NEAR)]
        if len(near) >= BILLING_PAIRS:
            found[name] = float(near.mean())
    return found
