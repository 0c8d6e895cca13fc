"""Each end-to-end test gets its own copy of the trained registry and its own server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.house import House, free_port, is_answering, wait_until


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
