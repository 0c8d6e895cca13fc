"""The upsell features as of each occasion on which an offer was shown or held back, and whether it was accepted.

From the platform's tables alone: the subscription that ran, what was paid, what was offered before. Nothing later than
the occasion is looked at, but for acceptance: bought within 30 days, whether the offer was shown or not.
The contract's message RecommendUpsellFeatures is the only list of names; those not computed here are left out of the
schema, not filled.
Not here: the fit (training/revenue/upsell.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from google.protobuf.descriptor import Descriptor
from numpy.typing import NDArray

from methods.features import FeatureSchema, encode_columns, schema_of
from paedsresus.ml.v1 import revenue_pb2
from training.data.mart import Mart
from training.features.digest import digest_code
from training.features.landmarks import as_frame
from training.revenue.upsell import OfferRows

ACCEPTED_WITHIN = pd.Timedelta(days=30)
HALF_YEAR = pd.Timedelta(days=180)
YEAR = pd.Timedelta(days=365)
COMPUTED = (
    "plan",
    "role",
    "tenure_days",
    "price",
    "seats",
    "days_since_last_payment",
    "paid_365d",
    "offers_shown_180d",
    "offers_accepted_180d",
    "days_since_last_offer",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """A message's single fields, as `schema_of` reads a descriptor: repeated ones are no features."""

    full_name: str
    fields: tuple[Any, ...]


def upsell_schema() -> FeatureSchema:
    """The fields of RecommendUpsellFeatures that are computed here."""
    message = revenue_pb2.RecommendUpsellFeatures.DESCRIPTOR
    flat = Flat(full_name=message.full_name, fields=tuple(field for field in message.fields if not field.is_repeated))
    return schema_of(cast("Descriptor", flat)).subset(COMPUTED)


def offer_rows_by_kind(
    offers: pd.DataFrame,
    subscriptions: pd.DataFrame,
    payments: pd.DataFrame,
    users: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    currency: str,
) -> dict[str, OfferRows]:
    """Occasions of each kind of offer whose 30 days were over at a moment.

    Args:
        offers: the platform's table.
        subscriptions: as that.
        payments: as that.
        users: as that.
        as_of: what lies later is not looked at, aware UTC.
        currency: of every amount; offers in another are left out, other amounts unknown.
    """
    known = offers[(offers["offered_at"] + ACCEPTED_WITHIN <= as_of) & (offers["currency"] == currency)]
    known = known.sort_values(["offered_at", "offer_id"], kind="stable").reset_index(drop=True)
    table = known.assign(
        row=np.arange(len(known)),
        accepted=(known["bought_at"] - known["offered_at"]).between(pd.Timedelta(0), ACCEPTED_WITHIN),
    )
    whole = OfferRows(
        matrix=encode_columns(upsell_schema(), _columns(table, offers, subscriptions, payments, users, currency)),
        subject=table["user_id"].to_numpy(),
        shown=table["shown"].to_numpy().astype(np.float64),
        accepted=table["accepted"].to_numpy().astype(np.float64),
        propensity=_chance_shown(table),
        price=table["price_minor"].to_numpy().astype(np.float64),
    )
    kinds = table["kind"].astype(str).to_numpy()
    return {str(kind): whole.take(kinds == kind) for kind in np.unique(kinds)}


def customer_columns(
    mart: Mart, subject_ids: Sequence[str], *, as_of: datetime, currency: str
) -> dict[str, NDArray[Any]]:
    """The features of some customers at one moment, as if they were made an offer then: field -> (n,) values.

    Args:
        mart: the data; what lies later than `as_of` is not looked at.
        subject_ids: (n,) whose.
        as_of: the moment, aware UTC.
        currency: of every amount; others are unknown.
    """
    connection = mart.connect()
    try:
        read = {name: as_frame(connection.tables[name]) for name in ("offers", "subscriptions", "payments", "users")}
    finally:
        connection.backend.disconnect()
    table = pd.DataFrame({"user_id": list(subject_ids), "row": np.arange(len(subject_ids))})
    table["offered_at"] = pd.Timestamp(as_of)
    return _columns(table, read["offers"], read["subscriptions"], read["payments"], read["users"], currency)


def expressions_digest() -> str:
    """sha256 over the code of these features: part of the feature set of snapshot and versions."""
    return digest_code([Path(__file__).read_text(encoding="utf-8")])


