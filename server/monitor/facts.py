"""Facts of a status, read from what a worker serves and from what control last wrote.

Pure: values and bytes in, facts out. control.json informs and decides nothing, so whatever is unreadable in it is left
out or said in the registry's reason, never raised.
Not here: what the facts mean (status.py); reading the file (the process that answers).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from methods.snapshot import module_of
from server.desired import SHARE_MAX_BP, DesiredError, Switch, parse_time
from server.monitor.status import LiveFact, RefusedFact, RegistryFact, RegistryHealth, SnapshotFact, VersionRole
from server.serving.deployments import LiveRoute, Routes
from server.serving.subjects import Snapshot

CONTROL_NAME = "control.json"
TAKEN_OUT = frozenset({"refused", "rolled_back", "suspended", "quarantined"})


def live_facts(routes: Routes) -> tuple[LiveFact, ...]:
    """Versions that take part, by model; a champion has the share that no canary takes."""
    return tuple(fact for _, route in sorted(routes.by_model.items()) for fact in _live_facts(route))


def snapshot_facts(routes: Routes) -> dict[str, SnapshotFact]:
    """The live feature snapshot of each module that has one."""
    found = {}
    for model, route in routes.by_model.items():
        module = module_of(model)
        if module is not None and route.champion is not None:
            snapshot: Snapshot = route.champion.asked
            found[module] = SnapshotFact(
                model=model,
                version=route.champion.version,
                data_time=snapshot.data_time,
                stale_after=timedelta(seconds=snapshot.description.stale_after_seconds),
                subjects=snapshot.description.subjects,
            )
    return found


def switch_facts(routes: Routes) -> dict[str, Switch]:
    """Switch of each model that has a route."""
    return {model: route.switch for model, route in routes.by_model.items()}


def registry_fact(control: bytes | None) -> RegistryFact:
    """What control.json says of the registry; None while control has not written it."""
    registry = _mapping(_document(control).get("registry"))
    state = registry.get("state")
    if not isinstance(state, str):
        return RegistryFact()
    health = {
        "OK": RegistryHealth.FOLLOWED,
        "FOLLOWED": RegistryHealth.FOLLOWED,
        "NOT_WATCHED": RegistryHealth.NOT_WATCHED,
        "UNKNOWN": RegistryHealth.UNKNOWN,
    }.get(state, RegistryHealth.AWAY)  # LOCKED, SLOW, … : it does not answer, and the detail says how
    return RegistryFact(health=health, since=_time(registry.get("since")), reason=str(registry.get("detail") or ""))


def refused_facts(control: bytes | None) -> tuple[RefusedFact, ...]:
    """Versions that control.json says were refused or taken out while an alias still asks for them."""
    return tuple(
        RefusedFact(
            model=model,
            version=version,
            state=str(row["state"]),
            reason=str(row.get("reason") or "no reason was recorded"),
            since=_time(row.get("since")),
        )
        for model, row in _versions(_document(control))
        if row.get("state") in TAKEN_OUT and row.get("role") and (version := _version(row)) is not None
    )


def warning_facts(control: bytes | None) -> tuple[str, ...]:
    """What `control.json` wants a person to look at, one sentence each; a file that cannot be read warns of nothing."""
    warnings = _document(control).get("warnings")
    return tuple(str(warning) for warning in warnings) if isinstance(warnings, list) else ()


def _live_facts(route: LiveRoute[Any]) -> Iterator[LiveFact]:
    taken_bp = route.share_bp if route.has_canary else 0
    if route.champion is not None:
        yield LiveFact(
            model=route.model,
            version=route.champion.version,
            digest=route.champion.digest,
            role=VersionRole.CHAMPION,
            share_bp=SHARE_MAX_BP - taken_bp,
            since=route.champion_since,
        )
    if route.challenger is not None:
        yield LiveFact(
            model=route.model,
            version=route.challenger.version,
            digest=route.challenger.digest,
            role=VersionRole.CHALLENGER,
            share_bp=taken_bp,
            since=route.challenger_since,
        )


def _document(control: bytes | None) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(control)) if control else {}
    except (ValueError, RecursionError):
        return {}


def _versions(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for model, entry in sorted(_mapping(document.get("models")).items()):
        versions = _mapping(entry).get("versions")
        for row in versions if isinstance(versions, list) else []:
            yield model, _mapping(row)


def _version(row: Mapping[str, Any]) -> int | None:
    version = row.get("version")
    return version if isinstance(version, int) and not isinstance(version, bool) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(value: object) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except DesiredError:
        return None
