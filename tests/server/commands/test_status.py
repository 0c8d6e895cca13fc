"""`status`: what a running server says, and what the files say when none runs."""

import json
from collections.abc import Iterator
from concurrent import futures
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import grpc
import pytest
from rich.console import Console

from paedsresus.ml.v1 import common_pb2, orchestration_pb2
from server.commands.serve import welcome
from server.commands.status import status
from server.commands.view import view_of_files
from server.desired import (
    ChallengerRoute,
    ChampionRoute,
    Desired,
    Load,
    Mode,
    Route,
    write_desired,
)
from server.holds import Hold, HoldKind, add_hold
from server.preflight import locked
from server.settings import Settings
from server.slots import Role, Slots, slot_count
from tests.fakes.artifacts import golden_requests
from tests.fakes.snapshots import churn_table, publish_snapshot

SINCE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SEVEN, EIGHT = "7" * 64, "8" * 64


def _write_files(state: Path) -> None:
    state.mkdir()
    load = tuple(
        Load(model="churn", version=int(digest[0]), digest=digest, folder=f"cache/{digest}")
        for digest in (SEVEN, EIGHT)
    )
    challenger = ChallengerRoute(version=8, digest=EIGHT, since=SINCE, mode=Mode.CANARY, share_bp=500)
    route = Route(champion=ChampionRoute(version=7, digest=SEVEN, since=SINCE), challenger=challenger)
    write_desired(state / "desired.json", Desired(generation=12, load=load, route={"churn": route}), written_at=SINCE)
    refused = {
        "version": 9,
        "digest": "9" * 64,
        "role": "challenger",
        "state": "refused",
        "reason": "golden answer 3 of 20 differs by 0.02",
        "since": "2026-01-02T03:04:05Z",
        "share_bp": 0,
    }
    control = {
        "format": 1,
        "registry": {"state": "AWAY", "since": "2026-01-02T03:04:05Z", "detail": "database is locked"},
        "models": {"churn": {"versions": [refused]}},
        "warnings": ["tag traffic.switch of churn is unknown"],
    }
    (state / "control.json").write_text(json.dumps(control))


def _run(settings: Settings, *, as_json: bool) -> tuple[int, str]:
    out = StringIO()
    code = status(settings, Console(file=out, width=160), as_json=as_json)
    return code, out.getvalue()


@pytest.fixture
def nobody(tmp_path: Path) -> Settings:
    return Settings(listen="127.0.0.1:1", state_dir=tmp_path / "state")  # port 1: nobody listens there


def test_without_a_server_the_files_are_shown_and_it_says_so(nobody: Settings) -> None:
    _write_files(nobody.state_dir)

    code, text = _run(nobody, as_json=True)

    told = json.loads(text)
    assert code == 1
    assert told["source"] == "files"
    assert "127.0.0.1:1 does not answer (UNAVAILABLE); no server runs in the state folder" in told["note"]
    assert [(row["version"], row["role"], row["share"]) for row in told["live"]] == [
        (7, "champion", 0.95),
        (8, "challenger", 0.05),
    ]
    assert told["live"][0]["since"] == "2026-01-02T03:04:05.000Z"
    assert (told["refused"][0]["version"], told["refused"][0]["state"]) == (9, "refused")
    assert told["registry"] == {
        "state": "AWAY",
        "since": "2026-01-02T03:04:05.000Z",
        "reason": "database is locked",
    }
    assert told["reason"] == "tag traffic.switch of churn is unknown"


def test_a_person_reads_the_same_as_tables(nobody: Settings) -> None:
    _write_files(nobody.state_dir)
    hold = Hold(
        kind=HoldKind.VERSION,
        model="churn",
        version=7,
        start=datetime.now(UTC) - timedelta(minutes=1),
        until=datetime.now(UTC) + timedelta(hours=1),
        reason="registry broken",
    )
    add_hold(nobody.state_dir / "holds.json", hold)

    _, text = _run(nobody, as_json=False)

    for words in (
        "95.00%",
        "2026-01-02 03:04:05",
        "golden answer 3 of 20",
        "churn held at version 7",
        "registry broken",
    ):
        assert words in text


def test_a_snapshot_is_shown_with_its_subjects_and_its_age(nobody: Settings) -> None:
    digest = publish_snapshot(nobody.state_dir, [churn_table({"a": golden_requests()[0].features})])
    load = Load(model="features.revenue", version=3, digest=digest, folder=f"cache/{digest}")
    route = {"features.revenue": Route(champion=ChampionRoute(version=3, digest=digest, since=SINCE))}
    write_desired(nobody.state_dir / "desired.json", Desired(generation=1, load=(load,), route=route), written_at=SINCE)

    told = json.loads(_run(nobody, as_json=True)[1])
    text = _run(nobody, as_json=False)[1]

    (row,) = told["snapshots"]
    assert (row["model"], row["version"], row["subjects"]) == ("features.revenue", 3, 1)
    assert row["data_time"] == "2026-01-01T00:00:00.000Z"
    assert "features by id" in text
    assert "stale" in text, "the fakes' moment lies long ago"


def test_a_server_with_nothing_but_a_snapshot_says_that_no_model_is_live(nobody: Settings) -> None:
    digest = publish_snapshot(nobody.state_dir, [churn_table({"a": golden_requests()[0].features})])
    load = Load(model="features.revenue", version=3, digest=digest, folder=f"cache/{digest}")
    route = {"features.revenue": Route(champion=ChampionRoute(version=3, digest=digest, since=SINCE))}
    write_desired(nobody.state_dir / "desired.json", Desired(generation=1, load=(load,), route=route), written_at=SINCE)

    words = welcome(view_of_files(nobody, note="", now=SINCE), nobody, seconds=1.0)

    assert "no model is live yet" in words
    assert "features.revenue version 3, features of 1 subjects by id" in words


