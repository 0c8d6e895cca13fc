"""The first champion is made once; the question whether there is one costs no heavy import."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.artifacts import churn_schema, write_artifact, write_churn_artifact
from training.bootstrap import champions, is_complete, main
from training.models import MODELS, SNAPSHOTS
from training.register import RunRecord, record_run, register_version
from training.registry import open_registry

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of themselves


def test_a_missing_registry_lacks_everything_and_is_not_created(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"

    assert not is_complete(f"sqlite:///{file}")
    assert not file.exists()


def test_a_file_without_tables_lacks_everything(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.touch()

    assert not is_complete(f"sqlite:///{file}")


def test_a_champion_of_every_model_and_snapshot_is_all_that_a_start_needs(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    registry = open_registry(uri)
    names = {*MODELS, *SNAPSHOTS.values()}
    for model in sorted(names):
        assert not is_complete(uri)
        write_artifact(tmp_path / model, {"card.md": b""}, churn_schema(), changes={"model": model})
        register_version(registry, tmp_path / model, run_id=record_run(registry, RunRecord(name="first")))

    assert is_complete(uri)
    assert champions(uri) == names


def test_no_simulated_model_joins_a_registry_whose_data_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    registry = open_registry(uri)
    write_churn_artifact(tmp_path / "artifact")
    register_version(registry, tmp_path / "artifact", run_id=record_run(registry, RunRecord(name="first")))
    monkeypatch.setenv("PAEDSRESUS_REGISTRY_URI", uri)

    assert main(["--mart", str(tmp_path / "mart")]) == 0

    assert champions(uri) == {"churn"}
    assert not (tmp_path / "mart").exists()
    assert "difficulty" in capsys.readouterr().err


def test_a_start_in_another_folder_finds_the_versions_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = open_registry(f"sqlite:///{tmp_path}/first/mlflow.db")
    write_churn_artifact(tmp_path / "artifact")
    register_version(registry, tmp_path / "artifact", run_id=record_run(registry, RunRecord(name="first")))
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    monkeypatch.setenv("PAEDSRESUS_REGISTRY_URI", f"sqlite:///{tmp_path}/second/mlflow.db")

    assert main(["--mart", str(tmp_path / "mart")]) == 0

    with closing(sqlite3.connect(tmp_path / "second/mlflow.db")) as database:
        (place,) = database.execute("select storage_location from model_versions").fetchone()
    assert Path(place).is_relative_to(tmp_path / "second")
    assert Path(place).is_dir()


def test_where_there_is_no_registry_only_paths_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAEDSRESUS_REGISTRY_URI", f"sqlite:///{tmp_path}/mlflow.db")

    assert main(["--only-paths"]) == 0

    assert list(tmp_path.iterdir()) == []


def test_a_registry_that_a_writer_locks_is_not_trained_into(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file, isolation_level=None) as writer:
        writer.execute("create table registered_model_aliases (name text, alias text)")
        writer.execute("begin exclusive")

        assert is_complete(f"sqlite:///{file}")
        writer.execute("rollback")
    writer.close()


def test_asking_imports_neither_mlflow_nor_the_training_stack() -> None:
    heavy = "{'mlflow', 'pandas', 'sklearn', 'xgboost', 'grpc', 'duckdb', 'pyarrow', 'sqlalchemy'}"
    code = f"import sys, training.bootstrap; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
