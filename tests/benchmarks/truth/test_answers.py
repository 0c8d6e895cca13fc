"""The benchmark on made-up data in the documented form, and on a small part of the real data where it is at hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.truth.answers import measure, read_answers
from tests.training.learning.test_knowledge import QUICK, make_answers

REAL = Path(__file__).resolve().parents[4] / "shared/data/assist2009_gervet"


def write(folder: Path, part: str, learners: int, first: int) -> pd.DataFrame:
    answers = make_answers(np.random.default_rng(first), learners, first=first)
    table = pd.DataFrame(
        {
            "user_id": answers.learner,
            "item_id": [item[1:] for item in answers.item],
            "timestamp": 0,
            "correct": answers.outcome.astype(int),
            "skill_id": [skill[1:] for skill in answers.skill],
        }
    )
    table.to_csv(folder / f"{part}.csv.gz", index=False)
    return table


def test_the_documented_form_is_fitted_and_scored(tmp_path: Path) -> None:
    write(tmp_path, "train", 100, 0)
    write(tmp_path, "test", 50, 1_000)

    report = measure(tmp_path, options=QUICK)

    assert all(np.isfinite(value) for value in report.metrics.values())
    assert report.metrics["rows.judged"] == 2_000
    assert report.metrics["auc"] > report.metrics["item_only.auc"]
    assert report.metrics["log_loss"] < report.metrics["constant.log_loss"]


def test_stamps_order_the_answers_and_equal_ones_do_not(tmp_path: Path) -> None:
    table = write(tmp_path, "train", 3, 0)
    stamped = table.assign(timestamp=np.tile(np.arange(40)[::-1] * 86_400, 3))
    stamped.to_csv(tmp_path / "test.csv", index=False)

    plain, reversed_ = read_answers(tmp_path, "train"), read_answers(tmp_path, "test")

    np.testing.assert_array_equal(plain.outcome[:40][::-1], reversed_.outcome[:40])
    assert np.isnan(plain.days).all()
    np.testing.assert_array_equal(reversed_.days[:40], np.arange(40))


def test_a_learner_in_both_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train", 5, 0)
    write(tmp_path, "test", 5, 4)

    with pytest.raises(ValueError, match="such as 4"):
        measure(tmp_path, options=QUICK)


@pytest.mark.parametrize("column", ["user_id", "item_id", "skill_id", "correct"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    write(tmp_path, "train", 5, 0).drop(columns=column).to_csv(tmp_path / "train.csv.gz", index=False)

    with pytest.raises(ValueError, match=column):
        read_answers(tmp_path, "train")


@pytest.mark.parametrize(("column", "value"), [("correct", 2), ("correct", "yes"), ("skill_id", None)])
def test_a_wrong_cell_is_named_by_its_column(tmp_path: Path, column: str, value: object) -> None:
    table = write(tmp_path, "train", 5, 0).astype(object)
    table.loc[3, column] = value
    table.to_csv(tmp_path / "train.csv.gz", index=False)

    with pytest.raises(ValueError, match=column):
        read_answers(tmp_path, "train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train\.csv"):
        measure(tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason="assist2009 is not at hand; it may not be copied")
def test_real_learners_are_predicted_better_than_by_items_alone(tmp_path: Path) -> None:
    for part, learners in (("train", 250), ("test", 80)):
        table = pd.read_csv(REAL / f"{part}.csv.gz")
        table[table["user_id"].isin(table["user_id"].unique()[:learners])].to_csv(tmp_path / f"{part}.csv", index=False)

    report = measure(tmp_path, options=QUICK)

    assert report.metrics["auc"] > report.metrics["item_only.auc"] + 0.05  # 80 learners: standard errors near 0.01
    assert report.metrics["auc"] < 0.82  # anything far above 0.79 on these rows is a leak
