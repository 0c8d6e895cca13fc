"""What an operator wants to know of a server, whoever said it: live and refused versions, registry, processes, holds.

`view_of_files` reads the state folder, so that it works when nothing runs; `view_of_answer` reads GetSystemStatus.
Both give the same `SystemView`. Not here: how it looks (status.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from server.desired import DESIRED_NAME, SHARE_MAX_BP, Desired, DesiredError, Mode, Route, parse_time, read_desired
from server.holds import HOLDS_NAME, Hold, HoldKind, holds_in_force, read_holds
from server.preflight import lock_holder
from server.settings import Settings
from server.slots import Role, Slots, slot_count

if TYPE_CHECKING:  # the program that serves must not load protobuf just to start processes
    from google.protobuf.timestamp_pb2 import Timestamp

    from paedsresus.ml.v1 import orchestration_pb2

SNAPSHOT_PREFIX = "features."  # methods.snapshot's, which brings numpy: this program must not load it to start others
_TAKEN_OUT = ("refused", "rolled_back", "suspended", "quarantined")
_ON_THE_WAY = frozenset({"seen", "verified", "loading"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One version that answers; `share` of the routing keys in [0, 1], 0 for a challenger in shadow."""

    model: str
    version: int
    role: str
    since: datetime | None
    share: float
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """The features that a module's answers by id come from: of which moment, of how many subjects."""

    model: str
    version: int
    data_time: datetime
    subjects: int
    stale_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One version that does not answer although it was asked for."""

    model: str
    version: int
    state: str
    reason: str
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What the server knows of the registry; `state` is FOLLOWED, AWAY, NOT_WATCHED or UNKNOWN."""

    state: str = "UNKNOWN"
    since: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process by its slot; `silent_seconds` since its last heartbeat."""

    slot: int
    role: str
    pid: int
    state: str
    silent_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemView:
    """All of it. `source` is "server" or "files"; `note` says what that means for the reader, "" when nothing."""

    source: str
    note: str
    health: str
    reason: str
    generation: int
    live: tuple[Live, ...]
    snapshots: tuple[SnapshotRow, ...]
    refused: tuple[Refused, ...]
    registry: Registry
    processes: tuple[Process, ...]
    holds: tuple[Hold, ...]
    coming: tuple[str, ...] = ()  # models whose first champion is still being verified or loaded, as control last wrote
    workers_ready: int | None = None  # as the server counts; None when only files were read
    workers_total: int | None = None
    control_reachable: bool | None = None

    @property
    def answering(self) -> tuple[Live, ...]:
        """Live versions of models; a snapshot of features answers nothing by itself."""
        return tuple(row for row in self.live if not row.model.startswith(SNAPSHOT_PREFIX))


def view_of_files(settings: Settings, *, note: str, now: datetime) -> SystemView:
    """Read what control last wrote. A file that is missing or broken is said in `reason`, never raised."""
    problems: list[str] = []
    try:
        desired = read_desired(settings.state_dir / DESIRED_NAME) or Desired()
    except (DesiredError, OSError) as failure:
        desired = Desired()
        problems.append(str(failure))
    status = _read_control(settings.state_dir / "control.json", problems)
    try:
        holds = holds_in_force(read_holds(settings.state_dir / HOLDS_NAME), now)
    except (DesiredError, OSError) as failure:
        holds = ()
        problems.append(str(failure))
    return SystemView(
        source="files",
        note=note,
        health="UNKNOWN",
        reason="; ".join([*problems, *_warnings(status)]),
        generation=desired.generation,
        live=tuple(row for model, route in sorted(desired.route.items()) for row in _live_rows(model, route)),
        snapshots=tuple(_snapshot_rows(settings.state_dir, desired)),
        refused=tuple(_refused_rows(status)),
        registry=_registry(status),
        processes=processes_of(settings),
        holds=holds,
        coming=tuple(_coming(status, desired)),
    )


def view_of_answer(answer: orchestration_pb2.GetSystemStatusResponse, settings: Settings) -> SystemView:
    """Read what a running server said. Processes come from the slots, when they are on this machine."""
    modules = [getattr(answer.modules, field.name) for field in answer.modules.DESCRIPTOR.fields]
    live = {
        (row.version.model, row.version.version): Live(
            model=row.version.model,
            version=row.version.version,
            role={1: "champion", 2: "challenger"}.get(row.version.role, "unknown"),
            since=_moment(row, "live_since_time"),
            share=row.share,
            digest=row.digest,
        )
        for module in modules
        for row in module.live_versions
    }
    refused = {
        (row.model, row.version): Refused(
            model=row.model,
            version=row.version,
            state=row.state,
            reason=row.reason,
            since=_moment(row, "since_time"),
        )
        for module in modules
        for row in module.refused_versions
    }
    return SystemView(
        source="server",
        note="",
        health=_word(answer, "health"),
        reason=answer.reason,
        generation=answer.generation,
        live=tuple(live[key] for key in sorted(live)),
        snapshots=tuple(_snapshot_of(module.snapshot) for module in modules if module.HasField("snapshot")),
        refused=tuple(refused[key] for key in sorted(refused)),
        registry=Registry(
            state=_word(answer.registry, "state"),
            since=_moment(answer.registry, "since_time"),
            reason=answer.registry.reason,
        ),
        processes=processes_of(settings),
        holds=tuple(_hold_of(hold) for hold in answer.holds),
        workers_ready=answer.workers.ready,
        workers_total=answer.workers.total,
        control_reachable=answer.control_reachable,
    )


def processes_of(settings: Settings) -> tuple[Process, ...]:
    """Processes as their slots in the state folder say; empty when no server runs there, since slots outlive it."""
    path = settings.state_dir / "slots"
    if lock_holder(settings.state_dir) is None or not path.exists():
        return ()
    with Slots.open(path, slot_count(settings.workers)) as slots:
        said = [(slot, slots.read(slot)) for slot in range(slots.count)]
    now = time.monotonic_ns()
    return tuple(
        Process(
            slot=slot,
            role=Role(state.role).name.lower(),
            pid=state.pid,
            state=state.state.name.lower(),
            silent_seconds=max(0.0, round((now - state.heartbeat_ns) / 1e9, 2)),
        )
        for slot, state in said
        if state is not None
    )


def _live_rows(model: str, route: Route) -> Iterator[Live]:
    challenger = route.challenger
    taken = challenger.share_bp if challenger and challenger.mode is Mode.CANARY else 0
    if route.champion:
        yield Live(
            model=model,
            version=route.champion.version,
            role="champion",
            since=route.champion.since,
            share=1 - taken / SHARE_MAX_BP,
            digest=route.champion.digest,
        )
    if challenger:
        yield Live(
            model=model,
            version=challenger.version,
            role="challenger",
            since=challenger.since,
            share=taken / SHARE_MAX_BP,
            digest=challenger.digest,
        )


def _snapshot_rows(state_dir: Path, desired: Desired) -> Iterator[SnapshotRow]:
    """Read from the cache what the routed snapshots say of themselves; one that cannot be read is left out."""
    for model, route in sorted(desired.route.items()):
        if route.champion is None or not model.startswith(SNAPSHOT_PREFIX):
            continue
        folder = state_dir / "cache" / route.champion.digest
        try:
            manifest, told = (json.loads((folder / name).read_bytes()) for name in ("manifest.json", "snapshot.json"))
            yield SnapshotRow(
                model=model,
                version=route.champion.version,
                data_time=parse_time(manifest["data_time"]),
                subjects=int(told["subjects"]),
                stale_after_seconds=float(told["stale_after_seconds"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _snapshot_of(status: orchestration_pb2.SnapshotStatus) -> SnapshotRow:
    return SnapshotRow(
        model=status.snapshot.model,
        version=status.snapshot.version,
        data_time=status.snapshot.data_time.ToDatetime(tzinfo=UTC),
        subjects=status.subjects,
        stale_after_seconds=status.stale_after.ToNanoseconds() / 1e9,
    )


def _read_control(path: Path, problems: list[str]) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as failure:
        problems.append(f"{path} cannot be read: {failure}")
        return {}
    return content if isinstance(content, dict) else {}


def _refused_rows(status: Mapping[str, object]) -> Iterator[Refused]:
    for model, facts in _version_rows(status):
        if facts.get("state") in _TAKEN_OUT:
            yield Refused(
                model=model,
                version=int(str(facts.get("version", 0))),
                state=str(facts["state"]),
                reason=str(facts.get("reason") or ""),
                since=_time(facts.get("since")),
            )


def _coming(status: Mapping[str, object], desired: Desired) -> Iterator[str]:
    for model, facts in _version_rows(status):
        answers = model in desired.route and desired.route[model].champion is not None
        if facts.get("role") == "champion" and facts.get("state") in _ON_THE_WAY and not answers:
            yield model


def _version_rows(status: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for model, entry in _mapping(status.get("models")).items():
        versions = _mapping(entry).get("versions")
        for row in versions if isinstance(versions, list) else []:
            yield model, _mapping(row)


def _registry(status: Mapping[str, object]) -> Registry:
    registry = _mapping(status.get("registry"))
    state = str(registry.get("state", "UNKNOWN"))
    return Registry(
        state="FOLLOWED" if state == "OK" else state,
        since=_time(registry.get("since")),
        reason=str(registry.get("detail") or ""),
    )


def _warnings(status: Mapping[str, object]) -> list[str]:
    warnings = status.get("warnings")
    return [str(warning) for warning in warnings] if isinstance(warnings, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _time(value: object) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except DesiredError:
        return None


def _moment(message: object, field: str) -> datetime | None:
    if not message.HasField(field):  # type: ignore[attr-defined]  # every generated message has it
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)


def _word(message: object, field: str) -> str:
    """Name of an enum field's value without the prefix of its type; UNKNOWN for 0."""
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type  # type: ignore[attr-defined]  # every generated message has it
    number = getattr(message, field)
    value = kind.values_by_number.get(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix) if value and number else "UNKNOWN"


def _hold_of(hold: orchestration_pb2.Hold) -> Hold:
    return Hold(
        kind=HoldKind.FREEZE if _word(hold, "kind") == "FREEZE" else HoldKind.VERSION,
        model=hold.model or None,
        version=hold.version if hold.HasField("version") else None,
        start=hold.start_time.ToDatetime(tzinfo=UTC),
        until=hold.until_time.ToDatetime(tzinfo=UTC),
        reason=hold.reason,
        by="",
    )
