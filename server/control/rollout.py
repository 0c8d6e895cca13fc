"""What happens next: from what a person asked for to what every worker routes, one step at a time.

`next_step` is pure: the same snapshot gives the same step, however often it is asked, and None when nothing is left to
do. A loop (follow.py) carries each step out and takes a new snapshot. The rules:

- Two phases: a version is routed only when every live process has confirmed that it is loaded, or has been silent for
  too long. Taking a version out of the traffic needs nobody's consent and happens at once.
- The champion that answers now is kept until another is ready: a missing alias, a refused or unknown version and a
  registry that is away change nothing. Only a bar (rolled back, suspended, quarantined) or the switch takes it out.
- A challenger is suspended at its first crash; a champion quarantined at its second, and `previous` or the last good
  champion answers. A bar ends when a person deletes its tag.

Not here: reading the registry (registry.py); what is written back to it (writeback.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from server.control.artifacts import Refusal, RefusalCode
from server.control.registry import CHALLENGER, CHAMPION, PREVIOUS, Aspired, Model, Version
from server.desired import SHARE_MAX_BP, ChallengerRoute, ChampionRoute, Desired, Load, Mode, Route, Switch
from server.holds import Hold, HoldKind

CONFIRM_TIMEOUT = timedelta(seconds=10)
"""How long a step waits for a live process that does not confirm; afterwards it is warned about, not waited for."""

CHALLENGER_CRASHES, CHAMPION_CRASHES = 1, 2
MODE_TAG, PERCENT_TAG, RAMP_TAG = "traffic.mode", "traffic.percent", "traffic.ramp"
RAMP_NOTE = "ramp is not built in this release; served as shadow"
_RAMP_TAGS = frozenset({RAMP_TAG, "traffic.step_minutes", "traffic.min_outcomes", "traffic.promote"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One version that could be routed."""

    model: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Why a digest gets no traffic. `in_registry`: its tag was seen there, and a person may delete it."""

    model: str
    version: int
    state: str
    reason: str
    since: datetime
    in_registry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What one process said last. `refused` holds its reason by digest."""

    pid: int
    generation: int
    loaded: frozenset[str]
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that a decision rests on.

    Attributes:
        now: UTC.
        desired: what the workers are told; `written_at` since when.
        aspired: the registry's settled state; None before it was ever read.
        verified: digests in the cache that passed every check.
        refused: why a digest may not be loaded.
        bars: why a digest gets no traffic.
        history: earlier champions of each model that went live, newest first.
        processes: pid by slot, of every live worker and compute process.
        confirmations: by slot.
        crashes: by digest, since it last went live or was set free.
        holds: break-glass orders in force.
        known: digests of versions seen earlier, for a hold while the registry is away.
    """

    now: datetime
    desired: Desired
    written_at: datetime
    aspired: Aspired | None = None
    verified: frozenset[str] = frozenset()
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    bars: Mapping[str, Bar] = field(default_factory=dict)
    history: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    processes: Mapping[int, int] = field(default_factory=dict)
    confirmations: Mapping[int, Confirmation] = field(default_factory=dict)
    crashes: Mapping[str, int] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    known: Mapping[tuple[str, int], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceBar:
    """Take a digest out of the traffic until a person sets it free."""

    digest: str
    bar: Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkBar:
    """The bar's tag was seen in the registry."""

    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftBar:
    """A person deleted the bar's tag."""

    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A process could not load a digest that it was told to."""

    digest: str
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class EndHold:
    """The registry says what the hold says."""

    hold: Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Tell the workers a new generation.

    `phase` is load, route or drop, or mend for the present state once more; `silent` are slots that never confirmed.
    """

    desired: Desired
    phase: str
    silent: tuple[int, ...] = ()


Step = PlaceBar | MarkBar | LiftBar | Refuse | EndHold | Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A challenger's part as its tags say. `note` is for the person who set them."""

    mode: Mode = Mode.SHADOW
    share_bp: int = 0
    note: str = ""


def next_step(snapshot: Snapshot) -> Step | None:
    """Decide what to do now; None when the workers already do what can be had of what is wanted."""
    for steps in (_bar_steps, _refuse_steps, _hold_steps):
        if step := next(steps(snapshot), None):
            return step
    return _write_step(snapshot)


