"""A subscriber asked for by id is the one that training computed: mart -> features -> snapshot -> message -> row."""

from pathlib import Path

import numpy as np

from methods.features import FeatureSchema, Kind, encode_columns, schema_of
from methods.manifest import MANIFEST_NAME, parse_manifest
from paedsresus.ml.v1 import revenue_pb2
from server.serving.subjects import open_snapshot
from training.artifact import Provenance
from training.data.mart import Mart
from training.data.snapshots import NumbersTable, write_snapshot
from training.features.churn import churn_snapshot, expressions_digest

SCHEMA = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)


def row_of(features: revenue_pb2.PredictChurnFeatures, schema: FeatureSchema, as_of: float) -> np.ndarray:
    """The matrix row of a request that brings this message."""
    columns = {name: np.array([np.nan]) for name in schema.names}
    for feature in schema.features:
        if features.HasField(feature.name):  # type: ignore[arg-type]  # a name from the descriptor
            value = getattr(features, feature.name)
            if feature.kind is Kind.MONEY:
                value = value.minor_units
            elif feature.kind is Kind.TIME:
                value = (value.ToMicroseconds() / 1e6 - as_of) / 86_400.0
            columns[feature.name] = np.array([float(value)])
    return encode_columns(schema, columns)[0]


def test_by_id_and_by_features_are_the_same_row(simulated_mart: Mart, tmp_path: Path) -> None:
    as_of = simulated_mart.data_time
    frame = churn_snapshot(simulated_mart, as_of=as_of)
    columns = {name: frame[name].to_numpy() for name in SCHEMA.names}
    expressions = expressions_digest()
    table = NumbersTable(
        name="churn",
        schema=SCHEMA,
        expressions=expressions,
        subject_ids=frame["subject_id"].tolist(),
        columns=columns,
    )
    provenance = Provenance(
        data_version="test",
        data_time=as_of,
        observations=len(frame),
        created_at=as_of,
        currency="USD",
        expressions=expressions,
    )
    write_snapshot(tmp_path, "revenue", [table], provenance)
    snapshot = open_snapshot(tmp_path, parse_manifest((tmp_path / MANIFEST_NAME).read_bytes()), "revenue")

    opened = snapshot.table(SCHEMA.feature_set(expressions))
    by_id = np.stack(
        [
            row_of(
                snapshot.message(opened, subject, revenue_pb2.PredictChurnFeatures()),
                SCHEMA,
                as_of.timestamp(),
            )
            for subject in frame["subject_id"]
        ]
    )

    assert len(frame) > 100
    np.testing.assert_allclose(by_id, encode_columns(SCHEMA, columns), rtol=1e-6, atol=1e-6)
