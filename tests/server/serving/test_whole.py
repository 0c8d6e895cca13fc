"""Methods that answer a request as a whole: chosen, answered, recorded, covered, drawn."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.features import FeatureSchema
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.desired import Load
from server.errors import InvalidField
from server.ledger.spool import AttemptRole, Ending
from server.serving.answering import VersionFailed
from server.serving.deployments import Deployment, Facts
from server.serving.load import LoadRefused, ModelKind, load_version
from server.serving.whole import (
    Job,
    Moment,
    Whole,
    answer_elsewhere,
    answer_here,
    draw_seed,
    open_parameters,
    solve_job,
)
from tests.fakes.artifacts import AS_OF, churn_schema, write_artifact
from tests.fakes.serving import Desk, FakeCall

Request, Response = learning_pb2.AdjustDifficultyRequest, learning_pb2.AdjustDifficultyResponse


def _solve(target: Any, request: Any, moment: Moment) -> Any:
    """A method of the test: the target that the version knows, drawn half the time."""
    if target == "broken":
        raise ArithmeticError("a version's own mistake")
    response = Response(next_difficulty_logit=target)
    response.info.evidence = common_pb2.EVIDENCE_PERSONAL
    response.info.experiment.id = request.context.request_id or "-"
    response.info.experiment.arm = "a" if moment.chance() < 0.5 else "b"
    response.info.experiment.propensity = 0.5
    return response


METHOD = Whole(path="/t.T/Adjust", model="difficulty", request=Request, response=Response, solve=_solve)


def _request(**context: Any) -> bytes:
    request = _valid(**context)
    request.features.SetInParent()
    return request.SerializeToString()


def _valid(**context: Any) -> Any:
    request = Request(
        context=common_pb2.RequestContext(**context),
        skill_id="airway",
        mode=learning_pb2.DIFFICULTY_MODE_PRACTICE,
    )
    request.candidate_items.add(item_id="i", difficulty_logit=0.0)
    return request


def _deployment(version: int, target: Any) -> Deployment[Any]:
    digest = f"{version:064x}"
    facts = Facts(data_version="d", data_time=datetime(2026, 1, 1, tzinfo=UTC), observations=9, currency=None)
    return Deployment(model="difficulty", version=version, digest=digest, prefix=version, facts=facts, asked=target)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def _ask(desk: Desk, raw: bytes) -> Any:
    reply = answer_here(METHOD, desk.means, _Elsewhere())(raw, FakeCall())
    assert isinstance(reply, bytes)
    return Response.FromString(reply)


def test_the_frame_says_who_answered_and_the_method_what_it_knows_better(desk: Desk) -> None:
    desk.serve(_deployment(3, 0.25))

    answer = _ask(desk, _request(request_id="r"))

    assert answer.next_difficulty_logit == 0.25
    assert [(by.model, by.version) for by in answer.info.served_by] == [("difficulty", 3)]
    assert answer.info.evidence == common_pb2.EVIDENCE_PERSONAL
    assert answer.info.observations == 0  # the subject's own, of which the method told none: never the version's 9
    (attempt,) = desk.attempts()
    assert (attempt.propensity, attempt.answered, attempt.prediction_id.hex()) == (0.5, True, answer.info.prediction_id)
    assert Response.FromString(attempt.answer) == answer


def test_a_request_drawn_twice_is_drawn_alike(desk: Desk) -> None:
    desk.serve(_deployment(3, 0.25))

    arms = [[_ask(desk, _request(request_id=f"r{n}")).info.experiment.arm for n in range(40)] for _ in range(2)]

    assert arms[0] == arms[1]
    assert set(arms[0]) == {"a", "b"}


def test_a_canary_that_fails_is_covered_by_the_champion(desk: Desk) -> None:
    desk.serve(_deployment(3, 0.25), _deployment(4, "broken"), share_bp=10_000)

    answer = _ask(desk, _request(request_id="r"))

    assert answer.info.served_by[0].version == 3
    assert [(each.version, each.ending) for each in desk.attempts()] == [(4, Ending.FELL_BACK), (3, Ending.OK)]


def test_what_breaks_the_contract_is_refused(desk: Desk) -> None:
    desk.serve(_deployment(3, 0.25))

    with pytest.raises(InvalidField):
        _ask(desk, Request().SerializeToString())


def test_a_refused_request_is_known_by_its_id_to_the_log(desk: Desk) -> None:
    call, elsewhere = FakeCall(), FakeCall()
    raw = Request(context=common_pb2.RequestContext(request_id="refused")).SerializeToString()

    with pytest.raises(InvalidField):
        answer_here(METHOD, desk.means, _Elsewhere())(raw, call)
    with pytest.raises(InvalidField):
        asyncio.run(_reply(answer_elsewhere(METHOD, desk.means, _Elsewhere())(raw, elsewhere)))

    assert (call.request_id, elsewhere.request_id) == ("refused", "refused")


async def _reply(reply: Any) -> Any:
    return await reply


class _Elsewhere:
    """The compute process without a process: the job goes through its own bytes."""

    def __init__(self, *deployments: Deployment[Any]) -> None:
        self.models = {each.digest: each.asked for each in deployments}
        self.jobs: list[Job] = []

    async def __call__(self, job: Job, _remaining: float | None) -> bytes:
        self.jobs.append(job)
        return solve_job({METHOD.path: METHOD}, self.models[job.digest], job)


def test_the_compute_process_gives_the_answer_that_the_worker_would(desk: Desk) -> None:
    champion = _deployment(3, 0.25)
    desk.serve(champion)
    raw = _request(request_id="r", as_of_time=AS_OF)

    here = _ask(desk, raw)
    reply = asyncio.run(answer_elsewhere(METHOD, desk.means, _Elsewhere(champion))(raw, FakeCall()))  # type: ignore[arg-type]
    there = Response.FromString(reply)

    for each in (here, there):
        each.info.ClearField("compute_time")
    assert there == here
    assert [each.propensity for each in desk.attempts()] == [0.5, 0.5]


LARGE = replace(METHOD, is_light=lambda request: len(request.candidate_items) < 2)


def _large(items: int, **context: Any) -> Any:
    request = _valid(**context)
    request.features.SetInParent()
    for number in range(items):
        request.candidate_items.add(item_id=f"item-{number}", difficulty_logit=0.0)
    return request


def _ask_sized(desk: Desk, raw: bytes, elsewhere: Any) -> Any:
    reply = answer_here(LARGE, desk.means, elsewhere)(raw, FakeCall())
    if isinstance(reply, bytes):
        return Response.FromString(reply)
    return Response.FromString(asyncio.run(reply))  # type: ignore[arg-type]


def test_a_request_that_is_not_light_is_answered_elsewhere_in_the_same_words(desk: Desk) -> None:
    champion = _deployment(3, 0.25)
    desk.serve(champion)
    elsewhere = _Elsewhere(champion)
    raw = _large(1, request_id="r", as_of_time=AS_OF).SerializeToString()

    there, here = _ask_sized(desk, raw, elsewhere), _ask(desk, raw)
    _ask_sized(desk, _request(request_id="r"), elsewhere)

    assert [job.path for job in elsewhere.jobs] == [METHOD.path], "the light one stays"
    for each in (here, there):
        each.info.ClearField("compute_time")
    assert there == here


def test_requests_without_an_id_get_one_each_wherever_they_are_answered(desk: Desk) -> None:
    champion = _deployment(3, 0.25)
    desk.serve(champion)
    answer = answer_here(LARGE, desk.means, _Elsewhere(champion))

    replies = [answer(_large(number % 2).SerializeToString(), FakeCall()) for number in range(4)]
    read = [each if isinstance(each, bytes) else asyncio.run(each) for each in replies]  # type: ignore[arg-type]

    assert len({Response.FromString(each).info.prediction_id for each in read}) == 4


def test_bytes_without_end_are_not_light_whatever_they_hold(desk: Desk) -> None:
    champion = _deployment(3, 0.25)
    desk.serve(champion)
    elsewhere = _Elsewhere(champion)
    request = _valid()
    request.features.seen_item_ids.extend(["x" * 100] * 700)

    _ask_sized(desk, request.SerializeToString(), elsewhere)

    assert len(elsewhere.jobs) == 1


def test_a_large_request_is_judged_in_the_compute_process(desk: Desk) -> None:
    champion = _deployment(3, 0.25)
    desk.serve(champion)
    elsewhere = _Elsewhere(champion)
    request = _large(900)
    request.candidate_items[700].item_id = "not printable: \n"

    with pytest.raises(InvalidField) as refused:
        _ask_sized(desk, request.SerializeToString(), elsewhere)

    assert refused.value.field_violations[0].field == "candidate_items[700].item_id"
    assert len(elsewhere.jobs) == 1
    assert not desk.attempts(), "a wrong request says nothing of the version"


def test_what_is_recorded_of_a_large_request_is_judged_before(desk: Desk) -> None:
    desk.serve(_deployment(3, 0.25))
    request = _large(900)
    request.context.request_id = "x" * 1_000

    with pytest.raises(InvalidField) as refused:
        _ask_sized(desk, request.SerializeToString(), _Elsewhere())

    assert refused.value.field_violations[0].field == "context.request_id"


def test_a_canary_that_fails_elsewhere_is_covered_too(desk: Desk) -> None:
    versions = (_deployment(3, 0.25), _deployment(4, "broken"))
    desk.serve(*versions, share_bp=10_000)

    reply = asyncio.run(
        answer_elsewhere(METHOD, desk.means, _Elsewhere(*versions))(_request(request_id="r"), FakeCall())  # type: ignore[arg-type]
    )

    assert Response.FromString(reply).info.served_by[0].version == 3
    assert [(each.version, each.ending) for each in desk.attempts()] == [(4, Ending.FELL_BACK), (3, Ending.OK)]


def test_a_challenger_in_the_shadow_gets_a_copy(desk: Desk) -> None:
    versions = (_deployment(3, 0.25), _deployment(4, 0.75))
    desk.serve(*versions)

    asyncio.run(answer_elsewhere(METHOD, desk.means, _Elsewhere(*versions))(_request(), FakeCall()))  # type: ignore[arg-type]
    asyncio.run(desk.shadow.run_all())

    shadow = desk.attempts()[-1]
    assert (shadow.version, shadow.role, shadow.answered) == (4, AttemptRole.SHADOW, False)
    assert Response.FromString(shadow.answer).next_difficulty_logit == 0.75


def test_a_failure_in_the_compute_process_is_the_versions() -> None:
    job = Job("0" * 64, METHOD.path, Moment(0.0, bytes(32)), _request())

    with pytest.raises(VersionFailed):
        solve_job({METHOD.path: METHOD}, "broken", job)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 1000))
def test_chances_lie_in_the_unit_interval_and_do_not_move(prediction_id: bytes, index: int) -> None:
    moment = Moment(0.0, draw_seed("digest", prediction_id))

    assert 0 <= moment.chance(index) < 1
    assert moment.chance(index) == moment.chance(index)
    assert moment.chance(index) != moment.chance(index + 1)


def test_chances_spread_evenly() -> None:
    chances = [Moment(0.0, draw_seed("digest", number.to_bytes(16, "big"))).chance() for number in range(4_000)]

    counts = [sum(low <= chance < low + 0.25 for chance in chances) for low in (0, 0.25, 0.5, 0.75)]
    assert all(900 < count < 1_100 for count in counts)


def _read_target(value: Any) -> float:
    if not isinstance(value, dict) or not isinstance(value.get("target"), float):
        raise ValueError("target: must be a number")  # noqa: TRY004 - one kind of error for a bad file
    return float(value["target"])


KINDS = {"churn": ModelKind(features=None, open=open_parameters(_read_target))}


def _load(folder: Path, content: bytes, schema: FeatureSchema) -> Deployment[Any]:
    digest = write_artifact(folder / "cache" / "v", {"parameters.json": content}, schema)
    return load_version(Load(model="churn", version=7, digest=digest, folder="cache/v"), folder, KINDS)


def test_parameters_are_opened_by_the_models_own_reader(tmp_path: Path) -> None:
    deployment = _load(tmp_path, b'{"target":0.5}', FeatureSchema(message="t.Request", features=()))

    assert deployment.asked == 0.5


def test_parameters_that_the_reader_refuses_are_a_reason_in_words(tmp_path: Path) -> None:
    with pytest.raises(LoadRefused, match=r"parameters\.json: target: must be a number"):
        _load(tmp_path, b'{"target":"x"}', FeatureSchema(message="t.Request", features=()))


def test_an_artifact_that_reads_fields_where_none_are_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadRefused, match="reads no single fields"):
        _load(tmp_path, b'{"target":0.5}', churn_schema())
