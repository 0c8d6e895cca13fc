"""A subject's features by id, from a snapshot that lies memory-mapped in the cache.

Opening sums every file once in chunks and maps it; nothing is kept in memory but what a look-up touches: a page or two
of the hashes, the id, and the subject's row. The mapping outlives the file's name, so a snapshot that is replaced goes
on answering what is under way; `close` when the last of it has ended.
Not here: the layout (methods/snapshot.py); which snapshot is live (deployments.py).
"""

import hashlib
import json
import mmap
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from methods.features import Feature, FeatureSchema, Kind
from methods.manifest import Manifest
from methods.snapshot import (
    DESCRIPTION_NAME,
    HASHES,
    ID_ENDS,
    IDS,
    TABLES_MAX,
    SnapshotDescription,
    TableDescription,
    TableKind,
    find_subject,
    model_of,
    parse_description,
)
from server.desired import Load
from server.errors import FieldViolation, InvalidField, NotFound, WrongState
from server.serving.load import Artifact, LoadRefused, ModelKind

SECONDS_A_DAY: Final = 86_400.0
_CHUNK_BYTES: Final = 1 << 20
M = TypeVar("M", bound=Message)


class SnapshotRefused(LoadRefused):
    """The folder is no snapshot that this process can answer from; the text says why, without paths."""


class Freshness(NamedTuple):
    """How old a snapshot is: its moment, its age at the request's `as_of_time`, and whether that is stale."""

    data_time: datetime
    age_seconds: float
    is_stale: bool


