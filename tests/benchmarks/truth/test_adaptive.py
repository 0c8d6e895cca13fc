"""The benchmark on made-up exams in each form that the documentation promises to read."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.report import Report
from benchmarks.truth.adaptive import items_saved, measure
from benchmarks.truth.answer_matrix import read_answer_matrix


def exam(persons: int = 240, items: int = 16) -> NDArray[np.int64]:
    rng = np.random.default_rng(0)
    ability, difficulty = rng.standard_normal(persons), rng.normal(-0.8, 1.0, items)
    chance = 1.0 / (1.0 + np.exp(-1.2 * (ability[:, None] - difficulty)))
    return (rng.random(chance.shape) < chance).astype(np.int64)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("exam")
    pd.DataFrame(exam()).add_prefix("q").to_csv(folder / "answers.csv", index=False)
    return measure(folder, seed=1)


def test_the_adaptive_order_saves_items_on_an_exam_of_the_model(report: Report) -> None:
    assert 0 < report.metrics["items_saved_lower"] < report.metrics["items_saved"] < 1
    assert report.metrics["error.adaptive_half"] < report.metrics["error.random_half"]


def test_persons_are_calibrated_on_or_examined_never_both(report: Report) -> None:
    assert report.metrics["persons.calibrated"] + report.metrics["persons.examined"] == 240


def test_equal_seeds_give_equal_figures(report: Report, tmp_path: Path) -> None:
    pd.DataFrame(exam()).add_prefix("q").to_csv(tmp_path / "answers.csv", index=False)

    assert measure(tmp_path, seed=1).metrics == report.metrics


def test_guesses_are_not_foretold(tmp_path: Path) -> None:
    guesses = np.random.default_rng(1).integers(0, 2, (240, 16))
    pd.DataFrame(guesses).add_prefix("q").to_csv(tmp_path / "answers.csv", index=False)

    report = measure(tmp_path)

    assert report.metrics["prediction.auc"] == pytest.approx(0.5, abs=0.06)  # standard error 0.02


def write_plain(folder: Path, answers: NDArray[np.int64]) -> None:
    np.savetxt(folder / "exam.csv", answers, fmt="%d", delimiter=",")


def write_with_ids(folder: Path, answers: NDArray[np.int64]) -> None:
    frame = pd.DataFrame(answers).add_prefix("q")
    frame.insert(0, "person", [f"p{number}" for number in range(len(frame))])
    frame.to_csv(folder / "answers.csv.gz", index=False)


def write_with_row_names(folder: Path, answers: NDArray[np.int64]) -> None:
    pd.DataFrame(answers).add_prefix("q").rename(lambda row: row + 1).to_csv(folder / "answers.csv")


def write_semicolons(folder: Path, answers: NDArray[np.int64]) -> None:
    pd.DataFrame(answers).add_prefix("q").to_csv(folder / "answers.csv", index=False, sep=";")


def write_spaces(folder: Path, answers: NDArray[np.int64]) -> None:
    with gzip.open(folder / "exam.txt.gz", "wt") as file:
        np.savetxt(file, answers, fmt="%d")


def write_truths(folder: Path, answers: NDArray[np.int64]) -> None:
    pd.DataFrame(answers.astype(bool)).add_prefix("q").to_csv(folder / "answers.csv", index=False)


def write_parquet(folder: Path, answers: NDArray[np.int64]) -> None:
    pd.DataFrame(answers.astype(float)).add_prefix("q").to_parquet(folder / "exam.parquet")


FORMS = [
    write_plain,
    write_with_ids,
    write_with_row_names,
    write_semicolons,
    write_spaces,
    write_truths,
    write_parquet,
]


@pytest.mark.parametrize("write", FORMS, ids=lambda write: write.__name__)
def test_each_documented_form_is_read(write: Callable[[Path, NDArray[np.int64]], None], tmp_path: Path) -> None:
    answers = exam(60, 6)
    write(tmp_path, answers)

    read = read_answer_matrix(tmp_path)

    np.testing.assert_array_equal(read.answers, answers)
    assert len(set(read.item_ids)) == 6


def test_an_empty_cell_is_no_answer_and_an_item_nobody_was_asked_is_none(tmp_path: Path) -> None:
    frame = pd.DataFrame(exam(60, 6)).add_prefix("q").astype("Int64")
    frame.loc[3, "q1"], frame["q5"] = pd.NA, pd.NA
    frame.to_csv(tmp_path / "answers.csv", index=False)

    read = read_answer_matrix(tmp_path)

    assert read.item_ids == ("q0", "q1", "q2", "q3", "q4")
    assert np.argwhere(np.isnan(read.answers)).tolist() == [[3, 1]]


def test_a_column_of_other_values_is_named(tmp_path: Path) -> None:
    pd.DataFrame(exam(60, 6)).add_prefix("q").assign(score=7).to_csv(tmp_path / "answers.csv", index=False)

    with pytest.raises(ValueError, match="'score'"):
        read_answer_matrix(tmp_path)


def test_a_folder_without_a_table_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/benchmarks\.md"):
        measure(tmp_path)


def test_too_small_an_exam_is_refused(tmp_path: Path) -> None:
    pd.DataFrame(exam(30, 6)).add_prefix("q").to_csv(tmp_path / "answers.csv", index=False)

    with pytest.raises(ValueError, match="at least 50 persons"):
        measure(tmp_path)


def test_an_order_that_never_gets_there_saves_no_known_share() -> None:
    random, adaptive = np.array([1.0, 0.5, 0.2]), np.array([1.0, 0.9, 0.8])

    assert np.isnan(items_saved(adaptive, random, 2.0))
