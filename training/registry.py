"""The MLflow registry that training writes to: an address of an MLflow server, or the embedded one of one machine.

The embedded registry is one SQLite file with a folder of artifacts beside it (`mlruns/mlflow.db`, `mlruns/artifacts`).
It is created here, on purpose and in one place: MLflow itself would make an empty one out of any wrong path. MLflow
stores absolute paths; when the folder was moved or copied, opening it here writes the new place into the database.

mlflow is imported when a registry is opened, never with this module: it takes over a second and sends telemetry unless
told otherwise before. Not here: what a version carries (register.py); following the registry (server/control).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

REGISTRY_VARIABLE = "PAEDSRESUS_REGISTRY_URI"
DEFAULT_URI = "sqlite:///mlruns/mlflow.db"
EXPERIMENT = "paedsresus"
_SQLITE = "sqlite:///"
# Every column in which MLflow 3.17 keeps an absolute path of this machine.
_PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


class RegistryError(Exception):
    """The registry cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """An open registry. `client` is an MlflowClient; `experiment_id` is where this house's runs go."""

    uri: str
    client: Any
    experiment_id: str


def registry_uri(environ: Mapping[str, str]) -> str:
    """Address of the registry: the server's own setting, so that training and serving meet at one place."""
    return environ.get(REGISTRY_VARIABLE) or DEFAULT_URI


def open_registry(uri: str) -> Registry:
    """Open a registry; create the embedded one when its file does not exist yet, repair its paths when it moved.

    Raises: RegistryError: the address is of no kind that is supported, or the registry does not answer.
    """
    mlflow = _import_mlflow()
    embedded = embedded_file(uri)
    if embedded is not None:
        embedded.parent.mkdir(parents=True, exist_ok=True)
        uri = f"{_SQLITE}{embedded}"  # absolute: commands and their children may stand in different folders
    elif not uri.startswith(("http://", "https://")):
        raise RegistryError(f"registry {uri!r} is neither {_SQLITE}FILE nor an address of an MLflow server")
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        if embedded is not None:
            relocate(embedded)
        return Registry(uri=uri, client=client, experiment_id=str(found.experiment_id))
    location = None if embedded is None else str(embedded.parent / "artifacts")
    experiment_id = client.create_experiment(EXPERIMENT, artifact_location=location)
    if embedded is not None:
        _settle(embedded)
    return Registry(uri=uri, client=client, experiment_id=str(experiment_id))


def embedded_file(uri: str) -> Path | None:
    """Absolute path of the embedded registry's file; None when the address is of another kind.

    >>> embedded_file("http://registry:5000") is None
    True
    """
    if not uri.startswith(_SQLITE):
        return None
    return Path(unquote(uri.removeprefix(_SQLITE).split("?")[0])).absolute()


def relocate(database: Path) -> int:
    """Write the folder's present place into the database when it was moved; the number of rows changed.

    The old place is read from the experiment of this house, whose artifacts stand in `artifacts` beside the file.
    """
    here = str(database.parent)
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=20)) as connection:
        row = connection.execute(
            "select artifact_location from experiments where name = ?",  # unique index on (workspace, name)
            (EXPERIMENT,),
        ).fetchone()
        before = str(row[0]).removeprefix("file://").removesuffix("/artifacts") if row else here
        if before == here:
            return 0
        changed = 0
        with connection:  # one transaction: all five columns or none
            for table, column in _PATH_COLUMNS:
                for prefix in (before, f"file://{before}"):
                    # Names come from the constant above, values are bound. The prefix ends at a slash.
                    statement = (
                        f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608
                        f"where substr({column}, 1, ?) = ?"
                    )
                    values = (here, len(prefix) + 1, len(prefix) + 1, f"{prefix}/")
                    changed += connection.execute(statement, values).rowcount
        return changed


def _import_mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # A closed port or a slow server ends a command in seconds; MLflow's own defaults block one call for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import mlflow

    for name in ("mlflow", "alembic"):  # they tell every migration; a person who trains wants the table at the end
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def _settle(database: Path) -> None:
    """Once after creation: WAL, so that a poll never waits for a writer, and no stray path of the first folder.

    Measured: reads beside two training processes 470 -> 106 ms at the 95th percentile. WAL needs a local disk.
    """
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute(
            "update experiments set artifact_location = ? where experiment_id = 0",
            (str(database.parent / "artifacts" / "default"),),
        )
