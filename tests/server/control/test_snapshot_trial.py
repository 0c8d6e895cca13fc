"""A bad snapshot: each kind of damage is refused with its own words, before a worker sees it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from methods.features import Feature, FeatureSchema, Kind
from methods.manifest import MANIFEST_NAME, Manifest, digest_of, parse_manifest
from methods.snapshot import DESCRIPTION_NAME, HASHES, ID_ENDS, IDS
from paedsresus.ml.v1 import learning_pb2, revenue_pb2
from server.control.artifacts import Cache, RefusalCode, Wanted, copy_folder
from server.control.probe import Limits, probe_folder
from server.control.snapshot_trial import try_snapshot
from tests.fakes.artifacts import golden_requests
from tests.fakes.snapshots import churn_table, payload_table, provenance
from training.data.snapshots import NumbersTable, Table, write_snapshot

PEOPLE = {f"user-{place}": request.features for place, request in enumerate(golden_requests())}
LEARNERS = {"user-1": learning_pb2.LearnerFeatures(minutes_28d=5.0)}
NOTHING = FeatureSchema(message="", features=())


def tables() -> list[Table]:
    return [churn_table(PEOPLE), payload_table("learners", "d" * 64, LEARNERS)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_snapshot(tmp_path / "made", "revenue", tables(), provenance())
    return tmp_path / "made"


def manifest_of(folder: Path) -> Manifest:
    return parse_manifest((folder / MANIFEST_NAME).read_bytes())


def resum(folder: Path) -> None:
    """Make the manifest list the files as they are now: damage that sums do not find."""
    document = json.loads((folder / MANIFEST_NAME).read_bytes())
    document["files"] = {name: digest_of((folder / name).read_bytes()) for name in document["files"]}
    (folder / MANIFEST_NAME).write_bytes(json.dumps(document).encode())


def change(name: str, how: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change an array, sums included."""

    def damage(folder: Path) -> None:
        np.save(folder / name, how(np.load(folder / name)))
        resum(folder)

    return damage


def describe(**changes: Any) -> Callable[[Path], None]:
    """Change the description, sums included."""

    def damage(folder: Path) -> None:
        document = json.loads((folder / DESCRIPTION_NAME).read_bytes())
        (folder / DESCRIPTION_NAME).write_bytes(json.dumps({**document, **changes}).encode())
        resum(folder)

    return damage


def put(column: str, value: float) -> Callable[[Any], Any]:
    """Give everybody a value."""
    place = churn_table(PEOPLE).schema.names.index(column)  # type: ignore[union-attr]  # a table of numbers

    def how(numbers: Any) -> Any:
        numbers[:, place] = value
        return numbers

    return how


def test_a_good_snapshot_passes(folder: Path) -> None:
    assert try_snapshot(folder, manifest_of(folder), "revenue") is None
    assert probe_folder(folder, Limits()) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(change(HASHES, lambda hashes: hashes[::-1].copy()), "ids.hashes.npy does not rise", id="order"),
        pytest.param(change(ID_ENDS, lambda ends: np.roll(ends, 3)), "ids", id="ends of ids"),
        pytest.param(change(IDS, lambda ids: np.roll(ids, 1)), "not found by its id", id="ids"),
        pytest.param(change(HASHES, lambda hashes: hashes[:-1]), "ids.hashes.npy holds <u8", id="one hash less"),
        pytest.param(change("churn.present.npy", lambda marks: marks + 2), "something else than 0 and 1", id="marks"),
        pytest.param(change("churn.numbers.npy", lambda n: n.astype(np.float32)), "churn.numbers.npy", id="type"),
        pytest.param(change("churn.numbers.npy", put("tenure_days", np.inf)), "infinite", id="infinite"),
        pytest.param(change("churn.numbers.npy", put("tenure_days", -5.0)), "the contract refuses", id="below 0"),
        pytest.param(change("churn.numbers.npy", put("plan", 77.0)), "the contract refuses", id="no plan"),
        pytest.param(change("churn.numbers.npy", put("tenure_days", 1e12)), "cannot be read", id="too large"),
        pytest.param(change("learners.bytes.npy", lambda b: b * 0 + 255), "cannot be read", id="no message"),
        pytest.param(describe(module="learning"), "module 'learning'", id="another module"),
        pytest.param(describe(snapshot_format=9), "upgrade the server first", id="newer format"),
        pytest.param(describe(subjects=7), "needs", id="fewer subjects"),
    ],
)
def test_damage_that_no_sum_finds_is_refused(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(folder)

    refusal = try_snapshot(folder, manifest_of(folder), "revenue")

    assert refusal is not None
    assert refusal.code is RefusalCode.SNAPSHOT
    assert said in refusal.text
    assert str(folder) not in refusal.text


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        pytest.param(Feature(name="shoe_size", kind=Kind.NUMBER), "'shoe_size'", id="unknown field"),
        pytest.param(Feature(name="seats", kind=Kind.NUMBER, unit="seats"), "another type", id="another kind"),
    ],
)
def test_fields_that_the_contract_lacks_are_refused(tmp_path: Path, feature: Feature, said: str) -> None:
    schema = FeatureSchema(message=revenue_pb2.PredictChurnFeatures.DESCRIPTOR.full_name, features=(feature,))
    table = NumbersTable(
        name="churn", schema=schema, expressions="c" * 64, subject_ids=["a"], columns={feature.name: np.ones(1)}
    )
    write_snapshot(tmp_path, "revenue", [table], provenance())

    refusal = try_snapshot(tmp_path, manifest_of(tmp_path), "revenue")

    assert refusal is not None
    assert said in refusal.text


def test_a_message_that_the_contract_lacks_is_refused(tmp_path: Path) -> None:
    table = payload_table("learners", "d" * 64, LEARNERS)
    write_snapshot(tmp_path, "revenue", [table], provenance())
    damage = json.loads((tmp_path / DESCRIPTION_NAME).read_bytes())["tables"]
    damage[0]["schema"]["message"] = "t.Nothing"
    describe(tables=damage)(tmp_path)

    refusal = try_snapshot(tmp_path, manifest_of(tmp_path), "revenue")

    assert refusal is not None
    assert "'t.Nothing', which the contract lacks" in refusal.text


def test_a_module_without_built_methods_has_no_snapshot(folder: Path) -> None:
    refusal = try_snapshot(folder, manifest_of(folder), "kaizen")

    assert refusal is not None
    assert refusal.code is RefusalCode.OTHER_MODEL


@pytest.mark.parametrize("name", ["churn.numbers.npy", "ids.bytes.npy", DESCRIPTION_NAME])
def test_a_file_that_changed_after_registration_is_never_published(tmp_path: Path, folder: Path, name: str) -> None:
    cache = Cache(tmp_path / "cache")
    cache.open()
    digest = digest_of((folder / MANIFEST_NAME).read_bytes())
    wanted = Wanted(model="features.revenue", version=3, digest=digest, schema=NOTHING)
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)

    refusal = cache.publish(wanted, lambda target: copy_folder(folder, target), lambda _: None)

    assert refusal is not None
    assert refusal.code is RefusalCode.FILE_CHANGED
    assert name in refusal.text
    assert not cache.path(digest).exists()
    assert cache.publish(wanted, lambda target: copy_folder(whole, target), lambda _: None) is None
