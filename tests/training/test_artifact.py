from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from methods.features import Feature, FeatureSchema, Kind
from methods.manifest import MANIFEST_NAME, digest_of, parse_manifest
from training.artifact import Provenance, reference_profile, write_artifact

SCHEMA = FeatureSchema(
    message="test",
    features=(
        Feature(name="days", kind=Kind.COUNT, unit="days"),
        Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "ANNUAL")),
        Feature(name="never", kind=Kind.NUMBER),
    ),
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = Provenance(data_version="d", data_time=NOW, observations=3, created_at=NOW, currency=None, expressions="e" * 64)


def test_equal_contents_give_the_same_digest(tmp_path: Path) -> None:
    files = {"model.onnx": b"graph", "plots/roc.png": b"picture"}

    first = write_artifact(tmp_path / "a", "churn", SCHEMA, FACTS, files)
    second = write_artifact(tmp_path / "b", "churn", SCHEMA, FACTS, files)

    assert first == second == digest_of((tmp_path / "a" / MANIFEST_NAME).read_bytes())


def test_the_manifest_lists_every_file_and_the_schema(tmp_path: Path) -> None:
    write_artifact(tmp_path, "churn", SCHEMA, FACTS, {"model.onnx": b"graph"})

    manifest = parse_manifest((tmp_path / MANIFEST_NAME).read_bytes())

    assert manifest.files == {"model.onnx": digest_of(b"graph")}
    assert FeatureSchema.from_json(manifest.features) == SCHEMA
    assert manifest.feature_set == SCHEMA.feature_set(FACTS.expressions)


def test_the_profile_says_how_each_field_was_spread_and_how_often_missing() -> None:
    matrix = np.array([[1, 1, 0, np.nan], [3, 0, 1, np.nan], [np.nan, np.nan, np.nan, np.nan]], dtype=np.float32)

    profile = reference_profile(matrix, SCHEMA, np.array([0.1, 0.2, 0.3]))

    days, plan, never = (profile["features"][name] for name in ("days", "plan", "never"))
    assert (days["quantiles"][0], days["quantiles"][-1]) == (1, 3)
    assert plan["shares"] == {"MONTHLY": 0.5, "ANNUAL": 0.5}
    assert plan["missing_share"] == 1 - 2 / 3
    assert never == {"kind": "number", "missing_share": 1.0}
