import doctest
from types import ModuleType

import pytest

from training.data import columns
from training.data.simulator import memory, minds, parameters
from training.features import digest, landmarks


@pytest.mark.parametrize("module", [columns, memory, minds, parameters, digest, landmarks], ids=lambda m: m.__name__)
def test_examples_in_docstrings_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)

    assert result.attempted > 0
    assert result.failed == 0