def wanted_routes(snapshot: Snapshot) -> dict[str, Route]:
    """Who should answer for each model now, as far as versions are verified; only these may be routed."""
    names = {*snapshot.desired.route, *(snapshot.aspired or {})}
    routes = {name: _wanted_route(snapshot, name) for name in sorted(names)}
    return {
        name: route
        for name, route in routes.items()
        if route.champion is not None or route.switch is not Switch.ENABLED
    }


def parse_traffic(tags: Mapping[str, str]) -> Traffic | Refusal:  # noqa: PLR0911 - one return a rule
    """A challenger's part in the traffic, or why its tags make none.

    >>> parse_traffic({"traffic.mode": "canary", "traffic.percent": "2.5"}).share_bp
    250
    >>> parse_traffic({"traffic.percent": "5"}).text
    'traffic.percent needs traffic.mode = canary'
    """
    mode = tags.get(MODE_TAG, Mode.SHADOW.value)
    ramp = sorted(_RAMP_TAGS & tags.keys())
    if mode == "ramp":
        if PERCENT_TAG in tags or RAMP_TAG not in tags:
            return _refuse_traffic(f"{MODE_TAG} = ramp needs {RAMP_TAG} and no {PERCENT_TAG}")
        return Traffic(note=RAMP_NOTE)
    if ramp:
        return _refuse_traffic(f"{ramp[0]} needs {MODE_TAG} = ramp")
    if mode == Mode.SHADOW:
        return _refuse_traffic(f"{PERCENT_TAG} needs {MODE_TAG} = canary") if PERCENT_TAG in tags else Traffic()
    if mode != Mode.CANARY:
        return _refuse_traffic(f"{MODE_TAG} {mode[:40]!r} is unknown; use shadow, canary or ramp")
    try:
        share_bp = Decimal(tags.get(PERCENT_TAG, "").strip() or "none") * 100
    except ArithmeticError:  # no number, or one too large to count with
        return _refuse_traffic(f"{MODE_TAG} = canary needs {PERCENT_TAG}, a number such as 5")
    if not (share_bp.is_finite() and 0 < share_bp <= SHARE_MAX_BP and share_bp == share_bp.to_integral_value()):
        return _refuse_traffic(f"{PERCENT_TAG} must be above 0, at most 100, with at most two decimals")
    return Traffic(mode=Mode.CANARY, share_bp=int(share_bp))


def parse_switch(tag: str | None) -> Switch | None:
    """The switch of a model; None when the tag says something unknown, which changes nothing."""
    if tag is None:
        return Switch.ENABLED
    return next((switch for switch in Switch if switch.value == tag.strip()), None)


def silent_slots(snapshot: Snapshot, generation: int) -> tuple[int, ...]:
    """Slots of live processes that have not confirmed that generation."""
    return tuple(slot for slot in sorted(snapshot.processes) if _heard(snapshot, slot) < generation)


def is_confirmed(snapshot: Snapshot) -> bool:
    """Whether every live process does what the present generation says."""
    return not silent_slots(snapshot, snapshot.desired.generation)


def is_barred(snapshot: Snapshot, digest: str, version: Version | None) -> bool:
    """Whether a version gets no traffic until a person deletes its tag: by our own note, or by the registry's."""
    return digest in snapshot.bars or (version is not None and version.barred is not None)


def _bar_steps(snapshot: Snapshot) -> Iterator[Step]:
    for model, route in sorted(snapshot.desired.route.items()):
        places = ((route.challenger, CHALLENGER, CHALLENGER_CRASHES), (route.champion, CHAMPION, CHAMPION_CRASHES))
        for routed, role, allowed in places:
            if routed is None or routed.digest in snapshot.bars:
                continue
            crashes = snapshot.crashes.get(routed.digest, 0)
            if crashes >= allowed:
                state = "suspended" if role == CHALLENGER else "quarantined"
                reason = (
                    f"{crashes} process{'es' if crashes > 1 else ''} crashed while computing with it as {role}; "
                    "delete the tag serving.state to try it again"
                )
                bar = Bar(model=model, version=routed.version, state=state, reason=reason, since=snapshot.now)
                yield PlaceBar(digest=routed.digest, bar=bar)
    for digest, bar in sorted(snapshot.bars.items()):
        version = _version(snapshot, bar.model, bar.version)
        if version is None or version.digest != digest:
            continue
        if version.barred is not None and not bar.in_registry:
            yield MarkBar(digest=digest)
        if version.barred is None and bar.in_registry:
            yield LiftBar(digest=digest)


