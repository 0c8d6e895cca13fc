"""Follows the registry: takes in what was seen, confirmed and found out, and carries out one step after another.

`Follower` is the one place where control's state changes. Other threads only put mail into it (`sighted`, `checked`,
`confirmed`) and take work out of it (`next_check`, `next_writes`); `tick` does the rest: build a snapshot, ask
`next_step`, carry the step out, until nothing is left to do. Nothing here waits for the network.

Not here: what the next step is (rollout.py); the threads (__main__.py); reading MLflow (registry.py).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_never

import structlog

from methods.features import FeatureSchema
from server.control.artifacts import Cache, Refusal, Wanted
from server.control.crashes import CRASHES_NAME, read_crashes
from server.control.orders import Orders, orders_json
from server.control.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    STATE_TAG,
    Aspired,
    RegistryAway,
    RegistryState,
    Settling,
    settle,
)
from server.control.rollout import (
    Candidate,
    Confirmation,
    EndHold,
    LiftBar,
    MarkBar,
    PlaceBar,
    Refuse,
    Snapshot,
    Step,
    Write,
    is_confirmed,
    next_step,
)
from server.control.store import Store, Transition
from server.control.writeback import (
    LIVE,
    REFUSED,
    Recorded,
    TagWrite,
    VersionKey,
    places_of,
    record,
    status_document,
    tag_writes,
)
from server.desired import (
    DESIRED_NAME,
    Desired,
    DesiredError,
    DesiredFile,
    parse_desired,
    read_desired,
    render_desired,
    render_time,
    write_atomically,
)
from server.holds import Hold, HoldKind

STEPS_MAX = 50  # a tick that finds more to do than this has found a loop of its own making
STATUS_EVERY = timedelta(seconds=10)
FETCH_RETRY = timedelta(seconds=5)
WRITE_RETRY = timedelta(seconds=5)
WRITES_WAIT = timedelta(seconds=1)  # after a change of the desired state: the cores belong to the workers that swap


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryView:
    """Whether the registry answers, since when, and why not."""

    state: RegistryState = RegistryState.UNKNOWN
    since: datetime
    detail: str = ""

    def to_json(self) -> dict[str, object]:
        """The form it has in control.json."""
        return {"state": self.state.value, "since": render_time(self.since), "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """`previous` of a model should name that version, if it still stands where it was seen."""

    model: str
    version: int
    expected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What control knows, for those who ask: one frozen picture, replaced after each tick."""

    desired: Desired
    written_at: datetime
    registry: RegistryView
    versions: Mapping[VersionKey, Recorded] = field(default_factory=dict)
    confirmed: bool = True


@dataclass(slots=True)
class _Mail:
    """What came in since the last tick."""

    seen: Aspired | None = None
    away: RegistryAway | None = None
    confirmations: dict[int, Confirmation] = field(default_factory=dict)
    checks: list[tuple[Wanted, Refusal | None, str]] = field(default_factory=list)


