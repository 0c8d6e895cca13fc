"""Registering: digest, alias, the rule that protects a running canary, promotion and rollback. On a real registry."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from methods.manifest import DIGEST_TAG
from tests.fakes.artifacts import FIELDS, write_churn_artifact
from tests.fakes.embedded import copy_embedded, make_embedded, uri_of
from training.register import (
    CHALLENGER,
    CHAMPION,
    GATE_REASONS_TAG,
    PREVIOUS,
    Registration,
    RunRecord,
    Verdict,
    promote,
    read_aliases,
    record_run,
    register_version,
    rollback,
    set_alias,
)
from training.registry import Registry, RegistryError, open_registry, registry_uri, relocate

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of themselves


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "mlruns"
    make_embedded(folder)
    return folder


@pytest.fixture
def registry(template: Path, tmp_path: Path) -> Registry:
    return copy_embedded(template, tmp_path / "mlruns")


def register(registry: Registry, folder: Path, *, bias: float = 0.0, verdict: Verdict | None = None) -> Registration:
    artifact = folder / f"artifact-{bias}"
    write_churn_artifact(artifact, bias=bias)
    card = artifact / "card.md"
    run = record_run(
        registry, RunRecord(name="fit churn", params={"trees": "3"}, metrics={"auc": 0.8}, files=[(card, "card")])
    )
    return register_version(registry, artifact, run_id=run, verdict=verdict, description="# A card")


def stored_paths(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return {
            row[0]
            for table, column in (
                ("experiments", "artifact_location"),
                ("runs", "artifact_uri"),
                ("logged_models", "artifact_location"),
                ("model_versions", "storage_location"),
            )
            for row in database.execute(f"select {column} from {table}")  # noqa: S608 - names from this list
        }


def test_the_first_version_is_champion_and_the_next_is_challenger(registry: Registry, tmp_path: Path) -> None:
    first, second = register(registry, tmp_path), register(registry, tmp_path, bias=1.0)

    assert (first.version, first.alias) == (1, CHAMPION)
    assert (second.version, second.alias) == (2, CHALLENGER)
    assert read_aliases(registry, "churn") == {CHAMPION: 1, CHALLENGER: 2}


def test_a_version_carries_its_digest_its_signature_and_no_code(registry: Registry, tmp_path: Path) -> None:
    done = register(registry, tmp_path)

    version = registry.client.get_model_version("churn", "1")
    folder = Path(registry.client.get_model_version_download_uri("churn", "1"))
    described = (folder / "MLmodel").read_text()
    assert version.tags[DIGEST_TAG] == done.digest
    assert version.description == "# A card"
    assert all(name in described for name in FIELDS)
    assert str(tmp_path) not in described, "no path of this machine leaves it"
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".onnx", ".md", ""}
    assert "python_function" not in described


def test_a_run_keeps_what_was_measured(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path)

    run = registry.client.get_run(registry.client.get_model_version("churn", "1").run_id)
    assert run.data.metrics == {"auc": 0.8}
    assert run.data.params == {"trees": "3"}
    assert run.info.status == "FINISHED"


def test_a_retraining_never_ends_a_running_canary(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path)
    register(registry, tmp_path, bias=1.0)
    registry.client.set_model_version_tag("churn", "2", "traffic.mode", "canary")

    third = register(registry, tmp_path, bias=2.0)

    assert third.alias is None
    assert "version 2 under challenger carries traffic.mode" in third.reason
    assert "--version 3" in third.next_line
    assert read_aliases(registry, "churn") == {CHAMPION: 1, CHALLENGER: 2}


def test_a_version_that_failed_a_gate_is_registered_with_the_reason_and_gets_no_alias(
    registry: Registry, tmp_path: Path
) -> None:
    done = register(registry, tmp_path, verdict=Verdict(passed=False, reasons=("auc 0.51 is below 0.6",)))

    assert done.alias is None
    assert registry.client.get_model_version("churn", "1").tags[GATE_REASONS_TAG] == "auc 0.51 is below 0.6"
    assert read_aliases(registry, "churn") == {}


def test_promotion_moves_champion_and_frees_challenger(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path)
    register(registry, tmp_path, bias=1.0)

    assert promote(registry, "churn") == (1, 2)
    assert read_aliases(registry, "churn") == {CHAMPION: 2}


def test_rollback_goes_to_previous(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path)
    register(registry, tmp_path, bias=1.0)
    promote(registry, "churn")
    set_alias(registry, "churn", PREVIOUS, 1)  # what the server does once version 2 is live

    assert rollback(registry, "churn") == (2, 1)


def test_rollback_of_a_champion_that_never_went_live_goes_to_the_version_that_answers(
    registry: Registry, tmp_path: Path
) -> None:
    for number in range(3):
        register(registry, tmp_path, bias=float(number))
    served = {1: ("retired", "0"), 2: ("live", "95"), 3: ("refused", "0")}  # what the server wrote back
    for version, (state, share) in served.items():
        registry.client.set_model_version_tag("churn", str(version), "serving.state", state)
        registry.client.set_model_version_tag("churn", str(version), "serving.share", share)
    set_alias(registry, "churn", PREVIOUS, 1)
    registry.client.set_registered_model_alias("churn", CHAMPION, "3")

    assert rollback(registry, "churn") == (3, 2)


@pytest.mark.parametrize(
    ("version", "said"), [(9, "has no version 9; it has 1"), (None, "has no challenger; name the version")]
)
def test_what_cannot_be_promoted_is_said(registry: Registry, tmp_path: Path, version: int | None, said: str) -> None:
    register(registry, tmp_path)

    with pytest.raises(RegistryError, match=said):
        promote(registry, "churn", version)


def test_without_a_previous_champion_there_is_no_rollback(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path)

    with pytest.raises(RegistryError, match="no previous champion"):
        rollback(registry, "churn")


def test_a_version_that_the_server_barred_is_not_promoted(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path)
    register(registry, tmp_path, bias=1.0)
    registry.client.set_model_version_tag("churn", "2", "serving.state", "quarantined")

    with pytest.raises(RegistryError, match="is quarantined"):
        promote(registry, "churn")


def test_a_new_registry_is_in_wal_and_names_no_other_folder(template: Path) -> None:
    with closing(sqlite3.connect(template / "mlflow.db")) as database:
        assert database.execute("pragma journal_mode").fetchone() == ("wal",)
    assert all(path.startswith(str(template / "artifacts")) for path in stored_paths(template))


def test_a_moved_registry_names_its_new_place_everywhere(registry: Registry, tmp_path: Path) -> None:
    register(registry, tmp_path)

    moved = copy_embedded(tmp_path / "mlruns", tmp_path / "elsewhere" / "mlruns")

    place = str(tmp_path / "elsewhere" / "mlruns")
    assert all(path.startswith(place) for path in stored_paths(tmp_path / "elsewhere" / "mlruns"))
    assert Path(moved.client.get_model_version_download_uri("churn", "1")).is_dir()
    assert relocate(tmp_path / "elsewhere" / "mlruns" / "mlflow.db") == 0


def test_an_address_of_no_known_kind_is_refused() -> None:
    with pytest.raises(RegistryError, match="neither"):
        open_registry("postgresql://somewhere")


def test_training_and_serving_meet_at_one_setting() -> None:
    assert registry_uri({}) == "sqlite:///mlruns/mlflow.db"
    assert registry_uri({"PAEDSRESUS_REGISTRY_URI": "http://registry:5000"}) == "http://registry:5000"
    assert uri_of(Path("/x")) == "sqlite:////x/mlflow.db"


def test_a_run_names_its_data_when_it_began_and_what_made_it(registry: Registry) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    tags = {"data.version": "ab" * 32, "data.source": "folder of tests"}

    run_id = record_run(registry, RunRecord(name="fit", began=began, tags=tags))

    run = registry.client.get_run(run_id)
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.digest, logged.dataset.source) == ("ab" * 18, "folder of tests")
    assert run.info.start_time == began.timestamp() * 1_000
    assert run.data.tags["mlflow.source.name"] == "python -m training fit"
