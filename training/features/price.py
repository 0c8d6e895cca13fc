"""The platform's price exposures as rows of demand: visitors and buyers by segment, price and week.

A segment is a plan in a country: what a price list may depend on. Nothing that only a person has may enter; the columns
are named here and no other is read. `retention_rows` counts, of those who bought at least 90 days before the data end,
who still had a subscription then.
Refunds are in no table. Not here: the fit (training/revenue/price.py).
"""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from training.revenue.price import DemandRows

SEGMENT = ("plan", "country")  # no attribute of a person, protected or not, may be added here
RETENTION = timedelta(days=90)


def sales_rows(exposures: pa.Table) -> DemandRows:
    """Buyers among visitors.

    Args:
        exposures: rows of the platform's price_exposures.
    Returns: one row for each segment, price, way of assignment and week.
    """
    frame = exposures.select([*SEGMENT, "price_minor", "randomised", "shown_at", "converted_at"]).to_pandas()
    frame = frame[frame["price_minor"] > 0]
    counted = frame.assign(
        group=_segments(frame),
        week=frame["shown_at"].dt.floor("7D"),
        bought=frame["converted_at"].notna(),
    ).groupby(["group", "price_minor", "randomised", "week"], as_index=False)["bought"]
    return _rows(counted.agg(["size", "sum"]), trials="size", buyers="sum")


def retention_rows(exposures: pa.Table, subscriptions: pa.Table, data_time: datetime) -> DemandRows:
    """Those still subscribed after 90 days among buyers.

    Args:
        exposures: rows of the platform's price_exposures.
        subscriptions: rows of the platform's subscriptions.
        data_time: aware UTC end of the data; later buyers are left out.
    Returns: one row for each segment, price and way of assignment; none when nobody bought 90 days before the end.
    """
    bought = exposures.select([*SEGMENT, "price_minor", "randomised", "user_id", "converted_at"]).to_pandas()
    bought = bought[bought["converted_at"].notna() & (bought["converted_at"] <= data_time - RETENTION)]
    bought = bought[bought["price_minor"] > 0].reset_index(drop=True)
    spells = subscriptions.select(["user_id", "started_at", "ended_at"]).to_pandas()
    joined = bought.reset_index(names="sale").merge(spells, on="user_id")
    then = joined["converted_at"] + RETENTION

    runs = (joined["started_at"] <= then) & (joined["ended_at"].isna() | (joined["ended_at"] > then))
    stays = bought.index.isin(joined.loc[runs, "sale"])
    counted = bought.assign(group=_segments(bought), stays=stays).groupby(
        ["group", "price_minor", "randomised"], as_index=False
    )["stays"]
    return _rows(counted.agg(["size", "sum"]), trials="size", buyers="sum")


def _segments(frame: pd.DataFrame) -> pd.Series:
    return frame["plan"].astype(str) + "|" + frame["country"].fillna("").astype(str)


def _rows(counts: pd.DataFrame, *, trials: str, buyers: str) -> DemandRows:
    return DemandRows(
        group=counts["group"].to_numpy(dtype=np.str_),
        price=counts["price_minor"].to_numpy(dtype=np.float64),
        trials=counts[trials].to_numpy(dtype=np.float64),
        buyers=counts[buyers].to_numpy(dtype=np.float64),
        randomised=counts["randomised"].to_numpy(dtype=np.bool_),
    )
