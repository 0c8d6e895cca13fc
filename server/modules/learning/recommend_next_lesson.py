"""RecommendNextLesson: lessons by the mastery they add for each minute, as messages.

Not here: the mathematics (methods/learning/lessons.py); which version answers, and chance (serving/whole.py).
"""

from __future__ import annotations

from typing import Any

from methods.learning.lessons import (
    Circumstances,
    LessonChoice,
    LessonParameters,
    RankedLesson,
    parse_lessons,
    recommend,
)
from methods.statistics.bands import Interval
from methods.statistics.bootstrap import LEVEL
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.modules.learning.learner_knowledge import SECONDS_PER_DAY, learner_known
from server.serving.load import ModelKind
from server.serving.whole import Moment, Whole, open_parameters

SECONDS_PER_MINUTE = 60.0
LESSONS_MOST = 3  # the contract's answer to an absent max_lessons
EXPERIMENT = "lessons.first_place"  # what is drawn when the method explores
LIGHT_ENTRIES = 128  # answers, states, and skills of candidates, about 15 microseconds each

Request, Response = learning_pb2.RecommendNextLessonRequest, learning_pb2.RecommendNextLessonResponse
KIND = ModelKind(features=None, open=open_parameters(parse_lessons))


def solve(parameters: LessonParameters, request: Any, moment: Moment) -> Any:
    """The answer to one request."""
    known = learner_known(request.features.knowledge, parameters.knowledge.bank, moment.as_of)
    lessons = {lesson.lesson_id: lesson for lesson in map(_lesson, reversed(request.candidates))}
    found = recommend(
        known.state,
        list(lessons.values())[::-1],
        parameters,
        _circumstances(request, known.masteries, moment.as_of),
        most=request.max_lessons if request.HasField("max_lessons") else LESSONS_MOST,
        chance=None if request.disable_exploration else moment.chance(),
    )
    response: Any = Response(explored=found.explored)
    for ranked in found.lessons:
        _add(response, ranked, lessons[ranked.lesson_id], parameters)
    info = response.info
    info.warnings.append(common_pb2.WARNING_NO_RANDOMISED_EVIDENCE)  # a gain is an effect, and nobody was randomised
    if known.state.answers or known.masteries:
        info.evidence = common_pb2.EVIDENCE_PERSONAL
        info.observations = int(known.state.answers)
    else:
        info.warnings.append(common_pb2.WARNING_COLD_START)
    if found.explored:
        first = found.lessons[0]
        info.experiment.CopyFrom(
            common_pb2.ExperimentArm(id=EXPERIMENT, arm=first.lesson_id, propensity=first.propensity)
        )
    return response


def is_light(request: Any) -> bool:
    """Whether the answer takes two milliseconds at most."""
    knowledge = request.features.knowledge
    taught = sum(len(lesson.skill_ids) for lesson in request.candidates)
    return len(knowledge.history) + len(knowledge.skill_states) + taught <= LIGHT_ENTRIES


METHOD = Whole(
    path="/paedsresus.ml.v1.LearningService/RecommendNextLesson",
    model="lessons",
    request=Request,
    response=Response,
    solve=solve,
    is_light=is_light,
)


def _lesson(lesson: Any) -> LessonChoice:
    return LessonChoice(
        lesson.lesson_id,
        tuple(lesson.skill_ids),
        _minutes(lesson.duration),
        tuple(lesson.prerequisite_lesson_ids),
        lesson.difficulty_logit,  # 0 when absent: average, as the contract says
    )


def _circumstances(request: Any, masteries: dict[str, float], as_of: float) -> Circumstances:
    features = request.features
    return Circumstances(
        days=as_of / SECONDS_PER_DAY,
        completed=frozenset(features.completed_lesson_ids),
        recent=tuple(features.recent_lesson_ids),
        excluded=frozenset(request.exclude_lesson_ids),
        minutes_available=_minutes(request.time_available) if request.HasField("time_available") else None,
        minutes_today=features.minutes_today if features.HasField("minutes_today") else None,
        completion_share=features.completion_share_28d if features.HasField("completion_share_28d") else None,
        masteries=masteries,
    )


def _add(response: Any, ranked: RankedLesson, lesson: LessonChoice, parameters: LessonParameters) -> None:
    """One lesson of the answer."""
    said = response.lessons.add(
        lesson_id=ranked.lesson_id, score=ranked.score, propensity=ranked.propensity, reason=_reason(ranked, lesson)
    )
    _fill(said.mastery_gain, ranked.gain, parameters.mastery.level, common_pb2.ESTIMATE_METHOD_POSTERIOR)
    _fill(said.correct_probability, ranked.correct, parameters.band.level, common_pb2.ESTIMATE_METHOD_BOOTSTRAP)
    if ranked.completion is not None:
        _fill(said.completion_probability, ranked.completion, LEVEL, common_pb2.ESTIMATE_METHOD_CONFORMAL)


def _reason(ranked: RankedLesson, lesson: LessonChoice) -> str:
    """Why the lesson stands here, in one sentence for the learner."""
    skill = f"{ranked.weakest_skill_id}, which you know with a chance of {ranked.mastery.value:.0%}"
    if ranked.drawn:
        return f"Tried out by chance, to find out what helps learners: it teaches {skill}."
    return f"It teaches {skill}, and should add {ranked.gain.value:.0%} in its {lesson.minutes:.0f} minutes."


def _fill(estimate: Any, interval: Interval, level: float, method: Any) -> None:
    estimate.value, estimate.lower, estimate.upper = interval
    estimate.level, estimate.method = level, method


def _minutes(duration: Any) -> float:
    return float(duration.seconds + duration.nanos * 1e-9) / SECONDS_PER_MINUTE
