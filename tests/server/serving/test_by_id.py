"""Requests by id: the same answers as by features, from the snapshot that is live, with what is said of its age."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from methods.features import schema_of
from paedsresus.ml.v1 import common_pb2, learning_pb2, revenue_pb2
from server.desired import Switch
from server.errors import InvalidField, NoLiveVersion, NotFound, SwitchedOff, WrongState
from server.ledger.spool import AttemptRole
from server.serving.by_id import newer_events
from server.serving.deployments import Live, Routes
from server.serving.split import assign_bucket
from tests.fakes.artifacts import AS_OF, golden_requests
from tests.fakes.serving import Desk
from tests.fakes.snapshots import churn_table, load_snapshot, serve_snapshot

PEOPLE = {f"user-{place}": request.features for place, request in enumerate(golden_requests())}
HOUR = timedelta(hours=1)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk with version 7 of churn, and snapshot 3 of PEOPLE."""
    desk = Desk(tmp_path)
    desk.serve(desk.load(7))
    serve_snapshot(desk.live, load_snapshot(tmp_path, 3, [churn_table(PEOPLE)]))
    return desk


def serve_beside(desk: Desk, *deployments: Any, **route: Any) -> None:
    """Serve other versions of churn beside the snapshot that is live."""
    snapshot = desk.live.routes.by_model["features.revenue"].champion
    desk.serve(*deployments, **route)
    assert snapshot is not None
    serve_snapshot(desk.live, snapshot)


def by_id(subject_id: str, after: timedelta = HOUR, **overrides: Any) -> revenue_pb2.PredictChurnRequest:
    request = revenue_pb2.PredictChurnRequest(by_id=revenue_pb2.PredictChurnSubject(subject_id=subject_id))
    if overrides:
        request.by_id.overrides.CopyFrom(revenue_pb2.PredictChurnFeatures(**overrides))
    request.context.as_of_time.FromDatetime(AS_OF + after)
    request.context.request_id = "r"
    return request


def by_features(features: revenue_pb2.PredictChurnFeatures, after: timedelta = HOUR) -> revenue_pb2.PredictChurnRequest:
    request = revenue_pb2.PredictChurnRequest(features=features)
    request.context.as_of_time.FromDatetime(AS_OF + after)
    request.context.request_id = "r"
    return request


def bare(answer: Any) -> Any:
    """The answer without what is said of snapshot and clock."""
    answer.info.ClearField("feature_snapshot")
    answer.info.ClearField("compute_time")
    return answer


@pytest.mark.parametrize("subject_id", list(PEOPLE))
def test_a_subject_gets_the_answer_that_its_features_get(desk: Desk, subject_id: str) -> None:
    asked, brought = by_id(subject_id), by_features(PEOPLE[subject_id])
    asked.include_survival_curve = brought.include_survival_curve = True

    assert bare(desk.predict(asked)) == bare(desk.predict(brought))


def test_the_answer_says_which_snapshot_and_how_old(desk: Desk) -> None:
    answer = desk.predict(by_id("user-1"))

    said = answer.info.feature_snapshot
    assert (said.model, said.version) == ("features.revenue", 3)
    assert said.data_time.ToDatetime(tzinfo=AS_OF.tzinfo) == AS_OF
    assert said.age.ToTimedelta() == HOUR
    assert not answer.info.warnings
    assert not desk.predict(by_features(PEOPLE["user-1"])).info.HasField("feature_snapshot")


def test_an_old_snapshot_answers_and_says_that_it_is_stale(desk: Desk) -> None:
    answer = desk.predict(by_id("user-1", timedelta(hours=36)))

    assert list(answer.info.warnings) == [common_pb2.WARNING_STALE_DATA]
    assert answer.churn == desk.predict(by_features(PEOPLE["user-1"], timedelta(hours=36))).churn


def test_a_snapshot_answers_for_nothing_before_its_own_moment(desk: Desk) -> None:
    with pytest.raises(InvalidField, match="before the moment of the feature snapshot"):
        desk.predict(by_id("user-1", -HOUR))


def test_what_the_caller_knows_better_counts(desk: Desk) -> None:
    better = revenue_pb2.PredictChurnFeatures()
    better.CopyFrom(PEOPLE["user-1"])
    better.sessions_28d = 0

    assert bare(desk.predict(by_id("user-1", sessions_28d=0))) == bare(desk.predict(by_features(better)))


def test_an_override_that_breaks_the_contract_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidField, match=r"by_id\.overrides\.seats"):
        desk.predict(by_id("user-1", seats=0))


def test_who_is_unknown_is_told_what_to_do(desk: Desk) -> None:
    with pytest.raises(NotFound, match="send `features`") as refusal:
        desk.predict(by_id("nobody"))

    assert refusal.value.metadata["field"] == "by_id.subject_id"
    assert "nobody" not in refusal.value.message


def test_what_the_snapshot_holds_wrongly_is_not_the_callers_fault(desk: Desk) -> None:
    wrong = {"user-1": revenue_pb2.PredictChurnFeatures(tenure_days=40_000)}
    serve_snapshot(desk.live, load_snapshot(desk.folder, 4, [churn_table(wrong)]))

    with pytest.raises(WrongState, match=r"the contract refuses: features\.tenure_days"):
        desk.predict(by_id("user-1"))
    assert desk.predict(by_id("user-1", tenure_days=40)).churn


