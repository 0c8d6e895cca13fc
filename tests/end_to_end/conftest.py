"""One trained registry for all end-to-end tests; each test gets its own copy and its own server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from paedsresus.ml import Client
from paedsresus.ml.errors import MlError
from tests.end_to_end.house import House, free_port, wait_until


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder whose registry holds churn version 1, champion, trained by the product on simulated data."""
    folder = tmp_path_factory.mktemp("trained")
    house = House(folder=folder, port=free_port(), metrics_port=free_port())
    house.run("training.bootstrap", "--users", "800")
    return folder


@pytest.fixture
def house(trained: Path, tmp_path: Path) -> Iterator[House]:
    """A house that is not started yet; whatever the test started is ended afterwards."""
    shutil.copytree(trained, tmp_path / "house")
    house = House(folder=tmp_path / "house", port=free_port(), metrics_port=free_port())
    yield house
    if house.process is not None and house.process.poll() is None:
        house.stop()


@pytest.fixture
def serving(house: House) -> House:
    """A house whose server answers."""
    house.start()
    try:
        wait_until(lambda: is_answering(house), seconds=60, what="server answers")
    except AssertionError as late:
        late.add_note(house.log()[-4000:])
        raise
    return house


def is_answering(house: House) -> bool:
    """Whether PredictChurn gets an answer."""
    try:
        with Client(house.target) as client:
            client.revenue.predict_churn(features={"tenure_days": 100}, timeout_seconds=2)
    except MlError:
        return False
    return True
