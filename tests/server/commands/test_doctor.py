"""`doctor` finds what would keep a server from serving, and changes nothing."""

import json
import sqlite3
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from server.commands.doctor import Verdict, check_addresses, check_registry, check_state, doctor
from server.settings import Settings
from tests.fakes.artifacts import write_churn_artifact


def test_a_machine_that_is_fit_has_no_failure(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", listen="127.0.0.1:0", metrics_listen="127.0.0.1:0")
    out = StringIO()

    code = doctor(settings, Console(file=out), as_json=True)

    assert code == 0
    assert {finding["check"] for finding in json.loads(out.getvalue())} >= {"python", "grpcio", "port", "cache", "disk"}
    assert not settings.state_dir.exists()


def test_a_registry_that_is_no_database_fails(tmp_path: Path) -> None:
    broken = tmp_path / "mlflow.db"
    broken.write_text("not a database, and long enough to have a header of its own")

    (finding,) = check_registry(Settings(registry_uri=f"sqlite:///{broken}"))

    assert finding.verdict is Verdict.FAIL


def test_a_registry_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table registered_models (name text)")
        database.execute("insert into registered_models values ('churn')")
        database.commit()

    (finding,) = check_registry(Settings(registry_uri=f"sqlite:///{path}"))

    assert (finding.verdict, finding.detail) == (Verdict.OK, f"{path}: 1 registered models")


def test_an_open_address_without_tls_fails() -> None:
    findings = list(check_addresses(Settings(listen="0.0.0.0:0", metrics_listen="127.0.0.1:0")))

    assert [finding.verdict for finding in findings if finding.check == "bind"] == [Verdict.FAIL]


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_damaged_artifact_in_the_cache_is_named(tmp_path: Path, name: str) -> None:
    digest = _cached(tmp_path)
    settings = Settings(state_dir=tmp_path)
    assert all(finding.verdict is Verdict.OK for finding in check_state(settings))

    file = tmp_path / "cache" / digest / name
    file.chmod(0o600)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    (finding,) = (finding for finding in check_state(settings) if finding.check == "cache")
    assert finding.verdict is Verdict.FAIL
    assert digest[:12] in finding.detail
    assert name in finding.detail


def _cached(state: Path) -> str:
    digest = write_churn_artifact(state / "fresh")
    (state / "cache").mkdir()
    (state / "fresh").rename(state / "cache" / digest)
    return digest
