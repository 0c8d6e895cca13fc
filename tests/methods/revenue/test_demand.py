import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.revenue.demand import (
    Gaussian,
    Line,
    buyers_posterior,
    expit,
    line_prior,
    log_price_design,
    root_of,
    volume_posterior,
)

LINE = Line(level=-2.0, slope=-1.5, level_sd=0.8, slope_sd=1.0, correlation=-0.3)
WIDE = Gaussian(mean=np.zeros(2), covariance=np.eye(2) * 1e6)
COUNTS = st.lists(st.tuples(st.floats(-1.0, 1.0), st.integers(0, 5_000), st.floats(0.0, 1.0)), min_size=1, max_size=12)


def prior(knots: int = 3, bend_sd: float = 0.2, bias_sd: tuple[float, float] = (0.3, 1.8)) -> Gaussian:
    return line_prior(LINE, knots=knots, bend_sd=bend_sd, bias_sd=bias_sd)


@settings(max_examples=100, deadline=None)
@given(COUNTS)
def test_data_never_widen_what_is_believed(counts: list[tuple[float, int, float]]) -> None:
    x, trials, share = (np.array(column) for column in zip(*counts, strict=True))
    design = log_price_design(x, (-0.5, 0.0, 0.5))

    after = buyers_posterior(design, trials, np.floor(trials * share), prior())

    assert np.linalg.eigvalsh(prior().covariance - after.covariance).min() > -1e-9
    assert np.isfinite(after.mean).all()


@settings(max_examples=50, deadline=None)
@given(COUNTS)
def test_the_posterior_is_a_stationary_point_of_the_log_posterior(counts: list[tuple[float, int, float]]) -> None:
    x, trials, share = (np.array(column) for column in zip(*counts, strict=True))
    buyers = np.floor(trials * share)
    design = log_price_design(x, (-0.5, 0.0, 0.5))

    after = buyers_posterior(design, trials, buyers, prior())

    pull = design.T @ (buyers - trials * expit(design @ after.mean))
    shift = prior().covariance @ pull  # at the mode, mean - prior mean = covariance times the gradient of the data
    np.testing.assert_allclose(after.mean - prior().mean, shift, atol=1e-5)


def test_one_price_with_a_wide_prior_gives_the_observed_share_and_its_textbook_error() -> None:
    wide = Gaussian(mean=np.zeros(1), covariance=np.array([[1e6]]))

    after = buyers_posterior(np.ones((1, 1)), [1_000], [100], wide)

    assert expit(after.mean)[0] == pytest.approx(0.1, abs=1e-6)
    assert after.covariance[0, 0] == pytest.approx(1 / (1_000 * 0.1 * 0.9), rel=1e-4)


def test_volumes_with_a_wide_prior_give_least_squares_and_its_errors() -> None:
    rng = np.random.default_rng(0)
    design = np.stack((np.ones(40), rng.standard_normal(40)), axis=1)
    y = design @ [3.0, -2.0] + 0.3 * rng.standard_normal(40)

    after = volume_posterior(design, y, WIDE, 0.09)

    np.testing.assert_allclose(after.mean, np.linalg.lstsq(design, y, rcond=None)[0], atol=1e-5)
    np.testing.assert_allclose(after.covariance, 0.09 * np.linalg.inv(design.T @ design), rtol=1e-3)


def test_nothing_seen_leaves_the_prior() -> None:
    design = log_price_design([0.0, 0.2], (-0.5, 0.0, 0.5))

    after = buyers_posterior(design, [0, 0], [0, 0], prior())

    np.testing.assert_allclose(after.mean, prior().mean)
    np.testing.assert_allclose(after.covariance, prior().covariance, atol=1e-12)


def test_dispersion_counts_data_for_less() -> None:
    design = log_price_design([-0.2, 0.2], ())

    doubled = buyers_posterior(design, [2_000, 2_000], [300, 200], prior(knots=0), dispersion=2.0)
    single = buyers_posterior(design, [1_000, 1_000], [150, 100], prior(knots=0))

    np.testing.assert_allclose(doubled.mean, single.mean, atol=1e-8)
    np.testing.assert_allclose(doubled.covariance, single.covariance, atol=1e-10)


def test_prices_that_chance_did_not_assign_never_settle_the_slope() -> None:
    many = [10_000_000, 10_000_000]
    observed = log_price_design([-0.3, 0.3], (), [True, True])

    after = buyers_posterior(observed, many, [1_500_000, 700_000], prior(knots=0))

    # What a slope of sd 1 and a bias of sd 1.8 leave when only their sum is known.
    left = 1.0 * 1.8 / np.sqrt(1.0 + 1.8**2)
    assert np.sqrt(after.covariance[1, 1]) == pytest.approx(left, rel=0.1)


def test_a_variance_of_nothing_fixes_a_coefficient() -> None:
    fixed = line_prior(LINE, knots=0, bend_sd=0.0, bias_sd=(0.0, 0.0))

    after = buyers_posterior(log_price_design([0.1], (), [True]), [100], [50], fixed)

    np.testing.assert_array_equal(after.mean[2:], [0.0, 0.0])


@given(st.lists(st.floats(-3, 3), min_size=9, max_size=9))
def test_a_root_times_itself_is_the_covariance(entries: list[float]) -> None:
    factor = np.array(entries).reshape(3, 3)
    covariance = factor @ factor.T

    root = root_of(covariance)

    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-9)


def test_draws_have_the_mean_and_covariance() -> None:
    belief = Gaussian(mean=np.array([1.0, -2.0]), covariance=np.array([[2.0, 0.5], [0.5, 1.0]]))

    draws = belief.draws(40_000, np.random.default_rng(0))

    np.testing.assert_allclose(draws.mean(axis=0), belief.mean, atol=1e-9)  # mirrored pairs: exact
    # Standard error of a variance v from n draws is v sqrt(2/n); the mirrored half counts once: 2 / 142 at most.
    np.testing.assert_allclose(np.cov(draws, rowvar=False), belief.covariance, atol=4 * 2.0 * np.sqrt(2 / 20_000))
