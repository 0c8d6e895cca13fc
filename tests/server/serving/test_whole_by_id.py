"""Whole requests by id: solved as by features, here or in the compute process, judged where the contract needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from methods.features import schema_of
from paedsresus.ml.v1 import common_pb2, learning_pb2, revenue_pb2
from server.errors import InvalidField, NotFound
from server.serving.deployments import Deployment, Facts
from server.serving.whole import JUDGED_HERE_BYTES, Job, Moment, Whole, answer_elsewhere, answer_here, solve_job
from tests.fakes.artifacts import AS_OF
from tests.fakes.serving import Desk, FakeCall
from tests.fakes.snapshots import load_snapshot, payload_table, serve_snapshot
from training.data.snapshots import NumbersTable

LEARNING, REVENUE = "1" * 64, "2" * 64  # feature sets
NOW = AS_OF + timedelta(hours=2)
HELD = 3  # answers that the snapshot holds of the learner
Solve = Callable[[Job, float | None], Any]


def learner() -> learning_pb2.LearnerFeatures:
    features = learning_pb2.LearnerFeatures(role=common_pb2.CLINICAL_ROLE_NURSE, minutes_28d=5.0)
    for place in range(HELD):
        event = features.knowledge.history.add(skill_id="bls", item_id=f"held-{place}", correct=True)
        event.event_time.FromDatetime(AS_OF - timedelta(days=HELD - place))
    return features


def customers() -> NumbersTable:
    schema = schema_of(revenue_pb2.CalculateLtvFeatures.DESCRIPTOR).subset(("contract", "observed_weeks"))
    return NumbersTable(
        name="ltv",
        schema=schema,
        expressions="3" * 64,
        feature_set=REVENUE,
        subject_ids=["customer"],
        columns={"contract": np.array(["ONE_OFF"], dtype=object), "observed_weeks": np.array([2.0])},
    )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk with a version and a snapshot of either module."""
    desk = Desk(tmp_path)
    snapshots = [
        load_snapshot(tmp_path, 3, [payload_table("learners", LEARNING, {"learner": learner()})], module="learning"),
        load_snapshot(tmp_path, 4, [customers()]),
    ]
    for deployment in (version("difficulty", LEARNING), version("ltv", REVENUE), *snapshots):
        serve_snapshot(desk.live, deployment)
    return desk


def version(model: str, feature_set: str) -> Deployment[Any]:
    facts = Facts(data_version="d", data_time=AS_OF, observations=9, currency=None, feature_set=feature_set)
    digest = f"{len(model):064x}"
    return Deployment(model=model, version=1, digest=digest, prefix=1, facts=facts, asked=model)


class Solved:
    """The requests that a method was asked, each answered alike."""

    def __init__(self, response: Any) -> None:
        self.requests: list[Any] = []
        self._response = response

    def __call__(self, _parameters: Any, request: Any, _moment: Moment) -> Any:
        self.requests.append(request)
        return self._response()


def adjust(solved: Solved, is_light: Callable[[Any], bool] | None = None) -> Whole:
    return Whole(
        path="/t.LearningService/Adjust",
        model="difficulty",
        request=learning_pb2.AdjustDifficultyRequest,
        response=learning_pb2.AdjustDifficultyResponse,
        solve=solved,
        is_light=is_light,
    )


def value(solved: Solved) -> Whole:
    return Whole(
        path="/t.RevenueService/Value",
        model="ltv",
        request=revenue_pb2.CalculateLtvRequest,
        response=revenue_pb2.CalculateLtvResponse,
        solve=solved,
    )


def asked(subject_id: str = "learner", *, items: int = 1) -> learning_pb2.AdjustDifficultyRequest:
    request = learning_pb2.AdjustDifficultyRequest(skill_id="bls", mode=learning_pb2.DIFFICULTY_MODE_PRACTICE)
    request.by_id.subject_id = subject_id
    request.context.as_of_time.FromDatetime(NOW)
    for place in range(items):
        request.candidate_items.add(item_id=f"item-{place}", difficulty_logit=0.0)
    return request


async def nowhere(_job: Job, _remaining: float | None) -> bytes:
    raise AssertionError("answered on the loop")


def ask_here(desk: Desk, method: Whole, request: Any, solve: Solve = nowhere) -> Any:
    reply = answer_here(method, desk.means, solve)(request.SerializeToString(), FakeCall())
    if not isinstance(reply, bytes):
        reply = asyncio.run(_wait(reply))
    return method.response.FromString(reply)


async def _wait(reply: Any) -> bytes:
    found: bytes = await reply
    return found


def compute(method: Whole, jobs: list[Job]) -> Solve:
    """The compute process without a process."""

    async def solve(job: Job, _remaining: float | None) -> bytes:
        jobs.append(job)
        return solve_job({method.path: method}, method.model, job)

    return solve


