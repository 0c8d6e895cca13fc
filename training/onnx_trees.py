"""Boosted trees of XGBoost as an ONNX graph: `features` float32 (N, C), NaN for missing -> `margin` float32 (N, 1).

One TreeEnsembleRegressor, written from the booster's own JSON, node by node. Generic converters decide by objective
what the output means and have dropped or doubled `base_score`; here the sum of the leaves is the output and a booster
that adds anything else is refused. Whoever exports checks the graph against the booster on rows with missing values.
Operators used: ai.onnx.ml.TreeEnsembleRegressor.
"""

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import xgboost as xgb
from numpy.typing import NDArray
from onnx import TensorProto, helper

INPUT, OUTPUT = "features", "margin"
OPSETS = {"": 21, "ai.onnx.ml": 3}  # ml 3 is the last before TreeEnsemble changed shape in 5; every runtime reads it
IR_VERSION = 10  # of ONNX 1.16, which knows these opsets


def trees_to_onnx(booster: xgb.Booster) -> bytes:
    """The graph as bytes of `model.onnx`.

    Raises: ValueError: the booster is no sum of numeric trees with one target and a base score of one half, which is
        0 on the log-odds scale.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    base = np.atleast_1d(json.loads(learner["learner_model_param"]["base_score"]))
    objective, gradient = learner["objective"]["name"], learner["gradient_booster"]
    if objective != "binary:logistic" or gradient["name"] != "gbtree" or base.tolist() != [0.5]:
        raise ValueError(f"cannot export objective {objective}, booster {gradient['name']}, base score {base.tolist()}")
    nodes: dict[str, list[Any]] = {key: [] for key in _NODE_KEYS}
    leaves: dict[str, list[Any]] = {key: [] for key in _LEAF_KEYS}
    for number, tree in enumerate(gradient["model"]["trees"]):
        if any(tree["split_type"]):
            raise ValueError(f"cannot export tree {number}: it splits by category")
        _append(number, tree, nodes, leaves)
    columns = booster.num_features()
    attributes: dict[str, Any] = {**nodes, **leaves}
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=1,
        post_transform="NONE",
        aggregate_function="SUM",
        **attributes,
    )
    graph = helper.make_graph(
        [ensemble],
        "trees",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", 1])],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="paedsresus")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def run_onnx(model: bytes, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """Raw scores by ONNX Runtime on one thread, as the server computes them. (n, C) -> (n,)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    margin: NDArray[np.float64] = session.run([OUTPUT], {INPUT: matrix})[0][:, 0].astype(np.float64)
    return margin


_NODE_KEYS = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_modes",
    "nodes_values",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
)
_LEAF_KEYS = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


def _append(number: int, tree: dict[str, Any], nodes: dict[str, list[Any]], leaves: dict[str, list[Any]]) -> None:
    """One tree. XGBoost goes left where value < condition, and where missing if default_left says so."""
    for node, left in enumerate(tree["left_children"]):
        is_leaf = left == -1
        row = (
            number,
            node,
            0 if is_leaf else tree["split_indices"][node],
            "LEAF" if is_leaf else "BRANCH_LT",
            0.0 if is_leaf else tree["split_conditions"][node],
            0 if is_leaf else left,
            0 if is_leaf else tree["right_children"][node],
            0 if is_leaf else tree["default_left"][node],
        )
        for key, value in zip(_NODE_KEYS, row, strict=True):
            nodes[key].append(value)
        if is_leaf:  # the leaf's value stands where a branch has its condition
            for key, value in zip(_LEAF_KEYS, (number, node, 0, tree["split_conditions"][node]), strict=True):
                leaves[key].append(value)
