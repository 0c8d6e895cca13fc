"""Writes an artifact: a folder of data with a manifest that holds every file's sha256.

What every model shares stands here: the files' names, canonical JSON, the reference profile for drift. The operators
that the house's exporters use are listed with them (training/onnx_trees.py: TreeEnsembleRegressor alone).
Not here: a model's own files (training/<module>/); the manifest's rules (methods/manifest.py); registering the folder
(register.py).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.features import FeatureSchema, Kind
from methods.manifest import MANIFEST_NAME, Manifest, digest_of, manifest_bytes

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What an artifact was made from.

    Attributes:
        data_version: digest of the data.
        data_time: newest moment that was fitted on, aware UTC.
        observations: rows fitted on.
        created_at: now, aware UTC.
        currency: ISO 4217 code of every money feature, None without one.
        expressions: digest of the expressions that computed the features.
    """

    data_version: str
    data_time: datetime
    observations: int
    created_at: datetime
    currency: str | None
    expressions: str


def write_artifact(
    folder: Path, model: str, schema: FeatureSchema, provenance: Provenance, files: Mapping[str, bytes]
) -> str:
    """Writes the files and the manifest that lists them.

    Returns: the version's digest, sha256 of the manifest.
    Raises: ManifestError: a name or a fact breaks a rule of the manifest.
    """
    manifest = manifest_bytes(
        Manifest(
            model=model,
            features=schema.to_json(),
            expressions=provenance.expressions,
            feature_set=schema.feature_set(provenance.expressions),
            currency=provenance.currency,
            data_version=provenance.data_version,
            data_time=provenance.data_time,
            observations=provenance.observations,
            created_at=provenance.created_at,
            files={name: digest_of(content) for name, content in files.items()},
        )
    )
    for name, content in {**files, MANIFEST_NAME: manifest}.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return digest_of(manifest)


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8; equal values give equal bytes.

    >>> canonical_json({"b": 1, "a": [0.5]})
    b'{"a":[0.5],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def reference_profile(
    matrix: NDArray[np.float32], schema: FeatureSchema, probability: NDArray[np.float64]
) -> dict[str, Any]:
    """How rows and answers looked when the version was fitted: what live traffic is compared with.

    Args:
        matrix: (n, columns) of the rows fitted on.
        schema: what the columns are.
        probability: (n,) the version's answers for them at its first horizon.
    Returns: n; for each field its missing share and either quantiles (at the listed levels) or shares of its levels;
        quantiles of the answers. A field that is missing throughout has neither.
    """
    features: dict[str, Any] = {}
    at = 0
    for feature in schema.features:
        part = matrix[:, at : at + len(feature.columns)].astype(np.float64)
        at += len(feature.columns)
        known = part[~np.isnan(part[:, 0])]
        entry: dict[str, Any] = {"kind": feature.kind.value, "missing_share": 1.0 - len(known) / max(1, len(part))}
        if len(known) and feature.kind in {Kind.CATEGORY, Kind.FLAG}:
            levels = feature.levels or ("TRUE",)
            entry["shares"] = dict(zip(levels, known.mean(axis=0).tolist(), strict=True))
        elif len(known):
            entry["quantiles"] = np.quantile(known[:, 0], QUANTILES).tolist()
        features[feature.name] = entry
    return {
        "n": len(matrix),
        "levels": list(QUANTILES),
        "features": features,
        "scores": np.quantile(probability, QUANTILES).tolist(),
    }
