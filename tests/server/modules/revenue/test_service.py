"""PredictChurn and BatchPredictChurn: right answers, recorded before they leave, covered when a canary fails."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from methods.revenue.churn import DEFAULT_HORIZONS, churn_by_horizon
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.desired import Load, Switch
from server.errors import DeadlineExceeded, InvalidField, MalformedRequest, NoLiveVersion, SwitchedOff
from server.ledger.spool import SHADOW_ATTEMPT, AttemptRole, Ending
from server.modules.revenue.service import KINDS
from server.serving.answering import VersionFailed
from server.serving.load import LoadRefused, load_version
from server.serving.split import assign_bucket
from tests.fakes.artifacts import (
    AS_OF,
    CAUSE,
    EFFECT,
    FIELDS,
    PARAMETERS,
    churn_schema,
    golden_requests,
    graph_bytes,
    linear_graph,
    linear_margin,
    matrix_of,
    write_artifact,
)
from tests.fakes.churn_batches import batch_of
from tests.fakes.serving import Desk, FakeCall, churn_request

BAD_TENURE = 12_345
COLUMNS = churn_schema().columns
# Scores 1 for everybody but a tenure of BAD_TENURE days, where 0 / 0 is no number: a version that passes every check
# before it is live.
FAILING = graph_bytes(
    [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("Gather", ["filled", "tenure"], ["days"], axis=1),
        helper.make_node("Sub", ["days", "bad"], ["distance"]),
        helper.make_node("Div", ["distance", "distance"], ["margin"]),
    ],
    columns=len(COLUMNS),
    constants={
        "zero": np.float32(0),
        "bad": np.float32(BAD_TENURE),
        "tenure": np.array([COLUMNS.index("tenure_days")], dtype=np.int64),
    },
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def version_of(answer: Any) -> tuple[int, int]:
    (served,) = answer.info.served_by
    return served.version, served.role


def expected(requests: list[Any], *, bias: float, horizons: tuple[int, ...] = DEFAULT_HORIZONS) -> Any:
    schema = churn_schema(FIELDS)
    return churn_by_horizon(linear_margin(matrix_of(requests, schema), schema, bias=bias), PARAMETERS, horizons)


def test_answers_are_those_of_the_method(desk: Desk) -> None:
    desk.serve(desk.load(7))
    requests = golden_requests()

    answers = [desk.predict(request) for request in requests]

    curve = expected(requests, bias=0.7)
    for row, answer in enumerate(answers):
        assert [entry.horizon_days for entry in answer.churn] == [28, 90, 180]
        for at, entry in enumerate(answer.churn):
            estimate = entry.churn_probability
            found = (estimate.value, estimate.lower, estimate.upper)
            wanted = (curve.value[row, at], curve.lower[row, at], curve.upper[row, at])
            assert found == pytest.approx(wanted, abs=1e-6)
            assert estimate.level == PARAMETERS.level


def test_a_version_that_knows_causes_says_what_share_is_a_decision(desk: Desk) -> None:
    desk.serve(desk.load(7, cause=CAUSE))
    monthly, overdue = churn_request(plan=1), churn_request(plan=1)
    overdue.features.renewal_time.FromDatetime(AS_OF - timedelta(days=2))
    overdue.horizon_days.append(28)

    share, late = desk.predict(monthly).voluntary_share, desk.predict(overdue).voluntary_share

    assert share.value == pytest.approx(1 / (1 + math.exp(-(0.25 - 0.125 - 0.25))))
    assert late.value == pytest.approx(1 / (1 + math.exp(-(0.25 - 3.0 - 0.25))))
    assert (late.lower, late.upper) == pytest.approx((1 / (1 + math.exp(3.5)), 1 / (1 + math.exp(2.75))))
    assert (share.level, share.method) == (0.9, common_pb2.ESTIMATE_METHOD_POSTERIOR)
    assert desk.predict(monthly).churn, "the chances stand beside it"


def test_a_version_that_knows_what_an_offer_changes_says_it_to_everybody(desk: Desk) -> None:
    desk.serve(desk.load(7, cause=CAUSE, effect=EFFECT))

    answers = [desk.predict(churn_request(tenure_days=days)) for days in (3, 700)]

    for answer in answers:
        said = answer.intervention
        assert (said.treat, said.offer_id) == (True, "PRICE_BREAK")
        assert (said.uplift.lower, said.uplift.value, said.uplift.upper) == (0.01, 0.04, 0.07)
        assert (said.uplift.level, said.uplift.method) == (0.9, common_pb2.ESTIMATE_METHOD_BOOTSTRAP)
        assert answer.HasField("voluntary_share")


def test_a_version_that_knows_no_causes_says_nothing_of_them(desk: Desk) -> None:
    desk.serve(desk.load(7))

    answer = desk.predict(churn_request(plan=1))

    assert not answer.HasField("voluntary_share")
    assert not answer.HasField("intervention"), "an effect needs randomised evidence"


def test_a_version_whose_causes_hang_on_a_column_that_it_does_not_read_is_refused(desk: Desk) -> None:
    schema = churn_schema([name for name in FIELDS if name != "renewal_time"])
    parameters = json.dumps(replace(PARAMETERS, cause=CAUSE).to_json()).encode()
    folder = desk.folder / "cache" / "v"
    digest = write_artifact(folder, {"model.onnx": linear_graph(schema), "parameters.json": parameters}, schema)

    with pytest.raises(LoadRefused, match=r"no column 'renewal_time'"):
        load_version(Load(model="churn", version=7, digest=digest, folder="cache/v"), desk.folder, KINDS)


def test_an_answer_says_where_it_comes_from(desk: Desk) -> None:
    desk.serve(desk.load(7))

    info = desk.predict(churn_request(tenure_days=3)).info

    assert (info.served_by[0].model, info.served_by[0].version) == ("churn", 7)
    assert info.served_by[0].role == common_pb2.ROLE_CHAMPION
    assert info.evidence == common_pb2.EVIDENCE_COHORT
    assert info.observations == 1_000
    assert len(info.prediction_id) == 32
    assert info.data_version == "0" * 64
    assert info.compute_time.seconds > 1_700_000_000
    assert not info.warnings


def test_horizons_come_back_in_the_order_asked_and_the_curve_never_rises(desk: Desk) -> None:
    desk.serve(desk.load(7))
    request = churn_request(tenure_days=3)
    request.horizon_days.extend([364, 1, 1])
    request.include_survival_curve = True

    answer = desk.predict(request)

    assert [entry.horizon_days for entry in answer.churn] == [364, 1, 1]
    assert len(answer.survival_curve.days) == 13
    assert sorted(answer.survival_curve.values, reverse=True) == list(answer.survival_curve.values)


def test_the_same_request_id_gets_the_same_prediction_id(desk: Desk) -> None:
    desk.serve(desk.load(7))
    request = churn_request()
    request.context.request_id = "r-1"

    first, second = desk.predict(request).info, desk.predict(request).info
    request.context.request_id = "r-2"

    assert first.prediction_id == second.prediction_id != desk.predict(request).info.prediction_id


def test_an_amount_in_a_foreign_currency_is_missing_and_warned_of(desk: Desk) -> None:
    desk.serve(desk.load(7))
    known, foreign = churn_request(), churn_request()
    foreign.features.price.minor_units, foreign.features.price.currency_code = 4_900, "EUR"

    answer = desk.predict(foreign)

    assert list(answer.info.warnings) == [common_pb2.WARNING_OUT_OF_RANGE]
    assert answer.churn[0].churn_probability == desk.predict(known).churn[0].churn_probability


def test_every_attempt_is_recorded_with_request_and_answer(desk: Desk) -> None:
    desk.serve(desk.load(7))
    request = churn_request(tenure_days=3)
    request.context.request_id = "r-1"

    answer = desk.predict(request)

    (attempt,) = desk.attempts()
    assert attempt.request == request.SerializeToString()
    assert revenue_pb2.PredictChurnResponse.FromString(attempt.answer) == answer
    assert attempt.prediction_id.hex() == answer.info.prediction_id
    assert (attempt.version, attempt.role, attempt.ending) == (7, AttemptRole.CHAMPION, Ending.OK)
    assert attempt.answered
    assert desk.meters.tallies["churn", AttemptRole.CHAMPION] == [1, 1]


def test_the_version_that_computes_is_marked_and_unmarked(desk: Desk) -> None:
    deployment = desk.load(7)
    desk.serve(deployment)

    desk.predict(churn_request())

    assert desk.marks == [deployment.prefix, 0]


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\x04\x0a\x02\xff\xfe"])
def test_bytes_that_are_no_request_are_malformed(desk: Desk, raw: bytes) -> None:
    with pytest.raises(MalformedRequest):
        desk.revenue.predict_churn(raw, FakeCall())


def test_a_broken_rule_is_refused_and_nothing_is_recorded(desk: Desk) -> None:
    desk.serve(desk.load(7))

    with pytest.raises(InvalidField) as caught:
        desk.predict(churn_request(seats=0))

    assert caught.value.field_violations[0].field == "features.seats"
    assert desk.attempts() == []
    assert desk.failed == []


def test_without_a_version_nobody_answers(desk: Desk) -> None:
    with pytest.raises(NoLiveVersion):
        desk.predict(churn_request())

    desk.serve(desk.load(7), switch=Switch.OFF)
    with pytest.raises(SwitchedOff):
        desk.predict(churn_request())

    desk.serve(desk.load(7), switch=Switch.FALLBACK_ONLY)
    with pytest.raises(NoLiveVersion, match="prior"):
        desk.predict(churn_request())


def subjects(desk: Desk, *, share_bp: int, inside: bool, count: int = 3) -> list[str]:
    challenger = desk.live.routes.by_model["churn"].challenger
    assert challenger is not None
    keys = (f"u-{index}" for index in range(10_000))
    found = [key for key in keys if (assign_bucket("churn", challenger.digest, key) < share_bp) == inside]
    return found[:count]


def test_a_canary_answers_for_its_keys_and_the_champion_for_the_others(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8), share_bp=2_000)

    for inside, version, role in ((True, 8, common_pb2.ROLE_CHALLENGER), (False, 7, common_pb2.ROLE_CHAMPION)):
        for subject in subjects(desk, share_bp=2_000, inside=inside):
            request = churn_request()
            request.context.subject_id = subject
            assert version_of(desk.predict(request)) == (version, role)


def test_the_share_ends_before_its_own_bucket(desk: Desk) -> None:
    champion, challenger = desk.load(7), desk.load(8)
    bucket = assign_bucket("churn", challenger.digest, "u-1")
    request = churn_request()
    request.context.subject_id = "u-1"

    desk.serve(champion, challenger, share_bp=bucket)
    outside = version_of(desk.predict(request))[0]
    desk.serve(champion, challenger, share_bp=bucket + 1)
    inside = version_of(desk.predict(request))[0]

    assert 0 < bucket < 10_000
    assert (outside, inside) == (7, 8)


def test_the_routing_key_goes_before_the_subject(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8), share_bp=2_000)
    request = churn_request()
    request.context.subject_id = subjects(desk, share_bp=2_000, inside=False)[0]
    request.context.routing_key = subjects(desk, share_bp=2_000, inside=True)[0]

    assert version_of(desk.predict(request))[0] == 8


def test_a_failing_canary_is_covered_by_the_champion_and_both_attempts_are_recorded(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8, graph=FAILING), share_bp=10_000)

    answer = desk.predict(churn_request(tenure_days=BAD_TENURE))

    assert version_of(answer)[0] == 7
    first, second = desk.attempts()
    assert (first.version, first.ending, first.answered, first.attempt) == (8, Ending.FELL_BACK, False, 0)
    assert (second.version, second.ending, second.answered, second.attempt) == (7, Ending.OK, True, 1)
    assert first.prediction_id == second.prediction_id
    assert desk.failed[0][0] == 8
    assert desk.meters.failures == [("churn", AttemptRole.CANARY, Ending.FELL_BACK)]


def test_a_canary_that_keeps_failing_is_cut(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8, graph=FAILING), share_bp=10_000)

    for _ in range(5):
        desk.predict(churn_request(tenure_days=BAD_TENURE))

    assert len(desk.failed) == 3
    assert [each.version for each in desk.attempts()][-2:] == [7, 7]


def test_a_failing_champion_has_nothing_behind_it(desk: Desk) -> None:
    desk.serve(desk.load(7, graph=FAILING))

    with pytest.raises(VersionFailed):
        desk.predict(churn_request(tenure_days=BAD_TENURE))

    (attempt,) = desk.attempts()
    assert (attempt.ending, attempt.answered) == (Ending.ERROR, False)


async def test_a_shadow_scores_a_copy_that_nobody_is_told_of(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8))

    answer = desk.predict(churn_request())
    assert len(desk.attempts()) == 1
    await desk.shadow.run_all()

    assert version_of(answer)[0] == 7
    _, copy = desk.attempts()
    assert (copy.version, copy.role, copy.answered, copy.attempt) == (8, AttemptRole.SHADOW, False, SHADOW_ATTEMPT)
    assert revenue_pb2.PredictChurnResponse.FromString(copy.answer).churn[0] != answer.churn[0]


async def test_a_shadow_that_fails_harms_nobody(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8, graph=FAILING))

    desk.predict(churn_request(tenure_days=BAD_TENURE))
    await desk.shadow.run_all()

    assert desk.attempts()[1].ending is Ending.ERROR
    assert desk.meters.failures == [("churn", AttemptRole.SHADOW, Ending.ERROR)]


async def test_explained_answers_name_the_fields_that_moved_them_most(desk: Desk) -> None:
    deployment = desk.load(7)
    desk.serve(deployment)
    columns = deployment.asked.schema.columns
    desk.contributions = [
        {"plan=MONTHLY": 0.5, "plan=ANNUAL": 0.25, "tenure_days": -1.0}.get(column, 0.0) for column in columns
    ]
    request = churn_request(tenure_days=40, plan=1)
    request.context.explain = True

    reply = desk.revenue.predict_churn(request.SerializeToString(), FakeCall())
    assert not isinstance(reply, bytes)
    answer = revenue_pb2.PredictChurnResponse.FromString(await reply)

    assert [(reason.feature, reason.contribution) for reason in answer.reasons] == [
        ("tenure_days", -1.0),
        ("plan", 0.75),
    ]
    assert answer.reasons[0].text == "Tenure days: 40. This lowers the chance of leaving."
    assert answer.reasons[1].text == "Plan: monthly. This raises the chance of leaving."
    assert len(answer.churn) == 3


async def test_a_batch_equals_its_singles_whatever_the_order_of_rows(desk: Desk) -> None:
    desk.serve(desk.load(7))
    requests = golden_requests()

    forward = await desk.predict_batch(batch_of([request.features for request in requests]))
    backward = await desk.predict_batch(batch_of([request.features for request in reversed(requests)]))

    singles = [desk.predict(request) for request in requests]
    for name, part in (("churn_probabilities", "value"), ("lowers", "lower"), ("uppers", "upper")):
        wanted = [[getattr(entry.churn_probability, part) for entry in single.churn] for single in singles]
        found = np.array(getattr(forward, name)).reshape(-1, 3)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        np.testing.assert_allclose(np.array(getattr(backward, name)).reshape(-1, 3)[::-1], found, atol=1e-9)
    assert list(forward.horizon_days) == [28, 90, 180]
    assert forward.level == PARAMETERS.level
    assert not forward.row_errors
    assert not forward.served_by_indices


async def test_a_row_that_breaks_a_rule_costs_only_itself(desk: Desk) -> None:
    desk.serve(desk.load(7))
    batch = batch_of([request.features for request in golden_requests()[:3]])
    batch.columns.seats.extend([1, 0, 1])

    answer = await desk.predict_batch(batch)

    (error,) = answer.row_errors
    assert (error.row, error.reason) == (1, common_pb2.ERROR_REASON_INVALID_FIELD)
    assert error.message == "seats: must be from 1 to 100000"
    assert list(answer.churn_probabilities[3:6]) == [0.0, 0.0, 0.0]
    assert all(value > 0 for value in answer.churn_probabilities[:3])


async def test_rows_of_a_batch_go_where_their_subjects_go(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8), share_bp=3_000)
    inside = subjects(desk, share_bp=3_000, inside=True, count=4)
    outside = subjects(desk, share_bp=3_000, inside=False, count=6)
    ids = [*outside[:3], *inside, *outside[3:]]

    answer = await desk.predict_batch(batch_of([churn_request(tenure_days=9).features] * 10, ids))

    versions = [answer.info.served_by[index].version for index in answer.served_by_indices]
    assert versions == [7] * 3 + [8] * 4 + [7] * 3
    champion, canary = desk.attempts()
    assert (champion.rows, champion.row_bitmap.hex(), canary.rows, canary.row_bitmap.hex()) == (6, "8703", 4, "7800")
    assert champion.request
    assert not canary.request


@pytest.mark.parametrize("is_inside", [True, False], ids=["canary", "champion"])
async def test_rows_without_a_subject_go_where_the_routing_key_goes(desk: Desk, *, is_inside: bool) -> None:
    desk.serve(desk.load(7), desk.load(8), share_bp=3_000)
    named = subjects(desk, share_bp=3_000, inside=not is_inside, count=1)
    batch = batch_of([churn_request(tenure_days=9).features] * 3, [*named, "", ""])
    batch.context.routing_key = subjects(desk, share_bp=3_000, inside=is_inside, count=1)[0]

    answer = await desk.predict_batch(batch)

    versions = [answer.info.served_by[index].version for index in answer.served_by_indices]
    assert versions == ([7, 8, 8] if is_inside else [8, 7, 7])


async def test_a_batch_is_covered_when_its_canary_fails(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8, graph=FAILING), share_bp=10_000)

    answer = await desk.predict_batch(batch_of([churn_request(tenure_days=BAD_TENURE).features] * 3))

    assert [served.version for served in answer.info.served_by] == [7]
    found = [(each.attempt, each.version, each.ending) for each in desk.attempts()]
    assert found == [(0, 8, Ending.FELL_BACK), (1, 7, Ending.OK)]


async def test_rows_of_either_version_are_copied_to_the_other(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8), share_bp=5_000)
    rows = subjects(desk, share_bp=5_000, inside=True, count=2) + subjects(desk, share_bp=5_000, inside=False, count=3)
    batch = batch_of([churn_request(tenure_days=9).features] * 5)
    batch.columns.subject_ids.extend(rows)

    await desk.predict_batch(batch)
    await desk.shadow.run_all()

    copies = {each.version: each.rows for each in desk.attempts() if each.role is AttemptRole.SHADOW}
    assert copies == {7: 2, 8: 3}


async def test_a_batch_is_copied_to_its_shadow(desk: Desk) -> None:
    desk.serve(desk.load(7), desk.load(8))

    await desk.predict_batch(batch_of([churn_request(tenure_days=9).features] * 3))
    await desk.shadow.run_all()

    _, copy = desk.attempts()
    assert (copy.version, copy.role, copy.rows) == (8, AttemptRole.SHADOW, 3)


async def test_a_batch_whose_time_is_over_ends_between_slices(desk: Desk) -> None:
    desk.serve(desk.load(7))

    with pytest.raises(DeadlineExceeded):
        await desk.predict_batch(batch_of([churn_request().features] * 3), FakeCall(remaining=0.0))

    assert [each.ending for each in desk.attempts()] == [Ending.TIMEOUT]


async def test_a_batch_is_not_explained(desk: Desk) -> None:
    desk.serve(desk.load(7))
    batch = batch_of([churn_request().features])
    batch.context.explain = True

    with pytest.raises(InvalidField) as caught:
        await desk.predict_batch(batch)

    assert caught.value.field_violations[0].field == "context.explain"


async def test_the_largest_batch_is_answered(desk: Desk) -> None:
    desk.serve(desk.load(7))

    answer = await desk.predict_batch(batch_of([churn_request(tenure_days=9).features] * 10_000))

    assert len(answer.churn_probabilities) == 30_000
    assert not math.isnan(sum(answer.uppers))
