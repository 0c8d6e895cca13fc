"""How a module and the whole system are: facts in, the contract's status messages out.

Pure: the same facts give the same messages. The health of a module follows the comments of the contract's enum
`Health`; the system is as well as its worst built module and what all of them stand on.
Not here: where the facts come from (facts.py); the health of grpc.health.v1 (edge).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from google.protobuf.timestamp_pb2 import Timestamp

from methods.snapshot import model_of
from paedsresus.ml.v1 import common_pb2, orchestration_pb2
from server.desired import SHARE_MAX_BP, Switch
from server.holds import Hold, HoldKind, holds_in_force

MODULES = ("kaizen", "learning", "referral", "revenue", "impact")
STATUS_METHODS = frozenset({"GetStatus"})  # every module answers it from the first day: it makes no module built

# Worst last; a module that is not built takes no part.
_SEVERITY = (common_pb2.HEALTH_HEALTHY, common_pb2.HEALTH_DEGRADED, common_pb2.HEALTH_UNHEALTHY)


class RegistryHealth(Enum):
    """Whether the registry answers; the value is the contract's number."""

    UNKNOWN = orchestration_pb2.REGISTRY_STATE_UNSPECIFIED
    FOLLOWED = orchestration_pb2.REGISTRY_STATE_FOLLOWED
    AWAY = orchestration_pb2.REGISTRY_STATE_AWAY
    NOT_WATCHED = orchestration_pb2.REGISTRY_STATE_NOT_WATCHED


