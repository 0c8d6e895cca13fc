from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.truth.payments import measure, read_payments
from benchmarks.truth.payments_log import simulated_log

WORTH = {"good": 0.9, "bad": 0.6}  # chance of a success on each route


def write_log(folder: Path, rows: int = 3_000, **changes: object) -> None:
    """Two routes drawn with known propensities; a success costs 2 % and a failure nothing."""
    rng = np.random.default_rng(0)
    route = rng.choice(["good", "bad"], rows, p=[0.4, 0.6])
    amount = rng.choice([1_000, 5_000, 20_000], rows)
    succeeded = rng.random(rows) < np.where(route == "good", 0.9, 0.6)
    log = pd.DataFrame(
        {
            "time": pd.date_range("2025-01-01", periods=rows, freq="h", tz="UTC"),
            "amount": amount,
            "currency": "USD",
            "country": rng.choice(["KE", "DE"], rows),
            "card_brand": rng.choice(["VISA", "AMEX"], rows),
            "route": route,
            "fees": np.where(succeeded, amount * 0.02, 0.0),
            "success": succeeded.astype(int),
            "decline_code": np.where(succeeded, "", "51"),
            "attempt": 1,
            "propensity": np.where(route == "good", 0.4, 0.6),
        }
    ).assign(**changes)
    log.to_csv(folder / "payments.csv", index=False)


@pytest.mark.parametrize("logged", [True, False], ids=["logged", "learned"])
def test_the_value_of_each_route_is_held_by_its_interval(tmp_path: Path, logged: bool) -> None:  # noqa: FBT001 - a case
    write_log(tmp_path)
    if not logged:
        path = tmp_path / "payments.csv"
        pd.read_csv(path).drop(columns="propensity").to_csv(path, index=False)

    metrics = measure(tmp_path).metrics

    for route, chance in WORTH.items():
        lower, value, upper = (metrics[f"value.{route}{end}"] for end in (".lower", "", ".upper"))
        assert lower < value < upper
        assert abs(value - chance * 0.98) < 1.5 * (upper - lower)
        assert upper - lower < 0.15
    assert metrics["value.bad.upper"] < metrics["value.good.lower"]
    assert metrics["value_best_route_each"] == pytest.approx(metrics["value.good"], abs=0.02)


def test_success_is_judged_on_the_latest_attempts_as_it_is_served(tmp_path: Path) -> None:
    write_log(tmp_path)

    metrics = measure(tmp_path).metrics

    assert metrics["rows.judged"] == 900
    assert metrics["served.largest_difference"] < 1e-6
    assert metrics["auc"] > 0.62
    assert metrics["log_loss"] < metrics["constant.log_loss"]
    assert metrics["auc_per_cell"] <= metrics["auc_per_cell_in_hindsight"]


def test_a_route_hardly_ever_taken_has_no_value_and_says_how_little_there_is(tmp_path: Path) -> None:
    write_log(tmp_path)
    path = tmp_path / "payments.csv"
    table = pd.read_csv(path)
    table.loc[table.index % 100 == 0, "route"] = "rare"
    table.drop(columns="propensity").to_csv(path, index=False)

    metrics = measure(tmp_path).metrics

    assert "value.rare" not in metrics
    assert metrics["value.rare.effective_rows"] < 100


def test_the_simulators_log_is_in_the_documented_format(tmp_path: Path) -> None:
    log = simulated_log(users=150, weeks=40, seed=1)
    log.to_csv(tmp_path / "payments.csv.gz", index=False)

    table = read_payments(tmp_path)

    assert len(table) == len(log)
    assert table["decline_code"].isna().sum() == (log["succeeded"] == 1).sum()
    pd.testing.assert_frame_equal(log, simulated_log(users=150, weeks=40, seed=1))


@pytest.mark.parametrize("missing", ["time", "route", "decline_code", "fees"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    write_log(tmp_path, rows=50)
    path = tmp_path / "payments.csv"
    pd.read_csv(path).drop(columns=missing).to_csv(path, index=False)

    with pytest.raises(ValueError, match=f"no column {'fee_minor' if missing == 'fees' else missing}"):
        measure(tmp_path)


@pytest.mark.parametrize(("column", "value"), [("success", "maybe"), ("amount", "0"), ("attempt", "x")])
def test_a_wrong_cell_is_named_with_its_row(tmp_path: Path, column: str, value: str) -> None:
    write_log(tmp_path, rows=50)
    path = tmp_path / "payments.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[7, column] = value
    table.to_csv(path, index=False)

    with pytest.raises(ValueError, match="row 7"):
        measure(tmp_path)


def test_a_folder_without_a_log_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="payments_log --out"):
        measure(tmp_path)
