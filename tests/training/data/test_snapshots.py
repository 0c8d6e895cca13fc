"""What the writer refuses; what it writes is tested with its reader, tests/server/serving/test_subjects.py."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from methods.features import Feature, FeatureSchema, Kind
from methods.manifest import MANIFEST_NAME, parse_manifest
from training.artifact import Provenance
from training.data.snapshots import NumbersTable, PayloadTable, Table, numbers_of, write_snapshot

SEATS = FeatureSchema(message="Demo", features=(Feature(name="seats", kind=Kind.COUNT),))
PLAN = Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "ANNUAL"))
NOW = datetime(2026, 3, 1, tzinfo=UTC)
PROVENANCE = Provenance(
    data_version="d", data_time=NOW, observations=1, created_at=NOW, currency=None, expressions="c" * 64
)


def seats(ids: list[str], values: list[float] | None = None, name: str = "seats") -> NumbersTable:
    column = np.array([1.0] * len(ids) if values is None else values)
    return NumbersTable(name=name, schema=SEATS, expressions="c" * 64, subject_ids=ids, columns={"seats": column})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([seats(["a", "b", "a"])], "table seats: subject 'a' stands twice"),
        ([seats([""])], "empty id"),
        ([seats(["a"]), seats(["a"], name="again")], "same feature set"),
        ([seats(["a"]), PayloadTable(name="seats", message="M", feature_set="d" * 64, payloads={})], "same name"),
        ([seats(["a"], [1.0, 2.0])], "2 rows for 1 subjects"),
        ([seats(["a", "b"], [1.0])], "1 rows for 2 subjects"),
    ],
)
def test_tables_that_cannot_be_told_apart_are_refused(tmp_path: Path, tables: list[Table], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_snapshot(tmp_path, "revenue", tables, PROVENANCE)


def test_equal_features_give_an_equal_digest_whatever_their_order(tmp_path: Path) -> None:
    first = write_snapshot(tmp_path / "1", "revenue", [seats(["a", "b"], [1.0, 2.0])], PROVENANCE)
    second = write_snapshot(tmp_path / "2", "revenue", [seats(["b", "a"], [2.0, 1.0])], PROVENANCE)

    assert first == second


def test_the_manifest_names_the_snapshot_and_every_file(tmp_path: Path) -> None:
    write_snapshot(tmp_path, "revenue", [seats(["a"])], PROVENANCE)

    manifest = parse_manifest((tmp_path / MANIFEST_NAME).read_bytes())

    assert manifest.model == "features.revenue"
    assert manifest.data_time == NOW
    assert {*manifest.files, MANIFEST_NAME} == {path.name for path in tmp_path.iterdir()}


def test_categories_are_numbers_of_their_enum_and_what_is_no_level_is_missing() -> None:
    schema = FeatureSchema(message="Demo", features=(PLAN,))

    by_name = numbers_of(schema, {"plan": np.array(["MONTHLY", "ANNUAL", None, "WEEKLY"], dtype=object)})
    by_number = numbers_of(schema, {"plan": np.array([1.0, 2.0, 0.0, 7.0])})

    assert np.array_equal(by_name, by_number, equal_nan=True)
    assert by_name[:, 0].tolist()[:2] == [1.0, 2.0]


def test_a_field_without_its_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column for field seats"):
        numbers_of(SEATS, {})
