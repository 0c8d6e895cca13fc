"""The registry locked, removed, at boot and later: what was verified goes on being served."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from paedsresus.ml import Client
from paedsresus.ml.v1 import orchestration_pb2
from tests.end_to_end.conftest import is_answering
from tests.end_to_end.house import House, wait_until
from tests.end_to_end.load import Load

pytestmark = [
    pytest.mark.filterwarnings("default"),  # MLflow and its libraries warn of themselves
    pytest.mark.end_to_end,
    pytest.mark.faults,
    pytest.mark.timeout(300),
]


def test_a_registry_locked_by_a_writer_disturbs_no_call(serving: House) -> None:
    lock = sqlite3.connect(serving.folder / "mlruns/mlflow.db", isolation_level=None)
    lock.execute("begin exclusive")

    with Load(target=serving.target) as load:
        wait_until(lambda: len(load.history) > 500, seconds=30, what="load runs while the registry is locked")
    lock.execute("rollback")
    lock.close()

    assert load.errors == []
    assert load.versions_since(0) == {1}


def test_a_registry_removed_while_serving_is_reported_and_disturbs_no_call(serving: House) -> None:
    for file in Path(serving.folder / "mlruns").glob("mlflow.db*"):
        file.unlink()

    with Load(target=serving.target) as load:
        wait_until(lambda: registry_state(serving) == "REGISTRY_STATE_AWAY", seconds=30, what="status says away")

    assert load.errors == []
    assert load.versions_since(0) == {1}
    assert not (serving.folder / "mlruns/mlflow.db").exists(), "looking for a registry must not create one"


def test_a_boot_without_a_registry_serves_the_last_verified_version(serving: House) -> None:
    serving.stop()
    for file in Path(serving.folder / "mlruns").glob("mlflow.db*"):
        file.unlink()

    serving.start()

    wait_until(lambda: is_answering(serving), seconds=30, what="server answers without a registry")
    wait_until(lambda: registry_state(serving) == "REGISTRY_STATE_AWAY", seconds=30, what="status says away")


def test_killing_control_disturbs_no_call_and_it_comes_back(serving: House) -> None:
    first = serving.pid_of("control")

    with Load(target=serving.target) as load:
        serving.kill(first)
        wait_until(lambda: serving.pid_of("control") not in {None, first}, seconds=30, what="control is back")

    assert load.errors == []


def registry_state(house: House) -> str:
    """What GetSystemStatus says of the registry."""
    with Client(house.target) as client:
        status = client.orchestration.get_system_status()
    return orchestration_pb2.RegistryState.Name(status.registry.state)