def _columns(
    table: pd.DataFrame,
    offers: pd.DataFrame,
    subscriptions: pd.DataFrame,
    payments: pd.DataFrame,
    users: pd.DataFrame,
    currency: str,
) -> dict[str, NDArray[Any]]:
    """Features of each row's user at its `offered_at`."""
    return {
        **_subscription(table, subscriptions, currency),
        **_payments(table, payments, currency),
        **_past_offers(table, offers),
        "role": table["user_id"].map(users.set_index("user_id")["role"].astype(object)).to_numpy(),
    }


def _chance_shown(table: pd.DataFrame) -> NDArray[np.float64]:
    """The table holds the chance of what was done; NaN where chance took no part."""
    done, shown = table["propensity"].to_numpy().astype(np.float64), table["shown"].to_numpy().astype(bool)
    return np.where(table["randomised"].to_numpy().astype(bool), np.where(shown, done, 1.0 - done), np.nan)


def _subscription(table: pd.DataFrame, subscriptions: pd.DataFrame, currency: str) -> dict[str, NDArray[Any]]:
    """The subscription begun last before the occasion, if it still ran."""
    joined = table[["row", "user_id", "offered_at"]].merge(
        subscriptions[["user_id", "started_at", "ended_at", "plan", "price_minor", "currency", "seats"]], on="user_id"
    )
    joined = joined.rename(columns={"currency": "paid_in"})
    running = joined[(joined["started_at"] <= joined["offered_at"]) & ~(joined["ended_at"] <= joined["offered_at"])]
    last = running.sort_values(["row", "started_at"], kind="stable").groupby("row").last().reindex(table["row"])
    plan = last["plan"].astype(object)
    return {
        "plan": plan.where(plan.notna(), None).to_numpy(),
        "tenure_days": np.floor(_days(last["offered_at"] - last["started_at"]).to_numpy()),
        "price": last["price_minor"].where(last["paid_in"] == currency).to_numpy().astype(np.float64),
        "seats": last["seats"].to_numpy().astype(np.float64),
    }


def _payments(table: pd.DataFrame, payments: pd.DataFrame, currency: str) -> dict[str, NDArray[Any]]:
    """Money that came before the occasion."""
    good = payments.loc[payments["succeeded"].astype(bool), ["user_id", "attempted_at", "amount_minor", "currency"]]
    joined = table[["row", "user_id", "offered_at"]].merge(good, on="user_id")
    joined = joined[joined["attempted_at"] <= joined["offered_at"]]
    age = joined["offered_at"] - joined["attempted_at"]
    recent = joined[(age <= YEAR) & (joined["currency"] == currency)]
    since = _days(age).groupby(joined["row"]).min().reindex(table["row"])
    paid = recent.groupby("row")["amount_minor"].sum().reindex(table["row"], fill_value=0)
    return {
        "days_since_last_payment": since.to_numpy().astype(np.float64),
        "paid_365d": paid.to_numpy().astype(np.float64),
    }


def _past_offers(table: pd.DataFrame, offers: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Offers shown before the occasion, and those among them accepted by then."""
    shown = offers.loc[offers["shown"].astype(bool), ["user_id", "offered_at", "bought_at"]]
    past = shown.rename(columns={"offered_at": "shown_at", "bought_at": "taken_at"})
    joined = table[["row", "user_id", "offered_at"]].merge(past, on="user_id")
    joined = joined[joined["shown_at"] < joined["offered_at"]]
    age = joined["offered_at"] - joined["shown_at"]
    recent = joined[age <= HALF_YEAR]
    taken = recent[recent["taken_at"] <= recent["offered_at"]]
    since = _days(age).groupby(joined["row"]).min().reindex(table["row"])
    counts = [part.groupby("row").size().reindex(table["row"], fill_value=0) for part in (recent, taken)]
    return {
        "offers_shown_180d": counts[0].to_numpy().astype(np.float64),
        "offers_accepted_180d": counts[1].to_numpy().astype(np.float64),
        "days_since_last_offer": since.to_numpy().astype(np.float64),
    }


def _days(spans: pd.Series) -> pd.Series:
    return pd.Series(spans.dt.total_seconds() / 86_400.0, dtype=np.float64)
