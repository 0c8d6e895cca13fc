"""Learners some weeks before an exam, as somebody saw them then, and whether they passed.

A row is one exam at one landmark: 84, 56, 28, 14 or 3 days before it, when the learner had joined by then. What became
known later is not looked at (tests delete the future and compare); the exam's date is a feature only from its booking.
The contract's message PredictCertificationSuccessFeatures is the only list of names; those that no table of the
platform tells (attendance, assessments, scores at the manikin) are left out of the schema, not filled.
Not here: the fit (training/learning/certification_version.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import ibis
import ibis.expr.types as ir
import pandas as pd
from google.protobuf.descriptor import Descriptor

from methods.features import FeatureSchema, schema_of
from paedsresus.ml.v1 import learning_pb2
from training.data.mart import Mart
from training.features.landmarks import DAY, as_frame, as_time, microseconds

LANDMARK_DAYS = (84, 56, 28, 14, 3)  # before the exam: the days of the public benchmark, and the last moment to act
MONTH = timedelta(days=28) // timedelta(microseconds=1)
COMPUTED = (
    "certification",
    "exam_time",
    "cut_score",
    "role",
    "years_of_experience",
    "prior_attempts",
    "days_since_certified",
    "enrolled_days",
    "practice_minutes_28d",
    "active_days_28d",
    "days_since_last_practice",
    "answers_28d",
    "correct_share_28d",
)
Tables = Mapping[str, ir.Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """A message's single fields, as `schema_of` reads a descriptor: lists and messages of lists are no features."""

    full_name: str
    fields: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamTables:
    """What is read.

    Attributes:
        rows: one column for each of COMPUTED (category: level name or None; time: days from `as_of_time`; missing:
            NaN), then `row`, `exam_id`, `subject_id`, `as_of_time`, `taken_at` (UTC), `days_before`, `score` and
            `passed`; ordered by `taken_at`, exam and landmark, the farthest first.
        answers: `row`, `skill_id`, `answers`, `correct`: judged answers up to the landmark, where there are any.
    """

    rows: pd.DataFrame
    answers: pd.DataFrame


def certification_schema() -> FeatureSchema:
    """The fields of PredictCertificationSuccessFeatures that are computed here."""
    message = learning_pb2.PredictCertificationSuccessFeatures.DESCRIPTOR
    single = tuple(field for field in message.fields if field.name in COMPUTED)
    return schema_of(cast("Descriptor", Flat(full_name=message.full_name, fields=single)))


def exam_tables(mart: Mart) -> ExamTables:
    """Every exam of the mart at every landmark."""
    connection = mart.connect()
    try:
        tables = connection.tables
        rows = _rows(tables)
        usage, answers = _usage(tables, rows), _answers(tables, rows)
        month = answers.group_by("row").aggregate(
            answers_28d=answers.recent.sum(), correct_28d=answers.recent_correct.sum()
        )
        joined = rows
        for group in (_past_exams(tables, rows), usage, month):
            joined = joined.left_join(group, "row").drop("row_right")
        features = _expressions(joined)
        frame = as_frame(
            joined.select(
                *(features[name].name(name) for name in COMPUTED),
                "row",
                "exam_id",
                "days_before",
                "score",
                "passed",
                subject_id=joined.user_id,
                as_of_time=as_time(joined.as_of_us),
                taken_at=as_time(joined.taken_us),
            ).order_by("taken_at", "exam_id", ibis.desc("days_before"))
        )
        known = as_frame(answers.select("row", "skill_id", "answers", "correct").order_by("row", "skill_id"))
    finally:
        connection.backend.disconnect()
    return ExamTables(rows=frame, answers=known)