def test_a_version_with_other_features_is_told_apart(desk: Desk) -> None:
    serve_beside(desk, desk.load(8, fields=("plan", "tenure_days")))

    with pytest.raises(WrongState, match="publish a snapshot made by the same code") as refusal:
        desk.predict(by_id("user-1"))

    assert refusal.value.metadata["field"] == "by_id"


def test_without_a_snapshot_the_caller_is_told_how_to_make_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.serve(desk.load(7))

    with pytest.raises(NoLiveVersion, match="python -m training snapshot revenue"):
        desk.predict(by_id("user-1"))


def test_a_snapshot_can_be_switched_off_without_its_models(desk: Desk) -> None:
    snapshot = desk.live.routes.by_model["features.revenue"].champion
    assert snapshot is not None
    serve_snapshot(desk.live, snapshot, switch=Switch.OFF)

    with pytest.raises(SwitchedOff, match="send `features`"):
        desk.predict(by_id("user-1"))
    assert desk.predict(by_features(PEOPLE["user-1"])).churn


def test_a_new_snapshot_answers_from_the_next_request_on_and_the_old_one_ends_what_it_began(desk: Desk) -> None:
    held = desk.live.routes.by_model["features.revenue"].champion
    assert held is not None
    later = dict.fromkeys(PEOPLE, revenue_pb2.PredictChurnFeatures(tenure_days=5))
    serve_snapshot(desk.live, load_snapshot(desk.folder, 4, [churn_table(later)], as_of=AS_OF + HOUR))

    answer = desk.predict(by_id("user-1"))

    assert answer.info.feature_snapshot.version == 4
    assert answer.churn == desk.predict(by_features(later["user-1"])).churn
    assert held.asked.row("user-1") is not None


def test_the_subject_decides_between_champion_and_canary_where_nothing_else_does(desk: Desk) -> None:
    champion, canary = desk.load(7), desk.load(8)
    serve_beside(desk, champion, canary, share_bp=5_000)

    chosen = {}
    for subject_id in PEOPLE:
        request = by_id(subject_id)
        request.context.ClearField("request_id")
        chosen[subject_id] = desk.predict(request).info.served_by[0].version

    buckets = {s: assign_bucket("churn", canary.digest, s) for s in PEOPLE}
    assert chosen == {s: 8 if bucket < 5_000 else 7 for s, bucket in buckets.items()}
    assert set(chosen.values()) == {7, 8}


def test_a_canary_whose_features_the_snapshot_lacks_leaves_ids_to_the_champion_without_blame(desk: Desk) -> None:
    serve_beside(desk, desk.load(7), desk.load(8, fields=("plan", "tenure_days")), share_bp=10_000)

    answer = desk.predict(by_id("user-1"))

    assert answer.info.served_by[0].version == 7
    assert desk.predict(by_features(PEOPLE["user-1"])).info.served_by[0].version == 8
    assert (desk.failed, desk.meters.failures) == ([], [])


def test_a_challenger_in_shadow_scores_the_same_subject(desk: Desk) -> None:
    serve_beside(desk, desk.load(7), desk.load(8))

    desk.predict(by_id("user-1"))
    asyncio.run(desk.shadow.run_all())

    (shadow,) = [each for each in desk.attempts() if each.role is AttemptRole.SHADOW]
    scored = revenue_pb2.PredictChurnResponse.FromString(shadow.answer)
    desk.serve(desk.load(8))
    assert scored.churn == desk.predict(by_features(PEOPLE["user-1"])).churn


def test_what_is_recorded_can_be_asked_again_of_any_version(desk: Desk) -> None:
    answer = desk.predict(by_id("user-1"))

    (attempt,) = desk.attempts()
    recorded = revenue_pb2.PredictChurnRequest.FromString(attempt.request)
    assert recorded.features == PEOPLE["user-1"]
    assert recorded.context.request_id == "r"
    assert desk.predict(recorded).churn == answer.churn


def test_reasons_are_those_of_the_snapshots_features(desk: Desk) -> None:
    asked, brought = by_id("user-1"), by_features(PEOPLE["user-1"])
    asked.context.explain = brought.context.explain = True

    answers = [asyncio.run(desk.explain(request)) for request in (asked, brought)]

    assert answers[0].reasons
    assert answers[0].reasons == answers[1].reasons
    assert answers[0].info.feature_snapshot.version == 3


def test_only_events_that_the_snapshot_does_not_hold_are_added_oldest_first() -> None:
    events = [learning_pb2.SkillEvent(item_id=str(second)) for second in (30, 10, 20, 25, 40)]
    for event in events:
        event.event_time.seconds = int(event.item_id)

    assert [each.item_id for each in newer_events(events, 10.0, 30.0)] == ["20", "25", "30"]


def test_every_field_of_the_features_can_be_asked_for_by_id() -> None:
    contract = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)

    assert {each.name for each in contract.features} == {
        field.name for field in revenue_pb2.PredictChurnSubject().overrides.DESCRIPTOR.fields
    }


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="open mappings are counted in /proc")
def test_a_snapshot_that_nobody_holds_lets_go_of_its_files_at_once(tmp_path: Path) -> None:
    deployment = load_snapshot(tmp_path, 3, [churn_table(PEOPLE)])
    live = Live()
    serve_snapshot(live, deployment)
    held = mapped(tmp_path)

    live.routes = Routes()
    del deployment

    assert held > 3
    assert mapped(tmp_path) == 0


def mapped(folder: Path) -> int:
    """Files below a folder that this process has mapped."""
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())
