"""AdjustDifficulty: a learner's ability in one skill, and which item to show next, as messages.

Not here: the mathematics (methods/learning/item_response.py); which version answers (serving/whole.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from methods.learning.item_response import (
    MAX_ASSESSMENT_ITEMS,
    STOP_STANDARD_ERROR,
    TARGET_SUCCESS,
    Ability,
    DifficultyParameters,
    Item,
    ItemAnswer,
    age_ability,
    answer_effects,
    decide_stop,
    direction,
    estimate_ability,
    item_chance,
    known_item,
    move_item,
    parse_parameters,
    practice_difficulty,
    rank_for_assessment,
    rank_for_practice,
)
from paedsresus.ml.v1 import common_pb2, learning_pb2
from server.serving.load import ModelKind
from server.serving.whole import Moment, Whole, open_parameters

SECONDS_PER_DAY = 86_400.0
REASONS_MOST = 5
EXPLAINED_MOST = 20  # newest answers that are left out one by one to see what each moved
LIGHT_ENTRIES = 256  # answers and items, 5 to 8 microseconds each

Request, Response = learning_pb2.AdjustDifficultyRequest, learning_pb2.AdjustDifficultyResponse
KIND = ModelKind(features=None, open=open_parameters(parse_parameters))


class _Judged(NamedTuple):
    """One judged answer in the skill, and its place in the request's history."""

    place: int
    item_id: str
    answer: ItemAnswer


def solve(parameters: DifficultyParameters, request: Any, moment: Moment) -> Any:
    """The answer to one request."""
    features = request.features
    items = {item.item_id: _item(parameters, item) for item in (*request.candidate_items, *request.answered_items)}
    prior, counted_until, counted = _prior(parameters, request, moment.as_of)
    judged = _judged(parameters, request, items, moment.as_of, counted_until)
    ability = estimate_ability([each.answer for each in judged], parameters, prior)
    is_practice = request.mode == learning_pb2.DIFFICULTY_MODE_PRACTICE
    target = request.target_success if request.HasField("target_success") else TARGET_SUCCESS
    choice = _choice(request)
    response: Any = Response(
        ability_standard_error=ability.standard_error,
        next_difficulty_logit=(
            practice_difficulty(ability, parameters.average.discrimination, target) if is_practice else ability.mean
        ),
    )
    _fill(response.ability, ability.mean, *ability.interval(parameters.level), parameters.level)
    action = direction(response.next_difficulty_logit, _last_difficulty(features, judged))
    response.action = learning_pb2.DifficultyAction.Value(f"DIFFICULTY_ACTION_{action.value}")
    chosen = [items[name] for name in choice]
    order = rank_for_practice(ability, chosen, target) if is_practice else rank_for_assessment(ability, chosen)
    for place in order:
        chance = item_chance(ability, chosen[place], parameters)
        ranked = response.ranked_items.add(item_id=choice[place], information=chance.information, propensity=1.0)
        _fill(ranked.correct_probability, chance.value, chance.lower, chance.upper, parameters.level)
    response.stop_decision = _stop(request, ability, len(choice))
    _update_items(response, features.seen_item_ids, judged, prior)
    if request.context.explain:
        _explain(response, judged, parameters, prior)
    _say(response, counted + len(judged), prior)
    return response


def is_light(request: Any) -> bool:
    """Whether the answer takes two milliseconds at most."""
    answers = len(request.features.knowledge.history)
    return answers + len(request.candidate_items) + len(request.answered_items) <= LIGHT_ENTRIES


METHOD = Whole(
    path="/paedsresus.ml.v1.LearningService/AdjustDifficulty",
    model="difficulty",
    request=Request,
    response=Response,
    solve=solve,
    is_light=is_light,
)


def _item(parameters: DifficultyParameters, given: Any) -> Item:
    return known_item(
        parameters,
        given.item_id,
        difficulty_logit=given.difficulty_logit if given.HasField("difficulty_logit") else None,
        discrimination=given.discrimination if given.HasField("discrimination") else None,
        calibration_answers=given.calibration_answers if given.HasField("calibration_answers") else None,
    )


def _judged(
    parameters: DifficultyParameters, request: Any, items: dict[str, Item], as_of: float, counted_until: float
) -> list[_Judged]:
    """Judged answers in the skill after what is counted already, up to `as_of`, oldest first."""
    found = []
    for place, event in enumerate(request.features.knowledge.history):
        outcome = event.WhichOneof("outcome")
        ended = _seconds(event.event_time)
        is_judged = outcome is not None and event.assessor != learning_pb2.ASSESSOR_SELF
        if event.skill_id != request.skill_id or not is_judged or not counted_until < ended <= as_of:
            continue
        item = items.get(event.item_id) or known_item(parameters, event.item_id)
        score = float(event.correct) if outcome == "correct" else event.score
        answer = ItemAnswer(item=item, score=score, age_days=(as_of - ended) / SECONDS_PER_DAY)
        found.append(_Judged(place, event.item_id, answer))
    return sorted(found, key=lambda each: (-each.answer.age_days, each.item_id, each.answer.score))


