import json

import numpy as np
import onnx
import pytest
import xgboost as xgb
from numpy.typing import NDArray

from training.onnx_trees import run_onnx, trees_to_onnx

COLUMNS = 6


def data(rows: int = 2_000) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(rows, COLUMNS)).round(1).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    outcome = (np.nan_to_num(matrix[:, 0] * matrix[:, 1]) + rng.normal(size=rows) > 0).astype(float)
    return matrix, outcome


def booster(trees: int = 50, **settings: object) -> xgb.Booster:
    matrix, outcome = data()
    given = {"objective": "binary:logistic", "base_score": 0.5, "max_depth": 4, "nthread": 1, **settings}
    return xgb.train(given, xgb.DMatrix(matrix, outcome), trees)


def native(model: xgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(model.predict(xgb.DMatrix(matrix), output_margin=True), dtype=np.float64)


def thresholds(model: xgb.Booster) -> NDArray[np.float32]:
    trees = json.loads(bytes(model.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    found = [c for t in trees for c, left in zip(t["split_conditions"], t["left_children"], strict=True) if left != -1]
    return np.array(found, dtype=np.float32)


def test_graph_and_booster_agree_on_rows_with_missing_values() -> None:
    model, matrix = booster(), data()[0]

    np.testing.assert_allclose(run_onnx(trees_to_onnx(model), matrix), native(model, matrix), atol=1e-5)


def test_they_agree_where_a_value_equals_a_threshold() -> None:
    model = booster()
    matrix = np.random.default_rng(1).choice(thresholds(model), size=(1_000, COLUMNS)).astype(np.float32)

    np.testing.assert_allclose(run_onnx(trees_to_onnx(model), matrix), native(model, matrix), atol=1e-5)


def test_they_agree_on_a_row_without_any_value() -> None:
    model, nothing = booster(), np.full((1, COLUMNS), np.nan, dtype=np.float32)

    np.testing.assert_allclose(run_onnx(trees_to_onnx(model), nothing), native(model, nothing), atol=1e-5)


def test_trees_that_never_split_are_exported() -> None:
    model, matrix = booster(trees=3, gamma=1e9), data()[0][:5]

    np.testing.assert_allclose(run_onnx(trees_to_onnx(model), matrix), native(model, matrix), atol=1e-6)


def test_the_graph_has_one_operator_and_the_names_of_the_artifact() -> None:
    graph = onnx.load_model_from_string(trees_to_onnx(booster())).graph

    assert [node.op_type for node in graph.node] == ["TreeEnsembleRegressor"]
    assert (graph.input[0].name, graph.output[0].name) == ("features", "margin")


def test_contributions_add_up_to_the_margin() -> None:
    model, matrix = booster(), data()[0]

    parts = model.predict(xgb.DMatrix(matrix), pred_contribs=True)

    np.testing.assert_allclose(parts.sum(axis=1), run_onnx(trees_to_onnx(model), matrix), atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"base_score": 0.3}, id="another base score"),
        pytest.param({"objective": "reg:squarederror"}, id="another objective"),
        pytest.param({"booster": "dart", "rate_drop": 0.5}, id="weighted trees"),
    ],
)
def test_what_is_no_plain_sum_of_trees_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="cannot export"):
        trees_to_onnx(booster(trees=3, **settings))
