"""Tables of trees answer as the runtime does, for any trees and rows; what they cannot stand for is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.serving.predictor import open_predictor
from server.serving.tree_graph import NoTreesError
from server.serving.trees import read_trees
from tests.fakes.trees import COLUMNS, Tree, comb, graph_of

VALUES = st.sampled_from([-2.0, -1.0, -0.0, 0.5, 1.0, 2.0])
LEAF = st.floats(-8, 8, width=32)
TREES = st.recursive(
    LEAF,
    lambda below: st.tuples(
        st.sampled_from(["BRANCH_LT", "BRANCH_LEQ"]), st.integers(0, COLUMNS - 1), VALUES, st.booleans(), below, below
    ),
    max_leaves=70,
)
ROWS = st.lists(
    st.tuples(*[st.one_of(VALUES, st.sampled_from([np.nan, np.inf, -np.inf, 0.9999]))] * COLUMNS),
    min_size=1,
    max_size=9,
)


def walk(tree: Tree, row: NDArray[np.float32]) -> float:
    """The leaf's value that a row ends in, step by step."""
    while not isinstance(tree, float):
        mode, column, threshold, missing, first, second = tree
        value, limit = row[column], np.float32(threshold)
        goes = missing if np.isnan(value) else value < limit if mode == "BRANCH_LT" else value <= limit
        tree = first if goes else second
    return tree


def count_leaves(tree: Tree) -> int:
    """Leaves of a tree."""
    return 1 if isinstance(tree, float) else count_leaves(tree[4]) + count_leaves(tree[5])


@given(trees=st.lists(TREES, min_size=1, max_size=6), rows=ROWS)
def test_rows_get_the_leaves_that_a_walk_finds(trees: list[Tree], rows: list[tuple[float, ...]]) -> None:
    if all(isinstance(tree, float) for tree in trees) or max(map(count_leaves, trees)) > 64:
        with pytest.raises(NoTreesError):
            read_trees(graph_of(trees))
        return
    matrix = np.array(rows, dtype=np.float32)
    expected = [sum(walk(tree, row) for tree in trees) for row in matrix]
    assert read_trees(graph_of(trees)).margins(matrix) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("leaves", [2, 31, 32, 33, 63, 64])
def test_every_width_of_a_word_agrees_with_the_runtime(leaves: int) -> None:
    graph = graph_of([comb(leaves), comb(2), 0.25], base_values=[0.5])
    rows = np.arange(4_000, dtype=np.float32).reshape(-1, COLUMNS) % 71
    rows[::7, 1] = np.nan
    expected = open_predictor(graph, width=COLUMNS).margins(rows)
    assert read_trees(graph).margins(rows) == pytest.approx(expected, rel=1e-6)


def test_no_rows_have_no_scores() -> None:
    assert read_trees(graph_of([comb(3)])).margins(np.empty((0, COLUMNS), dtype=np.float32)).shape == (0,)


def with_node(change: Callable[[Any], object]) -> bytes:
    """A good graph with its node changed."""
    model = onnx.load_from_string(graph_of([comb(3)]))
    change(model.graph.node[0])
    return bytes(model.SerializeToString())


def named(node: Any, name: str) -> Any:
    """An attribute of a node."""
    return next(each for each in node.attribute if each.name == name)


REFUSED = {
    "no bytes of a graph": (b"\xff\xff", "no graph"),
    "another operator": (with_node(lambda node: setattr(node, "op_type", "TreeEnsemble")), "not one TreeEnsemble"),
    "unknown attribute": (with_node(lambda node: node.attribute.add(name="nodes_values_as_tensor")), "as_tensor"),
    "mean of the leaves": (graph_of([comb(3)], aggregate_function="AVERAGE"), "aggregate_function is not SUM"),
    "a link": (graph_of([comb(3)], post_transform="LOGISTIC"), "post_transform is not NONE"),
    "two targets": (graph_of([comb(3)], target_ids=[0, 1, 0]), "more than one target"),
    "too many leaves": (graph_of([comb(65)]), "more than 64 leaves"),
    "nothing to ask": (graph_of([1.0]), "no tree splits"),
    "another comparison": (graph_of([comb(2)], nodes_modes=["BRANCH_GT", "LEAF", "LEAF"]), "otherwise"),
    "a threshold that is none": (graph_of([comb(2)], nodes_values=[np.nan, 0.0, 0.0]), "no finite number"),
    "a circle": (graph_of([comb(3)], nodes_truenodeids=[2, 0, 2, 0, 0]), "root|circle"),
    "a child that is not there": (graph_of([comb(2)], nodes_truenodeids=[9, 0, 0]), "not there"),
    "one id twice": (graph_of([comb(2)], nodes_nodeids=[0, 1, 1]), "one id"),
    "two roots": (graph_of([comb(2), comb(2)], nodes_treeids=[0] * 6, nodes_nodeids=list(range(6))), "root|not every"),
    "a leaf without a value": (graph_of([comb(2)], target_nodeids=[1, 1]), "not every leaf"),
    "lists of two lengths": (graph_of([comb(2)], nodes_values=[0.0]), "different lengths"),
    "no thresholds": (with_node(lambda node: node.attribute.remove(named(node, "nodes_values"))), "no 'nodes_values'"),
}


@pytest.mark.parametrize(("graph", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_tables_cannot_stand_for_is_refused(graph: bytes, reason: str) -> None:
    with pytest.raises(NoTreesError, match=reason):
        read_trees(graph)
