"""Every example in a docstring of methods/ gives what it says."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import methods


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(methods.__path__, "methods.")
    return [importlib.import_module(info.name) for info in found]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_the_examples_of_a_module_give_what_they_say(module: ModuleType) -> None:
    result = doctest.testmod(module)

    assert result.failed == 0
