"""A real embedded MLflow registry for tests, made once a run and copied: its migrations take two seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

from training.registry import Registry, open_registry


def make_embedded(folder: Path) -> None:
    """Create an empty registry in `folder`."""
    open_registry(uri_of(folder))


def copy_embedded(template: Path, folder: Path) -> Registry:
    """Open a copy of a registry, which repairs its paths on the way."""
    shutil.copytree(template, folder)
    return open_registry(uri_of(folder))


def uri_of(folder: Path) -> str:
    """Address of the registry in `folder`."""
    return f"sqlite:///{folder / 'mlflow.db'}"
