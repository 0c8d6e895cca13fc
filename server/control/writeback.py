"""What became of each version, in the words that people read: tags in MLflow, and control's status file.

Pure: a snapshot in, places and writes out. The server writes only its own tags (`serving.*`) and the alias `previous`;
it never touches a bar's tag that a person may be about to delete.
Not here: the writing itself (registry.py, follow.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from server.control.artifacts import Refusal
from server.control.registry import CHALLENGER, CHAMPION, STATE_TAG, Aspired, Model, Version
from server.control.rollout import RAMP_NOTE, RAMP_TAG, Snapshot, is_confirmed, parse_switch, parse_traffic
from server.desired import SHARE_MAX_BP, Mode, Route, render_time

REASON_TAG, SINCE_TAG, SHARE_TAG = "serving.reason", "serving.since", "serving.share"
_OUR_TAGS = (STATE_TAG, REASON_TAG, SINCE_TAG, SHARE_TAG)
SHADOW_REASON = "shadow: gets a copy of the traffic, its answers are recorded and not returned"
NO_DIGEST_REASON = "the version has no tag manifest.sha256; register it with `python -m training`, not by hand"
LIVE, LOADING, REFUSED, RETIRED, VERIFIED, SEEN = "live", "loading", "refused", "retired", "verified", "seen"
_WRITTEN = frozenset({LIVE, REFUSED, RETIRED, "suspended", "quarantined", "rolled_back"})
VersionKey = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What one version is. `share_bp` of the routing keys answered, 0 to 10,000; `digest` None before it was read."""

    state: str
    digest: str | None
    role: str | None = None
    reason: str = ""
    share_bp: int = 0
    mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A place and since when it has been so."""

    place: Place
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TagWrite:
    """Tags to set on a version; None deletes one."""

    model: str
    version: int
    tags: Mapping[str, str | None] = field(default_factory=dict)


def places_of(snapshot: Snapshot, before: Mapping[VersionKey, Recorded]) -> dict[VersionKey, Place]:
    """What every version that anybody asked about is now."""
    places: dict[VersionKey, Place] = {}
    confirmed = is_confirmed(snapshot)
    for name, model in sorted((snapshot.aspired or {}).items()):
        for version in model.versions.values():
            key = (name, version.number)
            places[key] = _place(snapshot, model, version, before.get(key), confirmed=confirmed)
    for name, route in snapshot.desired.route.items():  # what answers is told also when the registry has lost it
        for routed in (route.champion, route.challenger):
            if routed is not None and (name, routed.version) not in places:
                known = Version(number=routed.version, digest=routed.digest)
                key = (name, routed.version)
                places[key] = _place(snapshot, Model(name=name), known, before.get(key), confirmed=confirmed)
    return places


def record(
    before: Mapping[VersionKey, Recorded], places: Mapping[VersionKey, Place], now: datetime
) -> dict[VersionKey, Recorded]:
    """The places with their times: `since` stays where state, role, share and reason stay."""
    return {
        key: before[key] if key in before and before[key].place == place else Recorded(place=place, since=now)
        for key, place in places.items()
    }


def tag_writes(recorded: Mapping[VersionKey, Recorded], seen: Aspired, snapshot: Snapshot) -> Iterator[TagWrite]:
    """Which tags say something else than what is so."""
    for (name, number), entry in sorted(recorded.items()):
        model = seen.get(name)
        version = None if model is None else model.versions.get(number)
        if version is None or version.digest != entry.place.digest:
            continue
        bar = snapshot.bars.get(version.digest or "")
        # Once a bar's tag was seen, the registry alone decides: its absence means that a person deleted it.
        if version.barred is not None or (bar is not None and bar.in_registry):
            continue
        present = version.serving.get(STATE_TAG)
        if entry.place.state in _WRITTEN:
            wanted = _tags(entry)
            if any(version.serving.get(key) != wanted[key] for key in (STATE_TAG, REASON_TAG, SHARE_TAG)):
                # Deleting what is not there would cost a read each.
                tags = {key: value for key, value in wanted.items() if value is not None or key in version.serving}
                yield TagWrite(model=name, version=number, tags=tags)
        elif present == REFUSED:  # what was wrong is no longer wrong
            yield TagWrite(model=name, version=number, tags=dict.fromkeys(_OUR_TAGS))


def status_document(
    snapshot: Snapshot,
    recorded: Mapping[VersionKey, Recorded],
    *,
    registry: Mapping[str, object],
    warnings: tuple[str, ...] = (),
) -> dict[str, object]:
    """`control.json`: what `python -m server status` and GetSystemStatus read beside the desired state."""
    models: dict[str, dict[str, list[object]]] = {}
    for (name, number), entry in sorted(recorded.items()):
        place = entry.place
        models.setdefault(name, {"versions": []})["versions"].append(
            {
                "version": number,
                "digest": place.digest or "",
                "role": place.role,
                "state": place.state,
                "reason": place.reason,
                "since": render_time(entry.since),
                "share_bp": place.share_bp,
                "mode": place.mode,
            }
        )
    return {
        "format": 1,
        "written_at": render_time(snapshot.now),
        "generation": snapshot.desired.generation,
        "registry": dict(registry),
        "models": models,
        "warnings": [*warnings, *_switch_warnings(snapshot)],
    }


def percent(share_bp: int) -> str:
    """A share as it stands in a tag.

    >>> percent(500), percent(250), percent(10_000)
    ('5', '2.5', '100')
    """
    return f"{share_bp / 100:g}"


def _place(snapshot: Snapshot, model: Model, version: Version, before: Recorded | None, *, confirmed: bool) -> Place:  # noqa: PLR0911 - one return a state
    route = snapshot.desired.route.get(model.name, Route())
    digest = version.digest
    role = _role(model, version, route)
    if (bar := snapshot.bars.get(digest or "")) is not None:
        return Place(state=bar.state, digest=digest, role=role, reason=bar.reason)
    if version.barred is not None:
        return Place(state=version.barred, digest=digest, role=role, reason=version.serving.get(REASON_TAG, ""))
    was_live = before is not None and before.place.state == LIVE and before.place.role == role
    live = LIVE if confirmed or was_live else LOADING
    champion, challenger = route.champion, route.challenger
    canary_bp = challenger.share_bp if challenger is not None else 0
    if champion is not None and (champion.version, champion.digest) == (version.number, digest):
        return Place(state=live, digest=digest, role=CHAMPION, share_bp=SHARE_MAX_BP - canary_bp)
    if challenger is not None and (challenger.version, challenger.digest) == (version.number, digest):
        return Place(
            state=live,
            digest=digest,
            role=CHALLENGER,
            reason=_challenger_reason(challenger.mode, version),
            share_bp=canary_bp,
            mode=challenger.mode.value,
        )
    if (refusal := _refusal(snapshot, model, version)) is not None:
        return Place(state=REFUSED, digest=digest, role=role, reason=refusal)
    if digest in snapshot.desired.digests:
        return Place(state=LOADING, digest=digest, role=role)
    if digest not in snapshot.verified:
        return Place(state=SEEN, digest=digest, role=role, reason="being fetched and verified")
    was_champion = any(earlier.digest == digest for earlier in snapshot.history.get(model.name, ()))
    was_served = was_champion or (before is not None and before.place.state in {LIVE, RETIRED})
    return Place(state=RETIRED if was_served else VERIFIED, digest=digest, role=role)


def _role(model: Model, version: Version, route: Route) -> str | None:
    for role, routed in ((CHAMPION, route.champion), (CHALLENGER, route.challenger)):
        if routed is not None and routed.version == version.number and routed.digest == version.digest:
            return role
    return next((alias for alias in (CHAMPION, CHALLENGER) if model.aliases.get(alias) == version.number), None)


def _refusal(snapshot: Snapshot, model: Model, version: Version) -> str | None:
    if version.digest is None:
        return NO_DIGEST_REASON
    if (refusal := snapshot.refused.get(version.digest)) is not None:
        return refusal.text
    if model.aliases.get(CHALLENGER) == version.number:
        traffic = parse_traffic(version.traffic)
        if isinstance(traffic, Refusal):
            return traffic.text
    return None


def _challenger_reason(mode: Mode, version: Version) -> str:
    if RAMP_TAG in version.traffic:
        return RAMP_NOTE
    return SHADOW_REASON if mode is Mode.SHADOW else ""


def _tags(entry: Recorded) -> dict[str, str | None]:
    # Written one by one, in this order: whoever sees the state finds its reason beside it.
    return {
        REASON_TAG: entry.place.reason or None,
        SINCE_TAG: render_time(entry.since),
        SHARE_TAG: percent(entry.place.share_bp),
        STATE_TAG: entry.place.state,
    }


def _switch_warnings(snapshot: Snapshot) -> Iterator[str]:
    for name, model in sorted((snapshot.aspired or {}).items()):
        if parse_switch(model.switch) is None:
            yield f"{name}: traffic.switch {model.switch!r} is unknown; use enabled, fallback_only or off"
