"""The churn features as of a landmark, and what became of each subscription after it.

One function a group of features; the comment above a feature is its meaning, and the contract's message
PredictChurnFeatures is the only list: `churn_features` gives exactly its fields, by name.
A row is one subject (user) with a running subscription at one landmark; of several, the one begun last. Nothing that
became known after the landmark is looked at (tests delete the future and compare).
Not here: the fit (training/revenue/churn.py); windows and grids (landmarks.py).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pandas as pd

from paedsresus.ml.v1 import revenue_pb2
from training.data.mart import Mart
from training.data.tables import CERTIFICATIONS
from training.features import landmarks as grids
from training.features.digest import digest_code
from training.features.landmarks import (
    AS_OF,
    DAY,
    LANDMARK,
    Landmarks,
    as_frame,
    as_time,
    first_at,
    last_known,
    microseconds,
    seen_between,
    seen_within,
    to_microseconds,
)

PERIODS = 13  # of 28 days: the contract's longest horizon, 364 days
PERIOD_DAYS = 28
MONTH = timedelta(days=28)
QUARTER = timedelta(days=90)
FEATURES = tuple(field.name for field in revenue_pb2.PredictChurnFeatures.DESCRIPTOR.fields)
UNNAMED = "UNNAMED"  # a certification held at joining, of which only the due date is known
Tables = Mapping[str, ir.Table]


def churn_frame(mart: Mart, *, as_of: datetime, landmark_days: int = PERIOD_DAYS) -> pd.DataFrame:
    """Person-period training rows: features at every landmark before `as_of`, with what was seen to happen by then.

    Args:
        mart: the data; what lies after `as_of` is not looked at.
        as_of: aware UTC time up to which outcomes were seen.
        landmark_days: distance of the landmarks, counted back from `as_of`.
    Returns: one column for each field of PredictChurnFeatures (category: level name or None; money: minor units; time:
        days from `as_of_time`; missing: NaN), then `subject_id`, `as_of_time` (UTC), `periods_observed` (1 to 13),
        `left_in_period` (1 to 13 or NaN) and `voluntary` (True, False or None); ordered by time and subject.
    Raises: ValueError: nobody was subscribed 28 days before `as_of`.
    """
    observed_until = min(as_of, mart.data_time)
    connection = mart.connect()
    try:
        grid = _grid(connection.tables, as_of, observed_until, timedelta(days=landmark_days))
        rows = churn_features(connection.tables, grid, currency=mart_currency(connection.tables))
        outcomes = churn_outcomes(connection.tables, grid, observed_until)
        joined = rows.join(outcomes, ["subject_id", "as_of_time"])
        frame = as_frame(joined.filter(joined.periods_observed > 0).order_by("as_of_time", "subject_id"))
    finally:
        connection.backend.disconnect()
    return frame


def churn_snapshot(mart: Mart, *, as_of: datetime) -> pd.DataFrame:
    """Features of everybody subscribed at `as_of`; columns as in `churn_frame` up to `as_of_time`."""
    connection = mart.connect()
    try:
        currency = mart_currency(connection.tables)
        rows = churn_features(connection.tables, Landmarks(last=as_of), currency=currency)
        frame = as_frame(rows.order_by("subject_id"))
    finally:
        connection.backend.disconnect()
    return frame


def mart_currency(tables: Tables) -> str | None:
    """Currency of most subscriptions, the first by name on a tie; None without any.

    A model knows one currency: prices in another are missing to it rather than converted at a rate of some day.
    """
    counts = as_frame(tables["subscriptions"].currency.value_counts(name="rows"))
    ordered = counts.sort_values(["rows", "currency"], ascending=[False, True])
    return None if ordered.empty else str(ordered["currency"].iloc[0])


def churn_features(tables: Tables, grid: Landmarks, *, currency: str | None) -> ir.Table:
    """One row for each subject at risk at each landmark: the fields of PredictChurnFeatures, subject_id, as_of_time."""
    rows = _at_risk(tables, grid)
    groups = (
        _usage(tables, grid),
        _answers(tables, grid),
        _counts(tables["payments"].filter(~tables["payments"].succeeded), "attempted_at", "payment_failures_90d", grid),
        _counts(tables["tickets"], "opened_at", "tickets_90d", grid),
        _counts(tables["invites"], "sent_at", "invites_90d", grid),
    )
    joined = reduce(_attach, groups, rows)
    joined = last_known(joined, _last_sessions(tables, grid), "user_id")
    joined = last_known(joined, _certifications(tables, grid), "user_id")
    joined = last_known(joined, _paid_until(tables, grid), "subscription_id")
    users = tables["users"].select("user_id", "role")
    joined = joined.left_join(users, "user_id").drop("user_id_right")
    features = _expressions(joined, currency)
    return joined.select(
        *(features[name].name(name) for name in FEATURES), subject_id=joined.user_id, as_of_time=as_time(joined[AS_OF])
    )


def churn_outcomes(tables: Tables, grid: Landmarks, observed_until: datetime) -> ir.Table:
    """What was seen of each row of `churn_features` by `observed_until`, in periods of 28 days after its landmark.

    Returns: subject_id, as_of_time and
        periods_observed: periods seen to their end, at most 13; with a leaving, the period of the leaving.
        left_in_period: k when access ended in (landmark + 28 (k - 1) days, landmark + 28 k days]; missing otherwise. A
            leaving in a period not yet over does not count: those who stayed in it could not be counted either.
        voluntary: whether the leaving was a decision rather than a failed payment; missing when it is not known.
    """
    rows = _at_risk(tables, grid)
    length = PERIOD_DAYS * DAY
    complete = ((to_microseconds(observed_until) - rows[AS_OF]).clip(lower=0) // length).clip(upper=PERIODS)
    left = (rows.ended_us - rows[AS_OF] + (length - 1)) // length
    left = ibis.ifelse(left <= complete, left, None).cast("int64")
    return rows.select(
        subject_id=rows.user_id,
        as_of_time=as_time(rows[AS_OF]),
        periods_observed=ibis.coalesce(left, complete.cast("int64")),
        left_in_period=left,
        voluntary=ibis.ifelse(left > 0, rows.end_reason == "VOLUNTARY", None),
    )


def expressions_digest() -> str:
    """sha256 over the code of these expressions, without comments, docstrings and layout: part of `feature_set`."""
    sources = [Path(file).read_text(encoding="utf-8") for file in (grids.__file__, __file__)]
    return digest_code(sources)


def _expressions(rows: ir.Table, currency: str | None) -> dict[str, ir.Value]:
    """Each field of PredictChurnFeatures over the joined rows."""
    now = rows[AS_OF]
    minutes = rows.minutes_28d.fill_null(0.0)
    before = rows.minutes_before.fill_null(0.0)
    return {
        # Plan of the running subscription.
        "plan": rows.plan,
        # Role given at joining.
        "role": rows.role,
        # Whole days since the subscription began.
        "tenure_days": (now - rows.started_us) // DAY,
        # End of the period last paid for, days from now; negative while a payment is overdue, missing if never paid.
        "renewal_time": (rows.paid_until_us - now) / DAY,
        # Minor units for one period and seat; missing in another currency than the data's main one.
        "price": ibis.ifelse(rows.currency == (currency or ""), rows.price_minor, None).cast("float64"),
        # Seats of the subscription.
        "seats": rows.seats,
        # Sessions begun in (now - 28 d, now].
        "sessions_28d": rows.sessions_28d.fill_null(0),
        # Minutes of those that have ended; the minutes of a running session are not known yet.
        "minutes_28d": minutes,
        # Lessons finished in those.
        "lessons_28d": rows.lessons_28d.fill_null(0),
        # Days, counted back from now, with a session begun.
        "active_days_28d": rows.active_days_28d.fill_null(0),
        # (now - before) / (now + before) of minutes in the last 28 days and the 28 before; missing when both are zero.
        "usage_trend": (minutes - before) / (minutes + before).nullif(0.0),
        # Days since the last session began; missing when there never was one.
        "days_since_last_session": (now - rows.last_session_us) / DAY,
        # Answers in (now - 28 d, now].
        "answers_28d": rows.answers_28d.fill_null(0),
        # Share of them that were right; missing without answers.
        "correct_share_28d": rows.correct_28d / rows.answers_28d,
        # Failed payment attempts in (now - 90 d, now].
        "payment_failures_90d": rows.payment_failures_90d.fill_null(0),
        # Tickets opened in (now - 90 d, now].
        "tickets_90d": rows.tickets_90d.fill_null(0),
        # The first certification to fall due, days from now; negative when overdue, missing when none is held.
        "certification_due_time": (rows.due_us - now) / DAY,
        # Exams passed so far.
        "exams_passed": rows.exams_passed.fill_null(0),
        # Invitations sent in (now - 90 d, now].
        "invites_90d": rows.invites_90d.fill_null(0),
        # Renewing by itself when it began, and not switched off since.
        "auto_renew": rows.auto_renew & ~(rows.off_us <= now).fill_null(False),
    }


def _at_risk(tables: Tables, grid: Landmarks) -> ir.Table:
    """Running subscriptions at each landmark, one a user: begun at or before it and not ended by then."""
    t = tables["subscriptions"]
    times = t.mutate(
        started_us=microseconds(t.started_at),
        ended_us=microseconds(t.ended_at),
        off_us=microseconds(t.auto_renew_off_at),
    ).drop("started_at", "ended_at", "auto_renew_off_at")
    running = seen_between(times, "started_us", "ended_us", grid)
    newest_first = ibis.window(
        group_by=["user_id", LANDMARK], order_by=[ibis.desc("started_us"), ibis.desc("subscription_id")]
    )
    placed = running.mutate(place=ibis.row_number().over(newest_first))
    return placed.filter(placed.place == 0).drop("place")


def _usage(tables: Tables, grid: Landmarks) -> ir.Table:
    """Sessions of the last 28 days and minutes of the 28 before, by user and landmark.

    First by day, then over days: that counts active days without keeping a set of them for every user.
    """
    t = tables["sessions"]
    t = t.select(
        "user_id", "minutes", "lessons_finished", us=microseconds(t.started_at), ended=microseconds(t.ended_at)
    )
    t = seen_within(t, "us", 2 * MONTH, grid)
    is_over = t.ended <= t[AS_OF]
    days = t.group_by("user_id", LANDMARK, days_ago=(t[AS_OF] - t.us) // DAY).aggregate(
        sessions=t.count(),
        minutes=t.minutes.sum(where=is_over),
        lessons=t.lessons_finished.sum(where=is_over),
    )
    is_recent = days.days_ago < MONTH.days
    return days.group_by("user_id", LANDMARK).aggregate(
        sessions_28d=days.sessions.sum(where=is_recent),
        minutes_28d=days.minutes.sum(where=is_recent),
        minutes_before=days.minutes.sum(where=~is_recent),
        lessons_28d=days.lessons.sum(where=is_recent),
        active_days_28d=days.count(where=is_recent),
    )


def _answers(tables: Tables, grid: Landmarks) -> ir.Table:
    """Answers of the last 28 days, and how many were right, by user and landmark."""
    t = tables["answers"]
    t = seen_within(t.select("user_id", "correct", us=microseconds(t.answered_at)), "us", MONTH, grid)
    return t.group_by("user_id", LANDMARK).aggregate(answers_28d=t.count(), correct_28d=t.count(where=t.correct))


def _counts(rows: ir.Table, time: str, name: str, grid: Landmarks) -> ir.Table:
    """Rows of the last 90 days, by user and landmark, as the column `name`."""
    t = seen_within(rows.select("user_id", us=microseconds(rows[time])), "us", QUARTER, grid)
    return t.group_by("user_id", LANDMARK).aggregate(**{name: t.count()})


def _last_sessions(tables: Tables, grid: Landmarks) -> ir.Table:
    """The newest session begun so far, at each landmark where it changed."""
    t = tables["sessions"]
    t = t.select("user_id", us=microseconds(t.started_at))
    return _running(t, "user_id", {"last_session_us": t.us.max()}, grid)


def _paid_until(tables: Tables, grid: Landmarks) -> ir.Table:
    """End of the time paid for so far, by subscription, at each landmark where it changed."""
    t = tables["payments"]
    t = t.filter(t.succeeded).select(
        "subscription_id", us=microseconds(t.attempted_at), until_us=microseconds(t.covers_until)
    )
    return _running(t, "subscription_id", {"paid_until_us": t.until_us.max()}, grid)


def _certifications(tables: Tables, grid: Landmarks) -> ir.Table:
    """Exams passed so far and the first certification to fall due, by user, at each landmark where they changed.

    A certification falls due at the latest date it was ever given; one held at joining counts like an exam passed
    before, under its own name where that is known.
    """
    exams, users = tables["exams"], tables["users"]
    passed = exams.filter(exams.passed).select(
        "user_id", "certification", us=microseconds(exams.taken_at), due=microseconds(exams.valid_until), passed=1
    )
    held = users.drop_null("certification_due_at").select(
        "user_id",
        "certification",
        us=microseconds(users.joined_at),
        due=microseconds(users.certification_due_at),
        passed=0,
    )
    t = passed.union(held)
    t = t.mutate(certification=t.certification.fill_null(UNNAMED))
    dues = {f"due_{name}": t.due.max(where=t.certification == name) for name in (*CERTIFICATIONS, UNNAMED)}
    states = _running(t, "user_id", dues, grid)
    counts = _running(t, "user_id", {"exams_passed": t.passed.sum()}, grid, cumulate="sum")
    both = states.join(counts, ["user_id", LANDMARK])
    return both.select("user_id", LANDMARK, "exams_passed", due_us=ibis.least(*(both[name] for name in dues)))


def _running(
    rows: ir.Table, key: str, aggregates: Mapping[str, ir.Scalar], grid: Landmarks, *, cumulate: str = "max"
) -> ir.Table:
    """Aggregates over everything up to a landmark (rows carry their time as `us`), where they changed."""
    changes = rows.group_by(key, **{LANDMARK: first_at(rows.us, grid)}).aggregate(**aggregates)
    changes = changes.filter(changes[LANDMARK] < grid.count)
    so_far = ibis.cumulative_window(group_by=key, order_by=LANDMARK)
    return changes.select(key, LANDMARK, **{n: getattr(changes[n], cumulate)().over(so_far) for n in aggregates})


def _attach(rows: ir.Table, group: ir.Table) -> ir.Table:
    return rows.left_join(group, ["user_id", LANDMARK]).drop("user_id_right", f"{LANDMARK}_right")


def _grid(tables: Tables, as_of: datetime, observed_until: datetime, every: timedelta) -> Landmarks:
    """Landmarks counted back from `as_of`: the newest with a whole period behind it, the oldest with anybody in it."""
    begun = tables["subscriptions"].started_at.min().to_pyarrow().as_py()
    last = as_of - every
    while last + timedelta(days=PERIOD_DAYS) > observed_until:
        last -= every
    count = 0 if begun is None else (last - begun) // every + 1
    if count < 1:
        raise ValueError(f"nobody was subscribed {PERIOD_DAYS} days before {as_of.isoformat()}; collect older data")
    return Landmarks(last=last, count=count, every=every)
