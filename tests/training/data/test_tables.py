import pytest

from training.data.columns import Kind, Table
from training.data.tables import TABLES, table_named

each = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


@each
def test_key_and_times_are_columns_of_the_right_kind(table: Table) -> None:
    assert set(table.key) <= set(table.names)
    assert all(not table.column(name).nullable for name in table.key)
    assert all(table.column(name).kind is Kind.TIME for name in table.change_times)
    assert table.time is None or not table.column(table.time).nullable


@each
def test_a_table_refers_only_to_single_keys_of_tables_before_it_or_itself(table: Table) -> None:
    before = [t.name for t in TABLES[: TABLES.index(table) + 1]]

    for column in table.columns:
        if column.refers is not None:
            assert column.refers in before
            assert len(table_named(column.refers).key) == 1


@each
def test_numbers_have_bounds_units_and_categories_levels(table: Table) -> None:
    for column in table.columns:
        if column.kind in (Kind.NUMBER, Kind.INTEGER):
            assert column.low is not None
            assert column.high is not None
            assert column.unit
        assert bool(column.levels) == (column.kind is Kind.CATEGORY)


@each
def test_what_is_known_later_may_be_missing(table: Table) -> None:
    assert all(column.nullable for column in table.columns if column.known_from is not None)


def test_events_have_a_time_and_only_catalogues_have_none() -> None:
    assert [table.name for table in TABLES if table.time is None] == ["skills", "prerequisites", "lessons", "items"]


def test_no_column_could_hold_a_name_a_mail_or_free_text() -> None:
    words = {word for table in TABLES for name in table.names for word in name.split("_")}

    assert not words & {"name", "mail", "email", "phone", "address", "text", "comment", "note", "birth"}
