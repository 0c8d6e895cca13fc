"""The features of all subjects at one moment, as files that are looked into where they lie: layout, look-up, fold.

A snapshot is an artifact (manifest.py) of the model `features.<module>`. `snapshot.json` describes it; every other file
is one NPY array, little-endian, C order, and is memory-mapped, so that a process holds what it touched and no more:

    ids.hashes.npy  (n,) uint64, rising: the first 8 bytes of each id's BLAKE2b
    ids.bytes.npy   (b,) uint8: the ids themselves, in that order; an id is compared whole
    ids.ends.npy    (n,) uint64: where each id ends
    T.present.npy   (n,) uint8: 1 where table T has the subject
    T.numbers.npy   (n, fields) float64 of a table of numbers: a subject is one row, on one page or two; NaN is missing
    T.bytes.npy, T.ends.npy  of a table of payloads: (b,) uint8 and (n,) uint64

A table belongs to one `feature_set`; a version answers by id only from the table with its own.
Pure: arrays and buffers in, values out. Not here: files (training/data/snapshots.py writes, server/serving/subjects.py
reads); what a payload means (the module's business).
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from methods.features import FeatureSchema

SNAPSHOT_FORMAT: Final = 1
MODEL_PREFIX: Final = "features."  # of the registered model whose versions are a module's snapshots
DESCRIPTION_NAME: Final = "snapshot.json"
HASHES, IDS, ID_ENDS = "ids.hashes.npy", "ids.bytes.npy", "ids.ends.npy"
PRESENT, NUMBERS, PAYLOADS, PAYLOAD_ENDS = "present", "numbers", "bytes", "ends"
TABLES_MAX: Final = 16  # 3 files each beside 5 more stay below an artifact's 64
_HASH_BYTES: Final = 8
_HASH_BITS: Final = 64
_FIRST_STEP: Final = 64  # entries; hashes are spread evenly, a row lies within sqrt(n) / 2 of where it is expected
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

State = TypeVar("State")
Event = TypeVar("Event")


class TableKind(Enum):
    """How a table keeps a subject."""

    NUMBERS = "numbers"  # one float64 a field
    PAYLOADS = "payloads"  # bytes, for what has no fixed width


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDescription:
    """One table.

    Attributes:
        name: of its files; a lower-case word.
        kind: how it keeps a subject.
        feature_set: which versions it can answer for; sha256 in hexadecimal.
        schema: its fields; of PAYLOADS the message alone, without fields.
    """

    name: str
    kind: TableKind
    feature_set: str
    schema: FeatureSchema

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files."""
        parts = (PRESENT, NUMBERS) if self.kind is TableKind.NUMBERS else (PRESENT, PAYLOADS, PAYLOAD_ENDS)
        return tuple(f"{self.name}.{part}.npy" for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDescription:
    """What stands in `snapshot.json`; the moment it describes is the manifest's `data_time`.

    Attributes:
        module: whose subjects.
        subjects: how many.
        stale_after_seconds: age from which an answer carries STALE_DATA.
        tables: each with a name and a feature set of its own.
    """

    module: str
    subjects: int
    stale_after_seconds: float
    tables: tuple[TableDescription, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files but the manifest."""
        return (DESCRIPTION_NAME, HASHES, IDS, ID_ENDS, *(name for table in self.tables for name in table.files))

    def to_json(self) -> dict[str, Any]:
        """The description as plain JSON values."""
        return {
            "snapshot_format": SNAPSHOT_FORMAT,
            "module": self.module,
            "subjects": self.subjects,
            "stale_after_seconds": self.stale_after_seconds,
            "tables": [
                {"name": t.name, "kind": t.kind.value, "feature_set": t.feature_set, "schema": t.schema.to_json()}
                for t in self.tables
            ],
        }


def model_of(module: str) -> str:
    """The registered model whose versions are the snapshots of a module.

    >>> model_of("revenue")
    'features.revenue'
    """
    return f"{MODEL_PREFIX}{module}"


def module_of(model: str) -> str | None:
    """The module whose snapshots a registered model holds; None for a model of any other kind.

    >>> module_of("features.revenue"), module_of("churn")
    ('revenue', None)
    """
    return model.removeprefix(MODEL_PREFIX) if model.startswith(MODEL_PREFIX) else None


def parse_description(value: Any) -> SnapshotDescription:
    """The description that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_description({"snapshot_format": 2})
    Traceback (most recent call last):
    ValueError: snapshot_format: is 2 and this release reads 1; upgrade the server first
    """
    if not isinstance(value, Mapping):
        raise ValueError("snapshot: not an object")  # noqa: TRY004 - one kind of error for a bad file
    if (found := value.get("snapshot_format")) != SNAPSHOT_FORMAT:
        hint = "; upgrade the server first" if isinstance(found, int) and found > SNAPSHOT_FORMAT else ""
        raise ValueError(f"snapshot_format: is {found} and this release reads {SNAPSHOT_FORMAT}{hint}")
    subjects, stale, module = value.get("subjects"), value.get("stale_after_seconds"), value.get("module")
    if not isinstance(subjects, int) or isinstance(subjects, bool) or subjects < 0:
        raise ValueError("subjects: must be a whole number, 0 or more")
    if not isinstance(stale, int | float) or isinstance(stale, bool) or not 0 < stale < float("inf"):
        raise ValueError("stale_after_seconds: must be a number above 0")
    if not isinstance(module, str) or not _TABLE_NAME.fullmatch(module):
        raise ValueError("module: must be a lower-case word")
    listed = value.get("tables")
    if not isinstance(listed, list) or not 1 <= len(listed) <= TABLES_MAX:
        raise ValueError(f"tables: must be a list of 1 to {TABLES_MAX}")
    tables = tuple(_parse_table(entry) for entry in listed)
    for what, names in (("name", [t.name for t in tables]), ("feature_set", [t.feature_set for t in tables])):
        if len(set(names)) < len(names):
            raise ValueError(f"tables: two have the same {what}")
    return SnapshotDescription(module=module, subjects=subjects, stale_after_seconds=float(stale), tables=tables)


def subject_hash(subject_id: str) -> int:
    """Where an id belongs: the first 8 bytes of its BLAKE2b as a number below 2^64.

    >>> subject_hash("learner-1") == subject_hash("learner-1") != subject_hash("learner-2")
    True
    """
    return int.from_bytes(hashlib.blake2b(subject_id.encode(), digest_size=_HASH_BYTES).digest(), "little")


class SubjectOrder(NamedTuple):
    """The subjects as they stand in the files.

    Attributes:
        order: (n,) which of the subjects that came in stands at each row.
        hashes: (n,) uint64, rising.
        ids: (b,) uint8.
        ends: (n,) uint64.
    """

    order: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    ids: NDArray[np.uint8]
    ends: NDArray[np.uint64]


def order_subjects(subject_ids: Sequence[str]) -> SubjectOrder:
    """Order subjects by hash, then id.

    Raises: ValueError: an id is empty or stands twice; it is named.
    """
    hashes = np.array([subject_hash(subject_id) for subject_id in subject_ids], dtype=np.uint64)
    order = np.argsort(hashes, kind="stable").astype(np.int64)
    ranked = hashes[order]
    for at in np.flatnonzero(ranked[1:] == ranked[:-1]).tolist():
        if subject_ids[order[at]] == subject_ids[order[at + 1]]:
            raise ValueError(f"subject {subject_ids[order[at]]!r} stands twice")
    encoded = [subject_ids[at].encode() for at in order.tolist()]
    if not all(encoded):
        raise ValueError("a subject has an empty id")
    lengths = np.array([len(one) for one in encoded], dtype=np.uint64)
    return SubjectOrder(
        order=order,
        hashes=ranked,
        ids=np.frombuffer(b"".join(encoded), dtype=np.uint8),
        ends=np.cumsum(lengths, dtype=np.uint64),
    )


def find_subject(subject_id: str, hashes: Sequence[int], ids: memoryview, ends: Sequence[int]) -> int | None:
    """Row of a subject; None when it is not here. The whole id is compared: a hash is a place, never a proof.

    Args:
        subject_id: as the caller wrote it.
        hashes: of the file of that name; anything that can be indexed, such as a cast memoryview of a mapping.
        ids: the same.
        ends: the same.

    >>> index = order_subjects(["a", "b"])
    >>> find_subject("b", index.hashes.tolist(), memoryview(index.ids), index.ends.tolist()) is None
    False
    >>> find_subject("c", index.hashes.tolist(), memoryview(index.ids), index.ends.tolist()) is None
    True
    """
    count, wanted = len(hashes), subject_hash(subject_id)
    low = high = (wanted * count) >> _HASH_BITS  # where it stands when hashes are spread evenly
    step = _FIRST_STEP
    while low > 0 and hashes[low - 1] >= wanted:
        low = max(0, low - step)
        step *= 2
    step = _FIRST_STEP
    while high < count and hashes[high] < wanted:
        high = min(count, high + step)
        step *= 2
    row = bisect_left(hashes, wanted, low, high)
    key = subject_id.encode()
    while row < count and hashes[row] == wanted:
        if ids[ends[row - 1] if row else 0 : ends[row]] == key:
            return row
        row += 1
    return None


class Folded(NamedTuple, Generic[State]):
    """A state and the moment up to which it holds every event; any clock that only rises, such as days."""

    state: State
    until: float


def fold_events(
    held: Folded[State], events: Iterable[tuple[float, Event]], step: Callable[[State, Event], State], *, until: float
) -> Folded[State]:
    """The state with the events up to `until` that it does not hold yet.

    The one way in which a snapshot grows and in which a request's `recent` events are added to it, so that for every
    t0 <= t1: fold(fold(start, events, until t0), events, until t1) = fold(start, events, until t1).

    Args:
        held: the state so far; events at or before its moment are in it and are left out.
        events: (time, event) in any order; those of one moment keep the order they come in.
        step: one event more; must not change the state it is given.
        until: events after it are left out, too; not before `held.until`.
    Raises: ValueError: `until` lies before what the state holds already.

    >>> fold_events(Folded(10, 1.0), [(3.0, 5), (1.0, 7), (2.0, 4)], lambda total, one: total * 2 + one, until=3.0)
    Folded(state=53, until=3.0)
    """
    if until < held.until:
        raise ValueError(f"the state holds events up to {held.until} and cannot be taken back to {until}")
    state = held.state
    for _, event in sorted((e for e in events if held.until < e[0] <= until), key=lambda e: e[0]):
        state = step(state, event)
    return Folded(state, until)


def _parse_table(value: Any) -> TableDescription:
    """One entry of `tables`."""
    if not isinstance(value, Mapping):
        raise ValueError("tables: an entry is not an object")  # noqa: TRY004 - as above
    name, feature_set = value.get("name"), value.get("feature_set")
    if not isinstance(name, str) or not _TABLE_NAME.fullmatch(name) or name == "ids":
        raise ValueError("tables.name: must be a lower-case word, and not ids")
    if not isinstance(feature_set, str) or not _SHA256.fullmatch(feature_set):
        raise ValueError(f"tables.feature_set: that of {name} is not a sha256 in lower-case hexadecimal")
    try:
        kind = TableKind(value.get("kind"))
        schema = FeatureSchema.from_json(value.get("schema"))
    except ValueError as cause:
        raise ValueError(f"tables: {name}: {cause}") from cause
    if (kind is TableKind.NUMBERS) != bool(schema.features):
        raise ValueError(f"tables.schema: a table of numbers has fields and one of payloads has none; see {name}")
    return TableDescription(name=name, kind=kind, feature_set=feature_set, schema=schema)
