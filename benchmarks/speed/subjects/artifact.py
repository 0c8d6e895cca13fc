"""Churn artifacts of a realistic size: 200 trees of depth 5 on the contract's features, exported by the product's code.

The rows are drawn, not collected, and the answers mean nothing: only their cost does. Seeds make versions differ.
"""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from benchmarks.speed.subjects.questions import AS_OF, draw_columns, single_questions
from methods.features import FeatureSchema, encode_columns, schema_of
from methods.manifest import MANIFEST_NAME, digest_of, parse_manifest
from methods.revenue.churn import DEFAULT_HORIZONS, ChurnParameters, churn_by_horizon
from methods.revenue.churn_cause import CauseParameters, Steps
from methods.statistics.bands import Band
from paedsresus.ml.v1 import revenue_pb2
from training.artifact import Provenance, canonical_json, reference_profile, write_artifact
from training.onnx_trees import run_onnx, trees_to_onnx
from training.revenue.churn_files import golden_cases

TREES: Final = 200
DEPTH: Final = 5
_ROWS: Final = 20_000
_GOLDEN: Final = 24
_STEPS: Final = 10
_PARAMETERS: Final = ChurnParameters(
    period_days=28,
    slopes=(1.0,) * 13,
    offsets=tuple(-2.0 - 0.05 * period for period in range(13)),
    calibration_margins=tuple(np.linspace(-3.0, 3.0, 20).tolist()),
    calibration_logits=tuple(np.linspace(-2.5, 2.7, 20).tolist()),
    interval_margins=(-3.0, -1.5, 0.0, 1.5, 3.0),
    interval_lowers=(0.7, 0.75, 0.8, 0.8, 0.75),
    interval_uppers=(1.4, 1.3, 1.25, 1.25, 1.3),
)


def write_artifacts(folder: Path, count: int) -> list[Path]:
    """Write `count` different artifacts (at least two): two that were fitted, then copies of the first in all but name.

    A copy has a digest, a session and a memory of its own, which is all that counting memory needs.
    """
    first = _contents(seed=1)
    second = _contents(seed=2)
    return [
        _write(folder / str(number + 1), second if number == 1 else first, number=number) for number in range(count)
    ]


def describe_subject(artifact: Path) -> str:
    """One line about the artifact, for the report."""
    manifest = parse_manifest((artifact / MANIFEST_NAME).read_bytes())
    columns = len(FeatureSchema.from_json(manifest.features).columns)
    return f"churn, {TREES} trees of depth {DEPTH}, {columns} columns, seeded requests with a tenth missing"


def _contents(seed: int) -> dict[str, bytes]:
    """Every file of an artifact but the manifest."""
    schema = _schema()
    matrix = encode_columns(schema, draw_columns(_ROWS, seed))
    booster = _fit(matrix, seed)
    graph = trees_to_onnx(booster)
    parameters = replace(_PARAMETERS, cause=_cause(matrix, schema))
    first = churn_by_horizon(run_onnx(graph, matrix), parameters, DEFAULT_HORIZONS).value[:, 0]
    questions = [revenue_pb2.PredictChurnRequest.FromString(question) for question in single_questions(_GOLDEN, seed=9)]
    return {
        "model.onnx": graph,
        "parameters.json": canonical_json(parameters.to_json()),
        "golden.json": canonical_json(golden_cases(questions, graph, schema, parameters)),
        "reference.json": canonical_json(reference_profile(matrix, schema, first)),
        "booster.ubj": bytes(booster.save_raw("ubj")),
        "card.md": b"# churn\n\nDrawn rows, for measuring speed only.\n",
    }


def _schema() -> FeatureSchema:
    return schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)


def _cause(matrix: NDArray[np.float32], schema: FeatureSchema) -> CauseParameters:
    """As many steps as a fit on the simulated platform has."""
    edges = np.nanquantile(matrix, (0.2, 0.5, 0.8), axis=0)
    steps = [
        Steps(column=name, edges=tuple(np.unique(at).tolist()), scores=(0.1,) * (len(np.unique(at)) + 1), missing=0.0)
        for name, at in zip(schema.columns, edges.T, strict=True)
    ]
    band = Band(logits=(-3.0, -1.0, 0.0, 1.0, 3.0), lowers=(-0.5,) * 5, uppers=(0.5,) * 5)
    return CauseParameters(offset=0.0, steps=tuple(steps[-_STEPS:]), band=band)


def _fit(matrix: NDArray[np.float32], seed: int) -> xgb.Booster:
    """Trees that use every column: labels drawn from a random linear score."""
    rng = np.random.default_rng(seed)
    filled = np.nan_to_num(matrix.astype(np.float64))
    spread = filled.std(axis=0)
    score = ((filled - filled.mean(axis=0)) / np.where(spread > 0, spread, 1.0)) @ rng.normal(0, 0.3, matrix.shape[1])
    labels = rng.uniform(size=len(matrix)) < 1 / (1 + np.exp(-score))
    settings = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "tree_method": "hist",
        "max_bin": 128,
        "max_depth": DEPTH,
        "learning_rate": 0.05,
        "seed": seed,
        "nthread": 2,
    }
    return xgb.train(settings, xgb.DMatrix(matrix, labels), TREES)


def _write(folder: Path, files: dict[str, bytes], *, number: int) -> Path:
    """Write a folder; `number` makes its digest differ."""
    provenance = Provenance(
        data_version=digest_of(b"drawn rows"),
        data_time=AS_OF,
        observations=_ROWS,
        created_at=AS_OF + timedelta(seconds=number),
        currency="USD",
        expressions=digest_of(b"drawn rows"),
    )
    write_artifact(folder, "churn", _schema(), provenance, files)
    return folder
