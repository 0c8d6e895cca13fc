"""Feature snapshots of a few subjects, as training writes them and as a worker opens them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from methods.features import FeatureSchema, Kind
from methods.snapshot import model_of
from server.catalogue import KINDS
from server.desired import Load
from server.serving.deployments import Deployment, Live, LiveRoute, Routes
from server.serving.load import load_version
from tests.fakes.artifacts import AS_OF, churn_schema
from training.artifact import Provenance
from training.data.snapshots import NumbersTable, PayloadTable, Table, write_snapshot

EXPRESSIONS = "0" * 64  # of the fake churn versions


def churn_table(people: Mapping[str, Any], *, schema: FeatureSchema | None = None, as_of: datetime = AS_OF) -> Table:
    """PredictChurnFeatures by subject, as the columns that training would have computed."""
    schema = schema or churn_schema()
    columns = {
        feature.name: np.array([_number(each, feature.name, feature.kind, as_of) for each in people.values()])
        for feature in schema.features
    }
    return NumbersTable(name="churn", schema=schema, expressions=EXPRESSIONS, subject_ids=list(people), columns=columns)


def payload_table(name: str, feature_set: str, people: Mapping[str, Any]) -> Table:
    """Messages by subject."""
    message = next(iter(people.values())).DESCRIPTOR.full_name
    payloads = {subject: each.SerializeToString() for subject, each in people.items()}
    return PayloadTable(name=name, message=message, feature_set=feature_set, payloads=payloads)


def provenance(as_of: datetime = AS_OF) -> Provenance:
    """Of any snapshot."""
    return Provenance(
        data_version="snapshot",
        data_time=as_of,
        observations=1,
        created_at=as_of,
        currency="USD",
        expressions=EXPRESSIONS,
    )


def publish_snapshot(
    state_dir: Path, tables: Sequence[Table], *, module: str = "revenue", as_of: datetime = AS_OF
) -> str:
    """Write one into the cache of a state folder; its digest."""
    made = state_dir / "cache" / ".made"
    made.mkdir(parents=True)
    digest = write_snapshot(made, module, tables, provenance(as_of))
    made.rename(state_dir / "cache" / digest)
    return digest


def load_snapshot(
    state_dir: Path, version: int, tables: Sequence[Table], *, module: str = "revenue", as_of: datetime = AS_OF
) -> Deployment[Any]:
    """The same, opened as a worker opens it."""
    digest = publish_snapshot(state_dir, tables, module=module, as_of=as_of)
    load = Load(model=model_of(module), version=version, digest=digest, folder=f"cache/{digest}")
    return load_version(load, state_dir, KINDS)


def serve_snapshot(live: Live, deployment: Deployment[Any], **route: Any) -> None:
    """Route to it beside whatever is live."""
    here = LiveRoute(model=deployment.model, champion=deployment, **route)
    routes = {**live.routes.by_model, deployment.model: here}
    live.routes = Routes(generation=live.routes.generation + 1, by_model=MappingProxyType(routes))


def _number(features: Any, name: str, kind: Kind, as_of: datetime) -> float:
    if not features.HasField(name):
        return float("nan")
    value = getattr(features, name)
    if kind is Kind.MONEY:
        return float(value.minor_units)
    if kind is Kind.TIME:
        return float(value.ToDatetime(tzinfo=as_of.tzinfo).timestamp() - as_of.timestamp()) / 86_400.0
    return float(value)
