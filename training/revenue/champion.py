"""A registered version's answers for any rows: the champion's beside a new version, or one's own at an evaluation.

Its artifact is fetched from the registry and its digest checked; the graph is run as the server runs it.
Not here: who is compared with whom, and what follows (judging.py, training/gates.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import FeatureSchema, encode_columns
from methods.manifest import Manifest
from methods.revenue.churn import ChurnParameters, churn_by_horizon, parse_parameters
from training.fetching import Fetched, fetch_artifact, read_files
from training.onnx_trees import run_onnx
from training.registry import Registry
from training.revenue.person_periods import column_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """A version's artifact, read and verified."""

    version: int
    manifest: Manifest
    schema: FeatureSchema
    graph: bytes
    parameters: ChurnParameters

    @property
    def name(self) -> str:
        """For tables."""
        return f"champion v{self.version}"

    def answer(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Chance of leaving in the first period; rows as training.features.churn gives them -> (n,)."""
        matrix = encode_columns(self.schema, {name: column_values(table[name]) for name in self.schema.names})
        days = (self.parameters.period_days,)
        return churn_by_horizon(run_onnx(self.graph, matrix), self.parameters, days).value[:, 0]


def fetch_version(registry: Registry, model: str, into: Path, version: int | None = None) -> Champion | None:
    """A version's artifact, by default of the one under the alias `champion`; None when there is no champion.

    Raises: ValueError: its files are not those it was registered with.
    """
    found = fetch_artifact(registry, model, into, version)
    return None if found is None else read_champion(found.folder, found.version)


def read_champion(folder: Path, version: int) -> Champion:
    """An artifact folder as a champion.

    Raises: ValueError: a file differs from the manifest, or holds no churn model.
    """
    manifest, files = read_files(Fetched(version, folder), ("model.onnx", "parameters.json"))
    return Champion(
        version=version,
        manifest=manifest,
        schema=FeatureSchema.from_json(manifest.features),
        graph=files["model.onnx"],
        parameters=parse_parameters(json.loads(files["parameters.json"])),
    )
