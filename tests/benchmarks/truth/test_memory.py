"""The benchmark on a simulated log and on made-up ones in each form that the documentation promises to read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.report import Report
from benchmarks.truth.memory import measure
from benchmarks.truth.practice_log import read_practice_log, simulated_log, write_simulated
from training.learning.schedule import ScheduleOptions

QUICK = ScheduleOptions(most_rows=4_000, most_steps=8, most_skill_rows=8_000)


@pytest.fixture(scope="module")
def simulated() -> pd.DataFrame:
    return simulated_log(120, weeks=52)


@pytest.fixture(scope="module")
def report(simulated: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("log")
    simulated.to_csv(folder / "answers.csv.gz", index=False)
    return measure(folder, options=QUICK)


def test_both_models_and_the_curve_are_reported(report: Report) -> None:
    assert {"log_loss", "log_loss_no_forgetting", "improvement", "recall.up_to_4_minutes"} <= set(report.metrics)
    assert all(np.isfinite(value) for value in report.metrics.values())


def test_the_improvement_is_that_of_the_two_losses(report: Report) -> None:
    figures = report.metrics

    assert figures["improvement"] == pytest.approx(1.0 - figures["log_loss"] / figures["log_loss_no_forgetting"])
    assert figures["improvement_lower"] < figures["improvement"] < figures["improvement_upper"]


def test_hindsight_never_makes_the_plain_model_worse(report: Report) -> None:
    assert report.metrics["log_loss_no_forgetting_shifted"] <= report.metrics["log_loss_no_forgetting"] + 1e-12


def test_the_written_log_is_the_documented_one_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_simulated(tmp_path / name, users=20)

    first = pd.read_csv(tmp_path / "one" / "answers.csv.gz")
    assert list(first.columns) == ["user", "skill", "item", "correct", "time", "kind"]
    assert (tmp_path / "one" / "answers.csv.gz").read_bytes() == (tmp_path / "two" / "answers.csv.gz").read_bytes()


@pytest.mark.parametrize("unit", [1.0, 1_000.0], ids=["seconds", "milliseconds"])
def test_times_may_be_numbers(simulated: pd.DataFrame, tmp_path: Path, unit: float) -> None:
    seconds = pd.to_datetime(simulated["time"]).astype("datetime64[s, UTC]").astype("int64")
    simulated.assign(time=seconds * int(unit)).to_parquet(tmp_path / "log.parquet")
    simulated.to_csv(tmp_path / "answers.csv", index=False)

    as_text = read_practice_log(tmp_path)
    (tmp_path / "answers.csv").unlink()
    as_number = read_practice_log(tmp_path)

    np.testing.assert_allclose(as_number.day, as_text.day, atol=1e-9)


def test_without_kinds_all_is_knowledge(simulated: pd.DataFrame, tmp_path: Path) -> None:
    simulated.drop(columns="kind").to_csv(tmp_path / "answers.csv", index=False)

    assert not read_practice_log(tmp_path).kind.any()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda log: log.drop(columns=["skill", "time"]), "no column skill, time"),
        (lambda log: log.assign(correct=0.5), "column correct holds"),
        (lambda log: log.assign(time="yesterday"), "column time is neither"),
        (lambda log: log.assign(kind="MAGIC"), "column kind holds 'MAGIC'"),
        (lambda log: log.assign(item=None), "column item has empty cells"),
        (lambda log: log[log["user"].isin(log["user"].unique()[:5])], "5 users"),
    ],
    ids=["missing", "correct", "time", "kind", "empty", "few users"],
)
def test_what_is_wrong_is_named(simulated: pd.DataFrame, tmp_path: Path, change: object, named: str) -> None:
    assert callable(change)
    change(simulated).to_csv(tmp_path / "answers.csv", index=False)

    with pytest.raises(ValueError, match=named):
        measure(tmp_path, options=QUICK)


def test_a_folder_without_a_log_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/benchmarks\.md"):
        measure(tmp_path)
