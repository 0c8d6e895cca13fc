from dataclasses import replace

import numpy as np
import pytest

from methods.statistics.scores import auc
from training.bands import chance_of
from training.boosting import BoostingOptions, Trial, choose_trial, fit_boosted, log_odds

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


@pytest.mark.parametrize(
    ("trials", "depth"),
    [
        pytest.param([(2, (0.50, 0.60, 0.55)), (5, (0.49, 0.61, 0.54))], 2, id="no clear difference"),
        pytest.param([(2, (0.50, 0.60, 0.55)), (5, (0.40, 0.50, 0.45))], 5, id="deeper is clearly better"),
        pytest.param([(5, (0.50, 0.60, 0.55)), (2, (0.50, 0.60, 0.55))], 2, id="equal"),
    ],
)
def test_the_shallowest_trees_within_one_standard_error_are_chosen(
    trials: list[tuple[int, tuple[float, ...]]], depth: int
) -> None:
    given = [Trial(depth=d, rounds=10, losses=losses) for d, losses in trials]

    assert choose_trial(given).depth == depth


def test_trees_that_begin_at_the_rate_leave_it_out_of_their_sum() -> None:
    rng = np.random.default_rng(3)
    matrix, _, subject = make_rows(rng, 6_000)
    rare = (rng.random(6_000) < chance_of(-4.0 + np.nan_to_num(matrix[:, 0].astype(float)))).astype(float)
    options = replace(QUICK, from_rate=True)

    found = fit_boosted(matrix, rare, subject, options, np.random.default_rng(0))

    chance = chance_of(found.margin(matrix) + log_odds(rare))
    assert chance.mean() == pytest.approx(rare.mean(), rel=0.1)
    assert abs(float(np.mean(found.held_out))) < 0.5, "the rate itself would be -4"


def test_each_step_is_told() -> None:
    matrix, outcome, subject = make_rows(np.random.default_rng(0), 300)
    steps: list[str] = []

    fit_boosted(matrix, outcome, subject, QUICK, np.random.default_rng(0), progress=steps.append)

    assert [step.split()[0] for step in steps] == ["cross-validating", "cross-validating", "fitting"]