@dataclass(frozen=True, slots=True)
class SubjectTable:
    """One table, mapped. `numbers` or `payload` by its kind; both None for a subject that is not in it."""

    description: TableDescription
    _present: memoryview
    _values: memoryview
    _ends: Sequence[int]
    _row: struct.Struct

    def holds(self, row: int) -> bool:
        """Whether the subject is in the table."""
        return bool(self._present[row])

    def numbers(self, row: int) -> tuple[float, ...] | None:
        """The subject's fields in the schema's order, NaN for missing."""
        return self._row.unpack_from(self._values, row * self._row.size) if self._present[row] else None

    def payload(self, row: int) -> bytes | None:
        """The subject's bytes."""
        if not self._present[row]:
            return None
        return bytes(self._values[self._ends[row - 1] if row else 0 : self._ends[row]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An opened snapshot.

    Attributes:
        description: what it says of itself.
        data_time: the moment whose past it describes.
        data_version, currency: as the manifest has them.
        tables: by feature set.
    """

    description: SnapshotDescription
    data_time: datetime
    data_version: str
    currency: str | None
    tables: Mapping[str, SubjectTable]
    _hashes: Sequence[int]
    _ids: memoryview
    _ends: Sequence[int]
    _maps: tuple[mmap.mmap, ...]
    _data_seconds: float

    def table(self, feature_set: str) -> SubjectTable:
        """The table that answers for versions with this feature set.

        Raises: WrongState: the snapshot has none; it says which it has.
        """
        found = self.tables.get(feature_set)
        if found is None:
            has = ", ".join(f"{t.description.name} {key[:12]}" for key, t in sorted(self.tables.items()))
            raise WrongState(
                f"by_id: the snapshot of {self.description.module} holds no features of the version that answers (its "
                f"feature set is {feature_set[:12]}, the snapshot has {has}); send `features`, or publish a snapshot "
                "made by the same code as the version",
                metadata={"field": "by_id", "feature_set": feature_set, "snapshot": self.data_version},
            )
        return found

    def row(self, subject_id: str) -> int | None:
        """Row of a subject; None when the snapshot does not know the id."""
        return find_subject(subject_id, self._hashes, self._ids, self._ends)

    def find(self, table: SubjectTable, subject_id: str) -> tuple[float, ...] | bytes:
        """What a table holds of a subject.

        Raises: NotFound: with what to do.
        """
        row = self.row(subject_id)
        is_numbers = table.description.kind is TableKind.NUMBERS
        found = None if row is None else table.numbers(row) if is_numbers else table.payload(row)
        if found is None:
            moment = self.data_time.astimezone(UTC).isoformat().replace("+00:00", "Z")
            known = "does not know the subject" if row is None else "knows the subject, but nothing for this method"
            raise NotFound(
                f"the feature snapshot of {moment} {known}; send `features`, or ask again when a newer one is live",
                metadata={
                    "field": "by_id.subject_id",
                    "data_time": moment,
                    "data_version": self.data_version,
                    "subjects": str(self.description.subjects),
                },
            )
        return found

    def subject_id(self, row: int) -> str:
        """The id at a row.

        Raises: SnapshotRefused: its bytes are no text.
        """
        try:
            return str(self._ids[self._ends[row - 1] if row else 0 : self._ends[row]], "utf-8")
        except UnicodeDecodeError as cause:
            raise SnapshotRefused(f"the id at row {row} is not UTF-8") from cause

    def check_order(self) -> None:
        """Read every array once: what look-ups take for granted.

        Raises: SnapshotRefused: hashes or ends do not rise, a mark of presence is neither 0 nor 1, or a number is
            infinite.
        """
        for name, rising in ((HASHES, self._hashes), (ID_ENDS, self._ends)):
            _check_rising(name, rising)
        for table in self.tables.values():
            names = table.description.files
            if np.frombuffer(table._present, np.uint8).max(initial=0) > 1:  # noqa: SLF001 - of this file
                raise SnapshotRefused(f"{names[0]} holds something else than 0 and 1")
            if table.description.kind is TableKind.PAYLOADS:
                _check_rising(names[2], table._ends)  # noqa: SLF001 - of this file
            elif np.isinf(np.frombuffer(table._values, np.float64)).any():  # noqa: SLF001 - of this file
                raise SnapshotRefused(f"{names[1]} holds an infinite number")

    def freshness(self, as_of: float) -> Freshness:
        """How old it is at a moment, in seconds since 1970.

        Raises: InvalidField: the moment lies before the snapshot's, which would let an answer see its own future.
        """
        age = as_of - self._data_seconds
        if age < 0.0:
            raise InvalidField(
                "as_of_time lies before the moment of the feature snapshot, whose numbers would be from its future; "
                "send `features` as of that time",
                metadata={"field": "context.as_of_time"},
                field_violations=[
                    FieldViolation(
                        field="context.as_of_time",
                        description=f"must not be before {self.data_time.isoformat()} when by_id is set",
                    )
                ],
            )
        return Freshness(self.data_time, age, age >= self.description.stale_after_seconds)

    def message(self, table: SubjectTable, subject_id: str, features: M, overrides: Message | None = None) -> M:
        """The subject's features as the message that the caller could have sent, with what the caller knows better.

        Args:
            table: of the version that answers.
            subject_id: whose.
            features: a new, empty message of the method's; it is filled and returned. Of a table whose message is
                another one, it takes the fields of the same name.
            overrides: of the same type; each field that is set there takes the place of the snapshot's.
        Raises: NotFound: with what to do.
        """
        found = self.find(table, subject_id)
        if isinstance(found, bytes):
            _fill_from_payload(features, table.description.schema.message, found, self.data_version)
        else:
            try:
                fill_message(features, table.description.schema, found, self._data_seconds, self.currency)
            except (ValueError, OverflowError) as cause:  # a number that no field of its kind can hold
                raise _unreadable(self.data_version) from cause
        if overrides is not None:
            override(features, overrides)
        return features

    def close(self) -> None:
        """Let go of the mapping. Whoever still reads raises ValueError; call when nobody does."""
        views = [self._ids, self._hashes, self._ends]
        for table in self.tables.values():
            views += [table._present, table._values, table._ends]  # noqa: SLF001 - of this file
        for view in views:
            if isinstance(view, memoryview):
                view.release()
        for mapping in self._maps:
            mapping.close()


def snapshot_kind(module: str) -> ModelKind:
    """How the versions of a module's snapshot model are opened."""

    def open_(artifact: Artifact, _load: Load) -> Snapshot:
        return open_snapshot(artifact.folder, artifact.manifest, module)

    return ModelKind(features=None, open=open_)


def open_snapshot(folder: Path, manifest: Manifest, module: str) -> Snapshot:
    """Open a folder of the verified cache whose manifest was compared with the version's digest.

    Raises: SnapshotRefused: a file is missing, differs from its sum or is not of the layout.
    """
    if sys.byteorder != "little":
        raise SnapshotRefused("snapshots are little-endian and this machine is not")
    if manifest.model != model_of(module):
        raise SnapshotRefused(f"the artifact is of model {manifest.model!r}, not {model_of(module)}")
    files: dict[str, mmap.mmap | bytes] = {name: _map(folder, name, manifest) for name in manifest.files}
    try:
        description = parse_description(json.loads(bytes(_listed(files, DESCRIPTION_NAME))))
    except ValueError as cause:
        raise SnapshotRefused(f"{DESCRIPTION_NAME}: {cause}") from cause
    if description.module != module:
        raise SnapshotRefused(f"the snapshot is of module {description.module!r}, not {module!r}")
    n = description.subjects
    ids, ends = _array(files, IDS, "|u1", None), _array(files, ID_ENDS, "<u8", (n,))
    if n and ends[n - 1] != len(ids):
        raise SnapshotRefused(f"{ID_ENDS} does not end where {IDS} does")
    return Snapshot(
        description=description,
        data_time=manifest.data_time,
        data_version=manifest.data_version,
        currency=manifest.currency,
        tables={table.feature_set: _table(files, table, n) for table in description.tables},
        _hashes=_array(files, HASHES, "<u8", (n,)),
        _ids=ids,
        _ends=ends,
        _maps=tuple(mapping for mapping in files.values() if isinstance(mapping, mmap.mmap)),
        _data_seconds=manifest.data_time.timestamp(),
    )


def fill_message(
    features: Message, schema: FeatureSchema, numbers: Sequence[float], data_seconds: float, currency: str | None
) -> None:
    """Set the fields that are known; a time is written as days from the snapshot's moment and becomes that moment."""
    for feature, number in zip(schema.features, numbers, strict=True):
        if number == number:  # noqa: PLR0124 - NaN alone is not equal to itself
            _set(features, feature, number, data_seconds, currency)


def override(features: Message, better: Message) -> None:
    """Replace each field that is set in `better`, whole: lists are replaced, not continued. Others are left out."""
    known = features.DESCRIPTOR.fields_by_name
    for field, value in better.ListFields():
        if field.name not in known:
            continue
        features.ClearField(field.name)
        if field.is_repeated:
            getattr(features, field.name).MergeFrom(value)
        elif field.message_type is not None:
            getattr(features, field.name).CopyFrom(value)
        else:
            setattr(features, field.name, value)


@lru_cache(maxsize=TABLES_MAX)
def _message_class(name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def _check_rising(name: str, values: Any) -> None:
    array = np.frombuffer(values, np.uint64)
    if (array[1:] < array[:-1]).any():
        raise SnapshotRefused(f"{name} does not rise from row to row")


def _fill_from_payload(features: Message, held: str, payload: bytes, data_version: str) -> None:
    kind = type(features) if held == features.DESCRIPTOR.full_name else _message_class(held)
    try:
        stored = kind.FromString(payload)
        if stored.DESCRIPTOR is features.DESCRIPTOR:
            features.CopyFrom(stored)
        else:
            override(features, stored)
    except DecodeError:
        raise _unreadable(data_version) from None


def _unreadable(data_version: str) -> WrongState:
    return WrongState(
        "by_id: what the feature snapshot holds of this subject cannot be read; send `features`",
        metadata={"field": "by_id", "snapshot": data_version},
    )


def _set(features: Message, feature: Feature, number: float, data_seconds: float, currency: str | None) -> None:
    if feature.kind is Kind.NUMBER:
        setattr(features, feature.name, number)
    elif feature.kind is Kind.FLAG:
        setattr(features, feature.name, bool(number))
    elif feature.kind is Kind.MONEY:
        money: Any = getattr(features, feature.name)
        money.minor_units = round(number)
        money.currency_code = currency or ""
    elif feature.kind is Kind.TIME:
        stamp: Any = getattr(features, feature.name)
        # Microseconds are what a day as float64 still holds 80 years away.
        stamp.FromMicroseconds(round((data_seconds + number * SECONDS_A_DAY) * 1e6))
    else:
        setattr(features, feature.name, int(number))


def _map(folder: Path, name: str, manifest: Manifest) -> mmap.mmap | bytes:
    try:
        # The cache is ours (0700); a link in it is somebody else's doing and is not followed.
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as cause:
        raise SnapshotRefused(f"{name} cannot be read from the cache") from cause
    with os.fdopen(handle, "rb") as file:
        total = hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
        if total.hexdigest() != manifest.files[name]:
            raise SnapshotRefused(f"{name} in the cache differs from its sha256 in the manifest")
        if not os.fstat(file.fileno()).st_size:
            return b""
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM)  # a look-up wants its page, not its neighbours
    return mapping


def _listed(files: Mapping[str, mmap.mmap | bytes], name: str) -> mmap.mmap | bytes:
    if name not in files:
        raise SnapshotRefused(f"the manifest lists no {name}")
    return files[name]


def _array(files: Mapping[str, mmap.mmap | bytes], name: str, dtype: str, shape: tuple[int, ...] | None) -> memoryview:
    """A view of an array's values, without its header: numbers of uint64, else bytes. `shape` None is any length."""
    content = _listed(files, name)
    head = _Head(content)
    try:
        version = np.lib.format.read_magic(head)  # type: ignore[arg-type]  # reads, which is all that is asked for
        if version != (1, 0):
            raise SnapshotRefused(f"{name} has another NPY version than 1.0")
        found_shape, is_fortran, found = np.lib.format.read_array_header_1_0(head)  # type: ignore[arg-type]  # the same
    except ValueError as cause:
        raise SnapshotRefused(f"{name} is no NPY file") from cause
    expected = found_shape if shape is None and len(found_shape) == 1 else shape
    if found.str != dtype or is_fortran or found_shape != expected:
        raise SnapshotRefused(
            f"{name} holds {found.str} {found_shape}, and the snapshot needs {dtype} {shape or '(any)'}"
        )
    values = memoryview(content)[head.at :]
    if len(values) != found.itemsize * int(np.prod(found_shape, dtype=np.int64)):
        raise SnapshotRefused(f"{name} is shorter or longer than its header says")
    return values.cast("Q") if dtype == "<u8" else values


def _table(files: Mapping[str, mmap.mmap | bytes], table: TableDescription, subjects: int) -> SubjectTable:
    present = _array(files, table.files[0], "|u1", (subjects,))
    width = len(table.schema.features)
    if table.kind is TableKind.NUMBERS:
        values = _array(files, table.files[1], "<f8", (subjects, width))
        ends: Sequence[int] = ()
    else:
        values, view = _array(files, table.files[1], "|u1", None), _array(files, table.files[2], "<u8", (subjects,))
        if subjects and view[subjects - 1] != len(values):
            raise SnapshotRefused(f"{table.files[2]} does not end where {table.files[1]} does")
        ends = view
    return SubjectTable(table, present, values, ends, struct.Struct(f"<{width}d"))


class _Head:
    """The front of a file, as numpy reads headers: `at` is where the values begin once it has."""

    def __init__(self, content: mmap.mmap | bytes) -> None:
        self.at = 0
        self._content = content

    def read(self, count: int) -> bytes:
        """The next bytes."""
        part = bytes(self._content[self.at : self.at + count])
        self.at += len(part)
        return part