class VersionRole(Enum):
    """A version's place in the traffic; the value is the contract's number."""

    CHAMPION = common_pb2.ROLE_CHAMPION
    CHALLENGER = common_pb2.ROLE_CHALLENGER


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFact:
    """One version that takes part. `share_bp` of routing keys in hundredths of a percent, 0 in shadow."""

    model: str
    version: int
    digest: str
    role: VersionRole
    share_bp: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFact:
    """One version that an alias asks for and that does not answer; `state` as the registry's tag says."""

    model: str
    version: int
    state: str
    reason: str
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryFact:
    """What control said of the registry last; `reason` is empty when nothing is wrong."""

    health: RegistryHealth = RegistryHealth.UNKNOWN
    since: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFact:
    """The feature snapshot that a module's answers by id come from; `subjects` that it knows."""

    model: str
    version: int
    data_time: datetime
    stale_after: timedelta
    subjects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCount:
    """Decisions of the last 30 days; `automatic` of `total` needed no person."""

    automatic: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFacts:
    """Everything a status is made of, as the answering process knows it.

    Attributes:
        now: the moment of the status, UTC.
        built: module -> RPC names of its service that this release answers, GetStatus among them.
        models: module -> models that its built methods ask.
        live: versions that take part.
        snapshots: module -> its feature snapshot; a module without a live one is left out.
        switches: model -> its switch; a model that is left out is enabled.
        priors: models that have a documented prior, which answers while no version is live.
        refused: versions that an alias asks for and that do not answer.
        registry: what control said last; overruled while control cannot be reached.
        warnings: what control wants a person to look at although everything answers, one sentence each.
        control_reachable: whether control answers this process.
        workers_ready, workers_total: processes that answer predictions.
        started_at: when the server was started, UTC; None when unknown.
        generation: of the desired state that this process serves; 0 before the first.
        holds: break-glass orders, expired ones too.
        decisions: module -> its decisions of the last 30 days; a module without any is left out.
    """

    now: datetime
    built: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    live: tuple[LiveFact, ...] = ()
    snapshots: Mapping[str, SnapshotFact] = field(default_factory=dict)
    switches: Mapping[str, Switch] = field(default_factory=dict)
    priors: frozenset[str] = frozenset()
    refused: tuple[RefusedFact, ...] = ()
    registry: RegistryFact = RegistryFact()
    warnings: tuple[str, ...] = ()
    control_reachable: bool = True
    workers_ready: int = 0
    workers_total: int = 0
    started_at: datetime | None = None
    generation: int = 0
    holds: tuple[Hold, ...] = ()
    decisions: Mapping[str, DecisionCount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """A health, and why it is not the best one."""

    health: common_pb2.Health.ValueType
    reasons: tuple[str, ...] = ()


def module_status(module: str, facts: StatusFacts) -> orchestration_pb2.ModuleStatus:
    """The status of one of MODULES; a module without a built method is NOT_BUILT, whatever else is wrong."""
    own, shared = _judge_module(module, facts), _judge_registry(facts)
    verdict = _worst([own, shared]) if _is_built(module, facts) else own
    models = {*facts.models.get(module, ()), model_of(module)}
    decisions, snapshot = facts.decisions.get(module), facts.snapshots.get(module)
    return orchestration_pb2.ModuleStatus(
        health=verdict.health,
        reason="; ".join(verdict.reasons),
        automation_level=_automation_level([decisions] if decisions else []),
        live_versions=[_live_version(fact) for fact in facts.live if fact.model in models],
        refused_versions=[_refused_version(fact) for fact in facts.refused if fact.model in models],
        registry=_registry_status(facts),
        built_methods=sorted(facts.built.get(module, ())),
        snapshot=None if snapshot is None else _snapshot_status(snapshot, facts.now),
    )


def system_status(facts: StatusFacts) -> orchestration_pb2.GetSystemStatusResponse:
    """The status of the whole: every module, and what all of them stand on."""
    built = [module for module in MODULES if _is_built(module, facts)]
    verdicts = [_named(module, _judge_module(module, facts)) for module in built]
    verdict = _worst(
        [*verdicts, _judge_registry(facts), _judge_processes(facts), _judge_holds(facts), _judge_warnings(facts)]
    )
    if not built:
        verdict = _Verdict(health=common_pb2.HEALTH_NOT_BUILT)
    return orchestration_pb2.GetSystemStatusResponse(
        health=verdict.health,
        reason="; ".join(verdict.reasons),
        automation_level=_automation_level(facts.decisions.values()),
        modules=orchestration_pb2.SystemModules(**{module: module_status(module, facts) for module in MODULES}),
        start_time=_timestamp(facts.started_at),
        workers=orchestration_pb2.WorkerStatus(ready=facts.workers_ready, total=facts.workers_total),
        registry=_registry_status(facts),
        generation=facts.generation,
        control_reachable=facts.control_reachable,
        holds=[_hold(hold) for hold in holds_in_force(facts.holds, facts.now)],
    )


def _judge_warnings(facts: StatusFacts) -> _Verdict:
    health = common_pb2.HEALTH_DEGRADED if facts.warnings else common_pb2.HEALTH_HEALTHY
    return _Verdict(health=health, reasons=facts.warnings)


def _is_built(module: str, facts: StatusFacts) -> bool:
    return bool(set(facts.built.get(module, ())) - STATUS_METHODS)


def _judge_module(module: str, facts: StatusFacts) -> _Verdict:
    """What the module's own models and versions say."""
    if not _is_built(module, facts):
        return _Verdict(health=common_pb2.HEALTH_NOT_BUILT)
    models = facts.models.get(module, ())
    refusals = [
        f"{fact.model} v{fact.version} is {fact.state.replace('_', ' ')}: {fact.reason}"
        for fact in facts.refused
        if fact.model in models or fact.model == model_of(module)
    ]
    verdicts = [_judge_model(model, facts) for model in models]
    verdicts.append(_judge_snapshot(facts.snapshots.get(module), facts.now))
    verdicts += [_Verdict(health=common_pb2.HEALTH_DEGRADED, reasons=(refusal,)) for refusal in refusals]
    return _worst(verdicts)


def _judge_model(model: str, facts: StatusFacts) -> _Verdict:
    switch = facts.switches.get(model, Switch.ENABLED)
    if switch is Switch.OFF:
        return _Verdict(health=common_pb2.HEALTH_DEGRADED, reasons=(f"{model} is switched off by a person",))
    has_champion = any(fact.model == model and fact.role is VersionRole.CHAMPION for fact in facts.live)
    if has_champion and switch is Switch.ENABLED:
        return _Verdict(health=common_pb2.HEALTH_HEALTHY)
    why = "by order of a person" if switch is Switch.FALLBACK_ONLY else "no version is live"
    if model in facts.priors:
        return _Verdict(
            health=common_pb2.HEALTH_DEGRADED, reasons=(f"{model} answers from its documented prior: {why}",)
        )
    if switch is Switch.FALLBACK_ONLY:
        why = "a person allows only its documented prior, and it has none"
    return _Verdict(health=common_pb2.HEALTH_UNHEALTHY, reasons=(f"{model} cannot answer: {why}",))


def _judge_snapshot(snapshot: SnapshotFact | None, now: datetime) -> _Verdict:
    """A module without a snapshot is well: its callers bring features."""
    if snapshot is None or now - snapshot.data_time < snapshot.stale_after:
        return _Verdict(health=common_pb2.HEALTH_HEALTHY)
    moment = snapshot.data_time.astimezone(UTC)
    reason = f"{snapshot.model} v{snapshot.version} is of {moment:%Y-%m-%d %H:%M} UTC: answers by id are stale"
    return _Verdict(health=common_pb2.HEALTH_DEGRADED, reasons=(reason,))


def _judge_registry(facts: StatusFacts) -> _Verdict:
    registry = _registry_now(facts)
    if registry.health is RegistryHealth.FOLLOWED:
        return _Verdict(health=common_pb2.HEALTH_HEALTHY)
    return _Verdict(health=common_pb2.HEALTH_DEGRADED, reasons=(registry.reason,))


def _judge_processes(facts: StatusFacts) -> _Verdict:
    if facts.workers_ready >= facts.workers_total:
        return _Verdict(health=common_pb2.HEALTH_HEALTHY)
    reason = f"{facts.workers_ready} of {facts.workers_total} workers are ready"
    health = common_pb2.HEALTH_DEGRADED if facts.workers_ready else common_pb2.HEALTH_UNHEALTHY
    return _Verdict(health=health, reasons=(reason,))


def _judge_holds(facts: StatusFacts) -> _Verdict:
    reasons = tuple(_hold_in_words(hold) for hold in holds_in_force(facts.holds, facts.now))
    return _Verdict(health=common_pb2.HEALTH_DEGRADED if reasons else common_pb2.HEALTH_HEALTHY, reasons=reasons)


def _hold_in_words(hold: Hold) -> str:
    what = "everything is frozen" if hold.kind is HoldKind.FREEZE else f"{hold.model} is held at v{hold.version}"
    return f"{what} until {hold.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _named(module: str, verdict: _Verdict) -> _Verdict:
    """The verdict with the module's name before each reason."""
    return _Verdict(health=verdict.health, reasons=tuple(f"{module}: {reason}" for reason in verdict.reasons))


def _worst(verdicts: Iterable[_Verdict]) -> _Verdict:
    """The worst health, with the reasons of all, worst first; healthy when there is none."""
    ordered = sorted(verdicts, key=lambda verdict: _SEVERITY.index(verdict.health), reverse=True)
    reasons = dict.fromkeys(reason for verdict in ordered for reason in verdict.reasons)
    return _Verdict(health=ordered[0].health if ordered else common_pb2.HEALTH_HEALTHY, reasons=tuple(reasons))


def _registry_now(facts: StatusFacts) -> RegistryFact:
    """What control said, unless control itself is away: then nobody watches. Each trouble has words."""
    said = facts.registry
    if not facts.control_reachable:
        reason = "control, which follows the registry, cannot be reached; the last verified state is served"
        return RegistryFact(health=RegistryHealth.NOT_WATCHED, reason=reason)
    words = {
        RegistryHealth.UNKNOWN: "the registry has not been read yet",
        RegistryHealth.AWAY: "the registry does not answer; the last verified state is served",
        RegistryHealth.NOT_WATCHED: "nobody follows the registry; the last verified state is served",
        RegistryHealth.FOLLOWED: "",
    }
    reason = "" if said.health is RegistryHealth.FOLLOWED else said.reason or words[said.health]
    return RegistryFact(health=said.health, since=said.since, reason=reason)


def _registry_status(facts: StatusFacts) -> orchestration_pb2.RegistryStatus:
    registry = _registry_now(facts)
    return orchestration_pb2.RegistryStatus(
        state=registry.health.value, since_time=_timestamp(registry.since), reason=registry.reason
    )


def _automation_level(counts: Iterable[DecisionCount]) -> float | None:
    """Share of decisions that needed no person; None while none was recorded."""
    taken = list(counts)
    total = sum(count.total for count in taken)
    return sum(count.automatic for count in taken) / total if total else None


def _live_version(fact: LiveFact) -> orchestration_pb2.LiveVersion:
    return orchestration_pb2.LiveVersion(
        version=common_pb2.ServedBy(model=fact.model, version=fact.version, role=fact.role.value),
        live_since_time=_timestamp(fact.since),
        share=fact.share_bp / SHARE_MAX_BP,
        digest=fact.digest,
    )


def _refused_version(fact: RefusedFact) -> orchestration_pb2.RefusedVersion:
    return orchestration_pb2.RefusedVersion(
        model=fact.model,
        version=fact.version,
        state=fact.state,
        reason=fact.reason,
        since_time=_timestamp(fact.since),
    )


def _snapshot_status(fact: SnapshotFact, now: datetime) -> orchestration_pb2.SnapshotStatus:
    status = orchestration_pb2.SnapshotStatus(subjects=fact.subjects)
    status.snapshot.model, status.snapshot.version = fact.model, fact.version
    status.snapshot.data_time.FromDatetime(fact.data_time)
    status.snapshot.age.FromTimedelta(now - fact.data_time)
    status.stale_after.FromTimedelta(fact.stale_after)
    return status


def _hold(hold: Hold) -> orchestration_pb2.Hold:
    kind = orchestration_pb2.HOLD_KIND_FREEZE if hold.kind is HoldKind.FREEZE else orchestration_pb2.HOLD_KIND_VERSION
    return orchestration_pb2.Hold(
        kind=kind,
        model=hold.model or "",
        version=hold.version,
        start_time=_timestamp(hold.start),
        until_time=_timestamp(hold.until),
        reason=hold.reason,
    )


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