def test_a_method_sees_a_request_by_features_with_what_is_newer_and_known_better(desk: Desk) -> None:
    solved = Solved(learning_pb2.AdjustDifficultyResponse)
    request = asked()
    request.by_id.overrides.seen_item_ids.append("item-9")
    for minutes, item in ((30, "new-2"), (10, "new-1"), (-10, "held-already"), (300, "not-yet")):
        event = request.by_id.recent.add(skill_id="bls", item_id=item, correct=True)
        event.event_time.FromDatetime(AS_OF + timedelta(minutes=minutes))

    answer = ask_here(desk, adjust(solved), request)

    (seen,) = solved.requests
    assert seen.WhichOneof("subject") == "features"
    assert [each.item_id for each in seen.features.knowledge.history] == [
        *(f"held-{place}" for place in range(HELD)),
        "new-1",
        "new-2",
    ]
    assert list(seen.features.seen_item_ids) == ["item-9"]
    assert seen.features.role == common_pb2.CLINICAL_ROLE_NURSE
    assert seen.candidate_items == request.candidate_items
    assert answer.info.feature_snapshot.version == 3
    (attempt,) = desk.attempts()
    assert learning_pb2.AdjustDifficultyRequest.FromString(attempt.request) == seen


def test_with_knowledge_of_its_own_a_caller_may_send_events_of_any_time(desk: Desk) -> None:
    solved = Solved(learning_pb2.AdjustDifficultyResponse)
    request = asked()
    request.by_id.overrides.knowledge.SetInParent()
    event = request.by_id.recent.add(skill_id="bls", item_id="old", correct=True)
    event.event_time.FromDatetime(AS_OF - timedelta(days=30))

    ask_here(desk, adjust(solved), request)

    assert [each.item_id for each in solved.requests[0].features.knowledge.history] == ["old"]


def test_the_compute_process_gets_a_request_by_features(desk: Desk) -> None:
    solved, jobs = Solved(learning_pb2.AdjustDifficultyResponse), list[Job]()
    method = adjust(solved)

    reply = asyncio.run(
        _wait(answer_elsewhere(method, desk.means, compute(method, jobs))(asked().SerializeToString(), FakeCall()))
    )

    assert solved.requests[0].WhichOneof("subject") == "features"
    assert learning_pb2.AdjustDifficultyRequest.FromString(jobs[0].raw) == solved.requests[0]
    assert learning_pb2.AdjustDifficultyResponse.FromString(reply).info.feature_snapshot.model == "features.learning"


@pytest.mark.parametrize(("most", "sent"), [(HELD, 0), (HELD - 1, 1)], ids=["light", "not light"])
def test_what_is_light_hangs_on_what_the_snapshot_holds(desk: Desk, most: int, sent: int) -> None:
    solved, jobs = Solved(learning_pb2.AdjustDifficultyResponse), list[Job]()
    method = adjust(solved, is_light=lambda request: len(request.features.knowledge.history) <= most)

    answer = ask_here(desk, method, asked(), compute(method, jobs))

    assert len(jobs) == sent
    assert answer.info.feature_snapshot.version == 3


def test_a_large_request_by_id_is_judged_in_the_compute_process(desk: Desk) -> None:
    solved, jobs = Solved(learning_pb2.AdjustDifficultyResponse), list[Job]()
    method = adjust(solved, is_light=lambda _: True)
    request = asked(items=600)
    assert request.ByteSize() > JUDGED_HERE_BYTES

    answer = ask_here(desk, method, request, compute(method, jobs))
    request.mode = learning_pb2.DIFFICULTY_MODE_UNSPECIFIED
    with pytest.raises(InvalidField, match="mode"):
        ask_here(desk, method, request, compute(method, jobs))

    assert answer.info.feature_snapshot.version == 3
    assert len(solved.requests) == 1


def test_overrides_that_break_a_rule_together_with_the_snapshot_are_refused(desk: Desk) -> None:
    solved = Solved(revenue_pb2.CalculateLtvResponse)
    request = revenue_pb2.CalculateLtvRequest()
    request.by_id.subject_id = "customer"
    request.by_id.overrides.recency_weeks = 5.0
    request.context.as_of_time.FromDatetime(NOW)

    with pytest.raises(InvalidField, match="recency_weeks must not be more than observed_weeks"):
        ask_here(desk, value(solved), request)
    request.by_id.overrides.recency_weeks = 1.0
    ask_here(desk, value(solved), request)

    assert solved.requests[0].features.observed_weeks == 2.0


def test_nobody_is_not_found_before_the_version_is_asked(desk: Desk) -> None:
    solved = Solved(learning_pb2.AdjustDifficultyResponse)

    with pytest.raises(NotFound):
        ask_here(desk, adjust(solved), asked("nobody"))

    assert solved.requests == []
    assert desk.attempts() == []
