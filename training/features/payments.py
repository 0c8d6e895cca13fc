"""Logged payments as attempts of the payments model: what was known before each attempt, and how it ended.

From the log alone: earlier attempts at the same payment give the last decline, its code, route and hours; earlier
payments of the same payer give the stage and the successes of a year. Nothing later than the attempt is looked at.
Not here: the fit (training/revenue/payments.py).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.revenue.payment_success import Payment, Stage
from training.revenue.payments import Attempts

NEEDED = ("time", "amount_minor", "currency", "country", "card_brand", "route", "succeeded", "decline_code", "attempt")
PAYER, PAYMENT = "payer_id", "payment_id"  # optional: without them there is no history
YEAR = np.timedelta64(365, "D")
BRANDS = {"AMEX": "AMERICAN_EXPRESS"}  # names of the platform's table to names of the contract


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaymentLog:
    """Attempts in the order of time, with the rows of the log that they came from.

    Attributes:
        attempts: as the model reads them.
        rows: (n,) position of each in the log as it was given.
        time: (n,) when each was made, UTC.
    """

    attempts: Attempts
    rows: NDArray[np.int64]
    time: pd.Series


def payments_frame(payments: pd.DataFrame) -> pd.DataFrame:
    """The platform's payments table under the names that are read here."""
    return payments.rename(
        columns={"attempted_at": "time", "user_id": PAYER, "subscription_id": "subscription", "payment_id": "row_id"}
    ).assign(
        # The table has a row an attempt; a payment is a subscription's run of attempts that starts with number 1.
        **{PAYMENT: _runs}
    )


def read_log(log: pd.DataFrame) -> PaymentLog:
    """Attempts of a log.

    Args:
        log: columns `NEEDED`; time parsable or datetime, succeeded 0 or 1, decline_code missing on success; optional
            payer_id, payment_id, stage, card_funding, device.
    Raises: ValueError: names a column that is missing.
    """
    missing = [name for name in NEEDED if name not in log]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}; there are {', '.join(map(str, log.columns))}")
    frame = log.reset_index(drop=True)
    frame = frame.assign(time=pd.to_datetime(frame["time"], utc=True, format="ISO8601"), row=np.arange(len(frame)))
    frame = frame.sort_values(["time", "row"], kind="stable").reset_index(drop=True)
    frame["succeeded"] = frame["succeeded"].astype(float) == 1.0
    frame["card_brand"] = frame["card_brand"].replace(BRANDS)
    frame = _with_history(_with_last_decline(frame))
    age = (frame["time"].max() - frame["time"]).dt.total_seconds() / 86_400.0
    return PaymentLog(
        attempts=Attempts(
            payments=_payments(frame),
            route=frame["route"].astype(str).tolist(),
            succeeded=frame["succeeded"].to_numpy(dtype=np.bool_),
            age_days=age.to_numpy(dtype=np.float64),
        ),
        rows=frame["row"].to_numpy(dtype=np.int64),
        time=frame["time"],
    )


def _runs(frame: pd.DataFrame) -> pd.Series:
    ordered = frame.sort_values(["subscription", "time"], kind="stable")
    run = (ordered["attempt"] == 1).groupby(ordered["subscription"]).cumsum()
    return (ordered["subscription"].astype(str) + "/" + run.astype(str)).reindex(frame.index)


def _with_last_decline(frame: pd.DataFrame) -> pd.DataFrame:
    """The attempt before of the same payment, when it was declined."""
    if PAYMENT not in frame:
        return frame.assign(last_code=None, last_route=None, hours=np.nan)
    by = frame.groupby(PAYMENT, sort=False)
    declined = by["succeeded"].shift(1).eq(other=False)
    hours = (frame["time"] - by["time"].shift(1)).dt.total_seconds() / 3600.0
    return frame.assign(
        last_code=by["decline_code"].shift(1).where(declined),
        last_route=by["route"].shift(1).where(declined),
        hours=hours.where(declined),
    )


def _with_history(frame: pd.DataFrame) -> pd.DataFrame:
    """Successes and failures of the payer in the year before, strictly earlier; unknown without a payer.

    Failures of the running payment are left out: they are all attempts before this one.
    """
    if PAYER not in frame:
        return frame.assign(history=np.nan, failures=np.nan)
    counted, failed = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    own = frame["attempt"].to_numpy(dtype=np.int64) - 1
    time = frame["time"].dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    for rows in frame.groupby(PAYER, sort=False).indices.values():
        at = time[rows]
        is_paid = frame["succeeded"].to_numpy()[rows]
        paid, unpaid = at[is_paid], at[~is_paid]
        missed = np.searchsorted(unpaid, at, "left") - np.searchsorted(unpaid, at - YEAR, "left")
        failed[rows] = np.maximum(missed - own[rows], 0)
        counted[rows] = np.searchsorted(paid, at, "left") - np.searchsorted(paid, at - YEAR, "left")
    return frame.assign(history=counted, failures=failed)


def _payments(frame: pd.DataFrame) -> list[Payment]:
    time = frame["time"]
    columns = zip(
        _stages(frame),
        frame["amount_minor"].astype(float).tolist(),
        _texts(frame, "currency"),
        _texts(frame, "country"),
        _texts(frame, "card_brand"),
        _texts(frame, "card_funding"),
        _texts(frame, "device"),
        frame["attempt"].astype(int).tolist(),
        _texts(frame, "last_code"),
        _texts(frame, "last_route"),
        frame["hours"].astype(float).tolist(),
        time.dt.hour.tolist(),
        time.dt.day.tolist(),
        frame["history"].astype(float).tolist(),
        frame["failures"].astype(float).tolist(),
        strict=True,
    )
    return [
        Payment(
            stage=stage,
            amount_minor=round(amount) if amount > 0 else None,
            currency=currency,
            country=country,
            card_brand=brand,
            card_funding=funding,
            device=device,
            attempt_number=number,
            last_decline_code=code,
            last_route=last,
            hours_since_decline=None if hours != hours else hours,  # noqa: PLR0124 - NaN
            local_hour=hour,
            day_of_month=day,
            payments_365d=None if history != history else int(history),  # noqa: PLR0124 - NaN
            failures_365d=None if failures != failures else int(failures),  # noqa: PLR0124 - NaN
        )
        for (
            stage,
            amount,
            currency,
            country,
            brand,
            funding,
            device,
            number,
            code,
            last,
            hours,
            hour,
            day,
            *seen,
        ) in columns
        for history, failures in (seen,)
    ]


def _stages(frame: pd.DataFrame) -> list[Stage | None]:
    """The log's own stage; else a retry from the second attempt on, a renewal for who paid within a year."""
    if "stage" in frame:
        return [None if pd.isna(name) else Stage(str(name)) for name in frame["stage"]]
    first = frame["attempt"].astype(int) == 1
    paid = frame["history"]
    return [
        Stage.RETRY if not is_first else None if pd.isna(count) else Stage.RENEWAL if count else Stage.CHECKOUT
        for is_first, count in zip(first, paid, strict=True)
    ]


def _texts(frame: pd.DataFrame, name: str) -> list[str | None]:
    if name not in frame:
        return [None] * len(frame)
    return [None if pd.isna(value) else str(value) for value in frame[name]]