@pytest.mark.parametrize(
    ("role", "state", "is_coming"),
    [
        ("champion", "seen", True),
        ("champion", "verified", True),
        ("champion", "loading", True),
        ("champion", "refused", False),
        ("challenger", "seen", False),
        (None, "seen", False),
    ],
)
def test_a_model_is_on_its_way_until_its_first_champion_answers_or_is_refused(
    nobody: Settings, role: str | None, state: str, *, is_coming: bool
) -> None:
    nobody.state_dir.mkdir()
    versions = [{"version": 2, "role": role, "state": state}]
    told = {"models": {name: {"versions": versions} for name in ("churn", "ltv")}}
    (nobody.state_dir / "control.json").write_text(json.dumps(told))
    load = Load(model="churn", version=1, digest="a" * 64, folder="cache/" + "a" * 64)
    route = {"churn": Route(champion=ChampionRoute(version=1, digest="a" * 64, since=SINCE))}
    desired = Desired(generation=1, load=(load,), route=route)
    write_desired(nobody.state_dir / "desired.json", desired, written_at=SINCE)

    view = view_of_files(nobody, note="", now=SINCE)

    assert view.coming == (("ltv",) if is_coming else ())
    assert ("ltv is still being verified" in welcome(view, nobody, seconds=1.0)) is is_coming


def test_processes_are_shown_while_a_server_holds_the_folder_and_not_after(nobody: Settings) -> None:
    with locked(nobody.state_dir), Slots.open(nobody.state_dir / "slots", slot_count(2)) as slots:
        slots.claim(0, Role.WORKER, 4711, 1)
        running = json.loads(_run(nobody, as_json=True)[1])
    stopped = json.loads(_run(nobody, as_json=True)[1])

    assert [(row["role"], row["pid"], row["state"]) for row in running["processes"]] == [("worker", 4711, "starting")]
    assert "holds the state folder" in running["note"]
    assert stopped["processes"] == []


def test_broken_files_are_said_and_never_raised(nobody: Settings) -> None:
    nobody.state_dir.mkdir()
    for name in ("desired.json", "control.json", "holds.json"):
        (nobody.state_dir / name).write_text("{")

    told = json.loads(_run(nobody, as_json=True)[1])

    assert told["reason"].count(";") == 2
    assert told["live"] == []


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[tuple[Settings, orchestration_pb2.GetSystemStatusResponse]]:
    answer = orchestration_pb2.GetSystemStatusResponse(health=common_pb2.HEALTH_DEGRADED, generation=3)
    handler = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: answer,
        request_deserializer=orchestration_pb2.GetSystemStatusRequest.FromString,
        response_serializer=orchestration_pb2.GetSystemStatusResponse.SerializeToString,
    )
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service = "paedsresus.ml.v1.OrchestrationService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"GetSystemStatus": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Settings(listen=f"127.0.0.1:{port}", state_dir=tmp_path / "state"), answer
    server.stop(None).wait()


def test_a_running_server_is_asked(answering: tuple[Settings, orchestration_pb2.GetSystemStatusResponse]) -> None:
    settings, answer = answering
    answer.registry.state = orchestration_pb2.REGISTRY_STATE_FOLLOWED
    answer.workers.ready, answer.workers.total = 2, 2
    answer.control_reachable = True
    live = answer.modules.revenue.live_versions.add(share=1.0, digest=SEVEN)
    live.version.model, live.version.version, live.version.role = "churn", 7, common_pb2.ROLE_CHAMPION
    live.live_since_time.FromDatetime(SINCE)
    answer.modules.revenue.refused_versions.add(model="churn", version=9, state="refused", reason="bit flip")
    answer.holds.add(kind=orchestration_pb2.HOLD_KIND_FREEZE, reason="migration")

    code, text = _run(settings, as_json=True)

    told = json.loads(text)
    assert code == 0
    assert (told["source"], told["note"], told["health"], told["generation"]) == ("server", "", "DEGRADED", 3)
    assert (told["live"][0]["model"], told["live"][0]["role"]) == ("churn", "champion")
    assert told["refused"][0]["reason"] == "bit flip"
    assert told["registry"]["state"] == "FOLLOWED"
    assert (told["workers_ready"], told["control_reachable"]) == (2, True)
    assert (told["holds"][0]["kind"], told["holds"][0]["model"]) == ("freeze", None)


def test_a_challenger_that_answers_nobody_is_shown_as_shadow(
    answering: tuple[Settings, orchestration_pb2.GetSystemStatusResponse],
) -> None:
    settings, answer = answering
    for version, role in ((7, common_pb2.ROLE_CHAMPION), (8, common_pb2.ROLE_CHALLENGER)):
        row = answer.modules.revenue.live_versions.add(share=float(version == 7), digest=SEVEN)
        row.version.model, row.version.version, row.version.role = "churn", version, role

    _, text = _run(settings, as_json=False)

    assert [word for word in ("100.00%", "shadow", "0.00%") if f" {word} " in text] == ["100.00%", "shadow"]


def test_an_unhealthy_server_gives_exit_code_1(
    answering: tuple[Settings, orchestration_pb2.GetSystemStatusResponse],
) -> None:
    settings, answer = answering
    answer.health = common_pb2.HEALTH_UNHEALTHY

    code, text = _run(settings, as_json=False)

    assert code == 1
    assert "UNHEALTHY" in text
