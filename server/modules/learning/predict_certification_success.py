"""PredictCertificationSuccess: whether a learner passes, and which skills would change that, as messages.

Not here: the mathematics (methods/learning/certification.py, exam_skills.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from methods.learning.certification import Certified, SkillMastery, cohort_names, predict_passing
from methods.learning.certification_parameters import ExamKnowledge, parse_knowledge
from methods.learning.exam_skills import Answered, ExamPlan, masteries
from methods.learning.knowledge import Bank
from methods.statistics.bands import Interval
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.desired import Load
from server.errors import FieldViolation, InvalidField
from server.modules.learning.learner_knowledge import SECONDS_PER_DAY, Known, learner_known, seconds_of
from server.serving.answering import VersionFailed
from server.serving.load import Artifact, LoadRefused, ModelKind
from server.serving.predictor import Predictor, PredictorError, open_predictor
from server.serving.reasons import REASONS_MOST, top_reasons
from server.serving.whole import PARAMETERS, Moment, Whole
from server.serving.wire.reader import Reader, compile_reader

FEATURES = learning_pb2.PredictCertificationSuccessFeatures.DESCRIPTOR
GRAPH = "model.onnx"
WEAKEST_MOST = 5  # the contract's answer to an absent max_weakest_skills
STRANGERS_MOST = 5  # skills named that no exam asks
LIGHT_ENTRIES = 128  # events, states and skills of an exam, up to 8 microseconds each
DECISION_NOTE = "Not for employment decisions."
KNOWLEDGE_ONLY = "About knowledge alone: skill at the bedside cannot be read from a screen."
HANDS_ON_UNREAD = (
    "About knowledge alone: this version was fitted on no scores from the manikin, and does not read yours."
)
POSTERIOR = common_pb2.ESTIMATE_METHOD_POSTERIOR
UNIT = "log-odds against not knowing it"
USE = (
    "practice_minutes_28d",
    "active_days_28d",
    "days_since_last_practice",
    "answers_28d",
    "correct_share_28d",
    "assessments_submitted",
    "assessment_score_mean",
    "lessons_completed_share",
)
"""Fields of which any one says something of this very learner's work."""

Request, Response = learning_pb2.PredictCertificationSuccessRequest, learning_pb2.PredictCertificationSuccessResponse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExamVersion:
    """An opened certification artifact. `places` are each field's columns in the matrix."""

    knowledge: ExamKnowledge
    predictor: Predictor
    reader: Reader
    bank: Bank
    places: dict[str, list[int]]


def open_certification(artifact: Artifact, _load: Load) -> ExamVersion:
    """Open a certification artifact.

    Raises: LoadRefused: says what is wrong with it.
    """
    try:
        return opened(parse_knowledge(artifact.read_json(PARAMETERS)), artifact.read(GRAPH))
    except ValueError as cause:
        raise LoadRefused(f"{PARAMETERS}: {cause}") from cause
    except PredictorError as cause:
        raise LoadRefused(f"{GRAPH}: {cause}") from cause


def opened(knowledge: ExamKnowledge, graph: bytes) -> ExamVersion:
    """A version from parameters that are checked already.

    Raises: ValueError: its schema names a field that the contract has not. PredictorError: the graph does not fit it.
    """
    schema = knowledge.schema
    return ExamVersion(
        knowledge=knowledge,
        predictor=open_predictor(graph, width=len(schema.columns)),
        reader=compile_reader(FEATURES, schema, None),
        bank=Bank(base=knowledge.skills.share),
        places={name: [at for at, owner in enumerate(schema.owners) if owner == name] for name in schema.names},
    )


KIND = ModelKind(features=None, open=open_certification)


