"""What is known of each learner as of a time, as the message that a feature snapshot holds for the methods of learning.

The newest answers stand as they are, older ones are folded into states (methods/learning/record.py), so that a method
that is asked by id reads what a caller with the platform's tables would have sent. Nothing later is looked at.
Not here: the snapshot's layout and its registration (training/data/snapshots.py, training/snapshot.py).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import ibis
import pandas as pd

from methods.learning import knowledge, record
from methods.learning.knowledge import START_SHARE, Event
from methods.learning.record import Answered, Record, new_record, remember
from methods.snapshot import Folded, fold_events
from paedsresus.ml.v1 import common_pb2, learning_pb2
from training.data.mart import Mart
from training.features.digest import digest_code
from training.features.landmarks import as_frame

MESSAGE: Final = learning_pb2.LearnerFeatures
SECONDS_PER_DAY: Final = 86_400.0
MONTH: Final = timedelta(days=28)
LESSONS_MOST: Final = 5_000  # the contract's


def learner_features(mart: Mart, *, as_of: datetime) -> Iterator[tuple[str, learning_pb2.LearnerFeatures]]:
    """Every learner with an account at `as_of`, by id."""
    users, answers, sessions = _read(mart, as_of)
    answered, studied = _by_user(answers), _by_user(sessions)
    month_ago = pd.Timestamp(as_of) - MONTH
    for user_id, role, years in zip(*(users[name].tolist() for name in users.columns), strict=True):
        features = MESSAGE()
        if user_id in answered:
            write_record(fold_answers(answered[user_id]), features.knowledge)
        if user_id in studied:
            finished = (lesson for _, _, lessons, lesson in studied[user_id] if lessons and isinstance(lesson, str))
            features.completed_lesson_ids.extend([*dict.fromkeys(finished)][:LESSONS_MOST])
            features.minutes_28d = sum(minutes for began, minutes, *_ in studied[user_id] if began > month_ago)
        if isinstance(role, str):
            features.role = common_pb2.ClinicalRole.Value(f"CLINICAL_ROLE_{role}")
        if pd.notna(years):
            features.years_of_experience = float(years)
        yield user_id, features


def fold_answers(answers: Iterable[tuple[str, str, bool, float, float]]) -> Record[tuple[str, float]]:
    """The record of one learner's answers: (skill_id, item_id, correct, days since 1970, seconds spent or NaN)."""
    empty: Record[tuple[str, float]] = new_record()
    events = [
        (days, Answered(Event(skill_id, float(correct), START_SHARE, days), (item_id, seconds)))
        for skill_id, item_id, correct, days, seconds in answers
    ]
    return fold_events(Folded(empty, float("-inf")), events, remember, until=float("inf")).state


def write_record(held: Record[tuple[str, float]], knowledge: Any) -> None:
    """A record as the contract's LearnerKnowledge; what was never answered stays absent."""
    state = held.state
    for skill_id, skill in state.skills.items():
        entry = knowledge.skill_states.add(
            skill_id=skill_id,
            answers=int(skill.answers),
            correct_answers=int(skill.correct),
            recent_correct_share=skill.recent,
            last_correct=None if skill.last is None else bool(skill.last),
        )
        entry.last_event_time.FromMicroseconds(_microseconds(skill.days))
    if state.answers:
        knowledge.answers, knowledge.correct_answers = int(state.answers), int(state.correct)
        knowledge.slow_correct_share, knowledge.fast_correct_share = state.slow, state.fast
    for event, (item_id, seconds) in held.newest:
        said = knowledge.history.add(
            skill_id=event.skill_id,
            item_id=item_id,
            correct=bool(event.outcome),
            assessor=learning_pb2.ASSESSOR_APPLICATION,
        )
        said.event_time.FromMicroseconds(_microseconds(event.days))
        if pd.notna(seconds):
            said.time_spent.FromMilliseconds(round(seconds * 1e3))


def expressions_digest() -> str:
    """sha256 over the code that computes these features: part of the feature set of snapshot and versions."""
    sources = (__file__, str(record.__file__), str(knowledge.__file__))
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


def _by_user(rows: pd.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    """Rows without their first column, the user, by user; lists, since a cell of a frame costs a microsecond."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for user_id, *row in zip(*(rows[name].tolist() for name in rows.columns), strict=True):
        found.setdefault(user_id, []).append(tuple(row))
    return found


def _microseconds(days: float | None) -> int:
    """Since 1970, of days since then; microseconds are what a day as float64 still holds."""
    return round((days or 0.0) * SECONDS_PER_DAY * 1e6)


def _read(mart: Mart, as_of: datetime) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Users, their judged answers and their ended sessions up to a time, oldest first."""
    connection = mart.connect()
    try:
        tables = connection.tables
        moment = ibis.literal(as_of.astimezone(UTC))
        users = tables["users"]
        users = users.filter(users.joined_at <= moment).select("user_id", "role", "experience_years")
        answers = tables["answers"]
        answers = answers.filter(answers.answered_at <= moment)
        answers = answers.join(tables["items"].select("item_id", "skill_id"), "item_id").select(
            "user_id", "skill_id", "item_id", "correct", "answered_at", "seconds"
        )
        sessions = tables["sessions"]
        sessions = sessions.filter(sessions.ended_at <= moment).select(
            "user_id", "started_at", "minutes", "lessons_finished", "lesson_id"
        )
        judged = as_frame(answers.order_by("user_id", "answered_at", "item_id"))
        judged["answered_at"] = (judged["answered_at"] - pd.Timestamp(0, tz=UTC)) / pd.Timedelta(days=1)
        return as_frame(users.order_by("user_id")), judged, as_frame(sessions.order_by("user_id", "started_at"))
    finally:
        connection.backend.disconnect()
