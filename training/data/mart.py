"""The mart: every table as Parquet files in a folder, with one page that says what they hold.

mart.json names the files that count, with sha256; a file it does not name is left over from an interrupted run and
ignored. Files are never changed: new rows are new files, and the page is swapped in one rename.
`data_version` is a digest of the contents, `data_time` the newest event in it.
Not here: which rows go in (collect.py, validation.py); features (training/features).
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from training.data.columns import Table
from training.data.tables import TABLES

MART_FORMAT = 1
PAGE = "mart.json"
ROW_GROUP = 122_880  # DuckDB's unit of parallel work


@dataclass(frozen=True, slots=True, kw_only=True)
class MartFile:
    """One Parquet file: its name within the mart, contents' digest and rows."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MartTable:
    """What the mart holds of one table.

    Attributes:
        files: in the order they were added.
        watermark: newest time at which a row appeared or changed; None for catalogues and empty tables.
    """

    files: tuple[MartFile, ...]
    watermark: datetime | None

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def digest(self) -> str:
        """sha256 over the files' digests, in order."""
        return hashlib.sha256("\n".join(file.sha256 for file in self.files).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mart:
    """A mart as mart.json describes it.

    Attributes:
        folder: where it lies.
        source: identity of the source it was collected from.
        tables: by name; every table of the platform.
    """

    folder: Path
    source: str
    tables: Mapping[str, MartTable]

    @property
    def data_version(self) -> str:
        """sha256 over names and digests of all tables."""
        lines = [f"{name} {self.tables[name].digest}" for name in sorted(self.tables)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def data_time(self) -> datetime:
        """Newest event of all tables.

        Raises: ValueError: the mart is empty.
        """
        known = [table.watermark for table in self.tables.values() if table.watermark is not None]
        if not known:
            raise ValueError(f"mart {self.folder.name} holds no events; collect data first")
        return max(known)

    def paths(self, table: str) -> list[Path]:
        """Files of one table."""
        return [self.folder / file.name for file in self.tables[table].files]

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of one table in memory; for small tables and tests."""
        return pa.concat_tables([pq.read_table(path, columns=columns, partitioning=None) for path in self.paths(table)])

    def connect(self, *, threads: int = 2, memory_gigabytes: int = 4) -> "MartConnection":
        """The tables as Ibis expressions on an in-memory DuckDB; it spills to disk inside the mart's folder."""
        backend = ibis.duckdb.connect(
            threads=threads,
            memory_limit=f"{memory_gigabytes}GB",
            temp_directory=str(self.folder / "spill"),
            preserve_insertion_order=False,  # order is never relied upon, and keeping it costs memory
        )
        backend.raw_sql("set timezone = 'UTC'")
        tables = {
            name: backend.read_parquet([str(path) for path in self.paths(name)], table_name=name)
            for name in self.tables
        }
        return MartConnection(backend=backend, tables=tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class MartConnection:
    """An open mart: `backend` runs expressions over `tables`. Close it with `backend.disconnect()`."""

    backend: Backend
    tables: Mapping[str, ibis.Table]


def open_mart(folder: Path) -> Mart:
    """Reads mart.json.

    Raises: FileNotFoundError: there is no mart; ValueError: it has another format.
    """
    page = json.loads((folder / PAGE).read_text(encoding="utf-8"))
    if page.get("format") != MART_FORMAT:
        raise ValueError(f"mart {folder.name} has format {page.get('format')}, not {MART_FORMAT}; collect it")
    return Mart(folder=folder, source=page["source"], tables={n: _read_table(t) for n, t in page["tables"].items()})


def write_rows(folder: Path, table: Table, rows: pa.Table) -> MartFile:
    """Writes one file of rows, named by its contents, and says so; it counts only once `publish` names it."""
    target = folder / table.name
    target.mkdir(parents=True, exist_ok=True)
    fresh = target / f"writing-{os.getpid()}"
    pq.write_table(rows.cast(table.arrow_schema), fresh, compression="zstd", row_group_size=ROW_GROUP)
    digest = hashlib.sha256(fresh.read_bytes()).hexdigest()
    name = f"{digest[:32]}.parquet"
    fresh.replace(target / name)
    return MartFile(name=f"{table.name}/{name}", sha256=digest, rows=rows.num_rows)


def publish(mart: Mart, now: datetime) -> None:
    """Makes this the mart: mart.json is written beside the old one and swapped in; files that no longer count go."""
    page: dict[str, Any] = {
        "format": MART_FORMAT,
        "source": mart.source,
        "collected_at": _text(now),
        "data_version": mart.data_version,
        "data_time": _text(mart.data_time),
        "tables": {name: _write_table(table) for name, table in sorted(mart.tables.items())},
    }
    fresh = mart.folder / f"{PAGE}.new"
    with fresh.open("w", encoding="utf-8") as file:
        file.write(json.dumps(page, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(mart.folder / PAGE)
    counted = {mart.folder / file.name for table in mart.tables.values() for file in table.files}
    for table in TABLES:
        for path in (mart.folder / table.name).glob("*"):
            if path not in counted:
                path.unlink()


def newest(table: Table, rows: pa.Table) -> datetime | None:
    """Newest time at which one of the rows appeared or changed."""
    times = [pc.max(rows[name]).as_py() for name in table.change_times]
    known = [time for time in times if time is not None]
    return max(known) if known else None


def _write_table(table: MartTable) -> dict[str, Any]:
    return {
        "rows": table.rows,
        "digest": table.digest,
        "watermark": None if table.watermark is None else _text(table.watermark),
        "files": [asdict(file) for file in table.files],
    }


def _read_table(page: Mapping[str, Any]) -> MartTable:
    watermark = None if page["watermark"] is None else datetime.fromisoformat(page["watermark"])
    return MartTable(files=tuple(MartFile(**file) for file in page["files"]), watermark=watermark)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()