def solve(version: ExamVersion, request: Any, moment: Moment) -> Any:
    """The answer to one request.

    Raises: InvalidField: the exam is over. VersionFailed: the graph gives no number.
    """
    features, knowledge = request.features, version.knowledge
    _refuse_past_exam(features, moment.as_of)
    version.reader.unchecked(features, moment.as_of, version.predictor.row)
    margin = version.predictor.margin()
    if not math.isfinite(margin):
        raise VersionFailed(f"{METHOD.model} scored {margin}")
    name = _level(learning_pb2.Certification, features, "certification")
    plan = knowledge.exams.get(name or "")
    known, strangers = _without_strangers(
        learner_known(features.knowledge, version.bank, moment.as_of), knowledge, plan
    )
    cut = features.cut_score if features.HasField("cut_score") else None if plan is None else plan.cut_score
    skills = _skills(knowledge, known, plan)
    found = predict_passing(
        margin,
        knowledge.outcome,
        skills,
        cut_score=cut,
        weakest_most=request.max_weakest_skills if request.HasField("max_weakest_skills") else WEAKEST_MOST,
        groups=cohort_names(name, _level(common_pb2.ClinicalRole, features, "role")),
    )
    response: Any = Response(
        certification=features.certification,
        decision_note=DECISION_NOTE,
        scope_note=HANDS_ON_UNREAD if features.hands_on_scores else KNOWLEDGE_ONLY,
    )
    if features.HasField("exam_time"):
        response.exam_time.CopyFrom(features.exam_time)
    _fill(response, found, version)
    if request.context.explain:
        response.reasons.extend(_reasons(version, features, moment.as_of, margin, found, cut))
    if strangers:
        named = ", ".join(strangers[:STRANGERS_MOST]) + (", ..." if len(strangers) > STRANGERS_MOST else "")
        response.scope_note += f" Not counted, since no exam of this version asks them: {named}."
    _say(
        response,
        version,
        features,
        moment.as_of,
        known,
        is_unknown=bool(strangers) or (name is not None and plan is None),
    )
    return response


def is_light(request: Any) -> bool:
    """Whether the answer takes two milliseconds at most."""
    knowledge = request.features.knowledge
    return len(knowledge.history) + len(knowledge.skill_states) <= LIGHT_ENTRIES


METHOD = Whole(
    path="/paedsresus.ml.v1.LearningService/PredictCertificationSuccess",
    model="certification",
    request=Request,
    response=Response,
    solve=solve,
    is_light=is_light,
)


def _refuse_past_exam(features: Any, as_of: float) -> None:
    if features.HasField("exam_time") and seconds_of(features.exam_time) < as_of:
        text = "must not lie before as_of_time: that exam is over"
        raise InvalidField(
            f"features.exam_time {text}",
            metadata={"field": "features.exam_time"},
            field_violations=[FieldViolation(field="features.exam_time", description=text)],
        )


def _level(enum: Any, features: Any, field: str) -> str | None:
    """A field's value as the contract names it, without prefix; None when it is unknown."""
    number = getattr(features, field)
    if not number:
        return None
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return str(enum.Name(number).removeprefix(prefix))


def _without_strangers(known: Known, knowledge: ExamKnowledge, plan: ExamPlan | None) -> tuple[Known, list[str]]:
    """What is known but for skills that no exam of the version asks, and these; all of it without a plan."""
    if plan is None:
        return known, []
    asked = {skill for each in knowledge.exams.values() for skill in each.weights}
    strangers = {skill: state for skill, state in known.state.skills.items() if skill not in asked and state.answers}
    names = sorted({*strangers, *(known.masteries.keys() - asked)})
    answers = max(known.state.answers - sum(state.answers for state in strangers.values()), 0.0)
    correct = known.state.correct - sum(state.correct for state in strangers.values())
    kept = known.state._replace(
        answers=answers,
        correct=min(max(correct, 0.0), answers),
        skills={skill: state for skill, state in known.state.skills.items() if skill in asked},
    )
    return Known(kept, {skill: each for skill, each in known.masteries.items() if skill in asked}), names


def _skills(knowledge: ExamKnowledge, known: Known, plan: ExamPlan | None) -> Sequence[SkillMastery]:
    """What is known of the exam's skills; without a plan, of those that the caller knows, all of one weight."""
    if not known.state.answers and not known.masteries:
        return ()
    weights = plan.weights if plan is not None else dict.fromkeys(sorted({*known.state.skills, *known.masteries}), 1.0)
    return masteries(
        {skill: Answered(state.answers, state.correct) for skill, state in known.state.skills.items()},
        weights,
        knowledge.skills,
        total=Answered(known.state.answers, known.state.correct),
        given=known.masteries,
    )


