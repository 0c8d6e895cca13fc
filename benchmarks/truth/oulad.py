"""Open University learners at landmarks of a course, and who withdraws within 28 days of one, days 14, 28, … 196.

Reads OULAD's five tables without clicks (CSV or CSV.gz): studentInfo, studentRegistration, studentAssessment,
assessments, courses. The last presentation is the test, without students seen in the others. Only what is known on the
landmark's day is looked at: work handed in by then and the published calendar of deadlines.
Source: Kuzilek, Hlosta and Zdrahal 2017, Sci Data 4:170171, CC BY 4.0.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.report import Anchor
from benchmarks.truth.churn_data import ChurnData
from benchmarks.truth.splits import split_last_cohort
from methods.features import Feature, FeatureSchema, Kind

TABLES = ("studentInfo", "studentRegistration", "studentAssessment", "assessments", "courses")
LANDMARKS = range(14, 197, 14)  # days from the course's start
PERIOD = 28
COURSE = ["code_module", "code_presentation"]
LEARNER = [*COURSE, "id_student"]
EDUCATION = (
    "No Formal quals",
    "Lower Than A Level",
    "A Level or Equivalent",
    "HE Qualification",
    "Post Graduate Qualification",
)
AGES = ("0-35", "35-55", "55<=")
NUMBERS = {
    "day": "days",
    "days_left": "days",
    "registered": "days",
    "education": "1",
    "deprivation": "1",
    "age": "1",
    "attempts": "attempts",
    "credits": "credits",
    "submitted": "assessments",
    "missed": "assessments",
    "missed_weight": "percent",
    "due": "assessments",
    "due_weight": "percent",
    "mean_score": "1",
    "least_score": "1",
    "weighted_score": "1",
    "last_score": "1",
    "mean_lateness": "days",
    "last_lateness": "days",
    "since_submission": "days",
    "since_deadline": "days",
    "to_deadline": "days",
    "next_weight": "percent",
    "coming": "assessments",
    "coming_weight": "percent",
    "last_deadline_met": "1",
    "concurrent": "courses",
}
# Nothing handed in or due by then is none, not unknown.
COUNTS = ["submitted", "submitted_due", "submitted_weight", "last_met", "due", "due_weight", "coming", "coming_weight"]
ANCHORS = {
    "auc": Anchor(at_least=0.752, source="LightGBM 0.744, with more features 0.752; logistic hazard 0.712"),
    "log_loss": Anchor(at_most=0.1089, source="LightGBM"),
    "ece": Anchor(at_most=0.005, source="goal"),
    "ece_10_bins": Anchor(at_most=0.005, source="LightGBM 0.005, with more features 0.002"),
    "lift_top_decile": Anchor(at_least=3.5, source="LightGBM 3.3, with more features 3.5"),
    "logistic.auc": Anchor(at_least=0.712, source="logistic hazard"),
}


def find_oulad(folder: Path) -> dict[str, Path] | None:
    """The five files, if the folder holds them all."""
    found = {name: path for name in TABLES for end in (".csv", ".csv.gz") if (path := folder / f"{name}{end}").exists()}
    return found if len(found) == len(TABLES) else None


def read_oulad(paths: dict[str, Path]) -> ChurnData:
    """One row for each learner of a course at each landmark, with the split by presentation."""
    table = read_landmarks(paths, LANDMARKS)
    train, test = split_last_cohort(table["code_presentation"].to_numpy().astype(str), table["id_student"].to_numpy())
    return ChurnData(
        name=f"oulad, {train.size:,} person-periods before {table['code_presentation'].max()}, {test.size:,} in it",
        table=table,
        schema=schema_of_courses(table),
        splits=[(train, test)],
        anchors=ANCHORS,
    )


def read_landmarks(paths: dict[str, Path], days: Iterable[int]) -> pd.DataFrame:
    """Everybody who is still registered at each landmark, with what is known of them by then."""
    tables = {name: pd.read_csv(path) for name, path in paths.items()}
    learners, work, calendar = _learners(tables), _work(tables), tables["assessments"].dropna(subset=["date"])
    return pd.concat([_at(day, learners, work, calendar) for day in days], ignore_index=True)


def schema_of_courses(table: pd.DataFrame) -> FeatureSchema:
    """The features, with the course codes found in the data."""
    modules = tuple(sorted(table["code_module"].unique()))
    return FeatureSchema(
        message="oulad",
        features=(
            Feature(name="code_module", kind=Kind.CATEGORY, levels=modules),
            Feature(name="female", kind=Kind.FLAG),
            Feature(name="disability", kind=Kind.FLAG),
            Feature(name="autumn", kind=Kind.FLAG),
            *(Feature(name=name, kind=Kind.NUMBER, unit=unit) for name, unit in NUMBERS.items()),
        ),
    )


def _learners(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What does not change during a course."""
    table = tables["studentInfo"].merge(tables["studentRegistration"], on=LEARNER, how="left")
    table = table.merge(tables["courses"], on=COURSE, how="left")
    return table.assign(
        subject_id=table["id_student"],
        female=(table["gender"] == "F").astype(float),
        disability=(table["disability"] == "Y").astype(float),
        autumn=table["code_presentation"].str.endswith("J").astype(float),
        registered=table["date_registration"],
        education=table["highest_education"].map({level: i for i, level in enumerate(EDUCATION)}),
        deprivation=pd.to_numeric(table["imd_band"].str.split("-").str[0], errors="coerce"),  # "10-20" lacks its %
        age=table["age_band"].map({band: i for i, band in enumerate(AGES)}),
        attempts=table["num_of_prev_attempts"],
        credits=table["studied_credits"],
    )


