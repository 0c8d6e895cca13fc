"""One real embedded registry for all tests of control, and copies of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.embedded import copy_embedded, make_embedded
from training.registry import Registry


@pytest.fixture(scope="session")
def registry_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "mlruns"
    make_embedded(folder)
    return folder


@pytest.fixture
def embedded(registry_template: Path, tmp_path: Path) -> Registry:
    return copy_embedded(registry_template, tmp_path / "mlruns")
