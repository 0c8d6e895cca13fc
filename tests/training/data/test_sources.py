from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pyarrow import csv

from training.data.columns import changed_since
from training.data.simulator.parameters import Parameters
from training.data.simulator.world import write_world
from training.data.sources import DatabaseSource, FolderSource, SimulatorSource, Source
from training.data.tables import ANSWERS, TABLES, table_named
from training.data.validation import conform

World = dict[str, pa.Table]
SourceOf = Callable[[Path, World, Parameters], Source]


def parquet_source(folder: Path, world: World, _: Parameters) -> Source:
    for name, rows in world.items():
        pq.write_table(rows, folder / f"{name}.parquet")
    return FolderSource(folder)


def csv_source(folder: Path, world: World, _: Parameters) -> Source:
    for name, rows in world.items():
        csv.write_csv(rows, folder / f"{name}.csv")
    return FolderSource(folder)


def database_source(folder: Path, world: World, _: Parameters) -> Source:
    url = f"sqlite:///{folder / 'platform.db'}"
    engine = sa.create_engine(url)
    for name, rows in world.items():
        frame = rows.to_pandas()
        for column in frame.select_dtypes("datetimetz"):
            frame[column] = frame[column].dt.tz_convert(None)
        frame.to_sql(name, engine, index=False)
    engine.dispose()
    return DatabaseSource(url)


def simulator_source(_: Path, __: World, parameters: Parameters) -> Source:
    return SimulatorSource(parameters)


each_source = pytest.mark.parametrize(
    "make", [parquet_source, csv_source, database_source, simulator_source], ids=lambda make: make.__name__
)


def rows_of(source: Source, table: str, since: datetime | None = None) -> pa.Table:
    definition = table_named(table)
    rows = pa.concat_tables([conform(definition, batch)[0] for batch in source.read(table, since)])
    return changed_since(definition, rows, since).sort_by([(name, "ascending") for name in definition.key])


@each_source
def test_every_source_gives_the_same_rows(tmp_path: Path, world: World, parameters: Parameters, make: SourceOf) -> None:
    source = make(tmp_path, world, parameters)

    assert source.tables() == tuple(table.name for table in TABLES)
    for table in TABLES:
        expected = world[table.name].sort_by([(name, "ascending") for name in table.key])
        assert rows_of(source, table.name).equals(expected.combine_chunks()), table.name


@each_source
def test_a_watermark_leaves_out_what_did_not_change(
    tmp_path: Path, world: World, parameters: Parameters, make: SourceOf
) -> None:
    source = make(tmp_path, world, parameters)
    since = parameters.end - timedelta(days=20)

    for name in ("answers", "subscriptions", "skills"):
        expected = changed_since(table_named(name), world[name], since)
        assert rows_of(source, name, since).num_rows == expected.num_rows
    assert rows_of(source, "answers", since).num_rows < world["answers"].num_rows


def test_a_database_reads_only_what_changed(tmp_path: Path, world: World, parameters: Parameters) -> None:
    source = database_source(tmp_path, world, parameters)
    since = parameters.end - timedelta(days=20)

    read = sum(batch.num_rows for batch in source.read("answers", since))

    assert read == changed_since(ANSWERS, world["answers"], since).num_rows


def test_a_folder_of_several_files_is_one_table(tmp_path: Path, parameters: Parameters, world: World) -> None:
    write_world(parameters, tmp_path)

    assert len(list((tmp_path / "answers").iterdir())) == 3
    assert rows_of(FolderSource(tmp_path), "answers").num_rows == world["answers"].num_rows


def test_tables_that_are_not_there_are_not_offered(tmp_path: Path, world: World) -> None:
    pq.write_table(world["users"], tmp_path / "users.parquet")
    (tmp_path / "learners.parquet").write_bytes(b"")

    assert FolderSource(tmp_path).tables() == ("users",)


def test_a_column_of_mixed_values_comes_as_text(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mixed.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("create table users (user_id, experience_years)"))
        connection.execute(sa.text("insert into users values ('u1', 3.5), ('u2', 'many')"))
    engine.dispose()

    (batch,) = DatabaseSource(url).read("users", None)
    rows, complaints = conform(table_named("users"), batch)

    assert rows["experience_years"].to_pylist() == [3.5, None]
    assert list(complaints) == ["experience_years: not a number"]


def test_an_identity_says_nothing_secret() -> None:
    source = DatabaseSource("sqlite:///somewhere/platform.db")

    assert source.identity == "sql:sqlite/platform.db"
