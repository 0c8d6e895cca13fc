"""What tests of several folders share: one registry, trained once a run by the product, and how examples are drawn.

Examples are the same in every run, and no example is timed: a red run means a changed product. With
`HYPOTHESIS_PROFILE=explore` new ones are drawn.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from tests.end_to_end.house import House, free_port

hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


TRAINING_SECONDS = 600  # every model, on a machine that has other things to do


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for the training; none of them knows whether it will be the one."""
    for item in items:
        if "trained" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(TRAINING_SECONDS + 300), append=False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder whose registry holds version 1 of every model, champion, trained by the product on simulated data."""
    folder = tmp_path_factory.mktemp("trained")
    house = House(folder=folder, port=free_port(), metrics_port=free_port())
    house.run("training.bootstrap", "--users", "800", seconds=TRAINING_SECONDS)
    return folder