def _refuse_steps(snapshot: Snapshot) -> Iterator[Step]:
    routed = _routed(snapshot.desired.route)
    for slot in sorted(snapshot.processes):
        said = snapshot.confirmations.get(slot)
        if said is None or said.pid != snapshot.processes[slot]:
            continue
        for digest, reason in sorted(said.refused.items()):
            # What is routed already stays: others serve it, and one process may just have run out of memory.
            if digest in snapshot.desired.digests - routed and digest not in snapshot.refused:
                text = f"process {slot} could not load it: {reason[:200]}"
                yield Refuse(digest=digest, refusal=Refusal(code=RefusalCode.LOAD_FAILED, text=text))


def _hold_steps(snapshot: Snapshot) -> Iterator[Step]:
    for hold in snapshot.holds:
        model = (snapshot.aspired or {}).get(hold.model or "")
        if hold.kind is HoldKind.VERSION and model is not None and model.aliases.get(CHAMPION) == hold.version:
            yield EndHold(hold=hold)


def _write_step(snapshot: Snapshot) -> Write | None:
    desired = snapshot.desired
    routes = wanted_routes(snapshot)
    needed = {load.digest: load for load in _loads(routes)}
    waited = snapshot.now - snapshot.written_at >= CONFIRM_TIMEOUT
    if missing := needed.keys() - desired.digests:
        load = (*desired.load, *(needed[digest] for digest in sorted(missing)))
        return Write(desired=replace(desired, generation=desired.generation + 1, load=load), phase="load")
    if routes != desired.route:
        entering = _routed(routes) - _routed(desired.route)
        silent = tuple(slot for slot in sorted(snapshot.processes) if not _has_loaded(snapshot, slot, entering))
        if silent and not waited:
            cut = _without(desired.route, snapshot)
            return None if cut == desired.route else Write(desired=_next(desired, cut), phase="route")
        return Write(desired=_next(desired, routes), phase="route", silent=silent)
    if leaving := desired.digests - needed.keys():
        silent = tuple(
            slot for slot in silent_slots(snapshot, desired.generation) if _may_hold(snapshot, slot, leaving)
        )
        if silent and not waited:
            return None
        kept = tuple(load for load in desired.load if load.digest in needed)
        return Write(
            desired=replace(desired, generation=desired.generation + 1, load=kept), phase="drop", silent=silent
        )
    return None


def _next(desired: Desired, routes: Mapping[str, Route]) -> Desired:
    return replace(desired, generation=desired.generation + 1, route=dict(routes))


def _wanted_route(snapshot: Snapshot, name: str) -> Route:
    current = snapshot.desired.route.get(name, Route())
    model = (snapshot.aspired or {}).get(name)
    if model is None or any(hold.kind is HoldKind.FREEZE for hold in snapshot.holds):
        wanted_number, wanted_challenger, switch = None, current.challenger, current.switch
    else:
        wanted_number = model.aliases.get(CHAMPION)
        wanted_challenger = _aliased_challenger(snapshot, model, current)
        switch = parse_switch(model.switch) or current.switch
    held = next((h.version for h in snapshot.holds if h.kind is HoldKind.VERSION and h.model == name), None)
    champion = _champion(snapshot, name, current.champion, wanted_number if held is None else held)
    challenger = wanted_challenger
    if challenger is not None and (
        champion is None
        or challenger.digest == champion.digest
        or is_barred(snapshot, challenger.digest, _version(snapshot, name, challenger.version))
    ):
        challenger = None
    return Route(switch=switch, champion=champion, challenger=challenger)


