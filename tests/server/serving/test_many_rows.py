"""Batches go to tables only where these answer as the runtime does; small ones never wait for any."""

import asyncio

import numpy as np
import pytest

from server.serving import many_rows
from server.serving.load import LoadRefused
from server.serving.many_rows import ROWS_LEAST, ManyRows, trial_rows
from server.serving.predictor import Predictor, open_predictor
from server.serving.trees import Trees, read_trees
from tests.fakes.trees import COLUMNS, comb, graph_of

GRAPH = graph_of([comb(9), comb(5)])
OTHER = graph_of([comb(9), comb(6)])


@pytest.fixture
def predictor() -> Predictor:
    """The runtime with the graph."""
    return open_predictor(GRAPH, width=COLUMNS)


def scorer_of(many: ManyRows, rows: int = ROWS_LEAST) -> object:
    """What scores so many rows: the object behind the bound method."""
    return asyncio.run(many.scorer(rows)).__self__  # type: ignore[attr-defined]


def test_a_batch_is_scored_by_tables_made_once(predictor: Predictor) -> None:
    reads: list[int] = []

    def read() -> bytes:
        reads.append(1)
        return GRAPH

    many = ManyRows(predictor, read)
    assert scorer_of(many, ROWS_LEAST - 1) is predictor
    assert not reads
    assert isinstance(scorer_of(many), Trees)
    assert scorer_of(many) is scorer_of(many)
    assert len(reads) == 1


def test_tables_that_differ_from_the_graph_score_nothing(predictor: Predictor) -> None:
    assert scorer_of(ManyRows(predictor, lambda: OTHER)) is predictor


def test_a_graph_without_trees_stays_with_the_runtime(predictor: Predictor) -> None:
    assert scorer_of(ManyRows(predictor, lambda: b"")) is predictor


def test_a_graph_that_cannot_be_read_again_stays_with_the_runtime(predictor: Predictor) -> None:
    def read() -> bytes:
        raise LoadRefused("gone")

    assert scorer_of(ManyRows(predictor, read)) is predictor


def test_the_trial_meets_every_interval_of_every_column() -> None:
    trees = read_trees(GRAPH)
    rows = trial_rows(trees, COLUMNS)
    for table in trees.tables:
        for column, edges in zip(table.columns, table.edges, strict=True):
            values = rows[:, column]
            assert set(np.searchsorted(edges, values[~np.isnan(values)], side="right")) == set(range(len(edges) + 1))
            assert np.isnan(values).any()
    assert len(rows) == many_rows.TRIAL_ROWS
