"""Learners before an exam as somebody saw them then: each feature by hand, and none from the future."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from paedsresus.ml.v1 import learning_pb2
from tests.training.features.conftest import MakeMart
from training.data.columns import as_seen_at
from training.data.mart import Mart
from training.data.tables import TABLES, table_named
from training.features.certification import COMPUTED, LANDMARK_DAYS, certification_schema, exam_tables

JOINED = datetime(2025, 1, 1, 9, tzinfo=UTC)
Rows = Callable[..., pa.Table]


def on(day: float) -> datetime:
    return JOINED + timedelta(days=day)


@pytest.fixture
def tables(rows_of: Rows) -> dict[str, pa.Table]:
    """u1 fails PALS on day 100 and passes it on day 130; u2 sits BLS three weeks after joining."""

    def exam(name: str, user: str, day: float, **others: Any) -> dict[str, Any]:
        given = {"exam_id": name, "user_id": user, "certification": "PALS", "taken_at": on(day), "cut_score": 0.84}
        return {**given, "score": 0.8, "passed": False, **others}

    def session(user: str, day: float, minutes: float = 10.0) -> dict[str, Any]:
        begun = on(day)
        return {
            "session_id": f"{user}-{day}",
            "user_id": user,
            "started_at": begun,
            "ended_at": begun + timedelta(minutes=minutes),
            "minutes": minutes,
        }

    def answer(user: str, day: float, item: str, *, correct: bool) -> dict[str, Any]:
        return {
            "session_id": f"{user}-{day}",
            "position": 0,
            "user_id": user,
            "item_id": item,
            "answered_at": on(day),
            "correct": correct,
        }

    return {
        "users": rows_of(
            "users",
            {"user_id": "u1", "joined_at": JOINED, "role": "NURSE", "experience_years": 4.0},
            {"user_id": "u2", "joined_at": on(180), "role": None},
        ),
        "items": rows_of("items", {"item_id": "i1", "skill_id": "cpr"}, {"item_id": "i2", "skill_id": "io"}),
        "exams": rows_of(
            "exams",
            exam("e1", "u1", 100, booked_at=on(60)),
            exam("e2", "u1", 130, booked_at=on(101), passed=True, score=0.9),
            exam("e3", "u2", 200, certification="BLS", booked_at=None),
            exam("e4", "u1", 300, booked_at=on(290)),
        ),
        "sessions": rows_of("sessions", *(session("u1", day) for day in (10, 60, 71.2, 71.5, 120)), session("u2", 199)),
        "answers": rows_of(
            "answers",
            answer("u1", 10, "i1", correct=False),
            answer("u1", 60, "i1", correct=True),
            answer("u1", 71, "i2", correct=True),
            answer("u1", 71.5, "i1", correct=False),
            answer("u1", 120, "i1", correct=True),
        ),
    }


def at(frame: pd.DataFrame, row: str) -> dict[str, Any]:
    return {str(name): value for name, value in frame.set_index("row").loc[row].items()}


def test_the_names_are_the_contracts() -> None:
    fields = learning_pb2.PredictCertificationSuccessFeatures.DESCRIPTOR.fields_by_name

    assert set(certification_schema().names) == set(COMPUTED) <= set(fields)


def test_an_exam_stands_at_every_landmark_after_joining(make_mart: MakeMart, tables: dict[str, pa.Table]) -> None:
    rows = exam_tables(make_mart(tables)).rows

    assert rows.groupby("exam_id")["days_before"].apply(list).to_dict() == {
        "e1": list(LANDMARK_DAYS),
        "e2": list(LANDMARK_DAYS),
        "e3": [14, 3],
        "e4": list(LANDMARK_DAYS),
    }
    assert ((rows["taken_at"] - rows["as_of_time"]).dt.total_seconds() / 86_400 == rows["days_before"]).all()


def test_features_are_those_of_the_landmark(make_mart: MakeMart, tables: dict[str, pa.Table]) -> None:
    row = at(exam_tables(make_mart(tables)).rows, "e1/28")  # day 72

    assert (row["certification"], row["role"], row["cut_score"], row["passed"]) == ("PALS", "NURSE", 0.84, False)
    assert row["exam_time"] == 28.0
    assert row["enrolled_days"] == 72.0
    assert row["years_of_experience"] == pytest.approx(4.0 + 72 / 365.25)
    assert row["practice_minutes_28d"] == 30.0  # days 60, 71.2 and 71.5
    assert row["active_days_28d"] == 2  # the newest two lie within one day counted back from day 72
    assert row["days_since_last_practice"] == 0.5
    assert (row["answers_28d"], row["correct_share_28d"]) == (3, pytest.approx(2 / 3))
    assert row["prior_attempts"] == 0


def test_the_date_is_known_from_its_booking_and_never_where_nobody_kept_it(
    make_mart: MakeMart, tables: dict[str, pa.Table]
) -> None:
    rows = exam_tables(make_mart(tables)).rows

    assert pd.isna(at(rows, "e1/56")["exam_time"])  # day 44, booked on day 60
    assert pd.isna(at(rows, "e4/14")["exam_time"])  # day 286, booked on day 290
    assert pd.isna(at(rows, "e3/14")["exam_time"])


def test_earlier_exams_of_the_certification_are_known_once_they_are_sat(
    make_mart: MakeMart, tables: dict[str, pa.Table]
) -> None:
    rows = exam_tables(make_mart(tables)).rows

    assert [at(rows, f"e2/{days}")["prior_attempts"] for days in (56, 28, 14)] == [0, 1, 1]  # days 74, 102, 116
    assert pd.isna(at(rows, "e2/14")["days_since_certified"])
    assert (at(rows, "e4/84")["prior_attempts"], at(rows, "e4/84")["days_since_certified"]) == (2, 86.0)


def test_nothing_done_is_zero_and_what_follows_from_it_unknown(
    make_mart: MakeMart, tables: dict[str, pa.Table]
) -> None:
    row = at(exam_tables(make_mart(tables)).rows, "e3/14")

    assert (row["answers_28d"], row["practice_minutes_28d"], row["active_days_28d"]) == (0, 0.0, 0)
    assert pd.isna(row["correct_share_28d"])
    assert pd.isna(row["days_since_last_practice"])
    assert pd.isna(row["role"])


def test_answers_are_counted_by_skill_up_to_the_landmark(make_mart: MakeMart, tables: dict[str, pa.Table]) -> None:
    answers = exam_tables(make_mart(tables)).answers
    of = {row: part[["skill_id", "answers", "correct"]].to_numpy().tolist() for row, part in answers.groupby("row")}

    assert of["e1/56"] == [["cpr", 1, 0]]  # day 44
    assert of["e1/28"] == [["cpr", 3, 1], ["io", 1, 1]]
    assert "e3/14" not in of


def test_no_row_sees_its_future(simulated_mart: Mart, make_mart: MakeMart) -> None:
    """Everything that became known after a day is deleted, but exams: rows of landmarks before it look the same."""
    whole = exam_tables(simulated_mart)
    limit = pd.Timestamp(whole.rows["as_of_time"].sort_values().iloc[len(whole.rows) // 2])
    kept = {
        table.name: simulated_mart.read(table.name)
        if table.name == "exams"
        else as_seen_at(table_named(table.name), simulated_mart.read(table.name), limit.to_pydatetime())
        for table in TABLES
    }

    forgotten = exam_tables(make_mart(kept))

    early = whole.rows[whole.rows["as_of_time"] <= limit].reset_index(drop=True)
    same = forgotten.rows[forgotten.rows["as_of_time"] <= limit].reset_index(drop=True)
    assert len(early) > 1_000
    pd.testing.assert_frame_equal(early, same)
    known, again = (each.answers[each.answers["row"].isin(set(early["row"]))] for each in (whole, forgotten))
    pd.testing.assert_frame_equal(known.reset_index(drop=True), again.reset_index(drop=True))


def test_no_row_knows_how_exams_after_it_ended(simulated_mart: Mart, make_mart: MakeMart) -> None:
    """Outcomes and scores of all exams are turned round: features of those that nobody had sat stay the same."""
    turned = {table.name: simulated_mart.read(table.name) for table in TABLES}
    exams = turned["exams"]
    places = {name: exams.column_names.index(name) for name in ("passed", "score")}
    passed = pa.array([not each for each in exams["passed"].to_pylist()])
    score = pa.array([1.0 - each for each in exams["score"].to_pylist()])
    turned["exams"] = exams.set_column(places["passed"], "passed", passed).set_column(places["score"], "score", score)

    before, after = exam_tables(simulated_mart).rows, exam_tables(make_mart(turned)).rows

    first = before["prior_attempts"] == 0
    pd.testing.assert_frame_equal(before.loc[first, list(COMPUTED)], after.loc[first, list(COMPUTED)])
    assert (before["passed"] != after["passed"]).all()
