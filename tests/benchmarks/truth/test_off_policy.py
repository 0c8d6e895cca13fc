"""The benchmark on made-up logs in the documented form; the real figures stand in docs/methods/off_policy.md."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.truth.off_policy import measure

SHARED = Path(__file__).resolve().parents[4] / "shared/data/bandit_obd"


RATES = np.linspace(0.01, 0.1, 10)
EAGER = RATES / RATES.sum()  # better items more often, every item often enough
STUBBORN = np.r_[np.full(9, 2e-5), 1 - 9 * 2e-5]  # nearly always the best item


def write_campaign(folder: Path, name: str, chance: NDArray[np.float64] = EAGER, *, end: str = ".csv.gz") -> None:
    """Ten items, 20,000 impressions a policy."""
    rng = np.random.default_rng(0)
    for policy, shown in (("bts", chance), ("random", np.full(10, 0.1))):
        item = rng.choice(10, 20_000, p=shown)
        table = pd.DataFrame(
            {
                "item_id": item + 100,
                "position": 1,
                "click": (rng.random(20_000) < RATES[item]).astype(int),
                "propensity_score": shown[item],
            }
        )
        path = folder / f"{policy}_{name}{end}"
        table.to_parquet(path) if end == ".parquet" else table.to_csv(path, index=False)


def test_the_other_policys_rate_lies_in_the_interval(tmp_path: Path) -> None:
    write_campaign(tmp_path, "Men")

    metrics = measure(tmp_path).metrics

    assert metrics["men.refused"] == 0.0
    assert metrics["men.covered"] == 1.0
    assert metrics["men.lower"] < metrics["men.value"] < metrics["men.upper"]
    assert metrics["men.on_policy"] > metrics["men.truth_upper"]  # the log's own rate is no answer


def test_a_campaign_without_support_is_refused_and_the_effective_sample_size_named(tmp_path: Path) -> None:
    write_campaign(tmp_path, "women", STUBBORN, end=".parquet")

    report = measure(tmp_path)

    assert report.metrics["women.refused"] == 1.0
    assert "women.value" not in report.metrics
    assert "women refused: effective sample size" in report.data


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_campaign(tmp_path, "men", end=".csv")
    path = tmp_path / "bts_men.csv"
    pd.read_csv(path).drop(columns="propensity_score").to_csv(path, index=False)

    with pytest.raises(ValueError, match=r"bts_men\.csv has no column propensity_score"):
        measure(tmp_path)


def test_a_folder_without_logs_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/benchmarks\.md"):
        measure(tmp_path)


@pytest.mark.skipif(not SHARED.exists(), reason="the open bandit data are not here")
def test_the_open_bandit_logs_give_the_published_figures() -> None:
    metrics = measure(SHARED).metrics

    assert metrics["men.snips.value"] == pytest.approx(0.0032, abs=5e-5)
    assert metrics["men.ips.value"] == pytest.approx(0.0030, abs=5e-5)
    assert metrics["men.effective_sample_size"] == pytest.approx(656, abs=0.5)
    assert metrics["men.covered"] == 1.0
    assert metrics["men.half_width"] <= 0.003
    assert metrics["women.refused"] == 1.0
