"""What is known of each learner as of a time, as the message that a feature snapshot holds for the methods of learning.

The newest answers stand as they are, older ones are folded into states: counts (methods/learning/record.py), memory and
ability (folding.py), so that a method that is asked by id says what it would say to a caller who sends every answer.
Nothing later is looked at.
Not here: the snapshot's layout and its registration (training/data/snapshots.py, training/snapshot.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple

import ibis
import pandas as pd

from methods.learning import item_response, knowledge, memory, record
from methods.learning.knowledge import START_SHARE, Event
from methods.learning.record import Answered, Record, new_record, remember
from methods.snapshot import Folded, fold_events
from paedsresus.ml.v1 import common_pb2, learning_pb2
from training.data.mart import Mart
from training.features import folding as folding_code
from training.features.digest import digest_code
from training.features.folding import PRIOR, FoldedSkill, Folding, fold_older
from training.features.landmarks import as_frame

MESSAGE: Final = learning_pb2.LearnerFeatures
SECONDS_PER_DAY: Final = 86_400.0
MONTH: Final = timedelta(days=28)
EPOCH: Final = pd.Timestamp(0, tz=UTC)
DAY, YEAR = pd.Timedelta(days=1), pd.Timedelta(days=365.25)
LESSONS_MOST: Final = 5_000  # the contract's


def learner_features(
    mart: Mart, *, as_of: datetime, folding: Folding = PRIOR
) -> Iterator[tuple[str, learning_pb2.LearnerFeatures]]:
    """Every learner with an account at `as_of`, by id; `folding`: what older answers leave of memory and ability."""
    found = _read(mart, as_of)
    kinds = dict(_rows(found.skills))
    answered, studied, sat = (_by_user(rows) for rows in (found.answers, found.sessions, found.exams))
    now = pd.Timestamp(as_of)
    for user_id, role, years, certification, joined in _rows(found.users):
        features = MESSAGE()
        answers, sessions = answered.get(user_id, []), studied.get(user_id, [])
        if answers:
            held = fold_answers(answers)
            older = answers[: len(answers) - len(held.newest)]
            write_record(held, features.knowledge, fold_older(older, kinds, folding) if older else {})
        if sessions:
            ended = [session for session in sessions if session[-1]]
            finished = (lesson for _, _, lessons, lesson, _ in ended if lessons and isinstance(lesson, str))
            features.completed_lesson_ids.extend([*dict.fromkeys(finished)][:LESSONS_MOST])
        _write_use(features, answers, sessions, now)
        if isinstance(role, str):
            features.role = common_pb2.ClinicalRole.Value(f"CLINICAL_ROLE_{role}")
        if pd.notna(years):
            features.years_of_experience = float(years) + (now - joined) / YEAR
        features.enrolled_days = (now - joined) / DAY
        if isinstance(certification, str):
            features.certification = learning_pb2.Certification.Value(f"CERTIFICATION_{certification}")
            _write_exams(features, [exam for exam in sat.get(user_id, []) if exam[0] == certification], now)
        yield user_id, features


def fold_answers(answers: Iterable[tuple[str, str, bool, float, float]]) -> Record[tuple[str, float]]:
    """The record of one learner's answers: (skill_id, item_id, correct, days since 1970, seconds spent or NaN)."""
    empty: Record[tuple[str, float]] = new_record()
    events = [
        (days, Answered(Event(skill_id, float(correct), START_SHARE, days), (item_id, seconds)))
        for skill_id, item_id, correct, days, seconds in answers
    ]
    return fold_events(Folded(empty, float("-inf")), events, remember, until=float("inf")).state


def write_record(held: Record[tuple[str, float]], knowledge: Any, folded: Mapping[str, FoldedSkill]) -> None:
    """A record as the contract's LearnerKnowledge, with what its older answers left; what never was stays absent."""
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
        left = folded[skill_id]
        entry.stability_days, entry.memory_difficulty = left.stability_days, left.memory_difficulty
        entry.ability_logit, entry.ability_standard_error = left.ability.mean, left.ability.standard_error
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
    modules = (record, knowledge, folding_code, memory, item_response)
    sources = (__file__, *(str(module.__file__) for module in modules))
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


