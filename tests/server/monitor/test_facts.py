"""A status rests on what this process really serves, and on whatever of control's file can be read."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.desired import Mode, Switch
from server.monitor.facts import (
    live_facts,
    refused_facts,
    registry_fact,
    snapshot_facts,
    switch_facts,
    warning_facts,
)
from server.monitor.status import RegistryFact, RegistryHealth, VersionRole
from server.serving.deployments import Deployment, Facts, Live, LiveRoute, Routes
from tests.fakes.artifacts import AS_OF, golden_requests
from tests.fakes.snapshots import churn_table, load_snapshot, serve_snapshot

SINCE = datetime(2026, 5, 1, tzinfo=UTC)


def deployment(version: int) -> Deployment[None]:
    facts = Facts(data_version="d", data_time=SINCE, observations=10, currency=None)
    return Deployment(model="churn", version=version, digest=f"{version}" * 64, prefix=version, facts=facts, asked=None)


def control(**changes: object) -> bytes:
    versions = [
        {"version": 7, "role": "champion", "state": "live", "reason": "", "since": "2026-05-01T00:00:00Z"},
        {"version": 8, "role": "challenger", "state": "refused", "reason": "bad sum", "since": "2026-05-01T00:00:00Z"},
        {"version": 5, "role": None, "state": "rolled_back", "reason": "long ago", "since": None},
    ]
    registry = {"state": "OK", "since": "2026-05-01T00:00:00Z", "detail": ""}
    return json.dumps(
        {"format": 1, "registry": registry, "models": {"churn": {"versions": versions}}} | changes
    ).encode()


@pytest.mark.parametrize(
    ("mode", "share_bp", "shares"),
    [
        pytest.param(Mode.CANARY, 500, [9_500, 500], id="canary"),
        pytest.param(Mode.SHADOW, 0, [10_000, 0], id="shadow"),
    ],
)
def test_champion_and_challenger_share_all_keys(mode: Mode, share_bp: int, shares: list[int]) -> None:
    route = LiveRoute(
        model="churn",
        champion=deployment(7),
        challenger=deployment(8),
        mode=mode,
        share_bp=share_bp,
        champion_since=SINCE,
        challenger_since=SINCE,
    )

    facts = live_facts(Routes(generation=3, by_model={"churn": route}))

    assert [fact.share_bp for fact in facts] == shares
    assert [(fact.version, fact.role) for fact in facts] == [(7, VersionRole.CHAMPION), (8, VersionRole.CHALLENGER)]


def test_a_route_without_a_version_is_no_live_version_and_keeps_its_switch() -> None:
    routes = Routes(by_model={"churn": LiveRoute(model="churn", switch=Switch.OFF)})

    assert live_facts(routes) == ()
    assert switch_facts(routes) == {"churn": Switch.OFF}


def test_a_live_snapshot_is_a_fact_of_its_module(tmp_path: Path) -> None:
    live = Live()
    serve_snapshot(live, load_snapshot(tmp_path, 3, [churn_table({"a": golden_requests()[0].features})]))

    (fact,) = snapshot_facts(live.routes).values()

    assert snapshot_facts(live.routes).keys() == {"revenue"}
    assert (fact.version, fact.subjects, fact.data_time) == (3, 1, AS_OF)
    assert snapshot_facts(Routes(by_model={"churn": LiveRoute(model="churn", champion=deployment(7))})) == {}


@pytest.mark.parametrize(
    ("state", "health"),
    [
        pytest.param("OK", RegistryHealth.FOLLOWED, id="ok"),
        pytest.param("AWAY", RegistryHealth.AWAY, id="away"),
        pytest.param("LOCKED", RegistryHealth.AWAY, id="locked"),
        pytest.param("UNKNOWN", RegistryHealth.UNKNOWN, id="unknown"),
    ],
)
def test_whatever_keeps_the_registry_from_answering_is_away(state: str, health: RegistryHealth) -> None:
    fact = registry_fact(control(registry={"state": state, "since": "2026-05-01T00:00:00Z", "detail": "words"}))

    assert fact == RegistryFact(health=health, since=SINCE, reason="words")


def test_only_versions_that_an_alias_asks_for_count_as_refused() -> None:
    (fact,) = refused_facts(control())

    assert (fact.model, fact.version, fact.state, fact.reason, fact.since) == ("churn", 8, "refused", "bad sum", SINCE)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no_file"),
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="torn"),
        pytest.param(b"\xff\xfe", id="not_text"),
        pytest.param(b"[]", id="no_object"),
        pytest.param(
            b'{"registry": 1, "models": {"churn": {"versions": [3, {"state": "refused"}]}}}', id="wrong_types"
        ),
    ],
)
def test_an_unreadable_file_says_nothing_and_raises_nothing(content: bytes | None) -> None:
    assert registry_fact(content) == RegistryFact()
    assert refused_facts(content) == ()
    assert warning_facts(content) == ()


def test_the_warnings_of_control_are_told_on() -> None:
    assert warning_facts(b'{"warnings": ["churn v6 drifts"]}') == ("churn v6 drifts",)
