"""The churn model's own files in its artifact: graph, parameters, native trees, golden requests.

Golden requests are real rows of the training time as PredictChurnRequest, some with fields taken away, one with none
at all; their answers come from the exported graph and methods.revenue.churn, the way the server answers.
Not here: the manifest (training/artifact.py); the card (training/card.py).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from methods.features import FeatureSchema, Kind, encode_columns
from methods.revenue.churn import DEFAULT_HORIZONS, ChurnParameters, churn_at
from methods.revenue.churn_cause import place_cause, voluntary_share
from paedsresus.ml.v1 import revenue_pb2
from training.artifact import canonical_json, reference_profile
from training.gates import PARITY
from training.onnx_trees import run_onnx, trees_to_onnx
from training.revenue.churn import ChurnModel
from training.revenue.person_periods import PersonPeriods

GOLDEN_ROWS = 24
OTHER_HORIZONS = (1, 28, 100, 364)  # asked for by every third golden request: first and last day, ends and middles
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)  # of the golden requests; features are days from it, so any will do
DAY = timedelta(days=1)


def churn_files(
    model: ChurnModel, frame: PersonPeriods, table: pd.DataFrame, currency: str | None, rng: np.random.Generator
) -> dict[str, bytes]:
    """All but card and manifest.

    Args:
        model: the fitted model.
        frame: rows it was fitted on.
        table: the same rows as a frame with one column a field.
        currency: of the prices.
        rng: chance for the choice of golden rows.
    """
    graph = trees_to_onnx(model.booster)
    requests = golden_requests(table, model.schema, currency, rng)
    chance = [churn_at(m, model.parameters)[0][0] for m in model.margin(frame.matrix).tolist()]
    return {
        "model.onnx": graph,
        "parameters.json": canonical_json(model.parameters.to_json()),
        "golden.json": canonical_json(golden_cases(requests, graph, model.schema, model.parameters)),
        "reference.json": canonical_json(reference_profile(frame.matrix, model.schema, np.asarray(chance))),
        "booster.ubj": bytes(model.booster.save_raw("ubj")),
    }


def largest_difference(model: ChurnModel, graph: bytes, frame: PersonPeriods, rng: np.random.Generator) -> float:
    """Between graph and model, in log-odds, on the rows as they are and with a third of all values taken away."""
    rows = frame.matrix[rng.permutation(len(frame))[:2_000]]
    holes = np.where(rng.random(rows.shape) < 1 / 3, np.float32(np.nan), rows)
    judged = np.concatenate([rows, holes, np.full((1, rows.shape[1]), np.nan, dtype=np.float32)])
    return float(np.abs(run_onnx(graph, judged) - model.margin(judged)).max())


def golden_requests(
    table: pd.DataFrame, schema: FeatureSchema, currency: str | None, rng: np.random.Generator
) -> list[revenue_pb2.PredictChurnRequest]:
    """Requests made of rows: every third with a third of its fields taken away, the last with none left."""
    chosen = table.iloc[rng.permutation(len(table))[: GOLDEN_ROWS - 1]]
    requests = []
    for index, (_, row) in enumerate(chosen.iterrows()):
        hidden = {name for name in schema.names if index % 3 == 1 and rng.random() < 1 / 3}
        requests.append(_request(index, row.drop(list(hidden)), schema, currency))
    return [*requests, _request(len(requests), pd.Series(dtype=object), schema, currency)]


def golden_cases(
    requests: Sequence[revenue_pb2.PredictChurnRequest],
    graph: bytes,
    schema: FeatureSchema,
    parameters: ChurnParameters,
) -> dict[str, Any]:
    """`golden.json`: requests and the answers that a server must give."""
    matrix = request_matrix(requests, schema)
    margins = run_onnx(graph, matrix).tolist()
    cause = None if parameters.cause is None else place_cause(parameters.cause, schema.columns)
    cases = []
    for request, row, margin in zip(requests, matrix.tolist(), margins, strict=True):
        horizons = tuple(request.horizon_days) or DEFAULT_HORIZONS
        churn = [
            {"horizonDays": days, "churnProbability": {"value": value, "lower": lower, "upper": upper}}
            for days, (value, lower, upper) in zip(horizons, churn_at(margin, parameters, horizons), strict=True)
        ]
        answer: dict[str, Any] = {"churn": churn}
        if cause is not None:
            answer["voluntaryShare"] = voluntary_share(row, cause)._asdict()
        if (effect := parameters.intervention) is not None:
            uplift = {"value": effect.value, "lower": effect.lower, "upper": effect.upper}
            answer["intervention"] = {"treat": effect.treat, "offerId": effect.offer_id, "uplift": uplift}
        cases.append({"request": MessageToDict(request), "answer": answer})
    return {"tolerance": PARITY, "cases": cases}


def request_matrix(requests: Sequence[revenue_pb2.PredictChurnRequest], schema: FeatureSchema) -> NDArray[np.float32]:
    """Requests as the matrix a model reads, (n, columns)."""
    columns = {
        feature.name: np.array([_value(request, feature.name, feature.kind) for request in requests], dtype=np.float64)
        for feature in schema.features
    }
    return encode_columns(schema, columns)


def _request(
    index: int, row: "pd.Series[Any]", schema: FeatureSchema, currency: str | None
) -> revenue_pb2.PredictChurnRequest:
    """One row as a request; what the row lacks is absent."""
    request = revenue_pb2.PredictChurnRequest()
    request.context.request_id = f"golden-{index}"
    request.context.as_of_time.FromDatetime(AS_OF)
    features = request.features
    features.SetInParent()
    if index % 3 == 2:
        request.horizon_days.extend(OTHER_HORIZONS)
    for feature in schema.features:
        value = row.get(feature.name)
        if value is None or pd.isna(value):
            continue
        match feature.kind:
            case Kind.CATEGORY:
                setattr(features, feature.name, feature.levels.index(str(value)) + 1)
            case Kind.MONEY:
                money = getattr(features, feature.name)
                money.minor_units, money.currency_code = round(value), currency
            case Kind.TIME:
                seconds = round(float(value) * DAY.total_seconds())
                getattr(features, feature.name).FromDatetime(AS_OF + timedelta(seconds=seconds))
            case Kind.FLAG:
                setattr(features, feature.name, bool(value))
            case Kind.COUNT:
                setattr(features, feature.name, round(value))
            case Kind.NUMBER:
                setattr(features, feature.name, float(value))
    return request


def _value(request: revenue_pb2.PredictChurnRequest, name: str, kind: Kind) -> float:
    """One field as the number that the matrix wants; NaN when absent."""
    features = request.features
    if not features.HasField(name):  # type: ignore[arg-type]
        return float("nan")
    value = getattr(features, name)
    if kind is Kind.MONEY:
        return float(value.minor_units)
    if kind is Kind.TIME:
        return float((value.ToDatetime(tzinfo=UTC) - AS_OF) / DAY)
    return float(value)
