"""Bad artifacts: each is refused with its own reason, and nothing of it is published."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from methods.features import FeatureSchema, schema_of
from methods.manifest import digest_of
from paedsresus.ml.v1 import revenue_pb2
from server.control.artifacts import (
    FILES_MAX,
    Cache,
    FetchError,
    Refusal,
    RefusalCode,
    Wanted,
    copy_folder,
    verify_folder,
)
from tests.fakes.artifacts import FIELDS, churn_schema, write_artifact, write_churn_artifact

OFFERED = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)


def wanted(digest: str | None, *, schema: FeatureSchema = OFFERED, model: str = "churn") -> Wanted:
    return Wanted(model=model, version=7, digest=digest, schema=schema)


def passes(_folder: Path) -> Refusal | None:
    return None


def copies(source: Path) -> Callable[[Path], None]:
    return lambda target: copy_folder(source, target)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache")
    cache.open()
    return cache


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def test_a_good_artifact_is_published_read_only_under_its_digest(cache: Cache, source: Path) -> None:
    digest = write_churn_artifact(source)

    refusal = cache.publish(wanted(digest), copies(source), passes)

    assert refusal is None
    published = cache.path(digest)
    assert {path.name for path in published.iterdir()} == {path.name for path in source.iterdir()}
    assert all(path.stat().st_mode & 0o777 == 0o400 for path in published.iterdir())
    assert published.stat().st_mode & 0o777 == 0o500
    assert cache.holds(wanted(digest))


def test_files_that_mlflow_adds_are_left_out(cache: Cache, source: Path) -> None:
    digest = write_churn_artifact(source)
    for name in ("MLmodel", "registered_model_meta", "input_example.json", "serving_input_example.json"):
        (source / name).write_text("x")

    assert cache.publish(wanted(digest), copies(source), passes) is None
    assert not (cache.path(digest) / "MLmodel").exists()


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[100] ^= 1
    (folder / "model.onnx").write_bytes(content)


def truncate(folder: Path) -> None:
    os.truncate(folder / "parameters.json", 10)


def link_out(folder: Path) -> None:
    (folder / "card.md").unlink()
    (folder / "card.md").symlink_to("/etc/hostname")


def link_a_folder(folder: Path) -> None:
    (folder / "plots").symlink_to("/etc")


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        pytest.param(flip_a_bit, RefusalCode.FILE_CHANGED, "model.onnx", id="bit flip"),
        pytest.param(truncate, RefusalCode.FILE_CHANGED, r"parameters.json \(10 bytes\)", id="truncated"),
        pytest.param(
            lambda folder: (folder / "golden.json").unlink(), RefusalCode.MISSING_FILE, "golden.json", id="missing file"
        ),
        pytest.param(
            lambda folder: (folder / "manifest.json").unlink(), RefusalCode.MISSING_FILE, "manifest", id="no manifest"
        ),
        pytest.param(
            lambda folder: (folder / "extra.py").write_text("x"), RefusalCode.EXTRA_FILE, "extra.py", id="extra file"
        ),
        pytest.param(link_out, RefusalCode.NOT_A_FILE, "card.md", id="link to a file"),
        pytest.param(link_a_folder, RefusalCode.NOT_A_FILE, "plots", id="link to a folder"),
        pytest.param(
            lambda folder: os.mkfifo(folder / "pipe"), RefusalCode.NOT_A_FILE, "pipe", id="pipe that never ends"
        ),
        pytest.param(
            lambda folder: [path.unlink() for path in folder.iterdir()], RefusalCode.EMPTY, "empty", id="empty download"
        ),
        pytest.param(
            lambda folder: [(folder / f"f{i}").write_text("") for i in range(FILES_MAX)],
            RefusalCode.TOO_LARGE,
            "more than",
            id="too many files",
        ),
    ],
)
def test_damage_after_registration_is_refused(
    cache: Cache, source: Path, damage: Callable[[Path], Any], code: RefusalCode, said: str
) -> None:
    digest = write_churn_artifact(source)
    damage(source)

    refusal = cache.publish(wanted(digest), copies(source), passes)

    assert refusal is not None
    assert refusal.code is code
    assert re.search(said, refusal.text), refusal.text
    assert not cache.path(digest).exists()
    assert list(cache.path(digest).parent.iterdir()) == []


def test_another_manifest_than_the_registered_one_is_refused(cache: Cache, source: Path) -> None:
    registered = write_churn_artifact(source)
    write_churn_artifact(source, bias=1.0)

    refusal = cache.publish(wanted(registered), copies(source), passes)

    assert refusal is not None
    assert refusal.code is RefusalCode.MANIFEST_CHANGED


def test_a_version_without_the_tag_is_refused_before_anything_is_fetched(cache: Cache) -> None:
    def fetch(_folder: Path) -> None:
        raise AssertionError("nothing may be fetched")

    refusal = cache.publish(wanted(None), fetch, passes)

    assert refusal is not None
    assert refusal.code is RefusalCode.NO_DIGEST


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("", id="empty"),
        pytest.param(".", id="the cache itself"),
        pytest.param("..", id="the state folder"),
        pytest.param("../precious", id="a neighbour"),
        pytest.param("{tmp}/precious", id="an absolute path"),
        pytest.param("A" * 64, id="upper case"),
        pytest.param("a" * 64 + "\n", id="one character more"),
        pytest.param("é" * 5_000, id="long"),
    ],
)
def test_a_tag_that_is_no_digest_names_no_folder(cache: Cache, tmp_path: Path, source: Path, digest: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep me")
    published = write_churn_artifact(source)
    assert cache.publish(wanted(published), copies(source), passes) is None

    refusal = cache.publish(wanted(digest.format(tmp=tmp_path)), copies(source), passes)

    assert refusal is not None
    assert refusal.code is RefusalCode.NO_DIGEST
    assert (tmp_path / "precious" / "file").read_text() == "keep me"
    assert cache.holds(wanted(published))


def test_what_is_no_artifact_in_the_cache_is_left_alone_when_it_is_pruned(cache: Cache, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    (folder / "note.txt").write_text("mine")
    (folder / "lost+found").mkdir()
    (folder / ("b" * 64)).symlink_to(tmp_path)
    (folder / ("c" * 64)).mkdir()

    gone = cache.prune(frozenset())

    assert gone == {"c" * 64}
    assert {path.name for path in folder.iterdir()} == {"note.txt", "lost+found", "b" * 64}


def test_a_refusal_stays_short_whatever_the_artifact_is_named(cache: Cache, source: Path) -> None:
    schema = changed_feature(name="tenure_days", to_name="x" * 200_000)

    refusal = cache.publish(wanted(write_artifact(source, files_of(source), schema)), copies(source), passes)

    assert refusal is not None
    assert refusal.code is RefusalCode.WRONG_FIELD
    assert len(refusal.text) <= 1_000


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        pytest.param(
            {"files": {"../../escape": "a" * 64}}, RefusalCode.MANIFEST_INVALID, "could leave", id="hostile path"
        ),
        pytest.param({"files": {"/etc/passwd": "a" * 64}}, RefusalCode.MANIFEST_INVALID, "leave", id="absolute path"),
        pytest.param({"artifact_format": 2}, RefusalCode.NEWER_FORMAT, "upgrade the server first", id="newer format"),
        pytest.param({"model": "ltv"}, RefusalCode.OTHER_MODEL, "'ltv'", id="another model"),
        pytest.param({"feature_set": "b" * 64}, RefusalCode.WRONG_FIELD, "feature_set", id="digest of other features"),
        pytest.param({"currency": None}, RefusalCode.WRONG_FIELD, "no currency", id="money without a currency"),
        pytest.param({"features": {"message": 1}}, RefusalCode.WRONG_FIELD, "cannot be read", id="features unreadable"),
    ],
)
def test_a_manifest_that_is_registered_and_wrong_is_refused(
    cache: Cache, source: Path, changes: dict[str, Any], code: RefusalCode, said: str
) -> None:
    contents = files_of(source)
    digest = write_artifact(source, contents, churn_schema(), changes=changes)

    refusal = cache.publish(wanted(digest), copies(source), passes)

    assert refusal is not None
    assert refusal.code is code
    assert said in refusal.text


def files_of(folder: Path) -> dict[str, bytes]:
    write_churn_artifact(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def changed_feature(**changes: Any) -> FeatureSchema:
    document = churn_schema().to_json()
    for feature in document["features"]:
        if feature["name"] == changes["name"]:
            feature.update({key.removeprefix("to_"): value for key, value in changes.items() if key != "name"})
    return FeatureSchema.from_json(document)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        pytest.param(changed_feature(name="tenure_days", to_name="tenure_weeks"), "is not a field", id="unknown field"),
        pytest.param(changed_feature(name="tenure_days", to_unit="weeks"), "is in 'weeks'", id="another unit"),
        pytest.param(changed_feature(name="tenure_days", to_kind="number"), "is a number", id="another kind"),
        pytest.param(
            changed_feature(name="plan", to_levels=["ANNUAL", "MONTHLY"]), "has levels", id="levels in another order"
        ),
    ],
)
def test_a_wrong_field_is_refused(cache: Cache, source: Path, schema: FeatureSchema, said: str) -> None:
    digest = write_artifact(source, files_of(source), schema)

    refusal = cache.publish(wanted(digest), copies(source), passes)

    assert refusal is not None
    assert refusal.code is RefusalCode.WRONG_FIELD
    assert said in refusal.text


def test_fewer_fields_and_fewer_levels_than_the_request_has_are_welcome(cache: Cache, source: Path) -> None:
    schema = changed_feature(name="plan", to_levels=["MONTHLY"])
    digest = write_artifact(source, files_of(source), schema.subset(FIELDS[:3]))

    assert cache.publish(wanted(digest), copies(source), passes) is None


def test_a_failed_probe_publishes_nothing(cache: Cache, source: Path) -> None:
    digest = write_churn_artifact(source)
    refusal = Refusal(code=RefusalCode.GOLDEN, text="differs")

    assert cache.publish(wanted(digest), copies(source), lambda _: refusal) == refusal
    assert not cache.path(digest).exists()


def test_a_published_folder_that_rotted_is_fetched_again(cache: Cache, source: Path) -> None:
    digest = write_churn_artifact(source)
    cache.publish(wanted(digest), copies(source), passes)
    rotten = cache.path(digest) / "model.onnx"
    rotten.chmod(0o600)
    rotten.write_bytes(b"rotten")

    assert not cache.holds(wanted(digest))
    assert cache.publish(wanted(digest), copies(source), passes) is None
    assert cache.holds(wanted(digest))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"model": "ltv"}, id="a version of another model with the same tag"),
        pytest.param({"schema": OFFERED.subset(["plan"])}, id="a release whose requests have fewer fields"),
    ],
)
def test_a_whole_artifact_stays_when_it_is_asked_for_by_mistake(
    cache: Cache, source: Path, other: dict[str, Any]
) -> None:
    digest = write_churn_artifact(source)
    cache.publish(wanted(digest), copies(source), passes)

    refusal = cache.publish(wanted(digest, **other), copies(source), passes)

    assert refusal is not None
    assert cache.holds(wanted(digest))


def test_a_fetch_that_fails_says_nothing_against_the_version_and_leaves_nothing(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(FetchError):
        cache.publish(wanted("a" * 64), copies(tmp_path / "nowhere"), passes)

    assert list((tmp_path / "cache").iterdir()) == []


def test_what_an_earlier_process_left_half_done_is_removed_at_the_start(tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / ".staging-x"
    leftover.mkdir(parents=True)
    (leftover / "model.onnx").write_text("half")

    Cache(tmp_path / "cache").open()

    assert not leftover.exists()
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_every_single_bit_of_every_file_is_covered_by_a_sum(tmp_path: Path, source: Path) -> None:
    digest = write_churn_artifact(source)
    for path in sorted(source.iterdir()):
        damaged = tmp_path / "damaged"
        shutil.copytree(source, damaged)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        (damaged / path.name).write_bytes(content)

        assert verify_folder(damaged, wanted(digest)) is not None, path.name
        shutil.rmtree(damaged)


def test_the_digest_is_the_sum_of_the_manifest(source: Path) -> None:
    digest = write_churn_artifact(source)

    assert digest == digest_of((source / "manifest.json").read_bytes())
    assert json.loads((source / "manifest.json").read_bytes())["model"] == "churn"
