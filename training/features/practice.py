"""What learners did, skill by skill: lessons with their minutes and answers with their outcome, oldest first.

Not here: what is made of it (training/learning); answers alone, with their items (answers.py).
"""

from dataclasses import dataclass

import ibis
import pandas as pd

from training.data.mart import Mart
from training.features.landmarks import as_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillCatalogue:
    """What experts keep: skills, (skill, prerequisite) pairs, and the skills that each certification tests."""

    skills: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    certifications: dict[str, tuple[str, ...]]


def practice_frame(mart: Mart, users_most: int) -> pd.DataFrame:
    """Lessons and answers of so many users at most, chosen by a hash of their id: every run sees the same ones.

    Returns: user_id, skill_id, begun_at (UTC), minutes, outcome (1, 0; NaN for a lesson), by user and time. A lesson
        has its session's minutes less those of the session's answers; an answer has the time it took, 0 when unknown.
    """
    connection = mart.connect()
    try:
        tables = connection.tables
        chosen = tables["answers"].select("user_id").distinct()
        chosen = chosen.order_by(chosen.user_id.hash(), chosen.user_id).limit(users_most)
        answers = tables["answers"].semi_join(chosen, "user_id")
        answers = answers.mutate(minutes=answers.seconds.fill_null(0.0) / 60.0)
        spent = answers.group_by("session_id").agg(answering=answers.minutes.sum())
        sessions = tables["sessions"].semi_join(chosen, "user_id")
        sessions = sessions.join(tables["lessons"].select("lesson_id", "skill_id"), "lesson_id").left_join(
            spent, "session_id"
        )
        ended = sessions.filter(sessions.minutes >= 0.0)  # one that still runs has no minutes yet
        lessons = ended.select(
            "user_id",
            "skill_id",
            begun_at=ibis._.started_at,
            minutes=ibis.greatest(ibis._.minutes - ibis._.answering.fill_null(0.0), 0.0),
            outcome=ibis.null("float64"),
        )
        judged = answers.join(tables["items"].select("item_id", "skill_id"), "item_id").select(
            "user_id",
            "skill_id",
            begun_at=ibis._.answered_at,
            minutes=ibis._.minutes,
            outcome=ibis._.correct.cast("float64"),
        )
        rows = lessons.union(judged).order_by("user_id", "begun_at", "skill_id")
        return as_frame(rows)
    finally:
        connection.backend.disconnect()


def read_catalogue(mart: Mart) -> SkillCatalogue:
    """Skills, prerequisites and certifications, in the order of their names."""
    connection = mart.connect()
    try:
        skills = as_frame(connection.tables["skills"].select("skill_id", "certification").order_by("skill_id"))
        pairs = as_frame(
            connection.tables["prerequisites"]
            .select("skill_id", "prerequisite_id")
            .order_by("skill_id", "prerequisite_id")
        )
    finally:
        connection.backend.disconnect()
    return SkillCatalogue(
        skills=tuple(skills["skill_id"].tolist()),
        pairs=tuple(zip(pairs["skill_id"].tolist(), pairs["prerequisite_id"].tolist(), strict=True)),
        certifications={
            str(name): tuple(group["skill_id"].tolist()) for name, group in skills.groupby("certification")
        },
    )
