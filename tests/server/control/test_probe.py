"""The trial run: a version that answers wrongly, crashes, hangs or eats memory harms nobody and says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from methods.features import FeatureSchema
from server.control.artifacts import RefusalCode
from server.control.probe import DRIFT_FACTOR, Limits, largest_difference, probe_folder
from tests.fakes.artifacts import (
    CAUSE,
    EFFECT,
    PARAMETERS,
    churn_schema,
    golden_document,
    golden_requests,
    graph_bytes,
    linear_graph,
    write_artifact,
    write_churn_artifact,
)
from training.onnx_trees import trees_to_onnx
from training.revenue.churn_files import golden_cases

COLUMNS = len(churn_schema().columns)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


def deep_tree(depth: int) -> bytes:
    """A tree that is one long chain: every rule of the format holds, and the runtime's stack overflows."""
    leaves = depth + 1
    ids = list(range(depth + leaves))
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["margin"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0] * len(ids),
        nodes_nodeids=ids,
        nodes_featureids=[0] * len(ids),
        nodes_modes=["BRANCH_LEQ"] * depth + ["LEAF"] * leaves,
        nodes_values=[float(number) for number in ids],
        nodes_truenodeids=[*range(1, depth), depth, *[0] * leaves],
        nodes_falsenodeids=[*range(depth + 1, depth + leaves), *[0] * leaves],
        target_treeids=[0] * leaves,
        target_nodeids=list(range(depth, depth + leaves)),
        target_ids=[0] * leaves,
        target_weights=[1.0] * leaves,
    )
    return graph_bytes([node], columns=COLUMNS)


def hungry_graph(side: int) -> bytes:
    """A graph of allowed operators whose middle is a matrix of side x side float32 for every row it is given."""
    nodes = [
        helper.make_node("MatMul", ["features", "narrow"], ["one"]),  # (n, 1)
        helper.make_node("Mul", ["one", "column"], ["two"]),  # (n, 1) * (side, 1, 1) -> (side, n, 1)
        helper.make_node("Mul", ["two", "row"], ["three"]),  # (side, n, 1) * (1, 1, side) -> (side, n, side)
        helper.make_node("ReduceSum", ["three", "axes"], ["four"], keepdims=1),
        helper.make_node("ReduceSum", ["four", "first"], ["margin"], keepdims=0),
    ]
    constants = {
        "narrow": np.ones((COLUMNS, 1), dtype=np.float32),
        "column": np.ones((side, 1, 1), dtype=np.float32),
        "row": np.ones((1, 1, side), dtype=np.float32),
        "axes": np.array([2], dtype=np.int64),
        "first": np.array([0], dtype=np.int64),
    }
    return graph_bytes(nodes, columns=COLUMNS, constants=constants)


