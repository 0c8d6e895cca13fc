from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from training.data.mart import Mart, MartTable, newest, open_mart, publish, write_rows
from training.data.tables import TABLES, TICKETS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def tickets(*ids: str) -> pa.Table:
    row = dict.fromkeys(TICKETS.names) | {"user_id": "u1", "opened_at": NOON, "closed_at": NOON + timedelta(hours=2)}
    return pa.Table.from_pylist([row | {"ticket_id": key} for key in ids], TICKETS.arrow_schema)


def mart_with(folder: Path, *files: pa.Table) -> Mart:
    held = {t.name: MartTable(files=(), watermark=None) for t in TABLES}
    written = tuple(write_rows(folder, TICKETS, rows) for rows in files)
    watermark = max(time for rows in files if (time := newest(TICKETS, rows)) is not None)
    return Mart(folder=folder, source="test", tables=held | {"tickets": MartTable(files=written, watermark=watermark)})


def test_a_mart_is_read_back_as_it_was_published(tmp_path: Path) -> None:
    mart = mart_with(tmp_path, tickets("t1", "t2"), tickets("t3"))

    publish(mart, NOON)

    assert open_mart(tmp_path) == mart
    assert open_mart(tmp_path).read("tickets")["ticket_id"].to_pylist() == ["t1", "t2", "t3"]
    assert mart.data_time == NOON + timedelta(hours=2)


def test_equal_contents_have_the_same_version_and_others_another(tmp_path: Path) -> None:
    here, there, other = tmp_path / "here", tmp_path / "there", tmp_path / "other"

    versions = [
        mart_with(folder, tickets(*ids)).data_version for folder, ids in ((here, "ab"), (there, "ab"), (other, "ac"))
    ]

    assert versions[0] == versions[1] != versions[2]


def test_files_of_an_interrupted_run_do_not_count_and_go(tmp_path: Path) -> None:
    mart = mart_with(tmp_path, tickets("t1"))
    left_over = write_rows(tmp_path, TICKETS, tickets("t9"))

    publish(mart, NOON)

    assert not (tmp_path / left_over.name).exists()
    assert open_mart(tmp_path).read("tickets").num_rows == 1


def test_a_page_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mart.json").write_text('{"format": 99}', encoding="utf-8")

    with pytest.raises(ValueError, match="has format 99, not 1"):
        open_mart(tmp_path)


def test_an_empty_mart_has_no_time(tmp_path: Path) -> None:
    empty = Mart(folder=tmp_path, source="test", tables={})

    with pytest.raises(ValueError, match="holds no events"):
        _ = empty.data_time


def test_an_opened_mart_has_every_table_with_its_columns(tmp_path: Path) -> None:
    held = {
        t.name: MartTable(files=(write_rows(tmp_path, t, t.arrow_schema.empty_table()),), watermark=None)
        for t in TABLES
    }
    connection = Mart(folder=tmp_path, source="test", tables=held).connect()

    for table in TABLES:
        assert tuple(connection.tables[table.name].columns) == table.names
    connection.backend.disconnect()
