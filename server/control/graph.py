"""Which ONNX graphs may be loaded at all: an allow-list of operators and one input, one output.

Read from the model's bytes before any runtime touches them; runs in the probe's child process, so that a file made to
hurt the reader hurts nobody else. What passes here may still crash or hang the runtime: the probe finds that out.
Pure: bytes in, a reason or None out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError

INPUT_NAME = "features"
OUTPUT_NAME = "margin"
NODES_MAX = 10_000
IR_VERSION_MAX = 13  # newest that onnxruntime 1.32 reads

# Arithmetic on whole tensors and trees. Left out on purpose: control flow (If, Loop, Scan: no bound on time), operators
# that allocate what a number in the graph says (Expand, Tile, Range, ConstantOfShape, Pad, Resize), text, images,
# randomness, and whatever reads files.
OPERATORS: dict[str, frozenset[str]] = {
    "": frozenset(
        re.findall(
            r"\w+",
            """
            Abs Add And Cast Ceil Clip Concat Constant Div Equal Erf Exp Flatten Floor Gather Gemm Greater
            GreaterOrEqual Identity IsNaN LeakyRelu Less LessOrEqual Log MatMul Max Mean Min Mul Neg Not Or Pow
            ReduceMean ReduceSum Relu Reshape Round Shape Sigmoid Sign Slice Softmax Softplus Sqrt Squeeze Sub Sum
            Tanh Transpose Unsqueeze Where
            """,
        )
    ),
    "ai.onnx.ml": frozenset(
        re.findall(
            r"\w+",
            """
            Binarizer FeatureVectorizer Imputer LinearClassifier LinearRegressor Normalizer Scaler TreeEnsemble
            TreeEnsembleClassifier TreeEnsembleRegressor
            """,
        )
    ),
}


def check_graph(content: bytes, columns: int | None) -> str | None:
    """Why a model file may not be loaded; None when it may.

    Args:
        content: the bytes of `model.onnx`.
        columns: width of the feature matrix that the manifest's schema asks for; None where the version's parameters
            say it, and whoever opens it compares.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return "model.onnx is not an ONNX file"
    return _check_container(model) or _check_operators(model) or _check_contract(model.graph, columns)


def _check_container(model: onnx.ModelProto) -> str | None:
    if not model.graph.node:
        return "model.onnx holds no graph"
    if model.ir_version > IR_VERSION_MAX:
        return f"model.onnx has IR version {model.ir_version}; this server reads up to {IR_VERSION_MAX}"
    if model.functions or model.training_info or model.graph.sparse_initializer:
        return "model.onnx holds functions, training steps or sparse tensors, which are not allowed"
    for opset in model.opset_import:
        if _plain(opset.domain) not in OPERATORS:
            return (
                f"model.onnx asks for operators of the domain {opset.domain[:60]!r}; allowed are ONNX's own and its ml"
            )
    if any(_is_external(tensor) for tensor in _tensors(model.graph)):
        return "model.onnx keeps tensors in another file; export it as one file"
    return None


def _check_operators(model: onnx.ModelProto) -> str | None:
    if len(model.graph.node) > NODES_MAX:
        return f"model.onnx has {len(model.graph.node)} nodes; at most {NODES_MAX} are allowed"
    for node in model.graph.node:
        if node.op_type not in OPERATORS.get(_plain(node.domain), frozenset()):
            return f"operator {node.op_type[:60]!r} of model.onnx is not on the list of allowed operators"
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            return f"operator {node.op_type!r} of model.onnx holds a graph of its own, which is not allowed"
    return None


def _check_contract(graph: onnx.GraphProto, columns: int | None) -> str | None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    width = "C" if columns is None else columns
    wanted = f"one input {INPUT_NAME!r} float [N, {width}] and one output {OUTPUT_NAME!r} float [N, 1]"
    if [value.name for value in inputs] != [INPUT_NAME] or [value.name for value in graph.output] != [OUTPUT_NAME]:
        return f"model.onnx must have {wanted}"
    if not _is_matrix(inputs[0], columns):
        return f"input {INPUT_NAME!r} of model.onnx is {_describe(inputs[0])}; the manifest's features need {wanted}"
    if graph.output[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        return f"output {OUTPUT_NAME!r} of model.onnx is {_describe(graph.output[0])}; it must have {wanted}"
    return None


def _is_matrix(value: onnx.ValueInfoProto, columns: int | None) -> bool:
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    return (
        tensor.elem_type == onnx.TensorProto.FLOAT
        and len(dims) == 2
        and not dims[0].HasField("dim_value")
        and (dims[1].dim_value > 0 if columns is None else dims[1].dim_value == columns)
    )


def _describe(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    shape = ", ".join(str(dim.dim_value) if dim.HasField("dim_value") else "N" for dim in tensor.shape.dim)
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} [{shape}]"


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL or bool(tensor.external_data)


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