def neighbourly_graph() -> bytes:
    """A graph whose answer for a row depends on the rows beside it."""
    nodes = [
        helper.make_node("ReduceMean", ["features", "axis"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["features", "weights"], ["own"]),
        helper.make_node("MatMul", ["mean", "weights"], ["others"]),
        helper.make_node("IsNaN", ["others"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "others"], ["safe"]),
        helper.make_node("IsNaN", ["own"], ["own_missing"]),
        helper.make_node("Where", ["own_missing", "zero", "own"], ["own_safe"]),
        helper.make_node("Shape", ["own_safe"], ["shape"]),
        helper.make_node("ReduceSum", ["shape"], ["count"], keepdims=0),
        helper.make_node("Cast", ["count"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["own_safe", "size"], ["margin"]),
    ]
    constants = {
        "axis": np.array([0], dtype=np.int64),
        "weights": np.ones((COLUMNS, 1), dtype=np.float32),
        "zero": np.float32(0),
    }
    return graph_bytes(nodes, columns=COLUMNS, constants=constants)


def slow_graph() -> bytes:
    """A graph of allowed operators that multiplies large matrices again and again."""
    side = 1_500
    nodes: list[onnx.NodeProto] = [helper.make_node("MatMul", ["features", "wide"], ["x0"])]
    nodes += [helper.make_node("MatMul", ["big", "big"], ["b0"])]
    nodes += [helper.make_node("MatMul", [f"b{step}", "big"], [f"b{step + 1}"]) for step in range(150)]
    nodes += [helper.make_node("MatMul", ["x0", "b150"], ["x1"]), helper.make_node("MatMul", ["x1", "narrow"], ["y"])]
    nodes += [helper.make_node("Identity", ["y"], ["margin"])]
    constants = {
        "wide": np.ones((COLUMNS, side), dtype=np.float32),
        "big": np.eye(side, dtype=np.float32),
        "narrow": np.ones((side, 1), dtype=np.float32),
    }
    return graph_bytes(nodes, columns=COLUMNS, constants=constants)


def test_a_good_version_passes(tmp_path: Path) -> None:
    write_churn_artifact(tmp_path)

    assert probe_folder(tmp_path, Limits()) is None


def test_a_version_that_tells_causes_passes_with_their_golden_shares(tmp_path: Path) -> None:
    write_churn_artifact(tmp_path, cause=CAUSE, effect=EFFECT)

    assert probe_folder(tmp_path, Limits()) is None


@pytest.mark.parametrize("more", [{"cause": CAUSE}, {"intervention": EFFECT}], ids=lambda more: next(iter(more)))
def test_what_is_served_and_not_promised_is_refused(tmp_path: Path, more: Any) -> None:
    schema = churn_schema()
    silent = {"golden.json": json.dumps(golden_document(schema)).encode()}
    told = {"parameters.json": json.dumps(replace(PARAMETERS, **more).to_json()).encode()}
    write_artifact(tmp_path, {"model.onnx": linear_graph(schema), **silent, **told}, schema)

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert (refusal.code, "golden answer 1 of 24" in refusal.text) == (RefusalCode.GOLDEN, True)


def test_a_golden_answer_that_differs_is_named_with_its_difference(tmp_path: Path) -> None:
    write_churn_artifact(tmp_path, golden_shift=0.02)

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is RefusalCode.GOLDEN
    assert refusal.text.startswith("golden answer 1 of 24 differs by 0.02 (allowed 1e-05)")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([{}, {}, {}], id="nothing at all"),
        pytest.param([{"horizonDays": 28}, {"horizonDays": 90}, {"horizonDays": 180}], id="no chance"),
        pytest.param([{"horizonDays": 28, "churnProbability": {}}] * 3, id="an empty chance"),
    ],
)
def test_golden_answers_that_promise_nothing_are_refused(tmp_path: Path, answer: list[object]) -> None:
    write_churn_artifact(tmp_path)
    golden = json.loads((tmp_path / "golden.json").read_bytes())
    for case in golden["cases"]:
        case["answer"]["churn"] = answer
    (tmp_path / "golden.json").write_text(json.dumps(golden))

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is RefusalCode.GOLDEN


