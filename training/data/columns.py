"""What a table is: columns with kind, unit, bounds and keys; the vocabulary in which tables.py is written.

From one definition come the pandera schema (validation.py), the Parquet schema (mart.py), what is read from a database
(sources.py) and the page for people (`describe`). Pure.
Time: a row is visible from its table's `time` on; a column with `known_from` only from that other time on, and is
missing before (`as_seen_at`). Nothing else in the data may change after the fact.
Not here: the platform's tables themselves (tables.py).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor import EnumDescriptor


class Kind(Enum):
    """What a column's values are."""

    TEXT = "text"
    CATEGORY = "category"  # text of a closed set
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    TIME = "time"  # UTC, microseconds


ARROW_TYPES = {
    Kind.TEXT: pa.string(),
    Kind.CATEGORY: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.FLAG: pa.bool_(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        name: its name, unit in the name where the type has none.
        kind: what its values are.
        about: one sentence for people.
        unit: in words; "1" for a pure number, "" where the kind says it.
        nullable: whether missing is a value; otherwise a row without it is quarantined.
        known_from: another time column of the table, from which on the value is known; None means from the row's own.
        levels: the closed set of a CATEGORY.
        low: smallest allowed value, inclusive.
        high: largest allowed value, inclusive.
        refers: table whose single key column the values come from.
        missing_at_most: share of missing values above which collecting says so; rows stay.
    """

    name: str
    kind: Kind
    about: str
    unit: str = ""
    nullable: bool = False
    known_from: str | None = None
    levels: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    refers: str | None = None
    missing_at_most: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the platform.

    Attributes:
        name: snake_case plural.
        about: one sentence: what a row is.
        key: columns that name a row.
        columns: all columns, in order.
        time: the column from whose value on a row is visible; None for catalogues, read whole each time.
    """

    name: str
    about: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    time: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def arrow_schema(self) -> pa.Schema:
        """Schema of the table's Parquet files."""
        return pa.schema([pa.field(c.name, ARROW_TYPES[c.kind]) for c in self.columns])

    @property
    def change_times(self) -> tuple[str, ...]:
        """Time columns at which a row appears or changes, the row's own first; empty for a catalogue."""
        if self.time is None:
            return ()
        later = dict.fromkeys(c.known_from for c in self.columns if c.known_from not in (None, self.time))
        return (self.time, *(name for name in later if name is not None))

    @property
    def is_changing(self) -> bool:
        """Whether rows change after they appeared; then a newer row replaces the one with the same key."""
        return self.time is None or len(self.change_times) > 1

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises: KeyError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name}; it has {', '.join(self.names)}")


def contract_levels(enum: EnumDescriptor) -> tuple[str, ...]:
    """Value names of a contract's enum without their prefix and without UNSPECIFIED: the contract is the only list.

    >>> from paedsresus.ml.v1 import revenue_pb2
    >>> contract_levels(revenue_pb2.SubscriptionPlan.DESCRIPTOR)
    ('MONTHLY', 'QUARTERLY', 'ANNUAL', 'INSTITUTION')
    """
    by_number = enum.values_by_number
    prefix = by_number[0].name.removesuffix("UNSPECIFIED")
    return tuple(by_number[number].name.removeprefix(prefix) for number in sorted(by_number) if number != 0)


def as_seen_at(table: Table, rows: pa.Table, now: datetime) -> pa.Table:
    """What somebody who looked at `now` would have seen: later rows gone, values not yet known missing.

    Args:
        table: the definition of `rows`.
        rows: any number of the table's rows.
        now: aware UTC time; values that become known exactly then are seen.
    Returns: those visible; a row without its time is kept, for validation to complain about.
    """
    if table.time is None:
        return rows
    limit = pa.scalar(now, ARROW_TYPES[Kind.TIME])
    seen = rows.filter(pc.fill_null(pc.less_equal(rows[table.time], limit), fill_value=True))
    for index, column in enumerate(table.columns):
        if column.known_from is None or column.known_from == table.time:
            continue
        is_known = pc.less_equal(seen[column.known_from], limit)  # null where the time is missing: not known either
        missing = pa.scalar(None, ARROW_TYPES[column.kind])
        seen = seen.set_column(
            index, column.name, pc.if_else(pc.fill_null(is_known, fill_value=False), seen[column.name], missing)
        )
    return seen


def changed_since(table: Table, rows: pa.Table, since: datetime | None) -> pa.Table:
    """Of these rows those that appeared or changed after `since`; None: all. Rows without their time are kept."""
    if table.time is None or since is None:
        return rows
    limit = pa.scalar(since, ARROW_TYPES[Kind.TIME])
    fresh = pc.is_null(rows[table.time])
    for name in table.change_times:
        fresh = pc.or_(fresh, pc.fill_null(pc.greater(rows[name], limit), fill_value=False))
    return rows.filter(fresh)


def text(name: str, about: str, *, refers: str | None = None, nullable: bool = False) -> Column:
    """An identifier or other short text."""
    return Column(name=name, kind=Kind.TEXT, about=about, refers=refers, nullable=nullable)


def category(name: str, about: str, levels: tuple[str, ...], *, nullable: bool = False) -> Column:
    """One of a closed set."""
    return Column(name=name, kind=Kind.CATEGORY, about=about, levels=levels, nullable=nullable)


def integer(name: str, about: str, unit: str, low: int, high: int) -> Column:
    """A whole number within bounds, both inclusive."""
    return Column(name=name, kind=Kind.INTEGER, about=about, unit=unit, low=low, high=high)


def number(name: str, about: str, unit: str, low: float, high: float) -> Column:
    """A number within bounds, both inclusive."""
    return Column(name=name, kind=Kind.NUMBER, about=about, unit=unit, low=low, high=high)


def flag(name: str, about: str) -> Column:
    """Yes or no."""
    return Column(name=name, kind=Kind.FLAG, about=about)


def time(name: str, about: str) -> Column:
    """A time in UTC."""
    return Column(name=name, kind=Kind.TIME, about=about, unit="UTC")


def later(column: Column, known_from: str | None = None, *, missing_at_most: float = 1.0) -> Column:
    """The same column, known only from another time on (a time column without `known_from`: from its own value on)."""
    return replace(column, nullable=True, known_from=known_from or column.name, missing_at_most=missing_at_most)


def optional(column: Column, *, missing_at_most: float = 1.0) -> Column:
    """The same column, where missing is a value."""
    return replace(column, nullable=True, missing_at_most=missing_at_most)


def describe(table: Table) -> str:
    """The table's page in Markdown: one line a column."""
    lines = [
        f"### {table.name}",
        "",
        table.about,
        "",
        "| Column | Kind | Unit | Bounds | Meaning |",
        "|---|---|---|---|---|",
    ]
    for column in table.columns:
        bounds = ", ".join(column.levels) if column.levels else _interval(column)
        mark = " (key)" if column.name in table.key else " (time)" if column.name == table.time else ""
        lines.append(f"| `{column.name}`{mark} | {column.kind.value} | {column.unit} | {bounds} | {column.about} |")
    return "\n".join(lines) + "\n"


def _interval(column: Column) -> str:
    return "" if column.low is None else f"{column.low:g} to {column.high:g}"
