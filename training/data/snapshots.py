"""Writes a snapshot of features: everybody's features at one moment, as an artifact of the model `features.<module>`.

Numbers come as columns of a feature frame (training/features), payloads as bytes a subject. Files are written one array
at a time and summed as they lie on the disk, so that a million subjects cost the memory of their largest table.
Not here: the layout (methods/snapshot.py); registering the folder (training/register.py); who reads it (server).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from methods.features import Feature, FeatureSchema, Kind
from methods.manifest import MANIFEST_NAME, Manifest, digest_of, manifest_bytes
from methods.snapshot import (
    DESCRIPTION_NAME,
    HASHES,
    ID_ENDS,
    IDS,
    SnapshotDescription,
    SubjectOrder,
    TableDescription,
    TableKind,
    model_of,
    order_subjects,
)
from training.artifact import Provenance, canonical_json

STALE_AFTER_SECONDS: Final = 36 * 3_600.0  # a snapshot is made every night; one that was missed is said
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersTable:
    """Features of fixed width.

    Attributes:
        name: of the table.
        schema: its fields.
        expressions: digest of the code that computed them.
        subject_ids: (n,) whose row each is.
        columns: field -> (n,) values as `methods.features.encode_columns` reads them.
        feature_set: of the versions that it answers for; None: that of these fields and expressions.
    """

    name: str
    schema: FeatureSchema
    expressions: str
    subject_ids: Sequence[str]
    columns: Mapping[str, NDArray[Any]]
    feature_set: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadTable:
    """Features of any width.

    Attributes:
        name: of the table.
        message: full name of the message that each payload is.
        feature_set: of the versions that it answers for.
        payloads: subject -> bytes.
    """

    name: str
    message: str
    feature_set: str
    payloads: Mapping[str, bytes]


Table = NumbersTable | PayloadTable


def write_snapshot(
    folder: Path,
    module: str,
    tables: Sequence[Table],
    provenance: Provenance,
    *,
    stale_after_seconds: float = STALE_AFTER_SECONDS,
) -> str:
    """Write the folder.

    Args:
        folder: an empty one.
        module: whose subjects.
        tables: what is known of them; a subject may be missing in some.
        provenance: `data_time` is the moment whose past the features describe.
        stale_after_seconds: age from which an answer is marked as stale.
    Returns: the version's digest, sha256 of the manifest.
    Raises: ValueError: a subject stands twice in a table, a column is missing or of another length, an id is empty, two
        tables share a name or a feature set.
    """
    for table in tables:
        if isinstance(table, NumbersTable) and len(set(table.subject_ids)) < len(table.subject_ids):
            twice = next(s for at, s in enumerate(table.subject_ids) if s in table.subject_ids[:at])
            raise ValueError(f"table {table.name}: subject {twice!r} stands twice")
    everybody = list(dict.fromkeys(subject for table in tables for subject in _subjects(table)))
    index = order_subjects(everybody)
    description = SnapshotDescription(
        module=module,
        subjects=len(everybody),
        stale_after_seconds=stale_after_seconds,
        tables=tuple(_describe(table) for table in tables),
    )
    for what, names in (
        ("name", [t.name for t in description.tables]),
        ("feature set", [t.feature_set for t in description.tables]),
    ):
        if len(set(names)) < len(names):
            raise ValueError(f"two tables have the same {what}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION_NAME).write_bytes(canonical_json(description.to_json()))
    for name, array in ((HASHES, index.hashes), (IDS, index.ids), (ID_ENDS, index.ends)):
        np.save(folder / name, array)
    row_of = {everybody[at]: row for row, at in enumerate(index.order.tolist())}
    for table, described in zip(tables, description.tables, strict=True):
        _write_table(folder, table, described, row_of, index)
    return _write_manifest(folder, description, provenance)


def numbers_of(schema: FeatureSchema, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Columns of a feature frame as the rows of a table: (n, fields) float64, missing is NaN.

    A category is its enum's number, a flag 0 or 1, money minor units, a time days from the snapshot's moment.

    Raises: ValueError: a column is missing or has another length.

    >>> plan = Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "ANNUAL"))
    >>> numbers_of(FeatureSchema(message="Demo", features=(plan,)), {"plan": np.array(["ANNUAL", None])}).tolist()
    [[2.0], [nan]]
    """
    if missing := [name for name in schema.names if name not in columns]:
        raise ValueError(f"no column for field {missing[0]} of {schema.message}")
    rows = len(columns[schema.names[0]])
    numbers = np.empty((rows, len(schema.features)))
    for at, feature in enumerate(schema.features):
        values = np.asarray(columns[feature.name])
        if values.shape != (rows,):
            raise ValueError(f"field {feature.name} has shape {values.shape}, expected ({rows},)")
        numbers[:, at] = _numbers(values, feature)
    return numbers


