"""The benchmark on made-up data in both documented forms; the figures on the real data stand in docs/methods."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.truth.exams import read_exams
from benchmarks.truth.passing import measure
from tests.benchmarks.truth.test_churn import write_oulad
from tests.training.learning.test_certification import QUICK, SCHEMA, make_exams


def write_described(folder: Path) -> pd.DataFrame:
    rows = make_exams(np.random.default_rng(0))
    table = pd.DataFrame(
        {
            "subject_id": rows.subject,
            "cohort": [f"202{number}" for number in rows.cohort],
            "passed": rows.outcome.astype(int),
            "practice": rows.matrix[:, 0],
            "years": rows.matrix[:, 1],
        }
    )
    table.to_csv(folder / "exams.csv", index=False)
    (folder / "schema.json").write_text(json.dumps(SCHEMA.to_json()))
    return table


def write_courses(folder: Path) -> None:
    """OULAD's tables, whose made-up students all pass, with outcomes that differ."""
    write_oulad(folder)
    path = folder / "studentInfo.csv.gz"
    table = pd.read_csv(path)
    results = np.random.default_rng(1).choice(["Pass", "Fail", "Distinction", "Withdrawn"], len(table))
    table.assign(final_result=results).to_csv(path, index=False)


def test_described_exams_are_fitted_and_judged(tmp_path: Path) -> None:
    write_described(tmp_path)

    report = measure(tmp_path, options=QUICK)

    assert report.metrics["all.auc"] > 0.7
    assert report.metrics["all.rows.judged"] == 500
    assert report.metrics["all.onnx.largest_difference"] <= 1e-5
    assert all(np.isfinite(value) for value in report.metrics.values())


def test_each_day_of_oulad_is_a_task_of_its_own(tmp_path: Path) -> None:
    write_courses(tmp_path)

    report = measure(tmp_path, options=QUICK)

    assert {f"day_{day}.{name}" for day in (14, 28, 56, 84) for name in ("auc", "ece", "ece_recalibrated")} <= set(
        report.metrics
    )
    assert report.metrics["day_14.rows.recalibrated_on"] == pytest.approx(
        0.2 * report.metrics["day_14.rows.judged"], rel=0.3
    )


def test_nobody_is_both_fitted_on_and_judged(tmp_path: Path) -> None:
    write_courses(tmp_path)

    for task in read_exams(tmp_path).tasks:
        assert not set(task.train.subject.tolist()) & set(task.test.subject.tolist())
        assert task.train.cohort.max() < task.test.cohort.min()


def test_no_feature_knows_how_the_course_ended(tmp_path: Path) -> None:
    write_courses(tmp_path)
    before = [task.test.matrix for task in read_exams(tmp_path).tasks]
    info = pd.read_csv(tmp_path / "studentInfo.csv.gz")
    info.assign(final_result="Fail").to_csv(tmp_path / "studentInfo.csv.gz", index=False)
    work = pd.read_csv(tmp_path / "studentAssessment.csv.gz")
    late = work.assign(id_assessment=4, date_submitted=100, score=3)  # after the last day
    pd.concat([work, late]).to_csv(tmp_path / "studentAssessment.csv.gz", index=False)

    after = [task.test.matrix for task in read_exams(tmp_path).tasks]

    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("column", ["subject_id", "cohort", "passed", "practice"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    write_described(tmp_path).drop(columns=column).to_csv(tmp_path / "exams.csv", index=False)

    with pytest.raises(ValueError, match=column):
        read_exams(tmp_path)


def test_outcomes_that_are_neither_are_refused(tmp_path: Path) -> None:
    write_described(tmp_path).assign(passed=0.5).to_csv(tmp_path / "exams.csv", index=False)

    with pytest.raises(ValueError, match="passed"):
        read_exams(tmp_path)


def test_a_single_cohort_cannot_be_judged(tmp_path: Path) -> None:
    write_described(tmp_path).assign(cohort="2026").to_csv(tmp_path / "exams.csv", index=False)

    with pytest.raises(ValueError, match="single cohort"):
        read_exams(tmp_path)


def test_a_folder_without_known_data_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/benchmarks\.md"):
        measure(tmp_path)