def _champion(snapshot: Snapshot, name: str, current: ChampionRoute | None, wanted: int | None) -> ChampionRoute | None:
    """The wanted version when it may answer; else the present one; else, when that is barred, the best earlier one."""
    candidate = _candidate(snapshot, name, wanted)
    if candidate is not None and _is_servable(snapshot, candidate):
        return _keep_or_enter(snapshot, current, candidate)
    if current is not None and not is_barred(snapshot, current.digest, _version(snapshot, name, current.version)):
        return current
    if current is None:
        # Nothing answers and what is wanted cannot: an earlier one only where a bar is the cause, never on a whim.
        barred = candidate is not None and is_barred(
            snapshot, candidate.digest, _version(snapshot, name, candidate.version)
        )
        if not barred:
            return None
    model = (snapshot.aspired or {}).get(name)
    before = _candidate(snapshot, name, model.aliases.get(PREVIOUS) if model else None)
    for earlier in (before, *snapshot.history.get(name, ())):
        if earlier is not None and _is_servable(snapshot, earlier):
            return _keep_or_enter(snapshot, current, earlier)
    return None


def _aliased_challenger(snapshot: Snapshot, model: Model, current: Route) -> ChallengerRoute | None:
    candidate = _candidate(snapshot, model.name, model.aliases.get(CHALLENGER))
    if candidate is None or not _is_servable(snapshot, candidate):
        return None
    traffic = parse_traffic(model.versions[candidate.version].traffic)
    if isinstance(traffic, Refusal):
        return None
    before = current.challenger
    entering = ChallengerRoute(
        version=candidate.version,
        digest=candidate.digest,
        mode=traffic.mode,
        share_bp=traffic.share_bp,
        since=snapshot.now,
    )
    return before if before is not None and replace(entering, since=before.since) == before else entering


def _keep_or_enter(snapshot: Snapshot, current: ChampionRoute | None, candidate: Candidate) -> ChampionRoute:
    if current is not None and (current.version, current.digest) == (candidate.version, candidate.digest):
        return current
    return ChampionRoute(version=candidate.version, digest=candidate.digest, since=snapshot.now)


def _candidate(snapshot: Snapshot, model: str, number: int | None) -> Candidate | None:
    if number is None:
        return None
    version = _version(snapshot, model, number)
    digest = snapshot.known.get((model, number)) if version is None else version.digest
    return None if digest is None else Candidate(model=model, version=number, digest=digest)


def _is_servable(snapshot: Snapshot, candidate: Candidate) -> bool:
    version = _version(snapshot, candidate.model, candidate.version)
    return (
        candidate.digest in snapshot.verified
        and candidate.digest not in snapshot.refused
        and not is_barred(snapshot, candidate.digest, version)
    )


def _version(snapshot: Snapshot, model: str, number: int) -> Version | None:
    found = (snapshot.aspired or {}).get(model)
    return None if found is None else found.versions.get(number)


def _loads(routes: Mapping[str, Route]) -> Iterator[Load]:
    for model, route in sorted(routes.items()):
        for routed in (route.champion, route.challenger):
            if routed is not None:
                folder = f"cache/{routed.digest}"
                yield Load(model=model, version=routed.version, digest=routed.digest, folder=folder)


def _routed(routes: Mapping[str, Route]) -> frozenset[str]:
    return frozenset(load.digest for load in _loads(routes))


def _without(routes: Mapping[str, Route], snapshot: Snapshot) -> dict[str, Route]:
    """The present routes without barred challengers: a cut that waits for nobody."""
    cut = {}
    for model, route in routes.items():
        challenger = route.challenger
        if challenger and is_barred(snapshot, challenger.digest, _version(snapshot, model, challenger.version)):
            challenger = None
        cut[model] = replace(route, challenger=challenger)
    return cut


def _heard(snapshot: Snapshot, slot: int) -> int:
    said = snapshot.confirmations.get(slot)
    return said.generation if said is not None and said.pid == snapshot.processes[slot] else -1


def _has_loaded(snapshot: Snapshot, slot: int, digests: frozenset[str]) -> bool:
    said = snapshot.confirmations.get(slot)
    return not digests or (
        said is not None and said.pid == snapshot.processes[slot] and digests <= said.loaded | said.refused.keys()
    )


def _may_hold(snapshot: Snapshot, slot: int, digests: frozenset[str]) -> bool:
    """Whether a process could still route one of these: it said nothing yet, or said that it has one loaded."""
    said = snapshot.confirmations.get(slot)
    return said is None or said.pid != snapshot.processes[slot] or bool(said.loaded & digests)


def _refuse_traffic(text: str) -> Refusal:
    return Refusal(code=RefusalCode.TRAFFIC, text=text)
