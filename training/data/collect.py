"""Bringing the mart up to date: read what is new, judge it, keep the good rows and set the bad ones aside.

`collect` may be run as often as wanted: it reads from each table's watermark on (less a few days for rows that came
late), so a second run right after the first adds nothing and the data version stays.
Not here: the command line (training/__main__.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.data.columns import Table, as_seen_at, changed_since
from training.data.mart import PAGE, Mart, MartFile, MartTable, newest, open_mart, publish, write_rows
from training.data.merging import has_repeats, replace_rows, split_repeats, without_known
from training.data.sources import Source
from training.data.tables import TABLES, table_named
from training.data.validation import REASONS, check, conform

LATE_BY = timedelta(days=3)  # rows may be written that long after their time, as when a phone was offline
QUARANTINE = "quarantine"
PLACE = "place_in_batch"
FILE_ROWS = 1_000_000  # of a mart file: large enough to scan fast, small enough to hold while it is gathered


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """What happened to one table.

    Attributes:
        read: rows looked at.
        added: rows new or changed in the mart.
        total: rows in the mart now.
        quarantined: bad rows of this run.
        reasons: how often each reason was given.
        outliers: values far from the rest, by column; the rows are kept.
        often_missing: share missing, for columns above their limit.
    """

    read: int
    added: int
    total: int
    quarantined: int
    reasons: Mapping[str, int]
    outliers: Mapping[str, int]
    often_missing: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectReport:
    """What a run did.

    Attributes:
        mart: the mart as it now is.
        tables: by name, in the platform's order.
        absent: tables the source does not have; they are empty in the mart.
    """

    mart: Mart
    tables: Mapping[str, TableReport]
    absent: tuple[str, ...]

    @property
    def added(self) -> int:
        """Rows new or changed, over all tables."""
        return sum(table.added for table in self.tables.values())

    @property
    def quarantined(self) -> int:
        """Bad rows of this run, over all tables."""
        return sum(table.quarantined for table in self.tables.values())


def collect(source: Source, mart_dir: Path, now: datetime) -> CollectReport:
    """Brings the mart up to what was visible at `now`.

    Args:
        source: where rows come from; another one than the mart's begins it anew.
        mart_dir: made when it does not exist.
        now: aware UTC time; what lies after it is not collected.
    Raises: ValueError: the source has no table of the platform, or no events at all; the mart stays as it was.
    """
    present = source.tables()
    if not present:
        names = ", ".join(table.name for table in TABLES)
        raise ValueError(
            f"{source.identity} has no table of the platform ({names}); a folder holds users.parquet or users.csv"
        )
    mart_dir.mkdir(parents=True, exist_ok=True)
    before = _begun_mart(mart_dir, source.identity)
    held: dict[str, MartTable] = {}
    reports: dict[str, TableReport] = {}
    for table in TABLES:
        run = _TableRun(table, mart_dir, before.tables.get(table.name), now)
        if table.name in present:
            known = {**before.tables, **held}  # a table that refers to itself finds what it held before
            parents = {c.refers: _known_keys(mart_dir, c.refers, known) for c in table.columns if c.refers is not None}
            for rows in source.read(table.name, run.since):
                run.take(rows, parents)
        held[table.name] = run.finish()
        reports[table.name] = run.report(held[table.name])
    mart = replace(before, tables=held)
    publish(mart, now)
    absent = tuple(table.name for table in TABLES if table.name not in present)
    return CollectReport(mart=mart, tables=reports, absent=absent)


class _TableRun:
    """One table in one run: batches come in by `take`, and `finish` says what the mart holds then."""

    def __init__(self, table: Table, folder: Path, held: MartTable | None, now: datetime) -> None:
        self.table, self.folder, self.now = table, folder, now
        self.held = held or MartTable(files=(), watermark=None)
        self.since = None if self.held.watermark is None else self.held.watermark - LATE_BY
        self.watermark = self.held.watermark
        self.is_merged = table.is_changing and self.held.rows > 0  # by key, at the end; otherwise rows are only added
        self.gathered: list[pa.Table] = []
        self.files: list[MartFile] = []
        self.bad: list[pa.Table] = []
        self.batches = self.read = self.good = self.added = 0
        self.outliers: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()

    def take(self, rows: pa.Table, parents: Mapping[str, pa.Array]) -> None:
        """Judges one batch and keeps what is new and good."""
        typed, complaints = conform(self.table, rows)
        placed = typed.append_column(PLACE, pa.array(np.arange(typed.num_rows)))
        fresh = changed_since(self.table, as_seen_at(self.table, placed, self.now), self.since)
        kept = fresh[PLACE].to_numpy()
        judged = check(self.table, fresh.drop_columns(PLACE), parents, {r: m[kept] for r, m in complaints.items()})
        self.batches += 1
        self.read += fresh.num_rows
        self.good += judged.good.num_rows
        self.bad.append(judged.bad)
        self.outliers.update(judged.findings.outliers)
        self.missing.update(judged.findings.missing)
        latest = newest(self.table, judged.good)
        self.watermark = max((time for time in (self.watermark, latest) if time is not None), default=None)
        self.gathered.append(judged.good)
        if not self.is_merged and sum(part.num_rows for part in self.gathered) >= FILE_ROWS:
            self._write_gathered()

    def finish(self) -> MartTable:
        """The table as the mart holds it from now on."""
        if self.is_merged:
            return self._merged()
        self._write_gathered()
        if self.batches > 1 and self.files and has_repeats(self.table, self._paths(self.files)):
            self._settle_repeats()
        if not self.files and not self.held.files:  # so that whoever reads a table always finds its columns
            self.files.append(write_rows(self.folder, self.table, self.table.arrow_schema.empty_table()))
        return MartTable(files=(*self.held.files, *self.files), watermark=self.watermark)

    def report(self, held: MartTable) -> TableReport:
        """What happened; the bad rows go to the quarantine here."""
        bad = pa.concat_tables(self.bad) if self.bad else None
        reasons: Counter[str] = Counter()
        if bad is not None and bad.num_rows:
            _set_aside(self.folder / QUARANTINE / f"{self.table.name}.parquet", bad)
            for row in bad[REASONS].to_pylist():
                reasons.update(row.split("; "))
        limits = {column.name: column.missing_at_most for column in self.table.columns}
        shares = {name: count / max(self.good, 1) for name, count in self.missing.items()}
        return TableReport(
            read=self.read,
            added=self.added,
            total=held.rows,
            quarantined=0 if bad is None else bad.num_rows,
            reasons=dict(reasons),
            outliers=dict(self.outliers),
            often_missing={name: share for name, share in shares.items() if share > limits[name]},
        )

    def _write_gathered(self) -> None:
        """Writes what was gathered as one file, without the rows that the mart has already."""
        if not self.gathered:
            return
        rows = pa.concat_tables(self.gathered)
        self.gathered = []
        if self.since is not None and self.table.time is not None:
            # Reading began a few days before the watermark, so some of these rows are known.
            recent = pc.field(self.table.time) > pa.scalar(self.since)
            known = pq.read_table(self._paths(self.held.files), columns=list(self.table.key), filters=recent)
            rows = without_known(self.table, rows, known)
        self.added += rows.num_rows
        if rows.num_rows:
            self.files.append(write_rows(self.folder, self.table, rows))

    def _merged(self) -> MartTable:
        """The table with changed rows in place of their elders, as one file; untouched when nothing changed."""
        fresh, again = split_repeats(self.table, pa.concat_tables(self.gathered))
        self._refuse_repeats(again)
        before = pq.read_table(self._paths(self.held.files))
        rows, self.added = replace_rows(self.table, before, fresh)
        if self.added == 0 and rows.num_rows == before.num_rows:
            return replace(self.held, watermark=self.watermark)
        return MartTable(files=(write_rows(self.folder, self.table, rows),), watermark=self.watermark)

    def _settle_repeats(self) -> None:
        """Keeps the first row of each key; the source gave some twice, in different batches."""
        rows, again = split_repeats(self.table, pq.read_table(self._paths(self.files)))
        self._refuse_repeats(again)
        self.added -= again.num_rows
        self.files = [write_rows(self.folder, self.table, rows)]

    def _refuse_repeats(self, again: pa.Table) -> None:
        reason = pa.array([f"{', '.join(self.table.key)}: seen before"] * again.num_rows, pa.string())
        self.bad.append(again.append_column(REASONS, reason))

    def _paths(self, files: Sequence[MartFile]) -> list[Path]:
        return [self.folder / file.name for file in files]


def _begun_mart(folder: Path, identity: str) -> Mart:
    """The mart to go on with, or an empty one; then the quarantine begins anew as well."""
    if (folder / PAGE).is_file():
        mart = open_mart(folder)
        if mart.source == identity:
            return mart
    for path in (folder / QUARANTINE).glob("*.parquet"):
        path.unlink()
    return Mart(folder=folder, source=identity, tables={})


def _known_keys(folder: Path, table: str, held: Mapping[str, MartTable]) -> pa.Array:
    """Keys of a table that the mart holds; none when it holds none yet."""
    if table not in held:
        return pa.array([], pa.string())
    key = table_named(table).key[0]
    paths = [folder / file.name for file in held[table].files]
    return pq.read_table(paths, columns=[key])[key].combine_chunks()


def _set_aside(path: Path, bad: pa.Table) -> None:
    """Adds rows to a quarantine file; rows that are there already, with the same reasons, are not added again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.concat_tables([pq.read_table(path), bad]) if path.is_file() else bad
    pq.write_table(rows.group_by(rows.column_names).aggregate([]), path, compression="zstd")
