"""A small simulated world, made once."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from training.data.simulator.parameters import Parameters
from training.data.simulator.world import simulate
from training.data.tables import TABLES


@pytest.fixture(scope="session")
def parameters() -> Parameters:
    """400 users in one year, in chunks of 150."""
    return Parameters(start=datetime(2025, 1, 6, tzinfo=UTC), users=400, weeks=52, chunk_users=150)


@pytest.fixture(scope="session")
def world(parameters: Parameters) -> dict[str, pa.Table]:
    """All rows of that world, by table."""
    batches = list(simulate(parameters))
    return {t.name: pa.concat_tables([batch[t.name] for batch in batches if t.name in batch]) for t in TABLES}
