"""The platform's exams at landmarks as fits read them: rows, skills by row, and what a version answers for each.

Not here: how they are read from the mart (training/features/certification.py); fits and verdicts
(certification_version.py, certification_judging.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import encode_columns
from methods.learning.certification import Certified, expect_exam, predict_passing
from methods.learning.certification_parameters import ExamKnowledge
from methods.learning.exam_skills import Answered, masteries
from training.features.certification import ExamTables, certification_schema
from training.learning.certification import ExamRows
from training.revenue.person_periods import column_values

COHORT = pd.Timedelta(days=91)  # exams of one quarter are one cohort


@dataclass(frozen=True, slots=True, kw_only=True)
class Exams:
    """Exams at landmarks, as the fit reads them; row i of `frame` is row i of `rows`.

    Attributes:
        frame: as ExamTables.rows.
        skills: what was answered by then, by row and skill.
        rows: without readiness until the skills' prior is known.
    """

    frame: pd.DataFrame
    skills: Mapping[str, Mapping[str, Answered]]
    rows: ExamRows

    def take(self, which: NDArray[np.bool_]) -> "Exams":
        """Some of them."""
        frame = self.frame[which].reset_index(drop=True)
        return replace(self, frame=frame, rows=self.rows.take(which))


def exams_of(tables: ExamTables) -> Exams:
    """The mart's exams.

    Raises: ValueError: there are none.
    """
    frame = tables.rows
    if frame.empty:
        raise ValueError("exams: the mart holds none whose learner had joined days before")
    schema = certification_schema()
    skills: dict[str, dict[str, Answered]] = {}
    for row, skill, answers, correct in tables.answers.itertuples(index=False):
        skills.setdefault(row, {})[skill] = Answered(float(answers), float(correct))
    first = frame["taken_at"].min()
    rows = ExamRows(
        matrix=encode_columns(schema, {name: column_values(frame[name]) for name in schema.names}),
        subject=pd.factorize(frame["subject_id"])[0].astype(np.int64),
        cohort=((frame["taken_at"] - first) // COHORT).to_numpy(dtype=np.int64),
        outcome=frame["passed"].to_numpy(dtype=np.float64),
        readiness=np.full(len(frame), np.nan),
    )
    return Exams(frame=frame, skills=skills, rows=rows)


def split_at(exams: Exams, cut: pd.Timestamp) -> tuple[Exams, Exams]:
    """Exams sat before the cut; and those sat after it, at landmarks after it."""
    taken, seen = exams.frame["taken_at"], exams.frame["as_of_time"]
    return exams.take((taken < cut).to_numpy()), exams.take((seen >= cut).to_numpy())


def with_readiness(exams: Exams, version: ExamKnowledge) -> Exams:
    """The same with the readiness of every row of whose learner some answer is known."""
    z = np.full(len(exams.rows), np.nan)
    for place, (row, name, cut) in enumerate(_names(exams)):
        known, plan = exams.skills.get(row), version.exams.get(name)
        if known and plan is not None:
            z[place] = expect_exam(masteries(known, plan.weights, version.skills), cut, version.outcome).readiness
    return replace(exams, rows=replace(exams.rows, readiness=z))


def expected_scores(exams: Exams, version: ExamKnowledge) -> NDArray[np.float64]:
    """Score reached, score expected and its standard deviation of every row with known skills, (rows, 3)."""
    found = []
    for (row, name, cut), reached in zip(_names(exams), exams.frame["score"].tolist(), strict=True):
        known, plan = exams.skills.get(row), version.exams.get(name)
        if known and plan is not None:
            exam = expect_exam(masteries(known, plan.weights, version.skills), cut, version.outcome)
            found.append((reached, exam.score.value, exam.spread))
    return np.array(found, dtype=np.float64).reshape(-1, 3)


def predict(exams: Exams, margin: NDArray[np.float64], version: ExamKnowledge) -> list[Certified]:
    """The version's answer for every row."""
    answers = []
    for score, (row, name, cut) in zip(margin.tolist(), _names(exams), strict=True):
        known, plan = exams.skills.get(row), version.exams.get(name)
        skills = masteries(known, plan.weights, version.skills) if known and plan is not None else ()
        answers.append(predict_passing(score, version.outcome, skills, cut_score=cut))
    return answers


def _names(exams: Exams) -> Iterator[tuple[str, str, float]]:
    """Row, certification and cut score of each row."""
    frame = exams.frame
    return zip(frame["row"], frame["certification"], frame["cut_score"].astype(float), strict=True)


def exam_count(exams: Exams) -> int:
    """Exams among the rows."""
    return int(exams.frame["exam_id"].nunique())
