"""GeneratePath: an order of lessons towards a goal, as messages.

Not here: the mathematics (methods/learning/path.py, mastery.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

import math
from typing import Any

from methods.learning.mastery import Belief, Learner, Practice, SkillSummary, infer_learner
from methods.learning.path import MASTERY_TARGET, LearningPath, PathGoal, PathLesson, plan_path
from methods.learning.path_parameters import PathParameters, parse_path
from methods.learning.prerequisites import PrerequisiteCycle, PrerequisiteGraph, prerequisite_graph
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.errors import InvalidField, WrongState
from server.modules.learning.learner_knowledge import what_happened
from server.serving.load import ModelKind
from server.serving.whole import Moment, Whole, open_parameters

SECONDS_A_MINUTE, SECONDS_A_DAY = 60.0, 86_400.0

Request, Response = learning_pb2.GeneratePathRequest, learning_pb2.GeneratePathResponse
KIND = ModelKind(features=None, open=open_parameters(parse_path))


def solve(parameters: PathParameters, request: Any, moment: Moment) -> Any:
    """The answer to one request."""
    learner = _learner(parameters, request.features.knowledge, moment.as_of)
    lessons = [_lesson(lesson) for lesson in request.available_lessons]
    goal = _goal(parameters, request, moment.as_of)
    _check(lessons, goal)
    try:
        # Of two lessons that are worth the same, the order of the ids decides: callers list lessons in any order.
        by_id = sorted(lessons, key=lambda lesson: lesson.lesson_id)
        path = plan_path(by_id, _graph(parameters, request), goal, learner)
    except PrerequisiteCycle as cycle:
        raise InvalidField.of("available_lessons", str(cycle), rule="cycle") from cycle
    response = _response(path, learner)
    places = {lesson.lesson_id: place for place, lesson in enumerate(lessons)}
    response.skipped.sort(key=lambda skipped: places[skipped.lesson_id])
    if learner.skills:
        response.info.evidence = common_pb2.EVIDENCE_PERSONAL
        response.info.observations = learner.answers
    else:
        response.info.warnings.append(common_pb2.WARNING_COLD_START)
    return response


METHOD = Whole(
    path="/paedsresus.ml.v1.LearningService/GeneratePath",
    model="path",
    request=Request,
    response=Response,
    solve=solve,
)


def _lesson(lesson: Any) -> PathLesson:
    return PathLesson(
        lesson.lesson_id,
        tuple(lesson.skill_ids),
        _minutes(lesson.duration),
        tuple(lesson.prerequisite_lesson_ids),
        lesson.difficulty_logit,  # 0 when absent: average, as the contract says
    )


def _goal(parameters: PathParameters, request: Any, as_of: float) -> PathGoal:
    target = _seconds(request.target_time) if request.HasField("target_time") else None
    return PathGoal(
        target_skills=_targets(parameters, request),
        minutes_per_week=_minutes(request.study_time_per_week),
        days=None if target is None else max(0.0, (target - as_of) / SECONDS_A_DAY),
        mastery_target=request.mastery_target if request.HasField("mastery_target") else MASTERY_TARGET,
        must_include=tuple(request.must_include_lesson_ids),
        completed=frozenset(request.features.completed_lesson_ids),
    )


def _targets(parameters: PathParameters, request: Any) -> tuple[str, ...]:
    if request.WhichOneof("goal") == "target_skills":
        return tuple(request.target_skills.skill_ids)
    name = learning_pb2.Certification.Name(request.target_certification).removeprefix("CERTIFICATION_")
    skills = parameters.certifications.get(name)
    if not skills:
        known = ", ".join(sorted(parameters.certifications)) or "none"
        raise WrongState(
            f"the version that answers knows no skills of {name}; send `target_skills`, or ask for one of: {known}",
            metadata={"certification": name, "known": known},
        )
    return skills


def _graph(parameters: PathParameters, request: Any) -> PrerequisiteGraph[str]:
    if not request.skill_prerequisites:
        return parameters.graph
    try:
        return prerequisite_graph((pair.skill_id, pair.required_skill_id) for pair in request.skill_prerequisites)
    except PrerequisiteCycle as cycle:
        raise InvalidField.of("skill_prerequisites", str(cycle), rule="cycle") from cycle


def _check(lessons: list[PathLesson], goal: PathGoal) -> None:
    """Raises InvalidField for what the contract's rules cannot say: ids that stand twice, or name nothing."""
    ids: set[str] = set()
    for place, lesson in enumerate(lessons):
        if lesson.lesson_id in ids:
            raise InvalidField.of(f"available_lessons[{place}].lesson_id", "another lesson has this id", rule="unique")
        ids.add(lesson.lesson_id)
    for place, name in enumerate(goal.must_include):
        if name not in ids:
            raise InvalidField.of(
                f"must_include_lesson_ids[{place}]", "must be among available_lessons", rule="available"
            )


