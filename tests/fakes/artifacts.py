"""A tiny churn artifact that is valid in every respect: a linear ONNX graph over a few of the request's fields.

`write_churn_artifact(folder)` gives the folder and its digest in a few milliseconds, without fitting anything. Two
biases give two versions whose answers differ, so a test can tell which one answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from methods.features import FeatureSchema, encode_columns, schema_of
from methods.manifest import ARTIFACT_FORMAT, MANIFEST_NAME, Manifest, digest_of, manifest_bytes
from methods.revenue.churn import DEFAULT_HORIZONS, ChurnParameters, churn_by_horizon
from methods.revenue.churn_cause import CauseParameters, Steps, place_cause, voluntary_share
from methods.revenue.churn_intervention import RetentionEffect
from methods.statistics.bands import Band
from paedsresus.ml.v1 import revenue_pb2

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = ("plan", "tenure_days", "renewal_time", "price", "sessions_28d", "days_since_last_session", "auto_renew")
WEIGHTS = {
    "plan=MONTHLY": 0.8,
    "plan=ANNUAL": -0.7,
    "tenure_days": -0.002,
    "renewal_time": -0.01,
    "price": 0.0001,
    "sessions_28d": -0.05,
    "days_since_last_session": 0.06,
    "auto_renew": -0.9,
}
PARAMETERS = ChurnParameters(
    period_days=28,
    slopes=(1.0,) * 13,
    offsets=tuple(-2.0 - 0.05 * period for period in range(13)),
    calibration_margins=(-3.0, 0.0, 3.0),
    calibration_logits=(-2.5, 0.1, 2.6),
    interval_margins=(-3.0, 0.0, 3.0),
    interval_lowers=(0.7, 0.8, 0.75),
    interval_uppers=(1.4, 1.25, 1.3),
    level=0.9,
)
CAUSE = CauseParameters(
    offset=0.25,
    steps=(
        Steps(column="renewal_time", edges=(0.0, 30.0), scores=(-3.0, 0.5, 1.0), missing=-0.125),
        Steps(column="plan=MONTHLY", edges=(0.5,), scores=(0.375, -0.25), missing=0.0),
    ),
    band=Band(logits=(-1.0, 1.0), lowers=(-0.5, -0.25), uppers=(0.25, 0.5)),
)
EFFECT = RetentionEffect(offer_id="PRICE_BREAK", treat=True, value=0.04, lower=0.01, upper=0.07)
REQUESTS = 24


def churn_schema(fields: Sequence[str] = FIELDS) -> FeatureSchema:
    """The named fields of the request as a schema."""
    return schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR).subset(fields)


def linear_margin(matrix: NDArray[np.float32], schema: FeatureSchema, *, bias: float = 0.0) -> NDArray[np.float64]:
    """What the graph computes, (n, columns) -> (n,); missing counts as 0."""
    weights = np.array([WEIGHTS.get(column, 0.01) for column in schema.columns], dtype=np.float32)
    return (np.nan_to_num(matrix, nan=0.0) @ weights + np.float32(bias)).astype(np.float64)


def linear_graph(schema: FeatureSchema, *, bias: float = 0.0) -> bytes:
    """The graph as bytes of `model.onnx`."""
    weights = np.array([[WEIGHTS.get(column, 0.01)] for column in schema.columns], dtype=np.float32)
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["score"]),
        helper.make_node("Add", ["score", "bias"], ["margin"]),
    ]
    constants = {"zero": np.float32(0), "weights": weights, "bias": np.float32(bias)}
    return graph_bytes(nodes, columns=len(schema.columns), constants=constants)


def graph_bytes(
    nodes: list[onnx.NodeProto], *, columns: int, constants: Mapping[str, Any] | None = None, rows: str | int = "N"
) -> bytes:
    """Any nodes as a model with the artifact's input and output."""
    graph = helper.make_graph(
        nodes,
        "churn",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [rows, columns])],
        [helper.make_tensor_value_info("margin", TensorProto.FLOAT, [rows, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def golden_requests(count: int = REQUESTS) -> list[revenue_pb2.PredictChurnRequest]:
    """Requests that cover every field and every one of them missing; the last has no feature at all."""
    rng = np.random.default_rng(7)
    requests = []
    for index in range(count):
        request = revenue_pb2.PredictChurnRequest()
        request.context.request_id = f"golden-{index}"
        request.context.as_of_time.FromDatetime(AS_OF)
        features: Any = request.features
        features.SetInParent()
        if index == count - 1:
            requests.append(request)
            continue
        features.plan = index % 4 + 1
        features.tenure_days = int(rng.integers(0, 800))
        features.renewal_time.FromDatetime(AS_OF + timedelta(days=int(rng.integers(-3, 90))))
        features.price.minor_units = int(rng.integers(900, 9_000))
        features.price.currency_code = "USD"
        features.sessions_28d = int(rng.integers(0, 30))
        features.days_since_last_session = float(rng.uniform(0, 60))
        features.auto_renew = bool(rng.integers(0, 2))
        features.ClearField(FIELDS[index % len(FIELDS)])
        requests.append(request)
    return requests


def matrix_of(requests: Sequence[revenue_pb2.PredictChurnRequest], schema: FeatureSchema) -> NDArray[np.float32]:
    """Requests as the matrix of a schema, written apart from the server's own code on purpose."""
    columns = {name: np.array([_value(request, name) for request in requests], dtype=float) for name in schema.names}
    return encode_columns(schema, columns)


def golden_document(
    schema: FeatureSchema, *, bias: float = 0.0, shift: float = 0.0, cause: CauseParameters | None = None
) -> dict[str, Any]:
    """`golden.json`; `shift` makes the expected answers wrong by that much."""
    requests = golden_requests()
    matrix = matrix_of(requests, schema)
    margin = linear_margin(matrix, schema, bias=bias)
    curve = churn_by_horizon(margin, PARAMETERS, DEFAULT_HORIZONS)
    cases = []
    for row, request in enumerate(requests):
        churn = [
            {
                "horizonDays": days,
                "churnProbability": {
                    "value": float(curve.value[row, at]) + shift,
                    "lower": float(curve.lower[row, at]),
                    "upper": float(curve.upper[row, at]),
                },
            }
            for at, days in enumerate(DEFAULT_HORIZONS)
        ]
        answer: dict[str, Any] = {"churn": churn}
        if cause is not None:
            answer["voluntaryShare"] = voluntary_share(
                matrix[row].tolist(), place_cause(cause, schema.columns)
            )._asdict()
        cases.append({"request": MessageToDict(request), "answer": answer})
    return {"tolerance": 1e-5, "cases": cases}


def write_churn_artifact(
    folder: Path,
    *,
    bias: float = 0.0,
    fields: Sequence[str] = FIELDS,
    graph: bytes | None = None,
    golden_shift: float = 0.0,
    cause: CauseParameters | None = None,
    effect: RetentionEffect | None = None,
) -> str:
    """Write the whole folder and return its digest. `graph` replaces the linear one, for a version that misbehaves."""
    schema = churn_schema(fields)
    golden = golden_document(schema, bias=bias, shift=golden_shift, cause=cause)
    if effect is not None:
        uplift = {"value": effect.value, "lower": effect.lower, "upper": effect.upper}
        for case in golden["cases"]:
            case["answer"]["intervention"] = {"treat": effect.treat, "offerId": effect.offer_id, "uplift": uplift}
    contents = {
        "model.onnx": graph if graph is not None else linear_graph(schema, bias=bias),
        "parameters.json": _json(replace(PARAMETERS, cause=cause, intervention=effect).to_json()),
        "golden.json": _json(golden),
        "reference.json": _json({"n": REQUESTS, "features": {}, "scores": []}),
        "card.md": f"# churn\n\nA linear score with bias {bias}, for tests.\n".encode(),
    }
    return write_artifact(folder, contents, schema)


def write_artifact(
    folder: Path, contents: Mapping[str, bytes], schema: FeatureSchema, *, changes: Mapping[str, Any] | None = None
) -> str:
    """Write files and the manifest that lists them; `changes` replaces parts of the manifest as JSON, unchecked."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest = Manifest(
        artifact_format=ARTIFACT_FORMAT,
        model="churn",
        features=schema.to_json(),
        expressions="0" * 64,
        feature_set=schema.feature_set("0" * 64),
        currency="USD",
        data_version="0" * 64,
        data_time=AS_OF,
        observations=1_000,
        created_at=AS_OF,
        files={name: digest_of(content) for name, content in contents.items()},
    )
    content = manifest_bytes(manifest)
    if changes:
        content = _json({**json.loads(content), **changes})
    (folder / MANIFEST_NAME).write_bytes(content)
    return digest_of(content)


def _value(request: revenue_pb2.PredictChurnRequest, name: str) -> float:
    features: Any = request.features
    if not features.HasField(name):
        return float("nan")
    if name == "price":
        return float(features.price.minor_units)
    if name.endswith("_time"):
        moment: datetime = getattr(features, name).ToDatetime(tzinfo=UTC)
        return (moment - AS_OF).total_seconds() / 86_400
    return float(getattr(features, name))


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
