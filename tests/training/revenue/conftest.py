"""A simulated platform for the tests of versions."""

from datetime import UTC, datetime

import pytest

from training.data.collect import collect
from training.data.mart import Mart
from training.data.simulator.parameters import Parameters
from training.data.sources import SimulatorSource


@pytest.fixture(scope="session")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Mart:
    """Eight hundred users over two years."""
    parameters = Parameters(start=datetime(2024, 1, 1, tzinfo=UTC), users=800)
    return collect(SimulatorSource(parameters), tmp_path_factory.mktemp("mart"), parameters.end).mart
