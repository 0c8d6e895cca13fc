"""The benchmark on drawn shops in the documented form, and a part of it on the public data."""

import gzip
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.truth.ltv import measure, measure_coverage
from benchmarks.truth.ltv_customers import draw_customers
from benchmarks.truth.purchase_files import read_purchase_sets
from methods.revenue.purchases import PurchaseModel
from training.revenue.purchases import fit_purchases, fit_values

CDNOW = Path(__file__).parents[4] / "shared/data/cdnow"
THETA, VALUES = np.array([0.9, 5.0, 0.9, 14.0]), np.array([6.0, 4.0, 15.0])


def write_shop(folder: Path, count: int, seed: int, *, name: str = "shop", weeks: int = 60) -> Path:
    """A shop of customers who buy at a rate of their own until they leave; first purchases in the first ten weeks."""
    rng = np.random.default_rng(seed)
    lines = ["customer_id,date,value"]
    for customer in range(count):
        start, rate = rng.uniform(0, 10), rng.gamma(0.9, 1 / 5.0)
        end = min(weeks, start + rng.exponential(1 / rng.gamma(0.9, 1 / 14.0)))
        when, nu = start, rng.gamma(4.0, 1 / 15.0)
        while when <= end:
            day = date(2024, 1, 1) + timedelta(days=int(when * 7))
            lines.append(f"c{customer},{day.isoformat()},{rng.gamma(6.0, 1 / nu):.2f}")
            when += rng.exponential(1 / rate)
    path = folder / f"{name}.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_any_shop_is_fitted_and_its_forecast_beats_knowing_nothing(tmp_path: Path) -> None:
    write_shop(tmp_path, 1_500, 0)

    report = measure(tmp_path, tries=2)

    figures = report.metrics
    assert figures["shop.transactions.rmse"] < min(
        figures["shop.zero.transactions.rmse"], figures["shop.past_rate.transactions.rmse"]
    )
    assert abs(figures["shop.total_error"]) < 0.25
    assert figures["shop.total_error"] == figures["shop.transactions.total_error"]
    assert figures["shop.total_error_lower"] < figures["shop.total_error"] < figures["shop.total_error_upper"]
    assert set(report.anchors) == {f"shop.coverage.{name}" for name in ("alive", "transactions", "ltv")}


def test_each_file_is_a_set_and_all_are_cut_on_one_day(tmp_path: Path) -> None:
    write_shop(tmp_path, 40, 1, name="small")
    write_shop(tmp_path, 90, 2, name="large")

    small, large = read_purchase_sets(tmp_path)

    assert (small.name, large.name) == ("small", "large")
    assert small.weeks == large.weeks
    assert len(small.histories) < len(large.histories)


def test_the_middle_of_the_time_is_the_cut_unless_the_folder_says_another(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(
        "customer_id,date,value\n1,2024-01-01,5\n1,2024-01-03,2\n1,2024-01-03,4\n1,2024-01-06,1\n2,2024-01-06,9\n"
    )

    (halved,) = read_purchase_sets(tmp_path)
    (tmp_path / "split.json").write_text(json.dumps({"calibration_end": "2024-01-02", "holdout_end": "2024-01-05"}))
    (said,) = read_purchase_sets(tmp_path)

    assert (halved.histories.frequency.tolist(), halved.purchases.tolist(), halved.spend.tolist()) == ([1], [1], [100])
    assert halved.histories.mean_value.tolist() == [600.0]
    assert (said.histories.frequency.tolist(), said.purchases.tolist(), said.spend.tolist()) == ([0], [1], [600])
    assert (halved.weeks, said.weeks) == (3 / 7, 3 / 7)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("customer_id,value\n1,2\n", "no column date"),
        ("customer_id,date\n1,2024-01-01\n", "no column value"),
        ("customer_id,date,value\n1,2024-01-01,3\n2,01.02.2024,3\n", "line 3"),
        ("customer_id,date,value\n1,2024-01-01,-3\n", "line 2"),
        ("customer_id,date,value\n1,2024-01-01,\n", "line 2"),
    ],
    ids=["date", "value", "day", "refund", "empty"],
)
def test_a_file_that_is_not_as_documented_is_named(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "shop.csv").write_text(content)

    with pytest.raises(ValueError, match=named) as caught:
        read_purchase_sets(tmp_path)
    assert "shop.csv" in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [{}, {"calibration_end": "2024-01-03", "holdout_end": "2024-01-02"}, {"calibration_end": 3, "holdout_end": "x"}],
    ids=["empty", "turned", "kinds"],
)
def test_a_split_that_is_none_is_refused(tmp_path: Path, said: dict[str, object]) -> None:
    write_shop(tmp_path, 5, 3)
    (tmp_path / "split.json").write_text(json.dumps(said))

    with pytest.raises(ValueError, match=r"split\.json"):
        read_purchase_sets(tmp_path)


def test_a_folder_without_purchases_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"NAME\.csv"):
        read_purchase_sets(tmp_path)


def test_too_few_customers_are_refused_by_the_name_of_their_set(tmp_path: Path) -> None:
    write_shop(tmp_path, 20, 4)

    with pytest.raises(ValueError, match="shop: purchases need 50 customers"):
        measure(tmp_path)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    histories = draw_customers(
        PurchaseModel.PARETO_NBD, THETA, VALUES * [1, 1, 100], rng.uniform(30, 60, 1_200), 0.0, rng
    ).histories

    covered = measure_coverage(histories, 39.0, rng, tries=20)

    # Customers of one try mostly stand or fall together: one standard error of 20 tries is 0.9 * 0.1 / 20, rooted.
    for name, share in covered.items():
        assert share > 0.9 - 3 * np.sqrt(0.9 * 0.1 / 20), name


@pytest.mark.skipif(not CDNOW.exists(), reason="needs the CDNOW data in shared/data/cdnow")
def test_the_published_parameters_come_out_to_the_published_digits() -> None:
    sample = read_purchase_sets(CDNOW)[0]

    bought = fit_purchases(sample.histories, PurchaseModel.BG_NBD, prior_sd=None)
    valued = fit_values(sample.histories, prior_sd=None)

    assert len(sample.histories) == 2_357
    assert bought.theta.round(3).tolist() == [0.243, 4.414, 0.793, 2.426]
    assert (valued.theta / [1, 1, 100]).round(2).tolist() == [6.25, 3.74, 15.44]
    assert bought.log_likelihood == pytest.approx(-9582.4, abs=0.05)


@pytest.mark.skipif(not CDNOW.exists(), reason="needs the CDNOW data in shared/data/cdnow")
def test_the_served_model_reaches_the_published_errors() -> None:
    figures = measure(CDNOW, tries=0).metrics

    assert figures["sample.transactions.mae"] <= 0.755
    assert figures["sample.transactions.rmse"] <= 1.603
    assert abs(figures["sample.total_error"]) <= 0.13
    assert figures["master.customers"] == 23_570