def _fill(response: Any, found: Certified, version: ExamVersion) -> None:
    outcome = version.knowledge.outcome
    layer = outcome.plain if found.exam is None or outcome.skilled is None else outcome.skilled
    _estimate(response.pass_probability, found.passing, layer.band.level, common_pb2.ESTIMATE_METHOD_BOOTSTRAP)
    if found.exam is not None:
        of_score = POSTERIOR if outcome.score_reach is None else common_pb2.ESTIMATE_METHOD_CONFORMAL
        _estimate(response.expected_score, found.exam.score, layer.band.level, of_score)
    for weak in found.weakest:
        said = response.weakest_skills.add(skill_id=weak.skill_id)
        _estimate(said.mastery, weak.mastery, version.knowledge.skills.level)
        _estimate(said.pass_probability_gain, weak.gain, version.knowledge.skills.level)
    if found.facts is not None:
        facts = response.calibration
        facts.cohort, facts.brier_score = found.facts.cohort, found.facts.brier_score
        facts.expected_calibration_error = found.facts.calibration_error
        facts.observations = found.facts.observations
        facts.evaluation_time.FromSeconds(int(found.facts.evaluation_day * SECONDS_PER_DAY))


def _reasons(
    version: ExamVersion, features: Any, as_of: float, margin: float, found: Certified, cut: float | None
) -> list[common_pb2.Reason]:
    """What the log-odds would be without each field, and without what is known of skills; the largest differences."""
    outcome = version.knowledge.outcome
    layer = outcome.plain if found.exam is None or outcome.skilled is None else outcome.skilled
    given = [name for name in version.places if features.HasField(name)]
    contributions = [0.0] * len(version.knowledge.schema.columns)
    if given:
        rows = np.repeat(version.predictor.row, len(given), axis=0)
        for place, name in enumerate(given):
            rows[place, version.places[name]] = np.nan
        without = version.predictor.margins(rows).tolist()
        for name, score in zip(given, without, strict=True):
            contributions[version.places[name][0]] = layer.slope * (margin - score)
    reasons = top_reasons(version.knowledge.schema, contributions, features, as_of, event="passing")
    for reason in reasons:
        reason.unit = UNIT
    if found.exam is not None and cut is not None:
        moved = layer.logit(margin, found.exam.readiness) - outcome.plain.logit(margin)
        text = (
            f"What is known of the skills promises {found.exam.score.value:.0%} of the points, of {cut:.0%} needed. "
            f"This {'raises' if moved > 0 else 'lowers'} the chance of passing."
        )
        reasons.append(common_pb2.Reason(feature="knowledge", contribution=moved, unit=UNIT, text=text))
    return sorted(reasons, key=lambda reason: -abs(reason.contribution))[:REASONS_MOST]


def _say(response: Any, version: ExamVersion, features: Any, as_of: float, known: Known, *, is_unknown: bool) -> None:
    """How much is known of this very learner, and what the version was not fitted on."""
    info = response.info
    if known.state.answers or known.masteries:
        info.evidence = common_pb2.EVIDENCE_PERSONAL
        info.observations = int(known.state.answers) or len(known.masteries)  # a mastery told is one, too
    elif not any(features.HasField(name) for name in USE):
        info.warnings.append(common_pb2.WARNING_COLD_START)
    ahead = (seconds_of(features.exam_time) - as_of) / SECONDS_PER_DAY if features.HasField("exam_time") else 0.0
    if is_unknown or ahead > version.knowledge.longest_days:
        info.warnings.append(common_pb2.WARNING_OUT_OF_RANGE)


def _estimate(estimate: Any, value: Interval, level: float, method: Any = POSTERIOR) -> None:
    estimate.value, estimate.lower, estimate.upper = value
    estimate.level, estimate.method = level, method