def _expressions(rows: ir.Table) -> dict[str, ir.Value]:
    """Each field over the joined rows."""
    now, day = rows.as_of_us, float(DAY)
    return {
        # That of the exam.
        "certification": rows.certification,
        # Days to the exam; missing until it is booked, and where nobody kept when that was.
        "exam_time": ibis.ifelse(rows.booked_us <= now, (rows.taken_us - now) / day, None),
        # Share needed to pass.
        "cut_score": rows.cut_score,
        # Role given at joining.
        "role": rows.role,
        # Years given at joining, and those since.
        "years_of_experience": rows.experience_years + (now - rows.joined_us) / (365.25 * day),
        # Exams of this certification sat so far.
        "prior_attempts": rows.prior_attempts.fill_null(0),
        # Days since the last one passed.
        "days_since_certified": (now - rows.certified_us) / day,
        # Days since the account was made.
        "enrolled_days": (now - rows.joined_us) / day,
        # Minutes of sessions begun in (now - 28 d, now] that have ended.
        "practice_minutes_28d": rows.minutes_28d.fill_null(0.0),
        # Days, counted back from now, with a session begun.
        "active_days_28d": rows.active_days_28d.fill_null(0),
        # Days since the last session began.
        "days_since_last_practice": (now - rows.last_session_us) / day,
        # Answers in (now - 28 d, now].
        "answers_28d": rows.answers_28d.fill_null(0),
        # Share of them that were right.
        "correct_share_28d": rows.correct_28d / rows.answers_28d.nullif(0),
    }


def _rows(tables: Tables) -> ir.Table:
    """Each exam at each landmark at which the learner had joined."""
    t, users = tables["exams"], tables["users"]
    exams = t.select(
        "exam_id",
        "user_id",
        "certification",
        "cut_score",
        "score",
        "passed",
        taken_us=microseconds(t.taken_at),
        booked_us=microseconds(t.booked_at),
    )
    people = users.select("user_id", "role", "experience_years", joined_us=microseconds(users.joined_at))
    placed = exams.join(people, "user_id").mutate(days_before=ibis.array(list(LANDMARK_DAYS)).unnest())
    placed = placed.mutate(
        as_of_us=placed.taken_us - placed.days_before * DAY,
        row=placed.exam_id + "/" + placed.days_before.cast("string"),
    )
    return placed.filter(placed.joined_us <= placed.as_of_us)


def _past_exams(tables: Tables, rows: ir.Table) -> ir.Table:
    """Exams of the same certification sat up to the landmark, and the last one passed."""
    t = tables["exams"]
    past = t.select("user_id", "certification", was_passed=t.passed, sat_us=microseconds(t.taken_at))
    joined = past.join(rows.select("row", "user_id", "certification", "as_of_us"), ["user_id", "certification"])
    seen = joined.filter(joined.sat_us <= joined.as_of_us)
    return seen.group_by("row").aggregate(
        prior_attempts=seen.count(), certified_us=seen.sat_us.max(where=seen.was_passed)
    )


def _usage(tables: Tables, rows: ir.Table) -> ir.Table:
    """Sessions begun up to the landmark."""
    t = tables["sessions"]
    sessions = t.select("user_id", "minutes", us=microseconds(t.started_at), ended_us=microseconds(t.ended_at))
    joined = sessions.join(rows.select("row", "user_id", "as_of_us"), "user_id")
    seen = joined.filter(joined.us <= joined.as_of_us)
    is_recent = seen.us > seen.as_of_us - MONTH
    return seen.group_by("row").aggregate(
        last_session_us=seen.us.max(),
        minutes_28d=seen.minutes.sum(where=is_recent & (seen.ended_us <= seen.as_of_us)),
        active_days_28d=((seen.as_of_us - seen.us) // DAY).nunique(where=is_recent),
    )


def _answers(tables: Tables, rows: ir.Table) -> ir.Table:
    """Answers up to the landmark, by skill."""
    t = tables["answers"].join(tables["items"].select("item_id", "skill_id"), "item_id")
    answers = t.select("user_id", "skill_id", "correct", us=microseconds(t.answered_at))
    joined = answers.join(rows.select("row", "user_id", "as_of_us"), "user_id")
    seen = joined.filter(joined.us <= joined.as_of_us)
    is_recent = seen.us > seen.as_of_us - MONTH
    return seen.group_by("row", "skill_id").aggregate(
        answers=seen.count(),
        correct=seen.count(where=seen.correct),
        recent=seen.count(where=is_recent),
        recent_correct=seen.count(where=is_recent & seen.correct),
    )
