"""The house of the battery, opened once: one version of every model, trained by the product on simulated data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.battery.house import House


@pytest.fixture(scope="session")
def house(trained: Path) -> House:
    return House(trained / "mlruns")