def _prior(parameters: DifficultyParameters, request: Any, as_of: float) -> tuple[Ability | None, float, int]:
    """What a stored state says of the ability, None without one; until when it holds answers, and how many."""
    for state in request.features.knowledge.skill_states:
        if state.skill_id != request.skill_id:
            continue
        if not (state.HasField("ability_logit") and state.HasField("ability_standard_error")):
            break
        known = Ability(mean=state.ability_logit, standard_error=state.ability_standard_error)
        if not state.HasField("last_event_time"):
            return known, -math.inf, state.answers
        until = _seconds(state.last_event_time)
        return age_ability(known, max(as_of - until, 0.0) / SECONDS_PER_DAY, parameters), until, state.answers
    return None, -math.inf, 0


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds + timestamp.nanos * 1e-9)


def _choice(request: Any) -> list[str]:
    """Candidates that may be shown: not seen in this session, and not seen by too many."""
    seen = set(request.features.seen_item_ids)
    most = request.max_exposure_share if request.HasField("max_exposure_share") else 1.0
    return list(
        dict.fromkeys(
            item.item_id for item in request.candidate_items if item.item_id not in seen and item.exposure_share <= most
        )
    )


def _last_difficulty(features: Any, judged: Sequence[_Judged]) -> float:
    if features.HasField("current_difficulty_logit"):
        return float(features.current_difficulty_logit)
    return judged[-1].answer.item.difficulty_logit if judged else 0.0


def _stop(request: Any, ability: Ability, left: int) -> int:
    if request.mode == learning_pb2.DIFFICULTY_MODE_PRACTICE:
        return learning_pb2.STOP_DECISION_CONTINUE
    stop = decide_stop(
        ability.standard_error,
        len(request.features.seen_item_ids),
        left,
        stop_standard_error=(
            request.stop_standard_error if request.HasField("stop_standard_error") else STOP_STANDARD_ERROR
        ),
        max_items=request.max_assessment_items if request.HasField("max_assessment_items") else MAX_ASSESSMENT_ITEMS,
    )
    return learning_pb2.StopDecision.Value(f"STOP_DECISION_{stop.value}")


def _update_items(response: Any, seen: Sequence[str], judged: Sequence[_Judged], prior: Ability | None) -> None:
    """Items of this session that are not calibrated, moved by their newest answer.

    Answers of earlier sessions have moved them then. The ability is that before any answer: the item must not be
    judged by an ability that it has made itself.
    """
    newest = {each.item_id: each for each in judged if each.item_id in set(seen)}
    for item_id, each in newest.items():
        moved = move_item(each.answer.item, each.answer.score, prior or Ability())
        if moved != each.answer.item:
            response.item_updates.add(
                item_id=item_id,
                difficulty_logit=moved.difficulty_logit,
                calibration_answers=moved.calibration_answers,
            )


def _explain(
    response: Any,
    judged: Sequence[_Judged],
    parameters: DifficultyParameters,
    prior: Ability | None,
) -> None:
    """What the ability would be without each of the newest answers; the largest differences are the reasons."""
    moved = answer_effects([each.answer for each in judged], parameters, prior, newest=EXPLAINED_MOST)
    effects = zip(moved, judged[-EXPLAINED_MOST:], strict=True)
    for effect, each in sorted(effects, key=lambda pair: -abs(pair[0]))[:REASONS_MOST]:
        how = "right" if each.answer.score >= 0.5 else "wrong"
        response.reasons.add(
            feature=f"knowledge.history[{each.place}]",
            contribution=effect,
            unit="logits",
            text=f"The answer to item {each.item_id or 'of unknown name'} was {how}: "
            f"the ability is {abs(effect):.2f} logits {'higher' if effect >= 0 else 'lower'} for it.",
        )


def _say(response: Any, answers: int, prior: Ability | None) -> None:
    """How much is known of this very learner, from so many answers in the skill, stored ones among them."""
    if answers or prior is not None:
        response.info.evidence = common_pb2.EVIDENCE_PERSONAL
        response.info.observations = answers
    else:
        response.info.warnings.append(common_pb2.WARNING_COLD_START)


def _fill(estimate: Any, value: float, lower: float, upper: float, level: float) -> None:
    estimate.value, estimate.lower, estimate.upper = value, lower, upper
    estimate.level, estimate.method = level, common_pb2.ESTIMATE_METHOD_POSTERIOR
