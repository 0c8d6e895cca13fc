"""Health follows the contract's own comments; every trouble has words, and nothing is said twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from paedsresus.ml.v1 import common_pb2, orchestration_pb2
from server.desired import Switch
from server.holds import Hold, HoldKind
from server.monitor.status import (
    MODULES,
    DecisionCount,
    LiveFact,
    RefusedFact,
    RegistryFact,
    RegistryHealth,
    SnapshotFact,
    StatusFacts,
    VersionRole,
    module_status,
    system_status,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CHAMPION = LiveFact(
    model="churn", version=7, digest="7" * 64, role=VersionRole.CHAMPION, share_bp=9_500, since=NOW - timedelta(days=3)
)
CANARY = replace(CHAMPION, version=8, digest="8" * 64, role=VersionRole.CHALLENGER, share_bp=500)
REFUSED = RefusedFact(model="churn", version=9, state="rolled_back", reason="errors rose", since=NOW)
HOLD = Hold(kind=HoldKind.VERSION, model="churn", version=6, start=NOW, until=NOW + timedelta(hours=2))
FREEZE = Hold(kind=HoldKind.FREEZE, start=NOW, until=NOW + timedelta(hours=1), reason="registry moves")
AWAY = RegistryFact(health=RegistryHealth.AWAY, since=NOW, reason="database is locked")
GOOD = StatusFacts(
    now=NOW,
    built=dict.fromkeys(MODULES, ("GetStatus",)) | {"revenue": ("PredictChurn", "GetStatus", "BatchPredictChurn")},
    models={"revenue": ("churn",)},
    live=(CHAMPION, CANARY),
    registry=RegistryFact(health=RegistryHealth.FOLLOWED, since=NOW - timedelta(hours=1)),
    workers_ready=2,
    workers_total=2,
    started_at=NOW - timedelta(days=1),
    generation=12,
)


def health(value: "common_pb2.Health.ValueType") -> str:
    return common_pb2.Health.Name(value).removeprefix("HEALTH_")


def test_a_module_whose_versions_are_live_is_healthy_and_gives_no_reason() -> None:
    status = module_status("revenue", GOOD)

    assert (health(status.health), status.reason) == ("HEALTHY", "")
    assert list(status.built_methods) == ["BatchPredictChurn", "GetStatus", "PredictChurn"]
    assert status.registry.state == orchestration_pb2.REGISTRY_STATE_FOLLOWED


def test_live_versions_say_role_share_digest_and_since() -> None:
    champion, canary = module_status("revenue", GOOD).live_versions

    assert (champion.version.model, champion.version.version, champion.version.role) == ("churn", 7, 1)
    assert (champion.share, champion.digest) == (0.95, "7" * 64)
    assert champion.live_since_time.ToDatetime(tzinfo=UTC) == CHAMPION.since
    assert (canary.version.version, canary.version.role, canary.share) == (8, 2, 0.05)


SNAPSHOT = SnapshotFact(
    model="features.revenue",
    version=3,
    data_time=NOW - timedelta(hours=5),
    stale_after=timedelta(hours=36),
    subjects=1_000,
)


def test_a_snapshot_is_shown_with_its_age_and_a_fresh_one_changes_no_health() -> None:
    status = module_status("revenue", replace(GOOD, snapshots={"revenue": SNAPSHOT}))

    said = status.snapshot
    assert (said.snapshot.model, said.snapshot.version, said.subjects) == ("features.revenue", 3, 1_000)
    assert said.snapshot.age.ToTimedelta() == timedelta(hours=5)
    assert said.stale_after.ToTimedelta() == timedelta(hours=36)
    assert (health(status.health), status.reason) == ("HEALTHY", "")
    assert not module_status("revenue", GOOD).HasField("snapshot")


def test_a_stale_snapshot_is_worth_a_look() -> None:
    old = replace(SNAPSHOT, data_time=NOW - timedelta(hours=36))

    status = module_status("revenue", replace(GOOD, snapshots={"revenue": old}))

    assert health(status.health) == "DEGRADED"
    assert "features.revenue v3 is of 2026-04-30 00:00 UTC: answers by id are stale" in status.reason


def test_a_refused_snapshot_is_shown_among_its_modules_versions() -> None:
    refused = RefusedFact(model="features.revenue", version=4, state="refused", reason="a file changed", since=NOW)
    live = replace(CHAMPION, model="features.revenue", version=3)

    status = module_status("revenue", replace(GOOD, refused=(refused,), live=(CHAMPION, live)))

    assert [row.model for row in status.refused_versions] == ["features.revenue"]
    assert [row.version.model for row in status.live_versions] == ["churn", "features.revenue"]
    assert (health(status.health), status.reason) == ("DEGRADED", "features.revenue v4 is refused: a file changed")


def test_a_module_that_answers_only_for_its_status_is_not_built_whatever_else_is_wrong() -> None:
    status = module_status("kaizen", replace(GOOD, registry=AWAY, refused=(REFUSED,)))

    assert (health(status.health), status.reason) == ("NOT_BUILT", "")
    assert list(status.built_methods) == ["GetStatus"]
    assert not status.live_versions
    assert not status.refused_versions


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        pytest.param({"live": ()}, "UNHEALTHY", "churn cannot answer: no version is live", id="no_version"),
        pytest.param(
            {"live": (CANARY,)},
            "UNHEALTHY",
            "churn cannot answer: no version is live",
            id="challenger_without_champion",
        ),
        pytest.param(
            {"live": (), "priors": frozenset({"churn"})},
            "DEGRADED",
            "churn answers from its documented prior: no version is live",
            id="prior",
        ),
        pytest.param(
            {"switches": {"churn": Switch.OFF}, "live": ()}, "DEGRADED", "churn is switched off by a person", id="off"
        ),
        pytest.param(
            {"switches": {"churn": Switch.FALLBACK_ONLY}, "priors": frozenset({"churn"})},
            "DEGRADED",
            "churn answers from its documented prior: by order of a person",
            id="fallback_only",
        ),
        pytest.param(
            {"switches": {"churn": Switch.FALLBACK_ONLY}},
            "UNHEALTHY",
            "churn cannot answer: a person allows only its documented prior, and it has none",
            id="fallback_without_prior",
        ),
        pytest.param({"refused": (REFUSED,)}, "DEGRADED", "churn v9 is rolled back: errors rose", id="refused"),
        pytest.param({"registry": AWAY}, "DEGRADED", "database is locked", id="registry_away"),
        pytest.param({"registry": RegistryFact()}, "DEGRADED", "the registry has not been read yet", id="not_read"),
        pytest.param(
            {"control_reachable": False},
            "DEGRADED",
            "control, which follows the registry, cannot be reached; the last verified state is served",
            id="control_away",
        ),
        pytest.param(
            {"live": (), "registry": AWAY},
            "UNHEALTHY",
            "churn cannot answer: no version is live; database is locked",
            id="two_troubles_the_worse_first",
        ),
    ],
)
def test_what_is_wrong_with_a_module_decides_its_health_and_is_said(
    changes: dict[str, Any], expected: str, words: str
) -> None:
    status = module_status("revenue", replace(GOOD, **changes))

    assert (health(status.health), status.reason) == (expected, words)


def test_a_version_of_another_module_is_not_this_modules_trouble() -> None:
    other = replace(REFUSED, model="path")

    status = module_status("revenue", replace(GOOD, refused=(other,)))

    assert health(status.health) == "HEALTHY"
    assert not status.refused_versions


def test_control_away_means_that_nobody_watches_the_registry() -> None:
    status = system_status(replace(GOOD, control_reachable=False))

    assert status.registry.state == orchestration_pb2.REGISTRY_STATE_NOT_WATCHED
    assert not status.control_reachable
    assert not status.registry.HasField("since_time")


def test_the_system_is_healthy_although_four_modules_are_not_built() -> None:
    status = system_status(GOOD)

    assert (health(status.health), status.reason) == ("HEALTHY", "")
    assert [health(getattr(status.modules, module).health) for module in MODULES] == [
        *["NOT_BUILT"] * 3,
        "HEALTHY",
        "NOT_BUILT",
    ]
    assert (status.workers.ready, status.workers.total, status.generation) == (2, 2, 12)
    assert status.start_time.ToDatetime(tzinfo=UTC) == GOOD.started_at


def test_a_system_without_any_built_method_is_not_built() -> None:
    assert health(system_status(StatusFacts(now=NOW)).health) == "NOT_BUILT"


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        pytest.param({"live": ()}, "UNHEALTHY", "revenue: churn cannot answer: no version is live", id="module"),
        pytest.param({"workers_ready": 1}, "DEGRADED", "1 of 2 workers are ready", id="worker_missing"),
        pytest.param({"workers_ready": 0}, "UNHEALTHY", "0 of 2 workers are ready", id="no_worker"),
        pytest.param({"holds": (HOLD,)}, "DEGRADED", "churn is held at v6 until 2026-05-01 14:00 UTC", id="hold"),
        pytest.param({"holds": (FREEZE,)}, "DEGRADED", "everything is frozen until 2026-05-01 13:00 UTC", id="freeze"),
        pytest.param({"registry": AWAY}, "DEGRADED", "database is locked", id="registry_said_once"),
        pytest.param({"warnings": ("churn v6 drifts",)}, "DEGRADED", "churn v6 drifts", id="control_warns"),
    ],
)
def test_the_system_is_as_well_as_its_worst_part(changes: dict[str, Any], expected: str, words: str) -> None:
    status = system_status(replace(GOOD, **changes))

    assert (health(status.health), status.reason) == (expected, words)


def test_only_holds_in_force_are_shown() -> None:
    ended = replace(HOLD, start=NOW - timedelta(hours=3), until=NOW - timedelta(hours=1))

    holds = system_status(replace(GOOD, holds=(ended, HOLD, FREEZE))).holds

    assert [(hold.kind, hold.model, hold.HasField("version")) for hold in holds] == [
        (orchestration_pb2.HOLD_KIND_VERSION, "churn", True),
        (orchestration_pb2.HOLD_KIND_FREEZE, "", False),
    ]
    assert holds[1].reason == "registry moves"


def test_automation_is_absent_without_decisions_and_else_a_share_of_all() -> None:
    decided = replace(
        GOOD, decisions={"kaizen": DecisionCount(automatic=3, total=4), "revenue": DecisionCount(automatic=0, total=2)}
    )

    status = system_status(decided)

    assert not system_status(GOOD).HasField("automation_level")
    assert not status.modules.impact.HasField("automation_level")
    assert status.automation_level == 0.5
    assert status.modules.kaizen.automation_level == 0.75


def test_the_application_reads_the_fields_by_these_names() -> None:
    facts = replace(GOOD, decisions={"revenue": DecisionCount(automatic=1, total=2)})

    answer = MessageToDict(system_status(facts))

    assert answer["modules"]["kaizen"]["health"] == "HEALTH_NOT_BUILT"
    assert answer["modules"]["revenue"]["health"] == "HEALTH_HEALTHY"
    assert answer["automationLevel"] == answer["modules"]["revenue"]["automationLevel"] == 0.5


@given(
    live=st.lists(st.sampled_from([CHAMPION, CANARY]), unique=True),
    refused=st.lists(st.just(REFUSED), max_size=1),
    registry=st.sampled_from(RegistryHealth),
    reachable=st.booleans(),
    ready=st.integers(0, 3),
)
def test_healthy_and_a_reason_exclude_each_other(
    *, live: list[LiveFact], refused: list[RefusedFact], registry: RegistryHealth, reachable: bool, ready: int
) -> None:
    facts = replace(
        GOOD,
        live=tuple(live),
        refused=tuple(refused),
        registry=RegistryFact(health=registry),
        control_reachable=reachable,
        workers_ready=ready,
    )

    for status in (module_status("revenue", facts), system_status(facts)):
        assert (health(status.health) == "HEALTHY") == (status.reason == "")
    assert system_status(facts) == system_status(facts)
