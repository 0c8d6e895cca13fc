"""A registered version's files, fetched from the registry and verified against its digest.

Not here: what is in them (training/revenue/champion.py, training/features/folding.py); registering (register.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from methods.manifest import DIGEST_TAG, MANIFEST_NAME, Manifest, digest_of, parse_manifest
from training.register import CHAMPION, read_aliases
from training.registry import Registry


class Fetched(NamedTuple):
    """A version, and the folder that holds its artifact."""

    version: int
    folder: Path


def fetch_artifact(registry: Registry, model: str, into: Path, version: int | None = None) -> Fetched | None:
    """A version's artifact, by default of the one under the alias `champion`; None when there is no champion.

    Raises: ValueError: its manifest is not the one it was registered with.
    """
    version = read_aliases(registry, model).get(CHAMPION) if version is None else version
    if version is None:
        return None
    found = registry.client.get_model_version(model, str(version))
    import mlflow  # slow to import; a command that only prints help never needs it

    uri = f"models:/{model}/{version}"
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into), tracking_uri=registry.uri))
    content = (folder / MANIFEST_NAME).read_bytes()
    if digest_of(content) != found.tags.get(DIGEST_TAG):
        raise ValueError(f"{model} v{version} is not what was registered: its manifest differs from tag {DIGEST_TAG}")
    return Fetched(version, folder)


def read_files(fetched: Fetched, names: Sequence[str]) -> tuple[Manifest, Mapping[str, bytes]]:
    """The manifest and these files of an artifact; raises ValueError when one differs from the manifest."""
    manifest = parse_manifest((fetched.folder / MANIFEST_NAME).read_bytes())
    files = {name: (fetched.folder / name).read_bytes() for name in names}
    for name, content in files.items():
        if digest_of(content) != manifest.files.get(name):
            raise ValueError(f"v{fetched.version} is not what was registered: {name} differs from its manifest")
    return manifest, files
