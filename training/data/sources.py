"""Where rows come from: one interface over a SQL database, a folder of files and the simulator.

A source hands over rows in batches, so that a table may be larger than the memory, and knows nothing of quality: types
may be loose and columns absent. It may hand over more rows than asked for; collect.py looks again.
Not here: whether the rows are good (validation.py); where they go (mart.py, collect.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as ds
import sqlalchemy as sa
from pyarrow import csv

from training.data.columns import Kind, Table
from training.data.simulator.parameters import Parameters
from training.data.simulator.world import simulate
from training.data.tables import TABLES, table_named

BATCH_ROWS = 200_000  # about 20 MB of answers
# In CSV an empty field is a missing value, of text as well: nothing here may be empty text.
FORMATS: Mapping[str, ds.FileFormat] = {
    ".parquet": ds.ParquetFileFormat(),
    ".csv": ds.CsvFileFormat(convert_options=csv.ConvertOptions(strings_can_be_null=True)),
}


class Source(Protocol):
    """Something that holds tables of the platform."""

    @property
    def identity(self) -> str:
        """Names the source without secrets; a mart made from another one is begun anew."""
        ...

    def tables(self) -> tuple[str, ...]:
        """Names of the tables it has; each is one of the platform's."""
        ...

    def read(self, table: str, since: datetime | None) -> Iterator[pa.Table]:
        """At least the rows that appeared or changed after `since` (UTC; None: all). Catalogues come whole."""
        ...


class FolderSource:
    """Parquet or CSV files: `<table>.parquet`, `<table>.csv`, or a folder `<table>/` of either."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def identity(self) -> str:
        """The folder's name; where it lies does not matter."""
        return f"folder:{self.folder.name}"

    def tables(self) -> tuple[str, ...]:
        """Tables of the platform for which there is a file."""
        return tuple(table.name for table in TABLES if self._files(table.name))

    def read(self, table: str, since: datetime | None) -> Iterator[pa.Table]:  # noqa: ARG002 - files are read whole
        """See `Source.read`."""
        for file in self._files(table):
            rows = ds.dataset(file, format=FORMATS[file.suffix])
            for batch in rows.to_batches(batch_size=BATCH_ROWS):
                yield pa.Table.from_batches([batch])

    def _files(self, table: str) -> list[Path]:
        single = [self.folder / f"{table}{suffix}" for suffix in FORMATS]
        inside = sorted(path for path in (self.folder / table).glob("*") if path.suffix in FORMATS)
        return [path for path in single if path.is_file()] + inside


class DatabaseSource:
    """A SQL database whose tables and columns bear the platform's names; times are UTC."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)

    @property
    def identity(self) -> str:
        """The database's name and kind, without host, user and password."""
        return f"sql:{self.engine.url.get_backend_name()}/{Path(self.engine.url.database or '').name}"

    def tables(self) -> tuple[str, ...]:
        """Tables of the platform that the database has."""
        present = set(sa.inspect(self.engine).get_table_names())
        return tuple(table.name for table in TABLES if table.name in present)

    def read(self, table: str, since: datetime | None) -> Iterator[pa.Table]:
        """See `Source.read`. Relies on an index on each time column; without it every run reads the whole table."""
        definition = table_named(table)
        present = {column["name"] for column in sa.inspect(self.engine).get_columns(table)}
        names = [name for name in definition.names if name in present]
        with self.engine.connect() as connection:
            result = connection.execution_options(stream_results=True).execute(_select(definition, names, since))
            for rows in result.partitions(BATCH_ROWS):
                yield _loose(names, rows)


class SimulatorSource:
    """The simulated platform. Made on first use and held in memory; above 100,000 users use `write_world`."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self._batches: list[Mapping[str, pa.Table]] = []

    @property
    def identity(self) -> str:
        """Seed, size and first day."""
        p = self.parameters
        return f"simulator:seed={p.seed},users={p.users},weeks={p.weeks},start={p.start.date().isoformat()}"

    def tables(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(table.name for table in TABLES)

    def read(self, table: str, since: datetime | None) -> Iterator[pa.Table]:  # noqa: ARG002 - made whole
        """See `Source.read`; also what lies in the future of whoever asks."""
        if not self._batches:
            self._batches = list(simulate(self.parameters))
        yield from (batch[table] for batch in self._batches if table in batch)


def _select(table: Table, names: Sequence[str], since: datetime | None) -> sa.Select[Any]:
    """Columns are listed and values bound; times are compared as UTC without a zone, as databases store them."""
    columns: list[sa.ColumnClause[Any]] = [
        sa.column(name, sa.DateTime() if table.column(name).kind is Kind.TIME else None) for name in names
    ]
    statement = sa.select(*columns).select_from(sa.table(table.name))
    if since is None:
        return statement
    limit = since.astimezone(UTC).replace(tzinfo=None)
    changed = [column > limit for column in columns if column.name in table.change_times]
    missing = [column.is_(None) for column in columns if column.name == table.time]
    return statement.where(sa.or_(*changed, *missing)) if changed else statement


def _loose(names: Sequence[str], rows: Sequence[sa.Row[Any]]) -> pa.Table:
    """Rows as columns; what Arrow cannot hold together as one type comes as text, for validation to sort out."""
    arrays = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            arrays[name] = pa.array([None if value is None else str(value) for value in values])
    return pa.table(arrays)
