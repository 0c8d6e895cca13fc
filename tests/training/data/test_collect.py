from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.collect import QUARANTINE, collect
from training.data.columns import as_seen_at
from training.data.simulator.parameters import Parameters
from training.data.sources import FolderSource, SimulatorSource
from training.data.tables import TABLES, table_named

World = dict[str, pa.Table]


class RowsSource:
    """A source that gives the rows it was made with, in the batches it was made with."""

    def __init__(self, batches: dict[str, list[pa.Table]], identity: str = "rows") -> None:
        self.batches = batches
        self.identity = identity

    def tables(self) -> tuple[str, ...]:
        return tuple(table.name for table in TABLES if table.name in self.batches)

    def read(self, table: str, since: datetime | None) -> Iterator[pa.Table]:  # noqa: ARG002 - gives everything
        yield from self.batches[table]


def as_source(world: World) -> RowsSource:
    return RowsSource({name: [rows] for name, rows in world.items()})


def sorted_rows(rows: pa.Table, table: str) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in table_named(table).key]).combine_chunks()


def test_everything_good_arrives(tmp_path: Path, world: World, parameters: Parameters) -> None:
    report = collect(SimulatorSource(parameters), tmp_path, parameters.end)

    assert report.quarantined == 0
    assert report.absent == ()
    for table in TABLES:
        assert sorted_rows(report.mart.read(table.name), table.name).equals(sorted_rows(world[table.name], table.name))


def test_collecting_again_changes_nothing(tmp_path: Path, world: World, parameters: Parameters) -> None:
    first = collect(as_source(world), tmp_path, parameters.end)

    second = collect(as_source(world), tmp_path, parameters.end)

    assert second.added == 0
    assert second.mart == first.mart


def test_collecting_in_steps_gives_what_collecting_once_gives(
    tmp_path: Path, world: World, parameters: Parameters
) -> None:
    for days in (150, 40, 39, 0):
        stepwise = collect(as_source(world), tmp_path / "steps", parameters.end - timedelta(days=days))

    at_once = collect(as_source(world), tmp_path / "once", parameters.end)

    assert stepwise.mart.data_time == at_once.mart.data_time
    for table in TABLES:
        left, right = (sorted_rows(report.mart.read(table.name), table.name) for report in (stepwise, at_once))
        assert left.equals(right), table.name


def test_the_mart_holds_what_was_visible_and_no_more(tmp_path: Path, world: World, parameters: Parameters) -> None:
    now = parameters.end - timedelta(days=100)

    mart = collect(as_source(world), tmp_path, now).mart

    assert mart.data_time <= now
    for name in ("subscriptions", "sessions", "invites"):
        expected = as_seen_at(table_named(name), world[name], now)
        assert sorted_rows(mart.read(name), name).equals(sorted_rows(expected, name))


def test_a_row_that_came_late_is_still_taken(tmp_path: Path, world: World, parameters: Parameters) -> None:
    tickets = world["tickets"].sort_by("opened_at")
    late, others = (
        tickets.slice(tickets.num_rows - 2, 1),
        pa.concat_tables([tickets.slice(0, tickets.num_rows - 2), tickets.slice(tickets.num_rows - 1)]),
    )
    collect(as_source(world | {"tickets": others}), tmp_path, parameters.end)

    report = collect(as_source(world | {"tickets": pa.concat_tables([others, late])}), tmp_path, parameters.end)

    assert report.tables["tickets"].added == 1
    assert report.mart.tables["tickets"].rows == tickets.num_rows


def test_bad_rows_stand_in_quarantine_with_their_reasons_and_are_counted(
    tmp_path: Path, world: World, parameters: Parameters
) -> None:
    users = world["users"]
    bad = (
        users.slice(0, 1).set_column(4, "experience_years", pa.array([99.0])).set_column(0, "user_id", pa.array(["x"]))
    )
    source = as_source(world | {"users": pa.concat_tables([users, bad])})

    report = collect(source, tmp_path, parameters.end)
    collect(source, tmp_path, parameters.end)

    assert report.tables["users"].quarantined == 1
    assert report.tables["users"].reasons == {"experience_years: outside 0 to 70": 1}
    kept = pq.read_table(tmp_path / QUARANTINE / "users.parquet")
    assert kept["user_id"].to_pylist() == ["x"]
    assert "x" not in report.mart.read("users")["user_id"].to_pylist()


def test_a_key_given_twice_in_different_batches_counts_once(
    tmp_path: Path, world: World, parameters: Parameters
) -> None:
    answers = world["answers"]
    batches = {name: [rows] for name, rows in world.items()} | {"answers": [answers, answers.slice(0, 5)]}

    report = collect(RowsSource(batches), tmp_path, parameters.end)

    assert report.mart.tables["answers"].rows == answers.num_rows
    assert report.tables["answers"].reasons == {"session_id, position: seen before": 5}
    assert report.tables["answers"].added == answers.num_rows


def test_a_lesson_taken_out_of_the_catalogue_goes(tmp_path: Path, world: World, parameters: Parameters) -> None:
    collect(as_source(world), tmp_path, parameters.end)
    fewer = world["prerequisites"].slice(1)

    report = collect(as_source(world | {"prerequisites": fewer}), tmp_path, parameters.end)

    assert sorted_rows(report.mart.read("prerequisites"), "prerequisites").equals(sorted_rows(fewer, "prerequisites"))


def test_another_source_begins_the_mart_anew(tmp_path: Path, world: World, parameters: Parameters) -> None:
    collect(as_source(world), tmp_path, parameters.end)
    other = RowsSource({"users": [world["users"].slice(0, 10)]}, identity="other")

    report = collect(other, tmp_path, parameters.end)

    assert report.mart.tables["users"].rows == 10
    assert report.mart.tables["answers"].rows == 0
    assert "answers" in report.absent


def test_a_column_missing_too_often_is_said_so(tmp_path: Path, world: World, parameters: Parameters) -> None:
    users = world["users"]
    nowhere = users.set_column(3, "country", pa.nulls(users.num_rows, pa.string()))

    report = collect(as_source(world | {"users": nowhere}), tmp_path, parameters.end)

    assert report.tables["users"].often_missing == {"country": 1.0}
    assert report.quarantined == 0


def test_a_source_without_events_is_refused_and_the_mart_stays(
    tmp_path: Path, world: World, parameters: Parameters
) -> None:
    before = collect(as_source(world), tmp_path, parameters.end).mart

    with pytest.raises(ValueError, match="holds no events"):
        collect(RowsSource({"skills": [world["skills"]]}, identity="skills alone"), tmp_path, parameters.end)

    assert collect(as_source(world), tmp_path, parameters.end).mart == before


def test_a_source_without_any_table_is_told_and_leaves_no_folder(tmp_path: Path, parameters: Parameters) -> None:
    with pytest.raises(ValueError, match=r"^folder:nowhere has no table of the platform \(users, .*users\.csv$"):
        collect(FolderSource(tmp_path / "nowhere"), tmp_path / "mart", parameters.end)

    assert not (tmp_path / "mart").exists()
