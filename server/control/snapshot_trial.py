"""The trial of a feature snapshot, inside the probe's child: open it, read it whole, look some subjects up.

A version of a model is held to its golden answers; a snapshot has none, so it is held to what its readers take for
granted: arrays of the layout, every id found where it stands, and features that the contract allows.
Not here: the child and its limits (probe.py); the layout (methods/snapshot.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from methods.manifest import Manifest
from server.catalogue import SNAPSHOTS
from server.control.artifacts import Refusal, RefusalCode
from server.errors import ServingError
from server.serving.load import LoadRefused, check_fields
from server.serving.subjects import Snapshot, SubjectTable, open_snapshot
from server.serving.wire.judge import judge

LOOK_UPS: Final = 1_000  # subjects found again by their id, spread over all
JUDGED: Final = 100  # of them, whose features are held to the contract's rules


def try_snapshot(folder: Path, manifest: Manifest, module: str) -> Refusal | None:
    """Why no worker may answer from this folder; None when it may."""
    if module not in SNAPSHOTS:
        return Refusal(code=RefusalCode.OTHER_MODEL, text=f"this release serves no model {manifest.model!r}")
    try:
        snapshot = open_snapshot(folder, manifest, module)
        snapshot.check_order()
        kinds = {feature_set: _kind(table) for feature_set, table in snapshot.tables.items()}
        _look_up(snapshot, kinds)
    except LoadRefused as refused:
        return _refuse(str(refused))
    return None


def _kind(table: SubjectTable) -> type[Message]:
    """The contract's message behind a table; raises LoadRefused when it has none, or has other fields."""
    schema = table.description.schema
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(schema.message)
    except KeyError:
        raise LoadRefused(
            f"table {table.description.name} holds {schema.message!r}, which the contract lacks"
        ) from None
    if schema.features:
        check_fields(schema, descriptor)
    return message_factory.GetMessageClass(descriptor)


def _look_up(snapshot: Snapshot, kinds: dict[str, type[Message]]) -> None:
    """Raises LoadRefused: a subject is not found where it stands, or its features break a rule."""
    subjects = snapshot.description.subjects
    rows = range(0, subjects, max(1, subjects // LOOK_UPS))
    for place, row in enumerate(rows):
        subject_id = snapshot.subject_id(row)
        if snapshot.row(subject_id) != row:
            raise LoadRefused(f"the subject at row {row} is not found by its id; the snapshot's order is broken")
        for feature_set, kind in kinds.items():
            table = snapshot.tables[feature_set]
            if table.holds(row):
                _read(snapshot, table, subject_id, kind(), judged=place % max(1, len(rows) // JUDGED) == 0)


def _read(snapshot: Snapshot, table: SubjectTable, subject_id: str, features: Any, *, judged: bool) -> None:
    try:
        snapshot.message(table, subject_id, features)
        if judged:
            judge(features)
    except ServingError as wrong:
        name = table.description.name
        raise LoadRefused(f"table {name} holds features that the contract refuses: {wrong.message}") from wrong


def _refuse(text: str) -> Refusal:
    return Refusal(code=RefusalCode.SNAPSHOT, text=f"{text}; publish the snapshot again")
