"""What tests of several folders share: one registry, trained once a run by the product itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.house import House, free_port


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder whose registry holds churn version 1, champion, trained by the product on simulated data."""
    folder = tmp_path_factory.mktemp("trained")
    house = House(folder=folder, port=free_port(), metrics_port=free_port())
    house.run("training.bootstrap", "--users", "800")
    return folder
