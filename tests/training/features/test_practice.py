"""Lessons and answers as rows of practice, on a mart made by hand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from tests.training.features.conftest import MakeMart
from training.features.practice import practice_frame, read_catalogue

BEGIN = datetime(2026, 1, 1, 9, tzinfo=UTC)
Rows = Callable[..., pa.Table]


@pytest.fixture
def tables(rows_of: Rows) -> dict[str, pa.Table]:
    def session(name: str, user: str, day: int, minutes: float | None, lesson: str | None) -> dict[str, object]:
        begun = BEGIN + timedelta(days=day)
        return {"session_id": name, "user_id": user, "started_at": begun, "minutes": minutes, "lesson_id": lesson}

    def answer(name: str, user: str, day: int, item: str, *, correct: bool, seconds: float | None) -> dict[str, object]:
        at = BEGIN + timedelta(days=day, minutes=5)
        return {
            "session_id": name,
            "position": 0,
            "user_id": user,
            "item_id": item,
            "answered_at": at,
            "correct": correct,
            "seconds": seconds,
        }

    return {
        "skills": rows_of(
            "skills",
            {"skill_id": "bmv", "certification": "BLS"},
            {"skill_id": "cpr", "certification": "BLS"},
            {"skill_id": "io", "certification": "PALS"},
        ),
        "prerequisites": rows_of("prerequisites", {"skill_id": "io", "prerequisite_id": "cpr"}),
        "lessons": rows_of("lessons", {"lesson_id": "l1", "skill_id": "bmv"}),
        "items": rows_of("items", {"item_id": "i1", "skill_id": "bmv"}, {"item_id": "i2", "skill_id": "cpr"}),
        "sessions": rows_of(
            "sessions",
            session("s1", "u1", 0, 10.0, "l1"),
            session("s2", "u1", 1, 8.0, None),
            session("s3", "u2", 0, None, "l1"),
        ),
        "answers": rows_of(
            "answers",
            answer("s1", "u1", 0, "i1", correct=True, seconds=90.0),
            answer("s2", "u1", 1, "i2", correct=False, seconds=None),
            answer("s3", "u2", 0, "i1", correct=True, seconds=30.0),
        ),
    }


def test_a_lesson_has_the_minutes_that_its_answers_left_and_a_running_one_none(
    make_mart: MakeMart, tables: dict[str, pa.Table]
) -> None:
    frame = practice_frame(make_mart(tables), users_most=10)

    seen = frame.assign(outcome=frame["outcome"].fillna(-1.0))[["user_id", "skill_id", "minutes", "outcome"]]
    assert seen.to_numpy().tolist() == [
        ["u1", "bmv", 8.5, -1.0],
        ["u1", "bmv", 1.5, 1.0],
        ["u1", "cpr", 0.0, 0.0],
        ["u2", "bmv", 0.5, 1.0],
    ]


def test_the_same_users_are_read_every_time(make_mart: MakeMart, tables: dict[str, pa.Table]) -> None:
    mart = make_mart(tables)

    chosen = [set(practice_frame(mart, users_most=1)["user_id"]) for _ in range(3)]

    assert len(chosen[0]) == 1
    assert chosen[0] == chosen[1] == chosen[2]


def test_the_catalogue_is_what_experts_keep(make_mart: MakeMart, tables: dict[str, pa.Table]) -> None:
    catalogue = read_catalogue(make_mart(tables))

    assert catalogue.skills == ("bmv", "cpr", "io")
    assert catalogue.pairs == (("io", "cpr"),)
    assert catalogue.certifications == {"BLS": ("bmv", "cpr"), "PALS": ("io",)}
