"""Times from which predictions start, and which rows somebody standing there can see.

A landmark grid is regular, so that "at which landmarks is this row in the window" is arithmetic on the row instead of a
join of every row with every landmark: features of 26 landmarks cost little more than those of one.
Everything is whole microseconds; a window of W before a landmark L holds what lies in (L - W, L].
Not here: what is counted in the windows (one file a feature message).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pandas as pd

DAY = 86_400_000_000  # microseconds
LANDMARK = "landmark"  # column: place in the grid, from 0
AS_OF = "as_of_us"  # column: the landmark's time, microseconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """A regular grid of times.

    Attributes:
        last: the newest, aware UTC.
        count: how many, 1 or more.
        every: distance between neighbours.
    """

    last: datetime
    count: int = 1
    every: timedelta = timedelta(days=28)

    @property
    def step(self) -> int:
        """Distance in microseconds."""
        return self.every // timedelta(microseconds=1)

    @property
    def first(self) -> int:
        """The oldest, microseconds since 1970."""
        return to_microseconds(self.last) - (self.count - 1) * self.step


def to_microseconds(time: datetime) -> int:
    """Microseconds since 1970 of an aware time, exactly.

    >>> to_microseconds(datetime(1970, 1, 2, tzinfo=UTC)) == DAY
    True
    """
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@ibis.udf.scalar.builtin(name="epoch_us")  # type: ignore[untyped-decorator]  # Ibis ships no types
def microseconds(time: dt.timestamp) -> int:  # type: ignore[empty-body]  # the backend has the body
    """Microseconds since 1970. DuckDB's own function and 100 times faster than a portable one; Spark: unix_micros."""


@ibis.udf.scalar.builtin(name="make_timestamptz")  # type: ignore[untyped-decorator]  # Ibis ships no types
def as_time(microseconds: int) -> dt.Timestamp("UTC"):  # type: ignore[valid-type]  # Ibis reads the value
    """The time so many microseconds after 1970, in UTC."""


def first_at(time: ir.IntegerValue, grid: Landmarks) -> ir.IntegerValue:
    """Place of the first landmark at or after a time in microseconds; `count` when there is none, missing stays so."""
    past_first = (time - grid.first).clip(lower=0, upper=grid.count * grid.step)
    return ((past_first + (grid.step - 1)) // grid.step).clip(upper=grid.count).cast("int64")


def seen_within(rows: ir.Table, time: str, window: timedelta, grid: Landmarks) -> ir.Table:
    """Each row once for every landmark in whose window it lies.

    Args:
        rows: any rows.
        time: their column with the time in microseconds.
        window: how far back a landmark looks.
        grid: the landmarks.
    Returns: the rows with `LANDMARK` and `AS_OF`.
    """
    width = window // timedelta(microseconds=1)
    spans = rows.mutate(begin_=first_at(rows[time], grid), end_=first_at(rows[time] + width, grid))
    return _expand(spans, grid, is_single=width <= grid.step)


def seen_between(rows: ir.Table, begin: str, end: str, grid: Landmarks) -> ir.Table:
    """Each row once for every landmark from `begin` on and before `end` (microseconds; a missing end never comes)."""
    until = first_at(rows[end], grid).fill_null(grid.count)
    return _expand(rows.mutate(begin_=first_at(rows[begin], grid), end_=until), grid, is_single=False)


def last_known(base: ir.Table, changes: ir.Table, key: str) -> ir.Table:
    """Joins to each row of `base` the newest state at or before its landmark.

    Args:
        base: with `key` and `LANDMARK`.
        changes: with `key`, `LANDMARK` (from which on a state holds, at most one row each) and the state's columns.
        key: whose state it is.
    """
    return base.asof_join(changes, base[LANDMARK] >= changes[LANDMARK], predicates=[key]).drop(
        f"{key}_right", f"{LANDMARK}_right"
    )


def as_frame(rows: ir.Table) -> pd.DataFrame:
    """Runs an expression and gives its rows by way of Arrow: text as `str`, times in UTC, missing as NaN or None."""
    frame: pd.DataFrame = rows.to_pyarrow().to_pandas()
    return frame


def _expand(spans: ir.Table, grid: Landmarks, *, is_single: bool) -> ir.Table:
    """One row for each landmark of the span [begin_, end_); rows without any are gone before anything is copied."""
    inside = spans.filter(spans.begin_ < spans.end_)
    if is_single or grid.count == 1:
        placed = inside.mutate(**{LANDMARK: inside.begin_})
    else:
        placed = inside.mutate(**{LANDMARK: ibis.range(inside.begin_, inside.end_).unnest()})
    return placed.mutate(**{AS_OF: placed[LANDMARK] * grid.step + grid.first}).drop("begin_", "end_")
