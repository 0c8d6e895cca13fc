"""The benchmark on made-up data in each documented form; the figures on the real data stand in docs/methods."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.truth.price import measure, metric_name, read_price_data


def write_oj(folder: Path, rows: int = 3_000) -> None:
    rng = np.random.default_rng(0)
    brand = rng.choice(["dominicks", "minute.maid", "new brand"], rows)
    feat, price = rng.integers(0, 2, rows), rng.uniform(1.0, 4.0, rows)
    slope = np.where(brand == "dominicks", -3.0, -2.0)
    log_volume = 9.0 + feat + slope * np.log(price) + 0.5 * rng.standard_normal(rows)
    table = pd.DataFrame({"sales": np.exp(log_volume), "price": price, "brand": brand, "feat": feat})
    table.to_csv(folder / "oj.csv.gz", index_label="No")


def write_buyers(folder: Path, rows: int = 600) -> None:
    rng = np.random.default_rng(0)
    price = rng.choice([30.0, 40.0, 50.0, 60.0], rows)
    group = rng.choice(["monthly", "annual"], rows)
    chance = 1 / (1 + np.exp(2.0 + 1.5 * np.log(price / 45) + (group == "annual")))
    table = pd.DataFrame({"group": group, "price": price, "exposures": 400, "conversions": rng.binomial(400, chance)})
    table.assign(randomised=1, test=(rng.random(rows) < 0.3).astype(int)).to_csv(folder / "demand.csv", index=False)


def test_volumes_are_judged_on_the_documented_split_beside_plain_lines(tmp_path: Path) -> None:
    write_oj(tmp_path)

    metrics = measure(tmp_path).metrics

    assert metrics["rows.judged"] == (np.random.default_rng(42).random(3_000) < 0.3).sum()
    # The noise has sd 0.5: its mean absolute value is 0.5 sqrt(2 / pi) = 0.399, error 0.01 with 900 rows.
    assert metrics["log_mae"] == pytest.approx(0.399, abs=0.03)
    assert metrics["log_mae"] < metrics["by_group.log_mae"] < metrics["mean_only.log_mae"]
    assert metrics["coverage_90"] == pytest.approx(0.9, abs=0.03)


def test_elasticities_come_with_intervals_that_hold_the_truth(tmp_path: Path) -> None:
    write_oj(tmp_path)

    metrics = measure(tmp_path).metrics

    for name, truth in {"dominicks": -3.0, "minute.maid": -2.0, "new_brand": -2.0}.items():
        lower, value, upper = (metrics[f"elasticity.{name}{end}"] for end in (".lower", "", ".upper"))
        assert lower < value < upper
        assert abs(value - truth) < 1.5 * (upper - lower)


def test_buyers_are_judged_by_log_loss(tmp_path: Path) -> None:
    write_buyers(tmp_path)

    metrics = measure(tmp_path).metrics

    assert metrics["log_loss"] < metrics["constant.log_loss"]
    # A slope of -1.5 times the chance not to buy, about 0.88 at the median price; standard error 0.03.
    assert metrics["elasticity.monthly"] == pytest.approx(-1.5 * 0.88, abs=0.12)
    assert metrics["elasticity.monthly.lower"] < metrics["elasticity.monthly"] < metrics["elasticity.monthly.upper"]
    assert metrics["dispersion"] < 1.5


@pytest.mark.parametrize("missing", ["price", "brand", "sales", "feat"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    write_oj(tmp_path, rows=50)
    path = tmp_path / "oj.csv.gz"
    pd.read_csv(path).drop(columns=missing).to_csv(path, index=False)

    with pytest.raises(ValueError, match=f"no column {missing}"):
        measure(tmp_path)


def test_a_cell_that_is_no_number_is_named_with_its_row(tmp_path: Path) -> None:
    write_buyers(tmp_path, rows=20)
    path = tmp_path / "demand.csv"
    table = pd.read_csv(path).astype({"price": object})
    table.loc[3, "price"] = "a lot"
    table.to_csv(path, index=False)

    with pytest.raises(ValueError, match="price: row 3"):
        measure(tmp_path)


def test_a_folder_without_known_data_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/benchmarks\.md"):
        read_price_data(tmp_path)


@pytest.mark.parametrize(("group", "name"), [("minute.maid", "minute.maid"), ("A B", "a_b"), ("", "empty")])
def test_a_group_gives_a_metric_name(group: str, name: str) -> None:
    assert metric_name(group) == name
