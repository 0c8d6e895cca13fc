"""Which rows are good: types, ranges, levels, keys, missing values, references and times that cannot be.

A bad row is set aside with its reasons, never dropped and never mended. Outliers and columns that are missing too often
are not proof against a row: they are counted and said (`Findings`), and the row stays.
The rules come from the table's definition (columns.py, tables.py) by way of a pandera schema; there is no second list.
Not here: where bad rows are kept (collect.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.columns import ARROW_TYPES, Column, Kind, Table

ID_PATTERN = r"^[!-~]{1,128}$"  # as the contract's subject_id
OUTLIER_SPANS = 10.0  # distances between the quartiles, beyond them: far outside any plausible tail
REASONS = "quarantine_reasons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was seen in one batch without setting a row aside.

    Attributes:
        outliers: values far from the rest, by column.
        missing: missing values, by column that may be missing.
    """

    outliers: Mapping[str, int]
    missing: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One batch, judged.

    Attributes:
        good: rows with the table's exact schema.
        bad: the others, with one more text column of reasons; values that had the wrong type are missing in it.
        findings: what else was seen, in the good rows.
    """

    good: pa.Table
    bad: pa.Table
    findings: Findings


Complaints = dict[str, NDArray[np.bool_]]  # reason -> (rows,)


def conform(table: Table, rows: pa.Table) -> tuple[pa.Table, Complaints]:
    """Gives rows the table's columns and types.

    Returns: rows with exactly the table's schema, and a mask for each reason: a value that cannot be of the column's
        type becomes missing and is complained about. Columns the table does not have are left out; absent ones are
        missing throughout.
    """
    arrays, complaints = [], {}
    for column in table.columns:
        kind = ARROW_TYPES[column.kind]
        if column.name not in rows.column_names:
            arrays.append(pa.nulls(rows.num_rows, kind))
            continue
        given = rows[column.name]
        typed = _cast(given, column.kind)
        arrays.append(typed)
        wrong = _flags(pc.and_(pc.is_valid(given), pc.is_null(typed)))
        if wrong.any():
            complaints[f"{column.name}: not a {column.kind.value}"] = wrong
    return pa.Table.from_arrays([_whole(array) for array in arrays], schema=table.arrow_schema), complaints


def check(
    table: Table, rows: pa.Table, parents: Mapping[str, pa.Array], complaints: Complaints | None = None
) -> Checked:
    """Judges rows of the table's exact schema.

    Args:
        table: the rules.
        rows: the batch, see `conform`.
        parents: for each table referred to, its known keys.
        complaints: what `conform` found, over the same rows.
    """
    found = dict(complaints or {})
    found.update(_rule_breaks(table, rows))
    for column in table.columns:
        if column.refers is None:
            continue
        known = parents[column.refers]
        if column.refers == table.name:
            known = pa.concat_arrays([known, _whole(rows[table.key[0]])])
        orphan = _flags(
            pc.and_(pc.is_valid(rows[column.name]), pc.invert(pc.is_in(rows[column.name], value_set=known)))
        )
        if orphan.any():
            found[f"{column.name}: not in {column.refers}"] = orphan
    bad = np.zeros(rows.num_rows, dtype=np.bool_)
    for mask in found.values():
        bad |= mask
    good = rows.filter(pa.array(~bad)) if bad.any() else rows
    return Checked(good=good, bad=_with_reasons(rows, bad, found), findings=_look_around(table, good))


def schema_of(table: Table) -> pandera.DataFrameSchema:
    """The table's rules as a pandera schema; types are settled before, by `conform`."""
    columns = {column.name: _pandera_column(column) for column in table.columns}
    return pandera.DataFrameSchema(columns, name=table.name, unique=list(table.key), report_duplicates="exclude_first")


def _pandera_column(column: Column) -> pandera.Column:
    checks = []
    if column.levels:
        checks.append(pandera.Check.isin(list(column.levels), error="not a known level"))
    if column.low is not None and column.high is not None:
        bounds = f"outside {column.low:g} to {column.high:g}"
        checks.append(pandera.Check.in_range(column.low, column.high, error=bounds))
    if column.kind is Kind.TEXT:
        checks.append(pandera.Check.str_matches(ID_PATTERN, error="not printable ASCII of 1 to 128 letters"))
    return pandera.Column(None, checks, nullable=column.nullable)


