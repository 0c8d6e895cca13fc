"""How an artifact folder is logged to MLflow: as files with a signature and an input example, without any code.

MLflow calls `save_model` of the flavor that `Model.log` is given. Ours copies the folder and writes `MLmodel` beside
it; there is no Python function, no environment file and nothing pickled, so nothing can run when somebody loads it.
Not here: registering the version (register.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from methods.features import FeatureSchema, Kind
from methods.manifest import MANIFEST_NAME, digest_of, parse_manifest

FLAVOR = "paedsresus"
_TYPES = {
    Kind.NUMBER: "double",
    Kind.COUNT: "double",  # MLflow has no integer that may be missing
    Kind.FLAG: "boolean",
    Kind.CATEGORY: "string",
    Kind.MONEY: "double",
    Kind.TIME: "double",
}


def save_model(
    path: str, mlflow_model: Any, *, artifact: Path, input_example: dict[str, Any] | None = None, **_: Any
) -> None:
    """Copy `artifact` to `path` and describe it; called by MLflow."""
    target = Path(path)
    shutil.copytree(artifact, target)
    content = (artifact / MANIFEST_NAME).read_bytes()
    manifest = parse_manifest(content)
    mlflow_model.artifact_path = manifest.model  # MLflow would write an absolute path of this machine
    mlflow_model.signature = signature_of(FeatureSchema.from_json(manifest.features))
    mlflow_model.add_flavor(
        FLAVOR, artifact_format=manifest.artifact_format, manifest_sha256=digest_of(content), model=manifest.model
    )
    if input_example is not None:
        from mlflow.models.utils import _save_example

        _save_example(mlflow_model, input_example, path)
    mlflow_model.save(str(target / "MLmodel"))


def signature_of(schema: FeatureSchema) -> Any:
    """The request's fields as MLflow's signature, each optional; money in minor units, times in days from as-of.

    A version without fields reads a request as a whole: one message, as JSON.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    if not schema.features:  # such a version reads its request as a whole
        whole = Schema([ColSpec("string", "request")])
        return ModelSignature(inputs=whole, outputs=Schema([ColSpec("string", "response")]))
    inputs: list[Any] = [ColSpec(_TYPES[feature.kind], feature.name, required=False) for feature in schema.features]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec("double", "margin")]))
