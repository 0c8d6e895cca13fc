"""PredictCertificationSuccess over messages: what is known of a learner, and what the answer says of itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from methods.features import Feature, FeatureSchema, Kind
from methods.learning.certification import CalibrationFacts, CertificationParameters, Outcome
from methods.learning.certification_parameters import ExamKnowledge
from methods.learning.exam_skills import ExamPlan, SkillPrior
from methods.statistics.bands import Band
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.errors import InvalidField
from server.modules.learning.predict_certification_success import (
    DECISION_NOTE,
    HANDS_ON_UNREAD,
    KIND,
    KNOWLEDGE_ONLY,
    METHOD,
    ExamVersion,
    is_light,
    opened,
    solve,
)
from server.serving.answering import VersionFailed
from server.serving.deployments import Deployment
from server.serving.load import LoadRefused, load_version
from server.serving.whole import Moment, answer_here
from server.serving.wire.judge import judge
from tests.fakes.artifacts import AS_OF, linear_graph, write_artifact
from tests.fakes.serving import Desk, FakeCall, load_of
from training.artifact import canonical_json
from training.features.certification import certification_schema

SCHEMA = certification_schema().subset(["certification", "exam_time", "answers_28d", "correct_share_28d"])
UNKNOWN_FIELDS = FeatureSchema(
    message="demo", features=tuple(Feature(name=f"field_{at}", kind=Kind.NUMBER) for at in range(len(SCHEMA.columns)))
)
BAND = Band(logits=(0.0,), lowers=(-0.3,), uppers=(0.3,))
NOW = AS_OF.timestamp()


def _facts(cohort: str, observations: int) -> CalibrationFacts:
    return CalibrationFacts(
        cohort=cohort, brier_score=0.15, calibration_error=0.04, observations=observations, evaluation_day=20_454.0
    )


KNOWLEDGE = ExamKnowledge(
    schema=SCHEMA,
    outcome=CertificationParameters(
        plain=Outcome(slope=1.0, offset=0.2, band=BAND),
        skilled=Outcome(slope=0.5, offset=0.4, readiness=1.5, band=BAND),
        slip=0.05,
        facts=(_facts("PALS, nurse", 40), _facts("PALS", 400), _facts("all exams", 900)),
    ),
    skills=SkillPrior(share=0.7, learner_answers=20.0, skill_answers=10.0),
    exams={
        "PALS": ExamPlan(cut_score=0.84, weights={"airway": 1.0, "rhythms": 1.0, "shock": 2.0}),
        "NRP": ExamPlan(cut_score=0.8, weights={"elsewhere": 1.0}),
    },
    longest_days=84.0,
)


@pytest.fixture(scope="module")
def version() -> ExamVersion:
    return opened(KNOWLEDGE, linear_graph(SCHEMA))


def _request(**features: Any) -> Any:
    request: Any = learning_pb2.PredictCertificationSuccessRequest()
    request.context.as_of_time.FromDatetime(AS_OF)
    request.features.SetInParent()
    for name, value in features.items():
        setattr(request.features, name, value)
    return request


def _pals(**features: Any) -> Any:
    return _request(certification=learning_pb2.CERTIFICATION_PALS, **features)


def _event(request: Any, skill_id: str, days_ago: float = 1.0, **outcome: Any) -> None:
    event = request.features.knowledge.history.add(skill_id=skill_id, **outcome)
    event.event_time.FromDatetime(AS_OF - timedelta(days=days_ago))


def _answer(version: ExamVersion, request: Any) -> Any:
    judge(request)
    return solve(version, request, Moment(NOW, bytes(32)))


def _estimates(response: Any) -> list[Any]:
    said = [response.pass_probability]
    said += [response.expected_score] if response.HasField("expected_score") else []
    return said + [part for weak in response.weakest_skills for part in (weak.mastery, weak.pass_probability_gain)]


def test_nothing_known_is_answered_from_the_cohort_with_a_warning(version: ExamVersion) -> None:
    response = _answer(version, _request())

    assert 0.0 < response.pass_probability.lower < response.pass_probability.value < response.pass_probability.upper
    assert response.info.evidence == common_pb2.EVIDENCE_UNSPECIFIED  # the version's own, cohort, is filled in later
    assert list(response.info.warnings) == [common_pb2.WARNING_COLD_START]
    assert not response.HasField("expected_score")
    assert not response.weakest_skills
    assert response.certification == learning_pb2.CERTIFICATION_UNSPECIFIED
    assert response.calibration.cohort == "all exams"


def test_answers_name_the_weakest_skills_of_the_exam(version: ExamVersion) -> None:
    request = _pals()
    for day in range(20):
        _event(request, "airway", day + 1.0, correct=True)
        _event(request, "rhythms", day + 1.5, correct=day % 2 == 0)
        _event(request, "elsewhere", day + 1.2, correct=True)

    response = _answer(version, request)

    gains = [weak.pass_probability_gain.value for weak in response.weakest_skills]
    assert {weak.skill_id for weak in response.weakest_skills} == {"airway", "rhythms", "shock"}
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 0.0
    assert response.weakest_skills[-1].skill_id == "airway"
    assert (response.info.evidence, response.info.observations) == (common_pb2.EVIDENCE_PERSONAL, 60)
    assert not response.info.warnings
    assert 0.0 < response.expected_score.value < 1.0


def test_every_estimate_has_its_interval_its_level_and_its_method(version: ExamVersion) -> None:
    request = _pals()
    _event(request, "airway", correct=True)

    for estimate in _estimates(_answer(version, request)):
        assert estimate.lower <= estimate.value <= estimate.upper
        assert estimate.level == 0.9
        assert estimate.method != common_pb2.ESTIMATE_METHOD_UNSPECIFIED


@pytest.mark.parametrize(("asked", "named"), [(None, 3), (0, 0), (2, 2)])
def test_so_many_skills_are_named_as_were_asked_for(version: ExamVersion, asked: int | None, named: int) -> None:
    request = _pals()
    _event(request, "airway", correct=True)
    if asked is not None:
        request.max_weakest_skills = asked

    assert len(_answer(version, request).weakest_skills) == named


def test_right_answers_raise_the_chance_and_wrong_ones_lower_it(version: ExamVersion) -> None:
    def chance(*, correct: bool) -> float:
        request = _pals()
        for day in range(30):
            _event(request, "shock", day + 1.0, correct=correct)
        return float(_answer(version, request).pass_probability.value)

    assert chance(correct=True) > chance(correct=False) + 0.2


def test_states_are_answered_like_the_events_that_they_hold(version: ExamVersion) -> None:
    by_events, by_states = _pals(), _pals()
    for day in range(6):
        _event(by_events, "shock", day + 1.0, correct=day % 3 == 0)
    by_states.features.knowledge.skill_states.add(skill_id="shock", answers=6, correct_answers=2)

    one, other = _answer(version, by_events), _answer(version, by_states)

    assert one.pass_probability.value == pytest.approx(other.pass_probability.value)
    assert one.weakest_skills == other.weakest_skills


@pytest.mark.parametrize(
    ("days_ago", "outcome"),
    [(-1.0, {"correct": True}), (1.0, {}), (1.0, {"correct": True, "assessor": learning_pb2.ASSESSOR_SELF})],
    ids=["later than as_of_time", "only seen", "judged by the learner"],
)
def test_what_is_no_evidence_changes_nothing(version: ExamVersion, days_ago: float, outcome: dict[str, Any]) -> None:
    request = _pals()
    before = _answer(version, request)
    _event(request, "shock", days_ago, **outcome)

    assert _answer(version, request) == before


def test_a_mastery_that_the_caller_knows_is_taken(version: ExamVersion) -> None:
    request = _pals()
    request.features.knowledge.skill_states.add(skill_id="shock", mastery=0.3)

    response = _answer(version, request)

    assert response.weakest_skills[0].skill_id == "shock"
    assert response.weakest_skills[0].mastery.value == pytest.approx(0.3)
    assert (response.info.evidence, response.info.observations) == (common_pb2.EVIDENCE_PERSONAL, 1)


def test_a_skill_that_no_exam_asks_does_not_count_and_is_said(version: ExamVersion) -> None:
    request = _pals()
    _event(request, "airway", correct=True)
    before = _answer(version, request)
    for day in range(20):
        _event(request, "no-such-skill", day + 1.0, correct=False)
    request.features.knowledge.skill_states.add(skill_id="nor-this", mastery=0.1)

    response = _answer(version, request)

    assert response.pass_probability == before.pass_probability
    assert response.weakest_skills == before.weakest_skills
    assert response.info.observations == 1
    assert list(response.info.warnings) == [common_pb2.WARNING_OUT_OF_RANGE]
    assert response.scope_note.startswith(KNOWLEDGE_ONLY)
    assert response.scope_note.endswith(": no-such-skill, nor-this.")


def test_the_callers_cut_score_goes_before_the_certifications(version: ExamVersion) -> None:
    def chance(cut: float | None) -> float:
        request = _pals() if cut is None else _pals(cut_score=cut)
        _event(request, "shock", correct=True)
        return float(_answer(version, request).pass_probability.value)

    assert chance(None) == chance(0.84)
    assert chance(0.5) > chance(0.84) > chance(0.95)


def test_an_exam_that_the_version_does_not_know_is_answered_with_a_warning(version: ExamVersion) -> None:
    request = _request(certification=learning_pb2.CERTIFICATION_ETAT, cut_score=0.8)
    _event(request, "triage", correct=True)

    response = _answer(version, request)

    assert common_pb2.WARNING_OUT_OF_RANGE in response.info.warnings
    assert [weak.skill_id for weak in response.weakest_skills] == ["triage"]  # the only skill anybody told of
    assert response.certification == learning_pb2.CERTIFICATION_ETAT


def test_an_exam_farther_than_any_fitted_on_is_answered_with_a_warning(version: ExamVersion) -> None:
    near, far = _pals(answers_28d=3), _pals(answers_28d=3)
    near.features.exam_time.FromDatetime(AS_OF + timedelta(days=84))
    far.features.exam_time.FromDatetime(AS_OF + timedelta(days=85))

    assert not _answer(version, near).info.warnings
    assert list(_answer(version, far).info.warnings) == [common_pb2.WARNING_OUT_OF_RANGE]
    assert _answer(version, far).exam_time == far.features.exam_time


def test_an_exam_that_is_over_is_refused_by_its_field(version: ExamVersion) -> None:
    request = _pals()
    request.features.exam_time.FromDatetime(AS_OF - timedelta(seconds=1))

    with pytest.raises(InvalidField) as refused:
        _answer(version, request)

    assert [each.field for each in refused.value.field_violations] == ["features.exam_time"]


def test_calibration_is_that_of_the_most_special_group_with_enough_exams(version: ExamVersion) -> None:
    nurse = _pals(role=common_pb2.CLINICAL_ROLE_NURSE)

    facts = _answer(version, nurse).calibration

    assert (facts.cohort, facts.observations) == ("PALS", 400)  # 40 nurses are too few
    assert (facts.brier_score, facts.expected_calibration_error) == (0.15, 0.04)
    assert facts.evaluation_time.seconds == 20_454 * 86_400


def test_the_answer_says_what_it_is_about_and_what_it_is_not_for(version: ExamVersion) -> None:
    with_hands = _pals()
    with_hands.features.hands_on_scores.add(measure=learning_pb2.HANDS_ON_MEASURE_COMPRESSION_DEPTH, value=51.0)

    assert _answer(version, _pals()).scope_note == KNOWLEDGE_ONLY
    assert _answer(version, with_hands).scope_note == HANDS_ON_UNREAD
    assert _answer(version, with_hands).decision_note == DECISION_NOTE == "Not for employment decisions."


def test_reasons_are_what_not_knowing_a_field_would_change(version: ExamVersion) -> None:
    request = _pals(answers_28d=5, correct_share_28d=0.9)
    _event(request, "shock", correct=False)
    assert not _answer(version, request).reasons
    request.context.explain = True
    whole = version.predictor.row.copy()

    response = _answer(version, request)

    by_field = {reason.feature: reason for reason in response.reasons}
    version.reader.unchecked(request.features, NOW, whole)
    without = whole.copy()
    without[0, SCHEMA.columns.index("correct_share_28d")] = np.nan
    margin, other = version.predictor.margins(np.concatenate([whole, without])).tolist()
    assert by_field["correct_share_28d"].contribution == pytest.approx(0.5 * (margin - other), abs=1e-6)
    assert "exam_time" not in by_field  # nobody gave it
    assert by_field["knowledge"].contribution < 0
    assert "of 84% needed" in by_field["knowledge"].text
    sizes = [abs(reason.contribution) for reason in response.reasons]
    assert sizes == sorted(sizes, reverse=True)
    assert {reason.unit for reason in response.reasons} == {"log-odds against not knowing it"}


def test_explaining_changes_nothing_else(version: ExamVersion) -> None:
    request = _pals(answers_28d=5)
    plain = _answer(version, request)
    request.context.explain = True
    explained = _answer(version, request)
    del explained.reasons[:]

    assert explained == plain


def test_a_graph_that_gives_no_number_is_a_failure_of_the_version() -> None:
    broken = opened(KNOWLEDGE, linear_graph(SCHEMA, bias=float("nan")))

    with pytest.raises(VersionFailed):
        solve(broken, _pals(), Moment(NOW, bytes(32)))


def test_large_histories_go_through_the_compute_process() -> None:
    request = _pals()
    for number in range(128):
        _event(request, f"skill-{number}", correct=True)

    assert is_light(request)
    _event(request, "one-more", correct=True)
    assert not is_light(request)


def _load(state_dir: Path, parameters: Any, graph: bytes) -> Deployment[Any]:
    """An artifact of these parts, published to the cache and opened."""
    files = {"parameters.json": canonical_json(parameters), "golden.json": b"{}", "model.onnx": graph}
    changes = {"model": "certification"}
    digest = write_artifact(state_dir / "made", files, FeatureSchema(message="", features=()), changes=changes)
    (state_dir / "cache").mkdir()
    (state_dir / "made").rename(state_dir / "cache" / digest)
    return load_version(load_of(1, digest, "certification"), state_dir, {"certification": KIND})


def test_an_opened_artifact_answers_at_a_desk(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.serve(_load(tmp_path, KNOWLEDGE.to_json(), linear_graph(SCHEMA)))

    async def never(*_: Any) -> bytes:
        raise AssertionError("the request is light")

    reply = answer_here(METHOD, desk.means, never)(_pals(answers_28d=2).SerializeToString(), FakeCall())

    assert isinstance(reply, bytes)
    response = learning_pb2.PredictCertificationSuccessResponse.FromString(reply)
    assert response.info.served_by[0].model == "certification"
    assert response.info.evidence == common_pb2.EVIDENCE_COHORT
    assert len(desk.attempts()) == 1


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({**KNOWLEDGE.to_json(), "exams": {"PALS": {}}}, r"parameters\.json: exams\.PALS"),
        (
            {**KNOWLEDGE.to_json(), "schema": {"message": "demo", "features": []}},
            r"model\.onnx: the graph reads",
        ),
        (
            {**KNOWLEDGE.to_json(), "schema": UNKNOWN_FIELDS.to_json()},
            "has no field field_0",
        ),
    ],
    ids=["exam", "width", "field"],
)
def test_an_artifact_that_does_not_fit_is_refused_in_words(tmp_path: Path, parameters: Any, said: str) -> None:
    with pytest.raises(LoadRefused, match=said):
        _load(tmp_path, parameters, linear_graph(SCHEMA))


def test_the_method_stands_under_its_name_in_the_contract() -> None:
    service = learning_pb2.DESCRIPTOR.services_by_name["LearningService"]
    method = service.methods_by_name["PredictCertificationSuccess"]

    assert METHOD.path == f"/{service.full_name}/{method.name}"
    assert (method.input_type, method.output_type) == (METHOD.request.DESCRIPTOR, METHOD.response.DESCRIPTOR)