def _numbers(values: NDArray[Any], feature: Feature) -> NDArray[np.float64]:
    if feature.kind is not Kind.CATEGORY:
        return values.astype(np.float64)
    if values.dtype.kind in "iuf":
        numbers = values.astype(np.float64)
        known = (numbers >= 1) & (numbers <= len(feature.levels))
        return np.where(known, numbers, np.nan)
    number_of = {level: float(number) for number, level in enumerate(feature.levels, start=1)}
    return np.array([number_of.get(v, np.nan) if isinstance(v, str) else np.nan for v in values], dtype=np.float64)


def _subjects(table: Table) -> Sequence[str]:
    return table.subject_ids if isinstance(table, NumbersTable) else list(table.payloads)


def _describe(table: Table) -> TableDescription:
    if isinstance(table, NumbersTable):
        return TableDescription(
            name=table.name,
            kind=TableKind.NUMBERS,
            feature_set=table.feature_set or table.schema.feature_set(table.expressions),
            schema=table.schema,
        )
    return TableDescription(
        name=table.name,
        kind=TableKind.PAYLOADS,
        feature_set=table.feature_set,
        schema=FeatureSchema(message=table.message, features=()),
    )


def _write_table(
    folder: Path, table: Table, described: TableDescription, row_of: Mapping[str, int], index: SubjectOrder
) -> None:
    count = len(index.order)
    rows = np.array([row_of[subject] for subject in _subjects(table)], dtype=np.int64)  # (subjects of the table,)
    present = np.zeros(count, dtype=np.uint8)
    present[rows] = 1
    arrays: list[NDArray[Any]] = [present]
    if isinstance(table, NumbersTable):
        numbers = np.full((count, len(table.schema.features)), np.nan)
        values = numbers_of(table.schema, table.columns)
        if len(values) != len(rows):  # one row would otherwise be spread over all
            raise ValueError(f"table {table.name} has {len(values)} rows for {len(rows)} subjects")
        numbers[rows] = values
        arrays.append(numbers)
    else:
        by_row = dict(zip(rows.tolist(), table.payloads.values(), strict=True))
        lengths = np.array([len(by_row.get(row, b"")) for row in range(count)], dtype=np.uint64)
        arrays.append(np.frombuffer(b"".join(by_row.get(row, b"") for row in range(count)), dtype=np.uint8))
        arrays.append(np.cumsum(lengths, dtype=np.uint64))
    for name, array in zip(described.files, arrays, strict=True):
        np.save(folder / name, array)


def _write_manifest(folder: Path, description: SnapshotDescription, provenance: Provenance) -> str:
    no_fields = FeatureSchema(message="", features=())  # of its own; those of the tables stand in the description
    manifest = manifest_bytes(
        Manifest(
            model=model_of(description.module),
            features=no_fields.to_json(),
            expressions=provenance.expressions,
            feature_set=no_fields.feature_set(provenance.expressions),
            currency=provenance.currency,
            data_version=provenance.data_version,
            data_time=provenance.data_time,
            observations=provenance.observations,
            created_at=provenance.created_at,
            files={name: _checksum(folder / name) for name in description.files},
        )
    )
    (folder / MANIFEST_NAME).write_bytes(manifest)
    return digest_of(manifest)


def _checksum(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()
