"""The benchmark on made-up data in each documented form; the figures on the real data stand in docs/methods."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.report import Report, report_json
from benchmarks.truth.churn import measure, read_churn_data
from benchmarks.truth.oulad import EDUCATION
from benchmarks.truth.telco import CATEGORIES, FLAGS
from tests.fakes.churn_rows import SCHEMA, churn_table
from training.revenue.churn import ChurnOptions

QUICK = ChurnOptions(periods=1, rounds=40, patience=10, depths=(2,), folds=3, draws=10, learning_rate=0.1)


def write_described(folder: Path) -> None:
    table = churn_table(np.random.default_rng(0), subjects=600)
    test = table["as_of_time"] >= table["as_of_time"].max() - pd.Timedelta(days=28)
    days = (table["as_of_time"] - table["as_of_time"].min()).dt.days
    table.assign(test=test.astype(int), as_of_time=days).to_csv(folder / "person_periods.csv.gz", index=False)
    (folder / "schema.json").write_text(json.dumps(SCHEMA.to_json()))


def write_telco(folder: Path, customers: int = 800) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.choice(levels, customers) for name, levels in CATEGORIES.items()}
    columns |= {name: rng.choice(["Yes", "No"], customers) for name in FLAGS[1:]}
    tenure = rng.integers(0, 72, customers)
    leaves = rng.random(customers) < 1 / (1 + np.exp(tenure / 10 - 1))
    pd.DataFrame(
        {
            "customerID": [f"c{number}" for number in range(customers)],
            "SeniorCitizen": rng.integers(0, 2, customers),
            **columns,
            "tenure": tenure,
            "MonthlyCharges": rng.uniform(20, 120, customers),
            "TotalCharges": np.where(tenure == 0, " ", tenure * 50).astype(str),
            "Churn": np.where(leaves, "Yes", "No"),
        }
    ).to_csv(folder / "telco.csv", index=False)


def write_oulad(folder: Path, students: int = 500) -> None:
    rng = np.random.default_rng(0)
    courses = pd.DataFrame({"code_module": "AAA", "code_presentation": ["2013J", "2014J"]})
    student = np.arange(2 * students)
    # every student takes one presentation, and ten of the first also the last
    presentation = np.where(student < students, "2013J", "2014J")
    taken = pd.DataFrame({"code_module": "AAA", "code_presentation": presentation, "id_student": student})
    again = taken.head(10).assign(code_presentation="2014J")
    taken = pd.concat([taken, again], ignore_index=True)
    n = len(taken)
    leaves = np.where(rng.random(n) < 0.4, rng.integers(5, 230, n).astype(float), np.nan)
    taken.assign(
        gender=rng.choice(["F", "M"], n),
        region="Wales",
        highest_education=rng.choice(EDUCATION, n),
        imd_band=rng.choice(["0-10%", "10-20", None], n),
        age_band="0-35",
        num_of_prev_attempts=0,
        studied_credits=60,
        disability="N",
        final_result="Pass",
    ).to_csv(folder / "studentInfo.csv.gz", index=False)
    taken.assign(date_registration=-20, date_unregistration=leaves).to_csv(
        folder / "studentRegistration.csv.gz", index=False
    )
    courses.assign(module_presentation_length=268).to_csv(folder / "courses.csv.gz", index=False)
    due = pd.DataFrame({"id_assessment": [1, 2, 3, 4], "date": [20.0, 110.0, 20.0, 110.0], "weight": 50.0})
    due.assign(code_module="AAA", code_presentation=["2013J", "2013J", "2014J", "2014J"], assessment_type="TMA").to_csv(
        folder / "assessments.csv.gz", index=False
    )
    first = np.where(taken["code_presentation"] == "2013J", 1, 3)
    pd.DataFrame(
        {"id_assessment": first, "id_student": taken["id_student"], "date_submitted": 18, "is_banked": 0, "score": 70}
    )[rng.random(n) < 0.8].to_csv(folder / "studentAssessment.csv.gz", index=False)


FORMS = {"described": write_described, "telco": write_telco, "oulad": write_oulad}


@pytest.fixture(scope="module", params=FORMS.values(), ids=FORMS.keys())
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("data")
    request.param(folder)
    return measure(folder, options=QUICK)


def test_each_documented_form_is_fitted_and_scored(report: Report) -> None:
    assert {"auc", "log_loss", "brier", "ece", "ece_10_bins", "lift_top_decile"} <= set(report.metrics)
    assert all(np.isfinite(value) for value in report.metrics.values())


def test_the_graph_that_answers_is_the_model(report: Report) -> None:
    assert report.metrics["onnx.largest_difference"] <= 1e-5


def test_the_json_has_the_shape_of_every_benchmark(report: Report) -> None:
    value = json.loads(report_json(report))

    assert set(value) == {"benchmark", "data", "metrics", "anchors", "environment"}
    assert value["benchmark"] == "truth.churn"


def test_telco_is_judged_on_every_customer_once(tmp_path: Path) -> None:
    write_telco(tmp_path)

    data = read_churn_data(tmp_path)

    judged = np.concatenate([test for _, test in data.splits])
    assert sorted(judged.tolist()) == list(range(800))
    assert data.table["TotalCharges"].notna().all()


def test_nobody_of_oulad_is_both_fitted_on_and_judged(tmp_path: Path) -> None:
    write_oulad(tmp_path)

    data = read_churn_data(tmp_path)

    (train, test), students = data.splits[0], data.table["id_student"].to_numpy()
    assert not set(students[train]) & set(students[test])
    assert set(data.table["code_presentation"].to_numpy()[test]) == {"2014J"}


def test_what_is_handed_in_later_is_unknown_at_a_landmark(tmp_path: Path) -> None:
    write_oulad(tmp_path)

    rows = read_churn_data(tmp_path).table

    assert rows.loc[rows["day"] == 14, "submitted"].eq(0).all()
    assert rows.loc[rows["day"] == 28, "submitted"].mean() == pytest.approx(0.8, abs=0.06)
    assert rows.loc[rows["day"] == 14, "to_deadline"].eq(6).all()


def test_a_folder_without_known_data_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/benchmarks\.md"):
        measure(tmp_path)
