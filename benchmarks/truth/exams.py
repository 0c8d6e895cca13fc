"""What the pass benchmark needs of a data set, and the two forms that it reads: OULAD's tables, and the house's own.

Each day before the exam is a task of its own: other rows, another fit. The last cohort is judged, without learners who
are in an earlier one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import Anchor
from benchmarks.truth.oulad import find_oulad, read_landmarks, schema_of_courses
from benchmarks.truth.splits import split_last_cohort
from methods.features import Feature, FeatureSchema, Kind, encode_columns
from training.learning.certification import ExamRows
from training.revenue.person_periods import column_values

DAYS = (14, 28, 56, 84)
PASSED = ("Pass", "Distinction")
SCORES = ("mean_score", "weighted_score", "least_score", "last_score")
# A calendar differs between presentations and names the presentation: trees would learn cohorts by heart.
CALENDAR = (
    "day",
    "days_left",
    "due",
    "due_weight",
    "since_deadline",
    "to_deadline",
    "next_weight",
    "coming",
    "coming_weight",
)
NEEDED = ("subject_id", "cohort", "passed")
_BEST = {14: (0.648, 0.650), 28: (0.708, 0.636), 56: (0.767, 0.576), 84: (0.807, 0.528)}  # AUC, log loss
_LOGISTIC = {14: 0.638, 28: 0.684, 56: 0.755, 84: 0.796}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamTask:
    """One day's rows.

    Attributes:
        name: "day_28", or "all" where the data know no days.
        train, test: rows to fit, and of the last cohort.
        schema: the features.
    """

    name: str
    train: ExamRows
    test: ExamRows
    schema: FeatureSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamData:
    """One data set."""

    name: str
    tasks: Sequence[ExamTask]
    anchors: Mapping[str, Anchor] = field(default_factory=dict)


def read_exams(folder: Path) -> ExamData:
    """The folder's data, whichever of the two forms it has.

    Raises: FileNotFoundError: neither. ValueError: a column is missing, or there is a single cohort.
    """
    names = ("exams.csv.gz", "exams.csv")
    table = next((path for name in names if (path := folder / name).exists()), None)
    if table is not None and (schema := folder / "schema.json").exists():
        return _read_described(table, schema)
    if (paths := find_oulad(folder)) is not None:
        return _read_oulad(paths)
    raise FileNotFoundError(
        f"{folder} holds neither exams.csv with schema.json nor OULAD's five tables; "
        "docs/benchmarks.md says what each looks like"
    )


def _read_described(path: Path, schema_path: Path) -> ExamData:
    """Any data: the features that schema.json names, and the columns of NEEDED."""
    table = pd.read_csv(path)
    schema = FeatureSchema.from_json(json.loads(schema_path.read_text(encoding="utf-8")))
    if missing := [name for name in (*NEEDED, *schema.names) if name not in table]:
        raise ValueError(f"{path.name} has no column {missing[0]}")
    if not table["passed"].isin([0, 1]).all():
        raise ValueError(f"{path.name}: column passed must be 0 or 1")
    table = table.assign(passed=table["passed"].astype(float))
    parts = [("all", table)] if "day" not in table else [(f"day_{day}", part) for day, part in table.groupby("day")]
    return ExamData(
        name=f"{schema.message}, {len(table):,} rows, {table['cohort'].nunique()} cohorts",
        tasks=[_task(name, part.reset_index(drop=True), schema) for name, part in parts],
    )


def _read_oulad(paths: dict[str, Path]) -> ExamData:
    """Open University learners who are still registered on the day; a later withdrawal is no pass."""
    table = read_landmarks(paths, DAYS)
    table = table.assign(
        subject_id=table["id_student"],
        cohort=table["code_presentation"],
        passed=table["final_result"].isin(PASSED).astype(float),
        returning=_returning(table),
    )
    # Marks mean less than places: a course that marks more kindly this time moves every score and nobody's chances.
    peers = table.groupby(["code_module", "code_presentation", "day"])
    for name in SCORES:
        table[f"{name}_place"] = peers[name].rank(pct=True)
    courses = schema_of_courses(table)
    schema = FeatureSchema(
        message="oulad",
        features=(
            *courses.subset(set(courses.names) - {*CALENDAR, *SCORES}).features,
            Feature(name="region", kind=Kind.CATEGORY, levels=tuple(sorted(table["region"].unique()))),
            Feature(name="returning", kind=Kind.FLAG),
            *(Feature(name=f"{name}_place", kind=Kind.NUMBER) for name in SCORES),
        ),
    )
    tasks = [_task(f"day_{day}", table[table["day"] == day].reset_index(drop=True), schema) for day in DAYS]
    return ExamData(
        name=f"oulad, {', '.join(f'{len(task.train):,}/{len(task.test):,}' for task in tasks)} rows to fit/judge",
        tasks=tasks,
        anchors=_anchors(),
    )


def _returning(table: pd.DataFrame) -> "pd.Series[float]":
    """1 for students of an earlier presentation; unknown in the first, which has none before it."""
    first = table.groupby("id_student")["code_presentation"].transform("min")
    returning = (table["code_presentation"] > first).astype(float)
    return returning.where(table["code_presentation"] > table["code_presentation"].min())


def _task(name: str, table: pd.DataFrame, schema: FeatureSchema) -> ExamTask:
    """One day's rows with their split.

    Raises: ValueError: there is a single cohort.
    """
    cohorts, cohort = np.unique(column_values(table["cohort"]), return_inverse=True)  # numbers by size, text as text
    if len(cohorts) < 2:
        raise ValueError(f"{name}: a single cohort, {cohorts[0]}; the last one judges, so two are needed")
    subject = pd.factorize(table["subject_id"])[0].astype(np.int64)
    rows = ExamRows(
        matrix=encode_columns(schema, {each: column_values(table[each]) for each in schema.names}),
        subject=subject,
        cohort=cohort.astype(np.int64),
        outcome=table["passed"].to_numpy(dtype=np.float64),
        readiness=_readiness(table),
    )
    train, test = split_last_cohort(cohort, subject)
    return ExamTask(name=name, train=rows.take(train), test=rows.take(test), schema=schema)


def _readiness(table: pd.DataFrame) -> NDArray[np.float64]:
    """Readiness by skills where the data have it."""
    if "readiness" in table:
        return table["readiness"].to_numpy(dtype=np.float64)
    return np.full(len(table), np.nan)


def _anchors() -> dict[str, Anchor]:
    """Published and measured figures by day."""
    anchors = {}
    for day, (auc, log_loss) in _BEST.items():
        anchors[f"day_{day}.auc"] = Anchor(at_least=auc, source="boosted trees on the same rows")
        anchors[f"day_{day}.log_loss"] = Anchor(at_most=log_loss, source="boosted trees on the same rows")
        anchors[f"day_{day}.ece"] = Anchor(at_most=0.03, source="goal; boosted trees 0.06 to 0.08")
        anchors[f"day_{day}.ece_recalibrated"] = Anchor(at_most=0.03, source="goal")
        anchors[f"day_{day}.logistic.auc"] = Anchor(at_least=_LOGISTIC[day], source="logistic regression, same rows")
    return anchors
