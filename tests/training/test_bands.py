import numpy as np
import pytest

from training.bands import chance_of, fit_band, fit_platt

ROWS = 20_000


def test_slope_and_offset_are_found_again() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(0, 1.5, ROWS)
    outcome = (rng.random(ROWS) < chance_of(0.7 * score - 0.4)).astype(float)

    slope, offset = fit_platt(score, outcome)

    # standard errors at 20,000 rows are 0.014 and 0.017
    assert slope == pytest.approx(0.7, abs=0.05)
    assert offset == pytest.approx(-0.4, abs=0.06)


def test_rows_that_weigh_nothing_are_not_there() -> None:
    rng = np.random.default_rng(1)
    score, outcome = rng.normal(size=200), rng.integers(0, 2, 200).astype(float)
    weight = np.repeat([1.0, 0.0], 100)

    assert fit_platt(score, outcome, weight) == pytest.approx(fit_platt(score[:100], outcome[:100]))


def test_outcomes_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="all the same"):
        fit_platt(np.zeros(5), np.ones(5))


def test_a_band_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        logit = rng.normal(0, 1, 2_000)
        outcome = (rng.random(2_000) < chance_of(logit)).astype(float)  # the scores are right: the true shift is 0
        band = fit_band(logit, outcome, np.arange(2_000), rng, draws=100)
        covered += [low < 0 < high for low, high in zip(band.lowers, band.uppers, strict=True)]

    # 400 ranges: the standard error of a share of 0.9 is 0.015; percentile ends of 100 draws fall short by about 0.02
    assert np.mean(covered) == pytest.approx(0.9, abs=0.05)


def test_rows_of_one_subject_widen_the_band() -> None:
    rng = np.random.default_rng(2)
    subject = np.repeat(np.arange(200), 10)
    own = np.repeat(rng.normal(0, 1.5, 200), 10)  # what the score does not know of a subject
    logit = rng.normal(0, 1, 2_000)
    outcome = (rng.random(2_000) < chance_of(logit + own)).astype(float)

    together = fit_band(logit, outcome, subject, np.random.default_rng(0))
    apart = fit_band(logit, outcome, np.arange(2_000), np.random.default_rng(0))

    assert np.mean(together.uppers) - np.mean(together.lowers) > np.mean(apart.uppers) - np.mean(apart.lowers)


def test_what_cohorts_differ_by_widens_the_band() -> None:
    rng = np.random.default_rng(3)
    logit = rng.normal(0, 1, ROWS)
    outcome = (rng.random(ROWS) < chance_of(logit)).astype(float)

    wide = fit_band(logit, outcome, np.arange(ROWS), np.random.default_rng(0), draws=100, spread=0.4)

    assert np.mean(wide.uppers) > 0.4  # 1.64 spreads are 0.66
    assert np.mean(wide.lowers) < -0.4
