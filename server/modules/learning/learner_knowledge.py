"""What a request says of a learner's answers, as the state that the methods fold: stored states, then later events.

Not here: the fold (methods/learning/knowledge.py); what other methods read from the same message (generate_path.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from methods.learning.knowledge import (
    NEW_LEARNER,
    Bank,
    Event,
    LearnerState,
    SkillState,
    fold_all,
    newer_events,
)
from paedsresus.ml.v1 import learning_pb2

SECONDS_PER_DAY = 86_400.0


class Known(NamedTuple):
    """A learner as of a moment.

    Attributes:
        state: all that was answered by then.
        masteries: chance that a skill is known, as the caller gave it; only where no event is later than the state.
    """

    state: LearnerState
    masteries: dict[str, float]


def learner_known(knowledge: Any, bank: Bank, as_of: float) -> Known:
    """The learner as of that moment, seconds since 1970; what happened later is left out."""
    stored = _stored(knowledge, bank)
    dated = ((event, seconds_of(event.event_time)) for event in sorted(knowledge.history, key=what_happened))
    newer = newer_events(stored, [_event(event, bank, ended) for event, ended in dated if ended <= as_of])
    moved = {event.skill_id for event in newer}
    masteries = {
        state.skill_id: state.mastery
        for state in knowledge.skill_states
        if state.HasField("mastery") and state.skill_id not in moved
    }
    return Known(fold_all(stored, newer), masteries)


def what_happened(event: Any) -> tuple[str, str, float]:
    """Sorts the events of one moment: callers send them in any order, and a fold must not hang on it."""
    return event.skill_id, event.item_id, event.score if event.HasField("score") else float(event.correct)


def seconds_of(timestamp: Any) -> float:
    """Seconds since 1970 of a Timestamp."""
    return float(timestamp.seconds + timestamp.nanos * 1e-9)


def _stored(knowledge: Any, bank: Bank) -> LearnerState:
    """The stored states and totals. What a caller does not keep is unknown, unless nothing was answered yet."""
    skills = {state.skill_id: _skill(state, bank) for state in knowledge.skill_states}
    answers = float(knowledge.answers) if knowledge.HasField("answers") else sum(s.answers for s in skills.values())
    if not answers:
        return NEW_LEARNER._replace(skills=skills)
    correct = sum(skill.correct for skill in skills.values())
    return LearnerState(
        answers=answers,
        correct=float(knowledge.correct_answers) if knowledge.HasField("correct_answers") else min(correct, answers),
        slow=knowledge.slow_correct_share if knowledge.HasField("slow_correct_share") else None,
        fast=knowledge.fast_correct_share if knowledge.HasField("fast_correct_share") else None,
        surprises=None,
        skill_id=None,
        run=None,
        skills=skills,
    )


def _skill(state: Any, bank: Bank) -> SkillState:
    """One stored state; without a number of right answers the recent share, else an average learner's, stands in."""
    days = seconds_of(state.last_event_time) / SECONDS_PER_DAY if state.HasField("last_event_time") else None
    if not state.answers:
        return SkillState(days=days)
    recent = state.recent_correct_share if state.HasField("recent_correct_share") else None
    share = bank.expect(state.skill_id) if recent is None else recent
    return SkillState(
        answers=float(state.answers),
        correct=float(state.correct_answers) if state.HasField("correct_answers") else share * state.answers,
        recent=recent,
        surprise=None,
        last=float(state.last_correct) if state.HasField("last_correct") else None,
        streak=None,
        position=None,
        days=days,
    )


def _event(event: Any, bank: Bank, ended: float) -> Event:
    """One event; what learners said of themselves is no evidence."""
    kind = event.WhichOneof("outcome") if event.assessor != learning_pb2.ASSESSOR_SELF else None
    outcome = None if kind is None else float(event.correct) if kind == "correct" else event.score
    return Event(event.skill_id, outcome, bank.expect(event.skill_id, event.item_id), ended / SECONDS_PER_DAY)