def fit(seed: int) -> xgboost.Booster:
    """Small trees over the columns of the artifact."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, COLUMNS)).astype(np.float32)
    target = rows[:, 0] + rng.normal(size=200) > 0
    settings = {"objective": "binary:logistic", "base_score": 0.5, "max_depth": 3, "nthread": 1}
    return xgboost.train(settings, xgboost.DMatrix(rows, target, nthread=1), num_boost_round=10)


def write_trees(folder: Path, graph_of: xgboost.Booster, explained_by: bytes) -> None:
    """An artifact whose graph comes from one booster and whose native trees are those bytes."""
    graph = trees_to_onnx(graph_of)
    write_churn_artifact(folder, graph=graph)
    golden = golden_cases(golden_requests(), graph, churn_schema(), PARAMETERS)
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "booster.ubj").write_bytes(explained_by)


def test_a_version_whose_trees_explain_its_graph_passes(tmp_path: Path) -> None:
    booster = fit(1)
    write_trees(tmp_path, booster, bytes(booster.save_raw("ubj")))

    assert probe_folder(tmp_path, Limits()) is None


@pytest.mark.parametrize(
    "trees",
    [
        pytest.param(b"garbage", id="garbage"),
        pytest.param(bytes(fit(1).save_raw("ubj"))[:-200], id="cut short"),
        pytest.param(bytes(fit(2).save_raw("ubj")), id="of another model"),
    ],
)
def test_trees_that_cannot_explain_the_graph_are_refused(tmp_path: Path, trees: bytes) -> None:
    write_trees(tmp_path, fit(1), trees)

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is RefusalCode.TREES
    assert "booster.ubj" in refusal.text


def test_a_version_that_was_live_here_is_judged_by_the_larger_bound(tmp_path: Path) -> None:
    write_churn_artifact(tmp_path, golden_shift=0.002)

    assert probe_folder(tmp_path, Limits()) is not None
    assert probe_folder(tmp_path, Limits(tolerance_factor=DRIFT_FACTOR)) is None


def test_a_graph_that_crashes_the_runtime_kills_the_child_alone(tmp_path: Path) -> None:
    write_churn_artifact(tmp_path, graph=deep_tree(20_000))

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is RefusalCode.PROBE_CRASHED
    assert "SIGSEGV" in refusal.text


@pytest.mark.parametrize("side", [40_000, 4_000], ids=["more than any machine has", "more than is allowed"])
def test_a_graph_that_eats_memory_is_stopped_at_the_limit(tmp_path: Path, side: int) -> None:
    write_churn_artifact(tmp_path, graph=hungry_graph(side))

    refusal = probe_folder(tmp_path, Limits(memory_mb=1024))

    assert refusal is not None
    assert refusal.code in {RefusalCode.GRAPH, RefusalCode.PROBE_CRASHED}
    assert "memory" in refusal.text or "killed" in refusal.text


def test_a_graph_that_takes_too_long_is_stopped_at_the_limit(tmp_path: Path) -> None:
    write_churn_artifact(tmp_path, graph=slow_graph())

    refusal = probe_folder(tmp_path, Limits(seconds=1.5))

    assert refusal is not None
    assert refusal.code is RefusalCode.PROBE_TIMEOUT


def test_a_graph_that_answers_a_row_by_its_neighbours_is_refused(tmp_path: Path) -> None:
    write_churn_artifact(tmp_path, graph=neighbourly_graph())

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is RefusalCode.GRAPH
    assert "the same rows alone" in refusal.text


@pytest.mark.parametrize("operator", ["If", "Expand"])
def test_a_graph_beside_parameters_that_are_read_as_a_whole_is_checked_too(tmp_path: Path, operator: str) -> None:
    files = {
        "model.onnx": graph_bytes([helper.make_node(operator, ["features"], ["margin"])], columns=3),
        "parameters.json": b"{}",
        "golden.json": b"{}",
    }
    write_artifact(tmp_path, files, FeatureSchema(message="", features=()), changes={"model": "certification"})

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is RefusalCode.GRAPH
    assert operator in refusal.text


@pytest.mark.parametrize("tolerance", [1.0, 0.0, -1.0, float("inf"), float("nan")])
def test_an_artifact_may_not_declare_itself_equal_to_anything(tmp_path: Path, tolerance: float) -> None:
    write_churn_artifact(tmp_path)
    golden = json.loads((tmp_path / "golden.json").read_bytes())
    (tmp_path / "golden.json").write_text(json.dumps({**golden, "tolerance": tolerance}))

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is RefusalCode.GOLDEN
    assert "tolerance" in refusal.text


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("parameters.json", b'{"period_days": 28}', RefusalCode.PARAMETERS),
        ("parameters.json", b"no json", RefusalCode.PARAMETERS),
        ("golden.json", b"[]", RefusalCode.GOLDEN),
        ("golden.json", b'{"tolerance": 1e-5, "cases": []}', RefusalCode.GOLDEN),
        ("golden.json", b'{"tolerance": 1.0, "cases": []}', RefusalCode.GOLDEN),
        ("model.onnx", b"garbage", RefusalCode.GRAPH),
    ],
)
def test_a_file_that_means_nothing_is_refused_by_its_name(
    tmp_path: Path, name: str, content: bytes, code: RefusalCode
) -> None:
    write_churn_artifact(tmp_path)
    (tmp_path / name).write_bytes(content)

    refusal = probe_folder(tmp_path, Limits())

    assert refusal is not None
    assert refusal.code is code
    assert name in refusal.text


@given(document=JSON)
def test_nothing_differs_from_itself(document: object) -> None:
    assert largest_difference(document, document) == 0.0