def _rule_breaks(table: Table, rows: pa.Table) -> Complaints:
    frame = rows.to_pandas()
    found: Complaints = {}
    try:
        schema_of(table).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        found = _masks(table, errors.failure_cases, rows.num_rows)
    for name in table.change_times[1:]:
        early = (frame[name] < frame[table.time]).to_numpy(dtype=np.bool_)
        if early.any():
            found[f"{name}: before {table.time}"] = early
    return found


def _masks(table: Table, cases: pd.DataFrame, rows: int) -> Complaints:
    """The failures that pandera lists as one mask a reason."""
    found: Complaints = {}
    for (column, rule), failed in cases.groupby(["column", "check"], dropna=False):
        is_key = "uniqueness" in str(rule)
        words = "missing" if rule == "not_nullable" else str(rule)
        reason = f"{', '.join(table.key)}: seen before" if is_key else f"{column}: {words}"
        mask = found.setdefault(reason, np.zeros(rows, dtype=np.bool_))
        mask[failed["index"].dropna().to_numpy(dtype=np.int64)] = True
    return found


def _with_reasons(rows: pa.Table, bad: NDArray[np.bool_], found: Complaints) -> pa.Table:
    picked = np.flatnonzero(bad)
    reasons = ["; ".join(reason for reason, mask in sorted(found.items()) if mask[row]) for row in picked]
    return rows.take(pa.array(picked)).append_column(REASONS, pa.array(reasons, pa.string()))


def _look_around(table: Table, rows: pa.Table) -> Findings:
    outliers = {c.name: _outliers(rows[c.name]) for c in table.columns if c.kind in (Kind.NUMBER, Kind.INTEGER)}
    missing = {c.name: rows[c.name].null_count for c in table.columns if c.nullable}
    return Findings(outliers={name: count for name, count in outliers.items() if count}, missing=missing)


def _outliers(values: pa.ChunkedArray) -> int:
    """How many values lie further from the quartiles than `OUTLIER_SPANS` times their distance, on a log scale."""
    plain = values.drop_null().cast(pa.float64()).to_numpy()
    numbers = np.sign(plain) * np.log1p(np.abs(plain))
    if not numbers.size:
        return 0
    lower, upper = np.quantile(numbers, (0.25, 0.75))
    reach = OUTLIER_SPANS * (upper - lower)
    return int(((numbers < lower - reach) | (numbers > upper + reach)).sum()) if reach > 0 else 0


def _cast(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    """Values of a kind; what cannot be one becomes missing."""
    if values.type == ARROW_TYPES[kind]:
        return values
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        if kind is Kind.TIME:  # seconds or microseconds, since when? Nobody knows
            return pa.chunked_array([pa.nulls(len(values), ARROW_TYPES[kind])])
        if kind is Kind.FLAG:  # Arrow would take 2 for true
            return pa.chunked_array([_coerced(values.to_pandas(), kind)])
    try:
        return values.cast(ARROW_TYPES[kind])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array([_coerced(values.to_pandas(), kind)])


def _coerced(values: "pd.Series[Any]", kind: Kind) -> pa.Array:
    """The slow way, value by value, for columns in which something is wrong."""
    if kind is Kind.TIME:
        times = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        naive = times.dt.tz_convert(None).to_numpy().astype("datetime64[us]")
        return pa.array(naive, pa.timestamp("us"), from_pandas=True).cast(ARROW_TYPES[kind])
    if kind in (Kind.TEXT, Kind.CATEGORY):
        return pa.array(values.map(str, na_action="ignore"), ARROW_TYPES[kind], from_pandas=True)
    words = {"true": 1, "false": 0} if kind is Kind.FLAG else {}
    plain = values.map(lambda value: words.get(str(value).strip().lower(), value), na_action="ignore")
    numbers = pd.to_numeric(plain, errors="coerce").astype("float64")
    if kind is Kind.NUMBER:
        return pa.array(numbers, ARROW_TYPES[kind], from_pandas=True)
    allowed = numbers.isin([0, 1]) if kind is Kind.FLAG else numbers % 1 == 0
    return pa.array(numbers.where(allowed), pa.float64(), from_pandas=True).cast(ARROW_TYPES[kind])


def _whole(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _flags(values: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(
        values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy(), dtype=np.bool_
    )
