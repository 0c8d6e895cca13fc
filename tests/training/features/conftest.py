"""Marts for the feature tests: one simulated, one made by hand."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from training.data.collect import collect
from training.data.mart import Mart, MartTable, newest, write_rows
from training.data.simulator.parameters import Parameters
from training.data.sources import SimulatorSource
from training.data.tables import TABLES

MakeMart = Callable[[Mapping[str, pa.Table]], Mart]


@pytest.fixture(scope="session")
def simulated_mart(tmp_path_factory: pytest.TempPathFactory) -> Mart:
    """2,500 users over two years."""
    parameters = Parameters(start=datetime(2024, 1, 1, tzinfo=UTC))
    return collect(SimulatorSource(parameters), tmp_path_factory.mktemp("mart"), parameters.end).mart


@pytest.fixture
def make_mart(tmp_path_factory: pytest.TempPathFactory) -> MakeMart:
    """Writes the given rows as a mart, unchecked; tables not given are empty."""

    def make(rows: Mapping[str, pa.Table]) -> Mart:
        folder: Path = tmp_path_factory.mktemp("mart")
        held = {}
        for table in TABLES:
            given = rows.get(table.name, table.arrow_schema.empty_table())
            held[table.name] = MartTable(files=(write_rows(folder, table, given),), watermark=newest(table, given))
        return Mart(folder=folder, source="test", tables=held)

    return make


@pytest.fixture
def rows_of() -> Callable[..., pa.Table]:
    """`rows_of("users", {...}, {...})`: rows of a table; columns not given are missing."""

    def rows(name: str, *given: Mapping[str, Any]) -> pa.Table:
        (table,) = (table for table in TABLES if table.name == name)
        return pa.Table.from_pylist([dict.fromkeys(table.names) | dict(row) for row in given], table.arrow_schema)

    return rows
