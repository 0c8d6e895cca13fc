"""The allow-list: arithmetic and trees pass, whatever reads files, loops or allocates does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from server.control.graph import check_graph
from tests.fakes.artifacts import churn_schema, graph_bytes, linear_graph

COLUMNS = len(churn_schema().columns)


def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.ModelProto.FromString(linear_graph(churn_schema()))
    change(model)
    return bytes(model.SerializeToString())


def one_node(operator: str) -> bytes:
    return graph_bytes([helper.make_node(operator, ["features"], ["margin"])], columns=COLUMNS)


def keep_outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def point_outside(model: onnx.ModelProto) -> None:
    """Only the place is given: some readers look there whatever `data_location` says."""
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def constant_outside(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def constants_outside(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    model.graph.node[0].attribute.add(name="values", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)


def graph_inside(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH).g.name = "body"


def graphs_inside(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="bodies", type=onnx.AttributeProto.GRAPHS).graphs.add(name="body")


def branch() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Constant", [], ["x"], value=helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0]))],
        "body",
        [],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
    )
    return graph_bytes(
        [helper.make_node("If", ["c"], ["margin"], then_branch=body, else_branch=body)],
        columns=COLUMNS,
        constants={"c": np.array([True])},
    )


def test_the_linear_graph_passes() -> None:
    assert check_graph(linear_graph(churn_schema()), COLUMNS) is None


def test_a_graph_whose_width_the_parameters_say_may_have_any_but_none_at_all() -> None:
    assert check_graph(linear_graph(churn_schema()), None) is None
    narrow = graph_bytes([helper.make_node("Neg", ["features"], ["margin"])], columns=3)
    assert check_graph(narrow, None) is None
    no_width = changed(lambda model: model.graph.input[0].type.tensor_type.shape.dim[1].Clear())
    assert "one input" in (check_graph(no_width, None) or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "no graph", id="empty"),
        pytest.param(b"\x00\x01garbage", "not an ONNX file", id="garbage"),
        pytest.param(one_node("Expand"), "'Expand'", id="operator that allocates"),
        pytest.param(one_node("RandomNormalLike"), "RandomNormalLike", id="operator that draws"),
        pytest.param(branch(), "'If'", id="branch"),
        pytest.param(changed(keep_outside), "another file", id="tensor outside"),
        pytest.param(changed(point_outside), "another file", id="tensor that may be outside"),
        pytest.param(changed(constant_outside), "another file", id="constant outside"),
        pytest.param(changed(constants_outside), "another file", id="list of constants outside"),
        pytest.param(changed(graph_inside), "graph of its own", id="graph inside"),
        pytest.param(changed(graphs_inside), "graph of its own", id="graphs inside"),
        pytest.param(changed(lambda model: model.functions.add(name="f")), "functions", id="function of its own"),
        pytest.param(changed(lambda model: model.opset_import.add(domain="evil", version=1)), "domain", id="domain"),
        pytest.param(changed(lambda model: setattr(model, "ir_version", 99)), "IR version 99", id="newer form"),
        pytest.param(
            changed(lambda model: model.graph.node.extend([model.graph.node[0]] * 10_001)), "nodes", id="too many nodes"
        ),
        pytest.param(
            changed(lambda model: setattr(model.graph.input[0], "name", "x")), "must have one input", id="input's name"
        ),
        pytest.param(
            changed(lambda model: setattr(model.graph.output[0], "name", "x")), "must have one input", id="output"
        ),
        pytest.param(
            changed(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE)),
            "double",
            id="another type",
        ),
        pytest.param(graph_bytes([helper.make_node("Neg", ["features"], ["margin"])], columns=3), "[N, 3]", id="width"),
        pytest.param(
            graph_bytes([helper.make_node("Neg", ["features"], ["margin"])], columns=COLUMNS, rows=1),
            f"[1, {COLUMNS}]",
            id="fixed rows",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(content: bytes, said: str) -> None:
    problem = check_graph(content, COLUMNS)

    assert problem is not None
    assert said in problem