def _work(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Assessments handed in, without those carried over from an earlier attempt; oldest first."""
    done = tables["studentAssessment"].query("is_banked == 0").merge(tables["assessments"], on="id_assessment")
    return done.assign(
        lateness=done["date_submitted"] - done["date"],
        points=done["score"] * done["weight"],
        scored_weight=done["weight"].where(done["score"].notna()),
    ).sort_values(["date_submitted", "id_assessment"])


def _at(day: int, learners: pd.DataFrame, work: pd.DataFrame, calendar: pd.DataFrame) -> pd.DataFrame:
    """The rows of one landmark."""
    gone = learners["date_unregistration"]
    rows = learners[(learners["date_registration"] <= day) & (gone.isna() | (gone > day))]
    courses = _deadlines(day, calendar)
    done = work[work["date_submitted"] <= day].merge(courses[[*COURSE, "last_deadline"]], on=COURSE, how="left")
    rows = rows.merge(_handed_in(day, done), on=LEARNER, how="left").merge(courses, on=COURSE, how="left")
    rows[COUNTS] = rows[COUNTS].fillna(0.0)
    return rows.assign(
        day=float(day),
        as_of_time=0.0,  # presentations, not days, order the split
        days_left=rows["module_presentation_length"] - day,
        missed=rows["due"] - rows["submitted_due"],
        missed_weight=rows["due_weight"] - rows["submitted_weight"],
        since_submission=day - rows["last_submission"],
        since_deadline=day - rows["last_deadline"],
        to_deadline=rows["next_deadline"] - day,
        last_deadline_met=rows["last_met"] / rows["last_due"],  # several assessments may share a day
        concurrent=rows.groupby(["code_presentation", "id_student"])["id_student"].transform("size"),
        periods_observed=1,
        left_in_period=(rows["date_unregistration"] <= day + PERIOD).astype(int),
    )


def _handed_in(day: int, done: pd.DataFrame) -> pd.DataFrame:
    """Each learner's work by that day; `done` knows each course's last deadline."""
    due = done["date"] <= day
    grouped = done.assign(
        due_done=due.astype(float),
        due_weight_done=done["weight"].where(due, 0.0),
        last_done=(done["date"] == done["last_deadline"]).astype(float),
    ).groupby(LEARNER)
    table = grouped.agg(
        submitted=("id_assessment", "size"),
        submitted_due=("due_done", "sum"),
        submitted_weight=("due_weight_done", "sum"),
        mean_score=("score", "mean"),
        least_score=("score", "min"),
        last_score=("score", "last"),
        points=("points", "sum"),
        scored_weight=("scored_weight", "sum"),
        mean_lateness=("lateness", "mean"),
        last_lateness=("lateness", "last"),
        last_submission=("date_submitted", "max"),
        last_met=("last_done", "sum"),
    )
    table["weighted_score"] = table["points"] / table["scored_weight"].where(table["scored_weight"] > 0)
    return table.drop(columns=["points", "scored_weight"]).reset_index()


def _deadlines(day: int, calendar: pd.DataFrame) -> pd.DataFrame:
    """Each course's calendar seen from that day."""
    past, ahead = calendar[calendar["date"] <= day], calendar[calendar["date"] > day].sort_values("date")
    latest = past[past["date"] == past.groupby(COURSE)["date"].transform("max")]
    near = ahead[ahead["date"] <= day + PERIOD]
    return pd.concat(
        [
            past.groupby(COURSE).agg(
                due=("id_assessment", "size"), due_weight=("weight", "sum"), last_deadline=("date", "max")
            ),
            latest.groupby(COURSE).agg(last_due=("id_assessment", "size")),
            ahead.groupby(COURSE).agg(next_deadline=("date", "first"), next_weight=("weight", "first")),
            near.groupby(COURSE).agg(coming=("id_assessment", "size"), coming_weight=("weight", "sum")),
        ],
        axis=1,
    ).reset_index()
