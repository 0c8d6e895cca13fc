"""Opening from the cache: whatever changed on the disk since it was verified is found, in words and without paths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from methods.manifest import MANIFEST_NAME
from server.desired import Load
from server.modules.revenue.service import KINDS
from server.serving.load import LoadRefused, load_version
from tests.fakes.artifacts import write_churn_artifact
from tests.fakes.serving import load_of, publish_fake


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link_elsewhere(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10])


def test_a_verified_version_opens(tmp_path: Path) -> None:
    digest = publish_fake(tmp_path, 7)

    deployment = load_version(load_of(7, digest), tmp_path, KINDS)

    assert (deployment.model, deployment.version, deployment.digest) == ("churn", 7, digest)
    assert deployment.facts.currency == "USD"


@pytest.mark.parametrize("name", ["model.onnx", "parameters.json", "golden.json", MANIFEST_NAME])
@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink, link_elsewhere])
def test_a_file_that_changed_is_refused(tmp_path: Path, name: str, harm: Callable[[Path], Any]) -> None:
    digest = publish_fake(tmp_path, 7)
    harm(tmp_path / "cache" / digest / name)

    with pytest.raises(LoadRefused) as caught:
        load_version(load_of(7, digest), tmp_path, KINDS)

    assert str(tmp_path) not in str(caught.value)


def test_a_model_that_nothing_asks_is_refused(tmp_path: Path) -> None:
    digest = publish_fake(tmp_path, 7)

    with pytest.raises(LoadRefused, match="no method of this release asks"):
        load_version(Load(model="sheep", version=7, digest=digest, folder=f"cache/{digest}"), tmp_path, KINDS)


def test_an_artifact_of_another_model_is_refused(tmp_path: Path) -> None:
    digest = publish_fake(tmp_path, 7)
    kinds = {**KINDS, "ltv": KINDS["churn"]}

    with pytest.raises(LoadRefused, match="of model 'churn', not 'ltv'"):
        load_version(Load(model="ltv", version=7, digest=digest, folder=f"cache/{digest}"), tmp_path, kinds)


def test_a_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    digest = write_churn_artifact(tmp_path / "made", graph=b"not a graph")
    (tmp_path / "cache").mkdir()
    (tmp_path / "made").rename(tmp_path / "cache" / digest)

    with pytest.raises(LoadRefused, match="graph cannot be opened"):
        load_version(load_of(7, digest), tmp_path, KINDS)
