"""Snapshots written by training and read by the server, as files."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.features import schema_of
from methods.manifest import MANIFEST_NAME, Manifest, digest_of, parse_manifest
from methods.snapshot import DESCRIPTION_NAME, HASHES, ID_ENDS
from paedsresus.ml.v1 import common_pb2, learning_pb2, revenue_pb2
from server.errors import InvalidField, NotFound, WrongState
from server.serving.subjects import Snapshot, SnapshotRefused, open_snapshot, override
from training.artifact import Provenance
from training.data.snapshots import NumbersTable, PayloadTable, write_snapshot

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)
EXPRESSIONS = "c" * 64
CHURN_SET, PATH_SET = SCHEMA.feature_set(EXPRESSIONS), "d" * 64
PROVENANCE = Provenance(
    data_version="data-1", data_time=NOW, observations=3, created_at=NOW, currency="USD", expressions=EXPRESSIONS
)
HOUR = 3_600.0


def churn_table(ids: list[str], **columns: list[Any]) -> NumbersTable:
    """Nothing is known but the columns that are given."""
    unknown = {name: np.full(len(ids), np.nan) for name in SCHEMA.names}
    given_columns = {name: np.array(values) for name, values in columns.items()}
    return NumbersTable(
        name="churn", schema=SCHEMA, expressions=EXPRESSIONS, subject_ids=ids, columns={**unknown, **given_columns}
    )


def path_table(payloads: dict[str, bytes]) -> PayloadTable:
    return PayloadTable(
        name="path", message="paedsresus.ml.v1.GeneratePathFeatures", feature_set=PATH_SET, payloads=payloads
    )


def write(folder: Path, *tables: NumbersTable | PayloadTable) -> Manifest:
    digest = write_snapshot(folder, "revenue", tables, PROVENANCE)
    content = (folder / MANIFEST_NAME).read_bytes()
    assert digest == digest_of(content)
    return parse_manifest(content)


def published(folder: Path, *tables: NumbersTable | PayloadTable) -> Snapshot:
    return open_snapshot(folder, write(folder, *tables), "revenue")


PEOPLE = st.dictionaries(
    st.text(min_size=1, max_size=10),
    st.tuples(st.floats(allow_infinity=False), st.none() | st.binary(max_size=20)),
    max_size=40,
)


@given(PEOPLE, st.text(min_size=1, max_size=10))
@settings(max_examples=50, deadline=None)
def test_everybody_gets_back_what_was_written_and_nobody_else(
    tmp_path_factory: pytest.TempPathFactory, people: dict[str, tuple[float, bytes | None]], other: str
) -> None:
    numbers = churn_table(list(people), usage_trend=[number for number, _ in people.values()])
    payloads = path_table({subject: part for subject, (_, part) in people.items() if part is not None})

    snapshot = published(tmp_path_factory.mktemp("snapshot"), numbers, payloads)

    churn, path = snapshot.table(CHURN_SET), snapshot.table(PATH_SET)
    at = SCHEMA.names.index("usage_trend")
    for subject, (number, part) in people.items():
        found = snapshot.find(churn, subject)
        assert np.array_equal([found[at]], [number], equal_nan=True)
        assert np.isnan([value for place, value in enumerate(found) if place != at]).all()
        if part is not None:
            assert snapshot.find(path, subject) == part
    for table, missing in ((churn, other not in people), (path, people.get(other, (0.0, None))[1] is None)):
        if missing:
            with pytest.raises(NotFound):
                snapshot.find(table, other)
    snapshot.close()


def test_numbers_become_the_message_that_the_caller_could_have_sent(tmp_path: Path) -> None:
    table = churn_table(
        ["a", "b"],
        plan=["ANNUAL", "nothing known"],
        tenure_days=[30.0, np.nan],
        renewal_time=[10.5, np.nan],
        price=[5_000.0, np.nan],
        usage_trend=[-0.25, np.nan],
    )
    snapshot = published(tmp_path, table)

    a, b = (
        snapshot.message(snapshot.table(CHURN_SET), subject, revenue_pb2.PredictChurnFeatures())
        for subject in ("a", "b")
    )

    expected = revenue_pb2.PredictChurnFeatures(
        plan=revenue_pb2.SUBSCRIPTION_PLAN_ANNUAL,
        tenure_days=30,
        price=common_pb2.Money(minor_units=5_000, currency_code="USD"),
        usage_trend=-0.25,
    )
    expected.renewal_time.FromDatetime(NOW + timedelta(days=10, hours=12))
    assert a == expected
    assert b == revenue_pb2.PredictChurnFeatures()


def test_what_the_caller_knows_better_replaces_the_snapshots_value(tmp_path: Path) -> None:
    snapshot = published(tmp_path, churn_table(["a"], tenure_days=[30.0], seats=[4.0]))
    better = revenue_pb2.PredictChurnFeatures(seats=0, price=common_pb2.Money(minor_units=1, currency_code="USD"))

    found = snapshot.message(snapshot.table(CHURN_SET), "a", revenue_pb2.PredictChurnFeatures(), better)

    assert found == revenue_pb2.PredictChurnFeatures(
        tenure_days=30, seats=0, price=common_pb2.Money(minor_units=1, currency_code="USD")
    )


def test_a_list_is_replaced_and_not_continued() -> None:
    held = learning_pb2.GeneratePathFeatures(completed_lesson_ids=["a", "b"], minutes_28d=5.0)

    override(held, learning_pb2.GeneratePathFeatures(completed_lesson_ids=["c"]))

    assert held == learning_pb2.GeneratePathFeatures(completed_lesson_ids=["c"], minutes_28d=5.0)


def test_a_payload_is_the_message_itself(tmp_path: Path) -> None:
    learner = learning_pb2.GeneratePathFeatures(completed_lesson_ids=["a"])
    learner.knowledge.skill_states.add(skill_id="bmv", answers=3)
    snapshot = published(tmp_path, path_table({"learner": learner.SerializeToString()}))

    found = snapshot.message(snapshot.table(PATH_SET), "learner", learning_pb2.GeneratePathFeatures())

    assert found == learner


def test_who_is_not_found_is_told_what_to_do(tmp_path: Path) -> None:
    snapshot = published(tmp_path, churn_table(["a"]), path_table({"b": b""}))

    with pytest.raises(NotFound, match="does not know the subject; send `features`") as nobody:
        snapshot.find(snapshot.table(CHURN_SET), "zoe")
    with pytest.raises(NotFound, match="nothing for this method"):
        snapshot.find(snapshot.table(CHURN_SET), "b")

    assert nobody.value.metadata["data_time"] == "2026-03-01T00:00:00Z"
    assert "zoe" not in nobody.value.message  # ids stay out of messages and logs
    assert snapshot.find(snapshot.table(PATH_SET), "b") == b""


def test_a_version_with_other_features_is_refused_and_told_which_there_are(tmp_path: Path) -> None:
    snapshot = published(tmp_path, churn_table(["a"]))

    with pytest.raises(WrongState, match=f"churn {CHURN_SET[:12]}"):
        snapshot.table("e" * 64)


@pytest.mark.parametrize(("hours", "is_stale"), [(0.0, False), (35.9, False), (36.0, True), (400.0, True)])
def test_age_is_said_and_an_old_snapshot_is_stale(tmp_path: Path, hours: float, *, is_stale: bool) -> None:
    snapshot = published(tmp_path, churn_table(["a"]))

    found = snapshot.freshness(NOW.timestamp() + hours * HOUR)

    assert found == (NOW, hours * HOUR, is_stale)


def test_a_snapshot_does_not_answer_for_its_own_past(tmp_path: Path) -> None:
    snapshot = published(tmp_path, churn_table(["a"]))

    with pytest.raises(InvalidField) as refusal:
        snapshot.freshness(NOW.timestamp() - 1.0)

    assert refusal.value.field_violations[0].field == "context.as_of_time"


def test_a_snapshot_without_subjects_is_one(tmp_path: Path) -> None:
    snapshot = published(tmp_path, churn_table([]), path_table({}))

    assert snapshot.row("a") is None
    snapshot.close()


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path, churn_table(["a", "b"]))
    content = bytearray((tmp_path / HASHES).read_bytes())
    content[-1] ^= 1
    (tmp_path / HASHES).write_bytes(content)

    with pytest.raises(SnapshotRefused, match=r"ids\.hashes\.npy in the cache differs"):
        open_snapshot(tmp_path, manifest, "revenue")


def test_a_missing_file_a_link_and_another_module_are_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path, churn_table(["a"]))

    with pytest.raises(SnapshotRefused, match=r"features\.learning"):
        open_snapshot(tmp_path, manifest, "learning")
    unlisted = {name: total for name, total in manifest.files.items() if name != HASHES}
    with pytest.raises(SnapshotRefused, match=r"lists no ids\.hashes\.npy"):
        open_snapshot(tmp_path, replace(manifest, files=unlisted), "revenue")
    aside = (tmp_path / HASHES).rename(tmp_path / "aside")
    (tmp_path / HASHES).symlink_to(aside)
    with pytest.raises(SnapshotRefused, match=r"ids\.hashes\.npy cannot be read"):
        open_snapshot(tmp_path, manifest, "revenue")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (HASHES, np.zeros(3, dtype=np.uint64), r"holds <u8 \(3,\)"),
        (HASHES, np.zeros(2, dtype=np.int64), "holds <i8"),
        ("churn.numbers.npy", np.zeros((len(SCHEMA.names), 2)).T, "needs <f8"),
        ("churn.present.npy", np.zeros((2, 1), dtype=np.uint8), r"\(2, 1\)"),
        (ID_ENDS, np.array([1, 9], dtype=np.uint64), "does not end where"),
        (HASHES, b"not an array", "is no NPY file"),
        (HASHES, b"", "is no NPY file"),
        (DESCRIPTION_NAME, b"{", "snapshot.json"),
        (DESCRIPTION_NAME, b'{"snapshot_format": 2}', "upgrade the server"),
    ],
)
def test_files_that_fit_their_sums_and_not_the_layout_are_refused(
    tmp_path: Path, name: str, array: Any, message: str
) -> None:
    manifest = write(tmp_path, churn_table(["a", "b"]))
    if isinstance(array, bytes):
        (tmp_path / name).write_bytes(array)
    else:
        np.save(tmp_path / name, array)
    files = {**manifest.files, name: digest_of((tmp_path / name).read_bytes())}

    with pytest.raises(SnapshotRefused, match=message):
        open_snapshot(tmp_path, replace(manifest, files=files), "revenue")


def test_a_torn_array_is_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path, churn_table(["a", "b"]))
    content = (tmp_path / HASHES).read_bytes()[:-8]
    (tmp_path / HASHES).write_bytes(content)
    files = {**manifest.files, HASHES: digest_of(content)}

    with pytest.raises(SnapshotRefused, match="shorter or longer"):
        open_snapshot(tmp_path, replace(manifest, files=files), "revenue")


def test_a_replaced_snapshot_goes_on_answering_what_is_under_way(tmp_path: Path) -> None:
    snapshot = published(tmp_path, churn_table(["a"], seats=[4.0]))
    for path in tmp_path.iterdir():
        path.unlink()

    assert snapshot.find(snapshot.table(CHURN_SET), "a")[SCHEMA.names.index("seats")] == 4.0