def _write_use(
    features: learning_pb2.LearnerFeatures,
    answers: Sequence[tuple[Any, ...]],
    sessions: Sequence[tuple[Any, ...]],
    now: pd.Timestamp,
) -> None:
    """Sessions and answers of the last 28 days, as before an exam (certification.py); nothing done is zero."""
    month_ago = now - MONTH
    recent = list(takewhile(lambda session: session[0] > month_ago, reversed(sessions)))
    minutes = float(sum(minutes for _, minutes, _, _, is_over in recent if is_over))
    if sessions:
        features.minutes_28d = minutes
        features.days_since_last_practice = (now - sessions[-1][0]) / DAY
    features.practice_minutes_28d = minutes
    features.active_days_28d = len({(now - began) // DAY for began, *_ in recent})
    since = (month_ago - EPOCH) / DAY
    newest = list(takewhile(lambda answer: answer[3] > since, reversed(answers)))
    features.answers_28d = len(newest)
    if newest:
        features.correct_share_28d = sum(bool(answer[2]) for answer in newest) / len(newest)


def _write_exams(features: learning_pb2.LearnerFeatures, exams: Sequence[tuple[Any, ...]], now: pd.Timestamp) -> None:
    """Earlier exams of the certification that is sought, oldest first."""
    features.prior_attempts = len(exams)
    passed = [taken for _, taken, is_passed in exams if is_passed]
    if passed:
        features.days_since_certified = (now - passed[-1]) / DAY


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Rows of a frame; by lists, since a cell of a frame costs a microsecond."""
    return zip(*(frame[name].tolist() for name in frame.columns), strict=True)


def _by_user(rows: pd.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    """Rows without their first column, the user, by user."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for user_id, *row in _rows(rows):
        found.setdefault(user_id, []).append(tuple(row))
    return found


def _microseconds(days: float | None) -> int:
    """Since 1970, of days since then; microseconds are what a day as float64 still holds."""
    return round((days or 0.0) * SECONDS_PER_DAY * 1e6)


class _Found(NamedTuple):
    """Rows of the mart up to a time, by user and oldest first; a session says whether it is over."""

    users: pd.DataFrame
    skills: pd.DataFrame
    answers: pd.DataFrame
    sessions: pd.DataFrame
    exams: pd.DataFrame


def _read(mart: Mart, as_of: datetime) -> _Found:
    """What had happened by then."""
    connection = mart.connect()
    try:
        tables = connection.tables
        moment = ibis.literal(as_of.astimezone(UTC))
        users = tables["users"]
        users = users.filter(users.joined_at <= moment).select(
            "user_id", "role", "experience_years", "certification", "joined_at"
        )
        answers = tables["answers"]
        answers = answers.filter(answers.answered_at <= moment)
        answers = answers.join(tables["items"].select("item_id", "skill_id"), "item_id").select(
            "user_id", "skill_id", "item_id", "correct", "answered_at", "seconds"
        )
        sessions = tables["sessions"]
        sessions = sessions.filter(sessions.started_at <= moment).select(
            "user_id",
            "started_at",
            "minutes",
            "lessons_finished",
            "lesson_id",
            is_over=(sessions.ended_at <= moment).fill_null(False),
        )
        exams = tables["exams"]
        exams = exams.filter(exams.taken_at <= moment).select("user_id", "certification", "taken_at", "passed")
        judged = as_frame(answers.order_by("user_id", "answered_at", "item_id"))
        judged["answered_at"] = (judged["answered_at"] - EPOCH) / DAY
        return _Found(
            users=as_frame(users.order_by("user_id")),
            skills=as_frame(tables["skills"].select("skill_id", "kind")),
            answers=judged,
            sessions=as_frame(sessions.order_by("user_id", "started_at")),
            exams=as_frame(exams.order_by("user_id", "taken_at")),
        )
    finally:
        connection.backend.disconnect()
