"""Publishing a snapshot: a registered version that takes its alias at once, with the feature sets of versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from methods.features import schema_of
from methods.manifest import DIGEST_TAG, MANIFEST_NAME, digest_of, parse_manifest
from methods.snapshot import DESCRIPTION_NAME, parse_description
from paedsresus.ml.v1 import revenue_pb2
from server.control.registry import MlflowRegistry
from server.control.snapshot_trial import try_snapshot
from tests.fakes.embedded import uri_of
from training.data.collect import collect
from training.data.mart import Mart
from training.data.simulator.parameters import Parameters
from training.data.sources import SimulatorSource
from training.feature_sets import BY_ID, feature_set_of
from training.features import churn
from training.models import RECIPES, SNAPSHOTS
from training.register import CHAMPION, read_aliases
from training.registry import Registry, open_registry
from training.snapshot import TABLES, publish_snapshot

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of themselves

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Mart:
    parameters = Parameters(start=datetime(2025, 1, 6, tzinfo=UTC), users=300, weeks=40)
    return collect(SimulatorSource(parameters), tmp_path_factory.mktemp("mart"), parameters.end).mart


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry") / "mlruns"
    folder.mkdir()
    return open_registry(uri_of(folder))


@pytest.mark.parametrize("module", SNAPSHOTS)
def test_a_snapshot_is_fetched_and_tried_as_it_was_registered(
    module: str, mart: Mart, registry: Registry, tmp_path: Path
) -> None:
    done = publish_snapshot(module, mart, registry, now=NOW, progress=lambda _: None, stale_after_seconds=60.0)

    registration = done.registration
    MlflowRegistry(uri_of(Path(registry.uri.removeprefix("sqlite:///")).parent), [registration.model]).fetch(
        registration.model, registration.version, tmp_path
    )
    content = (tmp_path / MANIFEST_NAME).read_bytes()
    tags = registry.client.get_model_version(registration.model, str(registration.version)).tags
    assert tags[DIGEST_TAG] == digest_of(content) == registration.digest
    manifest = parse_manifest(content)
    assert manifest.data_time == mart.data_time
    assert parse_description(_json(tmp_path / DESCRIPTION_NAME)).stale_after_seconds == 60.0
    assert try_snapshot(tmp_path, manifest, module) is None
    folded = {name: value for name, value in tags.items() if name.startswith("folded.")}
    assert folded == ({"folded.schedule": "prior", "folded.difficulty": "prior"} if module == "learning" else {})


def test_a_newer_snapshot_takes_the_alias_at_once(mart: Mart, registry: Registry) -> None:
    first, second = (
        publish_snapshot("revenue", mart, registry, now=NOW.replace(hour=hour), progress=lambda _: None).registration
        for hour in (1, 2)
    )

    assert (first.alias, second.alias) == (CHAMPION, CHAMPION)
    assert read_aliases(registry, "features.revenue") == {CHAMPION: second.version}


def test_every_table_has_the_feature_set_of_the_versions_that_it_answers_for(mart: Mart) -> None:
    sets = {
        table.name: table.feature_set or table.schema.feature_set(table.expressions)  # type: ignore[union-attr]
        for tables in TABLES.values()
        for table in tables(mart, None).tables
    }

    contract = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)
    assert sets["churn"] == contract.feature_set(churn.expressions_digest())
    assert set(sets.values()) - {sets["churn"]} == {feature_set_of(model) for model in BY_ID}


def test_only_models_that_there_are_are_asked_by_id() -> None:
    assert set(BY_ID) <= {*RECIPES, "certification"}


def _json(path: Path) -> object:
    return json.loads(path.read_bytes())