def _learner(parameters: PathParameters, knowledge: Any, as_of: float) -> Learner:
    """What is believed of the learner, after states and the events that are later than their skill's state."""
    summaries, until = {}, {}
    for state in knowledge.skill_states:
        summaries[state.skill_id] = _summary(state)
        until[state.skill_id] = _seconds(state.last_event_time) if state.HasField("last_event_time") else -math.inf
    dated = []
    for event in sorted(knowledge.history, key=what_happened):
        ended = _seconds(event.event_time)
        if until.get(event.skill_id, -math.inf) < ended <= as_of:
            dated.append((ended, _practice(event)))
    dated.sort(key=lambda pair: pair[0])
    return infer_learner(parameters.mastery, [practice for _, practice in dated], summaries)


def _summary(state: Any) -> SkillSummary:
    return SkillSummary(
        answers=float(state.answers),
        correct=float(state.correct_answers) if state.HasField("correct_answers") else None,
        recent_share=state.recent_correct_share if state.HasField("recent_correct_share") else None,
        mastery=state.mastery if state.HasField("mastery") else None,
    )


def _practice(event: Any) -> Practice:
    """An event; what learners said of themselves is time spent, and no evidence."""
    kind = event.WhichOneof("outcome") if event.assessor != learning_pb2.ASSESSOR_SELF else None
    outcome = None if kind is None else float(event.correct) if kind == "correct" else event.score
    return Practice(event.skill_id, _minutes(event.time_spent), outcome)


def _response(path: LearningPath, learner: Learner) -> Any:
    level = learner.parameters.level
    response: Any = Response(prerequisite_violations=path.violations)
    for position, step in enumerate(path.steps, start=1):
        said = response.steps.add(position=position, lesson_id=step.lesson_id, week=step.week, reason=step.reason)
        said.planned_duration.FromMilliseconds(_milliseconds(step.minutes))
        for gain in step.gains:
            entry = said.skill_gains.add(skill_id=gain.skill_id)
            _fill(entry.mastery_before, gain.before, level)
            _fill(entry.mastery_after, gain.after, level)
    for skip in path.skipped:
        left = response.skipped.add(lesson_id=skip.lesson_id, text=skip.text)
        left.skip_reason = learning_pb2.SkipReason.Value(f"SKIP_REASON_{skip.reason.value}")
        if skip.mastery is not None:
            _fill(left.mastery, skip.mastery, level)
    response.total_duration.FromMilliseconds(_milliseconds(path.total_minutes))
    if path.shortfall_minutes is not None:
        response.shortfall_duration.FromMilliseconds(_milliseconds(path.shortfall_minutes))
    _fill(response.ready_probability, path.ready, level)
    return response


def _fill(estimate: Any, belief: Belief, level: float) -> None:
    estimate.value, estimate.lower, estimate.upper = belief
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR


def _minutes(duration: Any) -> float:
    return float(duration.seconds + duration.nanos * 1e-9) / SECONDS_A_MINUTE


def _milliseconds(minutes: float) -> int:
    return round(minutes * SECONDS_A_MINUTE * 1e3)


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds + timestamp.nanos * 1e-9)
