"""What each offer changed about staying: subscribers to whom chance showed it against those from whom it held it back.

An occasion counts when chance decided it with a known probability, the user was subscribed then, and 84 days have
passed. The effect is the difference of the weighted shares that were still subscribed after them.
Source: Hajek 1971 (weights by the inverse probability, normalised); Ascarza 2018, J Mark Res 55:80 (why not by risk).
Not here: what an offer earns, and for whom (upsell.py).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.revenue.churn_intervention import RetentionEffect
from methods.statistics.bootstrap import LEVEL, draw_weights
from training.data.mart import Mart
from training.features.landmarks import as_frame

WATCHED = pd.Timedelta(days=84)  # three periods: who is kept for less was not kept
LEAST_ARM, LEAST_LEFT = (
    100,
    20,
)  # occasions of either kind, and leavings of both together: else an interval says nothing
SURE = 0.95  # probability that the best of all offers is above 0, for `treat`
DRAWS = 400  # the ends of a tail of 5 % shared by three offers


def read_occasions(mart: Mart, now: pd.Timestamp) -> pd.DataFrame:
    """Randomised offers to subscribers whose 84 days were over at a moment.

    Returns: columns `offer_id` (the kind of offer), `user_id`, `shown`, `propensity` (of what was done) and `stayed`.
    """
    connection = mart.connect()
    try:
        offers = as_frame(connection.tables["offers"])
        spells = as_frame(connection.tables["subscriptions"].select("user_id", "started_at", "ended_at"))
    finally:
        connection.backend.disconnect()
    return occasions(offers, spells, now)


def occasions(offers: pd.DataFrame, spells: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """The same from the platform's tables."""
    known = offers[offers["randomised"] & (offers["propensity"] > 0) & (offers["offered_at"] + WATCHED <= now)]
    known = known.sort_values("offer_id", kind="stable").reset_index(drop=True)
    then = _is_subscribed(known["user_id"], known["offered_at"], spells)
    later = _is_subscribed(known["user_id"], known["offered_at"] + WATCHED, spells)
    table = pd.DataFrame(
        {
            "offer_id": known["kind"].astype(str),
            "user_id": known["user_id"],
            "shown": known["shown"].astype(bool),
            "propensity": known["propensity"].astype(np.float64),
            "stayed": later,
        }
    )
    return table[then].reset_index(drop=True)


def best_effect(table: pd.DataFrame, rng: np.random.Generator) -> RetentionEffect | None:
    """The offer that kept most; None where no offer has enough occasions.

    Args:
        table: as `occasions` gives it.
        rng: chance for the draws of users.
    """
    found: list[RetentionEffect] = []
    kinds = [kind for kind, rows in table.groupby("offer_id", sort=True) if _is_enough(rows)]
    for kind in kinds:
        rows = table[table["offer_id"] == kind]
        value, draws = _effects(rows, rng)
        lower, upper = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        least = float(np.quantile(draws, (1 - SURE) / len(kinds)))  # Bonferroni: the best of several looks good by luck
        found.append(
            RetentionEffect(
                offer_id=str(kind),
                treat=least > 0,
                value=value,
                lower=float(min(lower, value)),
                upper=float(max(upper, value)),
            )
        )
    return max(found, key=lambda effect: effect.value, default=None)


def _is_enough(rows: pd.DataFrame) -> bool:
    shown = int(rows["shown"].sum())
    return min(shown, len(rows) - shown) >= LEAST_ARM and int((~rows["stayed"]).sum()) >= LEAST_LEFT


def _effects(rows: pd.DataFrame, rng: np.random.Generator) -> tuple[float, NDArray[np.float64]]:
    """The difference, and that of each draw of users."""
    shown, stayed = rows["shown"].to_numpy(dtype=np.bool_), rows["stayed"].to_numpy(dtype=np.float64)
    weight = 1.0 / rows["propensity"].to_numpy(dtype=np.float64)

    def difference(times: NDArray[np.float64]) -> float:
        w = weight * times
        return float(np.average(stayed[shown], weights=w[shown]) - np.average(stayed[~shown], weights=w[~shown]))

    draws = [difference(times) for times in draw_weights(rows["user_id"].to_numpy(), DRAWS, rng)]
    return difference(np.ones(len(rows))), np.array(draws)


def _is_subscribed(
    users: "pd.Series[str]", moments: "pd.Series[pd.Timestamp]", spells: pd.DataFrame
) -> NDArray[np.bool_]:
    """Whether a subscription of each user ran at the moment; (n,)."""
    asked = pd.DataFrame({"row": np.arange(len(users)), "user_id": users, "moment": moments})
    joined = asked.merge(spells, on="user_id")
    running = joined[(joined["started_at"] <= joined["moment"]) & ~(joined["ended_at"] <= joined["moment"])]
    held = np.zeros(len(users), dtype=np.bool_)
    held[running["row"].to_numpy()] = True
    return held
