"""From a folder in the verified cache to an opened version, or to the reason why not.

Control has verified the folder before it was published; a process verifies again what it opens, since the disk may
have changed since. Every file is read once, compared with the manifest, and used from those very bytes.
Not here: which versions to load (deployments.py); trial runs and limits (control/probe.py).
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor

from methods.features import FeatureSchema, schema_of
from methods.manifest import MANIFEST_NAME, Manifest, digest_of, parse_manifest
from server.desired import Load
from server.serving.deployments import Deployment, Facts
from server.slots import digest_prefix

M = TypeVar("M")


class LoadRefused(Exception):  # noqa: N818 - a refusal with words for the version's card
    """This process cannot open the version; the text says why, without paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A verified folder, opened.

    `read(name)` gives the bytes of a listed file, checked against its sha256. Raises LoadRefused when they differ.
    `folder` is for what is mapped instead of read (subjects.py), which checks its files by itself.
    """

    folder: Path
    manifest: Manifest
    schema: FeatureSchema
    read: Callable[[str], bytes]

    def read_json(self, name: str) -> Any:
        """A listed file as JSON."""
        try:
            return json.loads(self.read(name))
        except ValueError:
            raise LoadRefused(f"{name} is not JSON") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """What a module knows of one of its models: the message with its features, and how to open an artifact of it.

    `features` is None where a version reads requests as a whole (whole.py); its artifact then names no field.
    """

    features: Descriptor | None
    open: Callable[[Artifact, Load], Any]


def load_version(load: Load, state_dir: Path, kinds: Mapping[str, ModelKind]) -> Deployment[Any]:
    """Open and warm one version.

    Raises: LoadRefused: says what is wrong with it.
    """
    kind = kinds.get(load.model)
    if kind is None:
        raise LoadRefused(f"no method of this release asks the model {load.model!r}")
    artifact = open_artifact(state_dir / load.folder, load.digest)
    check_fields(artifact.schema, kind.features)
    manifest = artifact.manifest
    if manifest.model != load.model:
        raise LoadRefused(f"the artifact is of model {manifest.model!r}, not {load.model!r}")
    return Deployment(
        model=load.model,
        version=load.version,
        digest=load.digest,
        prefix=digest_prefix(load.digest),
        facts=Facts(
            data_version=manifest.data_version,
            data_time=manifest.data_time,
            observations=manifest.observations,
            currency=manifest.currency,
            feature_set=manifest.feature_set,
        ),
        asked=kind.open(artifact, load),
    )


def open_artifact(folder: Path, digest: str) -> Artifact:
    """Open a folder whose manifest has this digest.

    Raises: LoadRefused: it is missing, its manifest has another digest, or breaks a rule of its format.
    """
    content = _read(folder, MANIFEST_NAME)
    if digest_of(content) != digest:
        raise LoadRefused("the manifest in the cache has another digest than the version")
    try:
        manifest = parse_manifest(content)
        schema = FeatureSchema.from_json(manifest.features)
    except ValueError as cause:
        raise LoadRefused(str(cause)) from cause

    def read(name: str) -> bytes:
        return _read_listed(folder, name, manifest)

    return Artifact(folder=folder, manifest=manifest, schema=schema, read=read)


def _read_listed(folder: Path, name: str, manifest: Manifest) -> bytes:
    if name not in manifest.files:
        raise LoadRefused(f"the manifest lists no {name}")
    content = _read(folder, name)
    if hashlib.sha256(content).hexdigest() != manifest.files[name]:
        raise LoadRefused(f"{name} in the cache differs from its sha256 in the manifest")
    return content


def _read(folder: Path, name: str) -> bytes:
    try:
        # The cache is ours (0700); a link in it is somebody else's doing and is not followed.
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as cause:
        raise LoadRefused(f"{name} cannot be read from the cache") from cause
    with os.fdopen(handle, "rb") as file:
        return file.read()


def check_fields(schema: FeatureSchema, features: Descriptor | None) -> None:
    """Refuse fields that a message does not have, or has with another type, unit or levels.

    Raises: LoadRefused: names the first.
    """
    if features is None:
        if schema.features:
            raise LoadRefused(f"the artifact reads {schema.names[0]!r}, and this model reads no single fields")
        return
    try:
        known = {feature.name: feature for feature in schema_of(features, only=schema.names).features}
    except ValueError as cause:  # a field that is a list, or a message of its own
        raise LoadRefused(str(cause)) from cause
    for feature in schema.features:
        here = known.get(feature.name)
        if here is None:
            raise LoadRefused(f"the artifact reads {feature.name!r}, which {features.full_name} does not have")
        same = (here.kind, here.unit) == (feature.kind, feature.unit)
        if not same or feature.levels != here.levels[: len(feature.levels)]:
            raise LoadRefused(f"{feature.name!r} has another type, unit or levels in {features.full_name}")
