import numpy as np
import pytest

from methods.statistics.scores import auc
from training.bands import chance_of
from training.boosting import BoostingOptions, fit_boosted

QUICK = BoostingOptions(depths=(1, 3), rounds=60, patience=10, learning_rate=0.15, folds=3)


def make_rows(rng: np.random.Generator, n: int = 1_500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    matrix = rng.normal(size=(n, 4)).astype(np.float32)
    outcome = (rng.random(n) < chance_of(1.5 * matrix[:, 0].astype(float))).astype(float)
    matrix[rng.random((n, 4)) < 0.1] = np.nan
    return matrix, outcome, np.arange(n)


def test_scores_of_rows_held_out_are_as_good_as_those_of_new_rows() -> None:
    matrix, outcome, subject = make_rows(np.random.default_rng(0))
    fresh, truth, _ = make_rows(np.random.default_rng(1))

    found = fit_boosted(matrix, outcome, subject, QUICK, np.random.default_rng(0))

    new = auc(truth, found.margin(fresh))
    assert new > 0.75
    assert auc(outcome, found.held_out) == pytest.approx(new, abs=0.04)  # standard errors of both are 0.012


def test_the_shallowest_depth_that_does_is_chosen() -> None:
    matrix, outcome, subject = make_rows(np.random.default_rng(0))

    assert fit_boosted(matrix, outcome, subject, QUICK, np.random.default_rng(0)).depth == 1


def test_a_subject_that_is_held_out_teaches_nothing_about_itself() -> None:
    rng = np.random.default_rng(2)
    subject = np.repeat(np.arange(300), 4)
    matrix = np.repeat(rng.normal(size=(300, 3)), 4, axis=0).astype(np.float32)  # columns name the subject
    outcome = np.repeat(rng.integers(0, 2, 300), 4).astype(float)  # and nothing else tells

    found = fit_boosted(matrix, outcome, subject, QUICK, np.random.default_rng(0))

    assert auc(outcome, found.held_out) == pytest.approx(0.5, abs=0.1)  # 300 subjects: a standard error of 0.033


@pytest.mark.parametrize("outcome", [np.ones(50), np.tile([0.0, 1.0], 25)], ids=["one outcome", "few subjects"])
def test_what_cannot_be_fitted_is_refused(outcome: np.ndarray) -> None:
    subject = np.zeros(50, dtype=np.int64) if np.ptp(outcome) else np.arange(50)
    with pytest.raises(ValueError, match="cannot fit"):
        fit_boosted(np.zeros((50, 1), dtype=np.float32), outcome, subject, QUICK, np.random.default_rng(0))
