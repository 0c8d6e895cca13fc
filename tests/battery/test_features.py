"""What every builder of features must do: say of a moment what could be known then, whatever came later."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import training.features
from training.data.columns import as_seen_at
from training.data.mart import Mart, MartTable, newest, open_mart, write_rows
from training.data.tables import TABLES


def _builders() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every function of training/features that reads a mart as of a moment."""
    for found in pkgutil.iter_modules(training.features.__path__):
        module = importlib.import_module(f"training.features.{found.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            parameters = inspect.signature(function).parameters
            needed = {each for each, is_ in parameters.items() if is_.default is inspect.Parameter.empty}
            if function.__module__ == module.__name__ and needed == {"mart", "as_of"} and not name.startswith("_"):
                yield name, function


@pytest.fixture(scope="module")
def mart(trained: Path) -> Mart:
    return open_mart(trained / "data" / "mart")


@pytest.fixture(scope="module")
def past(mart: Mart, tmp_path_factory: pytest.TempPathFactory) -> Mart:
    """The same mart as somebody would have seen it 200 days before its end."""
    folder = tmp_path_factory.mktemp("past")
    moment, held = mart.data_time - timedelta(days=200), {}
    for table in TABLES:
        rows = as_seen_at(table, mart.read(table.name), moment)
        held[table.name] = MartTable(files=(write_rows(folder, table, rows),), watermark=newest(table, rows))
    return Mart(folder=folder, source="battery", tables=held)


@pytest.mark.parametrize("build", [pytest.param(function, id=name) for name, function in _builders()])
def test_no_feature_sees_the_future(mart: Mart, past: Mart, build: Callable[..., Any]) -> None:
    then, now = (_rows(build(each, as_of=past.data_time)) for each in (past, mart))

    assert len(then) > 0
    assert past.read("answers").num_rows < 0.9 * mart.read("answers").num_rows
    if isinstance(then, pd.DataFrame):
        pd.testing.assert_frame_equal(now, then)
    else:
        assert now == then


def _rows(built: Any) -> Any:
    """A frame, or subjects with their messages in the order of their ids."""
    return built if isinstance(built, pd.DataFrame) else sorted(built, key=lambda row: row[0])