class Follower:
    """Control's state and what it makes of it. `tick` is called by one thread; the rest by any."""

    def __init__(
        self,
        *,
        folder: Path,
        store: Store,
        cache: Cache,
        schemas: Mapping[str, FeatureSchema],
        runtime: str,
        processes: Callable[[], Mapping[int, int]],
        clock: Callable[[], datetime],
        steady: Callable[[], float],
    ) -> None:
        self._folder, self._store, self._cache = folder, store, cache
        self._schemas, self._runtime = schemas, runtime
        self._processes, self._clock, self._steady = processes, clock, steady
        self._lock = threading.Lock()
        self._mail = _Mail()
        self.wake = threading.Event()
        now = clock()
        self._settling = Settling()
        self._latest: Aspired = {}
        self._registry = RegistryView(since=now)
        self._desired, self._written_at = Desired(), now
        self._file = DesiredFile(folder / DESIRED_NAME)
        self._verified: frozenset[str] = frozenset()
        self._refused: dict[str, Refusal] = {}
        self._refused_seen: set[str] = set()
        self._confirmations: dict[int, Confirmation] = {}
        self._checking: set[str] = set()
        self._retry: dict[str, datetime] = {}
        self._writes_after = now
        self._recorded: dict[VersionKey, Recorded] = {}
        self._previous: dict[str, int] = {}
        self._drifted: dict[str, str] = {}
        self._orders = Orders(folder)
        self._holds: tuple[Hold, ...] = ()
        self._status: bytes = b""
        self._status_at: datetime | None = None
        self.view = View(desired=self._desired, written_at=now, registry=self._registry)

    def recover(self) -> None:
        """Take up what an earlier process left: the desired state, and which of its versions are still whole.

        The store has a copy of that state, for the day when the file is gone or broken and the registry away.
        """
        try:
            found = read_desired(self._folder / DESIRED_NAME)
        except (DesiredError, OSError) as broken:
            _log().error("desired_state_unreadable", reason=str(broken))
            found = None
        if found is None and (copy := self._store.read_state("desired")) is not None:
            found = parse_desired(copy.encode())
        self._desired = found or Desired()
        loads = [Candidate(model=load.model, version=load.version, digest=load.digest) for load in self._desired.load]
        earlier = [candidate for candidates in self._store.history().values() for candidate in candidates]
        known = self._store.known()
        for candidate in dict.fromkeys([*loads, *earlier]):
            schema = self._schemas.get(candidate.model)
            wanted = schema and Wanted(
                model=candidate.model, version=candidate.version, digest=candidate.digest, schema=schema
            )
            if wanted and self._cache.holds(wanted):
                self._verified |= {candidate.digest}
                if candidate.digest not in known:
                    self._store.record_verified(candidate, runtime=self._runtime, at=self._clock())
            elif candidate in loads:
                _log().error("cached_version_damaged", model=candidate.model, version=candidate.version)

    # Mail from other threads.

    def sighted(self, seen: Aspired) -> None:
        """The registry was read."""
        with self._lock:
            self._mail.seen, self._mail.away = seen, None
        self.wake.set()

    def missed(self, away: RegistryAway) -> None:
        """The registry could not be read."""
        with self._lock:
            self._mail.seen, self._mail.away = None, away
        self.wake.set()

    def confirmed(self, slot: int, confirmation: Confirmation) -> None:
        """A process said what it has loaded."""
        with self._lock:
            self._mail.confirmations[slot] = confirmation
        self.wake.set()

    def checked(self, wanted: Wanted, refusal: Refusal | None, *, drift: str = "") -> None:
        """A version was verified and probed; None when it passed. `drift`: only within the second, larger bound."""
        with self._lock:
            self._mail.checks.append((wanted, refusal, drift))
        self.wake.set()

    def fetch_failed(self, wanted: Wanted, reason: str) -> None:
        """A version's files could not be had just now; asked for again after a pause."""
        _log().warning("version_not_fetched", model=wanted.model, version=wanted.version, reason=reason)
        with self._lock:
            self._retry[wanted.digest or ""] = self._clock() + FETCH_RETRY
            self._checking.discard(wanted.digest or "")

    # Work for other threads.

    def next_check(self) -> Wanted | None:
        """The version to verify next: what an alias asks for first, then what is new."""
        now = self._clock()
        with self._lock:
            for wanted in _in_order(self._latest, self._schemas):
                digest = wanted.digest or ""
                if digest in self._verified and not self._is_stale(digest):
                    continue
                if digest in self._refused or digest in self._checking or self._retry.get(digest, now) > now:
                    continue
                self._checking.add(digest)
                return wanted
        return None

    def kept(self) -> frozenset[str] | None:
        """Digests that the cache must keep: loaded, registered of late, or champion before; None while nobody knows."""
        with self._lock:
            if self._registry.state is not RegistryState.OK:
                return None
            seen = {version.digest or "" for model in self._latest.values() for version in model.versions.values()}
            earlier = {candidate.digest for found in self._store.history().values() for candidate in found}
            return frozenset(self._desired.digests | seen | earlier)

    def pruned(self, digests: frozenset[str]) -> None:
        """These were removed from the cache."""
        with self._lock:
            self._verified -= digests

    def was_champion(self, digest: str) -> bool:
        """Whether a digest was live here before: then drift of a runtime does not refuse it."""
        with self._lock:
            known = self._store.known().get(digest)
        return known is not None and known.was_champion

    @property
    def is_settling(self) -> bool:
        """Whether a change was seen that does not count yet: time to look again soon."""
        return self._settling.waiting is not None

    def watched(self) -> dict[str, frozenset[int]]:
        """Versions to read beside those with an alias: whatever carries a tag that may have to change."""
        with self._lock:
            numbers: dict[str, set[int]] = {}
            for (model, number), entry in self._recorded.items():
                if entry.place.state in {LIVE, REFUSED} or entry.place.digest in self.view.desired.digests:
                    numbers.setdefault(model, set()).add(number)
            return {model: frozenset(found) for model, found in numbers.items()}

    def next_writes(self) -> list[TagWrite | AliasMove]:
        """What to write to the registry now; nothing while it is away or just failed, or workers are swapping."""
        with self._lock:
            begins = max(self._writes_after, self._written_at + WRITES_WAIT)
            if self._registry.state is not RegistryState.OK or self._clock() < begins:
                return []
            moves = [
                AliasMove(model=model, version=version, expected=self._latest[model].aliases.get(PREVIOUS))
                for model, version in sorted(self._previous.items())
                if model in self._latest
            ]
            return [*tag_writes(self._recorded, self._latest, self._snapshot()), *moves]

    def wrote(self, write: TagWrite | AliasMove, *, moved: bool) -> None:
        """A write was carried out; `moved` is False when a person had moved the alias in the meantime."""
        if isinstance(write, AliasMove):
            with self._lock:
                self._forget_previous(write.model)
                detail = {"alias": PREVIOUS, "expected": write.expected, "moved": moved}
                self._audit("alias_moved", write.model, write.version, None, detail)

    def write_failed(self, away: RegistryAway) -> None:
        """Writing did not work; tried again after a pause."""
        _log().warning("registry_not_written", reason=away.detail)
        with self._lock:
            self._writes_after = self._clock() + WRITE_RETRY

    # The one round.

    def tick(self) -> None:
        """Take in the mail and carry out steps until none is left."""
        processes = self._processes()
        with self._lock:
            self._take_mail()
            self._take_crashes()
            self._take_holds()
            self._mend_desired(processes)
            for _ in range(STEPS_MAX):
                snapshot = self._snapshot(processes)
                step = next_step(snapshot)
                if step is None:
                    break
                self._carry_out(step, snapshot)
            snapshot = self._snapshot(processes)
            self._note_champions(snapshot)
            self._publish(snapshot)

    def _snapshot(self, processes: Mapping[int, int] | None = None) -> Snapshot:
        known = self._store.known()
        return Snapshot(
            now=self._clock(),
            desired=self._desired,
            written_at=self._written_at,
            aspired=self._settling.settled,
            verified=self._verified,
            refused=dict(self._refused),
            bars=self._store.bars(),
            history=self._store.history(),
            processes=self._processes() if processes is None else processes,
            confirmations=dict(self._confirmations),
            crashes={digest: entry.crashes for digest, entry in known.items() if entry.crashes},
            holds=self._holds,
            known={(entry.model, entry.version): digest for digest, entry in known.items()},
        )

    def _take_mail(self) -> None:
        mail, self._mail = self._mail, _Mail()
        now = self._clock()
        self._confirmations.update(mail.confirmations)
        if mail.seen is not None:
            self._latest = mail.seen
            self._set_registry(RegistryState.OK, "")
            self._settling = settle(self._settling, mail.seen, self._steady())
            self._forget_refusals()
        if mail.away is not None:
            self._set_registry(mail.away.state, mail.away.detail, cause=mail.away.cause)
        for wanted, refusal, drift in mail.checks:
            self._take_check(wanted, refusal, drift, now)

    def _take_check(self, wanted: Wanted, refusal: Refusal | None, drift: str, now: datetime) -> None:
        digest = wanted.digest or ""
        self._checking.discard(digest)
        facts = {"model": wanted.model, "version": wanted.version, "digest": digest[:12]}
        if refusal is not None and digest in self._verified:
            # It answers already and drifted under a new runtime: said, not taken out.
            self._drifted[digest] = refusal.text
            self._refused[digest] = refusal
            _log().error("live_version_drifted", **facts, reason=refusal.text)
        elif refusal is not None:
            self._refused[digest] = refusal
            self._audit("refused", wanted.model, wanted.version, digest, {"code": refusal.code, "reason": refusal.text})
            _log().warning(
                "version_refused", **facts, code=refusal.code.value, reason=refusal.text, detail=refusal.detail
            )
        else:
            candidate = Candidate(model=wanted.model, version=wanted.version, digest=digest)
            self._store.record_verified(candidate, runtime=self._runtime, at=now)
            self._verified |= {digest}
            _log().info("version_verified", **facts)
            if drift:
                self._drifted[digest] = drift
                _log().error("live_version_drifted", **facts, reason=drift)

    def _forget_refusals(self) -> None:
        """A person who deletes the tag of a refused version asks for another look."""
        for model in self._latest.values():
            for version in model.versions.values():
                digest = version.digest or ""
                if digest not in self._refused:
                    continue
                if version.serving.get(STATE_TAG) == REFUSED:
                    self._refused_seen.add(digest)
                elif digest in self._refused_seen:
                    self._refused_seen.discard(digest)
                    del self._refused[digest]

    def _take_crashes(self) -> None:
        noted = read_crashes(self._folder / CRASHES_NAME, self._store.read_state("crashes_read"))
        if noted is None:
            return
        if noted.unreadable:
            _log().warning("crash_records_unreadable", lines=noted.unreadable)
        for crash in noted.crashes:
            digest = next((load.digest for load in self._desired.load if load.digest[:16] == crash.digest_prefix), None)
            if digest is not None:
                self._store.record_crash(digest, crash.detail, self._clock())
        self._store.write_state("crashes_read", noted.mark, self._clock())

    def _take_holds(self) -> None:
        self._holds = self._orders.in_force(self._clock())
        said = json.dumps(orders_json(self._holds))
        before = self._store.read_state("holds") or "[]"
        if said != before:  # an order that began, ended or ran out, also while control was away
            self._audit("holds", None, None, None, {"before": json.loads(before), "now": json.loads(said)})
            self._store.write_state("holds", said, self._clock())
            _log().warning("holds_changed", holds=json.loads(said))

    def _carry_out(self, step: Step, snapshot: Snapshot) -> None:
        match step:
            case Write():
                self._write(step, snapshot)
            case PlaceBar():
                self._store.place_bar(step.digest, step.bar)
                facts = {"model": step.bar.model, "version": step.bar.version, "state": step.bar.state}
                _log().error("version_barred", **facts, reason=step.bar.reason)
            case MarkBar():
                self._store.mark_bar(step.digest)
            case LiftBar():
                self._store.lift_bar(step.digest, snapshot.now)
                _log().info("version_set_free", digest=step.digest[:12])
            case Refuse():
                self._refused[step.digest] = step.refusal
                self._audit("refused", None, None, step.digest, {"reason": step.refusal.text})
                _log().warning("version_refused", digest=step.digest[:12], reason=step.refusal.text)
            case EndHold():
                self._orders.end(step.hold)
                self._holds = tuple(hold for hold in self._holds if hold != step.hold)
                _log().info("hold_ended", model=step.hold.model, version=step.hold.version, reason="registry agrees")
            case _:
                assert_never(step)

    def _write(self, step: Write, snapshot: Snapshot) -> None:
        for slot in step.silent:
            _log().warning("process_never_confirmed", slot=slot, generation=snapshot.desired.generation)
        # Audit first: what is announced must be on record even when the next instant is a power cut.
        detail: dict[str, object] = {"generation": step.desired.generation, "silent": list(step.silent)}
        for name, route in step.desired.route.items():
            before = snapshot.desired.route.get(name)
            if route != before:
                champion, challenger = route.champion, route.challenger
                detail[name] = {
                    "champion": champion and champion.version,
                    "challenger": challenger and challenger.version,
                    "share_bp": challenger.share_bp if challenger else 0,
                    "switch": route.switch.value,
                }
        self._audit(step.phase, None, None, None, detail)
        copy = render_desired(step.desired, written_at=snapshot.now).decode()
        self._store.write_state("desired", copy, snapshot.now)
        self._file.write(step.desired, written_at=snapshot.now)
        self._desired, self._written_at = step.desired, snapshot.now
        _log().info("desired_state_written", phase=step.phase, **detail)

    def _mend_desired(self, processes: Mapping[int, int]) -> None:
        """Write the file again when others spoilt it: a process that starts now would find nothing to serve."""
        spoilt = self._file.spoilt(self._desired) if self._desired.generation else None
        if spoilt is not None:
            _log().error("desired_state_spoilt", generation=spoilt)
            mended = replace(self._desired, generation=max(self._desired.generation, spoilt) + 1)
            self._write(Write(desired=mended, phase="mend"), self._snapshot(processes))

    def _note_champions(self, snapshot: Snapshot) -> None:
        """Champions that every worker has now: they enter the history, and the one before becomes `previous`."""
        if not is_confirmed(snapshot):
            return
        for name, route in snapshot.desired.route.items():
            if route.champion is None:
                continue
            noted = self._store.read_state(f"champion.{name}")
            mark = f"{route.champion.version}:{route.champion.digest}"
            if noted == mark:
                continue
            candidate = Candidate(model=name, version=route.champion.version, digest=route.champion.digest)
            self._store.record_champion(candidate, snapshot.now)
            self._store.write_state(f"champion.{name}", mark, snapshot.now)
            version, digest = noted.split(":") if noted else ("", "")
            if version and digest not in snapshot.bars and int(version) != route.champion.version:
                self._previous[name] = int(version)

    def _forget_previous(self, model: str) -> None:
        self._previous.pop(model, None)

    def _is_stale(self, digest: str) -> bool:
        """Whether a version was last tried under other libraries than those of today."""
        known = self._store.known().get(digest)
        return known is not None and known.runtime != self._runtime and digest not in self._drifted

    def _set_registry(self, state: RegistryState, detail: str, *, cause: str = "") -> None:
        if (state, detail) == (self._registry.state, self._registry.detail):
            return
        since = self._registry.since if state is self._registry.state else self._clock()
        self._registry = RegistryView(state=state, since=since, detail=detail)
        level = _log().info if state is RegistryState.OK else _log().warning
        level("registry_state", state=state.value, reason=detail, detail=cause)

    def _publish(self, snapshot: Snapshot) -> None:
        self._recorded = record(self._recorded, places_of(snapshot, self._recorded), snapshot.now)
        self.view = View(
            desired=self._desired,
            written_at=self._written_at,
            registry=self._registry,
            versions=self._recorded,
            confirmed=is_confirmed(snapshot),
        )
        warnings = [f"{digest[:12]}: {text}" for digest, text in sorted(self._drifted.items())]
        if self._orders.broken:
            warnings.append(f"{self._orders.broken}; no order in it is obeyed, those before it are")
        warnings += [
            f"{hold.model}: version {hold.version} is held and not in this server's cache; hold one that is"
            for hold in self._holds
            if hold.kind is HoldKind.VERSION and not self._is_held(hold)
        ]
        document = status_document(
            snapshot, self._recorded, registry=self._registry.to_json(), warnings=tuple(warnings)
        )
        content = json.dumps({**document, "written_at": None}, indent=1).encode()
        is_due = self._status_at is None or snapshot.now - self._status_at >= STATUS_EVERY
        if content != self._status or is_due:
            write_atomically(self._folder / "control.json", json.dumps(document, indent=1).encode() + b"\n")
            self._status, self._status_at = content, snapshot.now

    def _is_held(self, hold: Hold) -> bool:
        route = self._desired.route.get(hold.model or "")
        return route is not None and route.champion is not None and route.champion.version == hold.version

    def _audit(
        self, kind: str, model: str | None, version: int | None, digest: str | None, detail: Mapping[str, object]
    ) -> None:
        transition = Transition(kind=kind, model=model, version=version, digest=digest, detail=detail)
        self._store.append(transition, self._clock())


def _in_order(latest: Aspired, schemas: Mapping[str, FeatureSchema]) -> Iterator[Wanted]:
    for name, model in sorted(latest.items()):
        aliased = [model.aliases[alias] for alias in (CHAMPION, CHALLENGER, PREVIOUS) if alias in model.aliases]
        newest = sorted(model.versions, reverse=True)
        for number in dict.fromkeys([*aliased, *newest]):
            version = model.versions.get(number)
            if version is not None and version.digest is not None and name in schemas:
                yield Wanted(model=name, version=number, digest=version.digest, schema=schemas[name])


def utc_now() -> datetime:
    """The clock of the real process."""
    return datetime.now(UTC)


def _log() -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("control")
    return logger
