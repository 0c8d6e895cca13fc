"""Fits find what customers were drawn from, say how sure they are, and refuse what holds no answer."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate

from benchmarks.truth.ltv_customers import draw_customers
from methods.revenue.purchases import Histories, PurchaseModel
from training.revenue.purchases import Fit, fit_purchases, fit_values, purchase_log_likelihood

THETAS = {
    PurchaseModel.PARETO_NBD: np.array([0.6, 8.0, 0.8, 12.0]),
    PurchaseModel.BG_NBD: np.array([0.4, 5.0, 0.8, 2.5]),
}
VALUES = np.array([6.0, 4.0, 15.0])


def drawn(model: PurchaseModel, count: int, seed: int) -> Histories:
    rng = np.random.default_rng(seed)
    return draw_customers(model, THETAS[model], VALUES, rng.uniform(26, 52, count), 0.0, rng).histories


def deviations(fit: Fit, truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each found log lies from the truth, in its own standard deviations."""
    return np.asarray((np.log(fit.theta) - np.log(truth)) / np.sqrt(np.diag(fit.covariance)), dtype=np.float64)


@pytest.mark.parametrize("model", PurchaseModel, ids=lambda model: model.value)
def test_the_parameters_that_customers_were_drawn_from_are_found(model: PurchaseModel) -> None:
    fit = fit_purchases(drawn(model, 6_000, 0), model)

    assert np.all(np.abs(deviations(fit, THETAS[model])) < 3.5)
    assert np.all(np.sqrt(np.diag(fit.covariance)) < 0.5)


def test_the_values_that_were_drawn_are_found() -> None:
    fit = fit_values(drawn(PurchaseModel.PARETO_NBD, 6_000, 1))

    found = np.array([fit.theta[0], fit.theta[1] - 1, fit.theta[2]])
    truth = np.array([VALUES[0], VALUES[1] - 1, VALUES[2]])
    assert np.all(np.abs(np.log(found / truth)) < 3.5 * np.sqrt(np.diag(fit.covariance)))


@pytest.mark.parametrize("model", PurchaseModel, ids=lambda model: model.value)
def test_chances_of_all_histories_of_a_short_time_add_up_to_one(model: PurchaseModel) -> None:
    # No purchase, or x purchases of which the last was at t: the likelihood is a density of any one order of times,
    # so that x purchases up to t carry t^(x-1) / (x-1)! of it.
    theta, watched, most = THETAS[model], 4.0, 40

    def density(recent: float, x: int) -> float:
        one = np.ones(1)
        row = Histories(
            frequency=x * one, recency_weeks=recent * one, observed_weeks=watched * one, valued=one, mean_value=one
        )
        return float(np.exp(purchase_log_likelihood(model, theta, row)[0]))

    total = density(0.0, 0)
    for x in range(1, most):
        orders = 1.0
        for factor in range(1, x):
            orders /= factor
        total += integrate.quad(lambda t, x=x, orders=orders: density(t, x) * orders * t ** (x - 1), 0, watched)[0]
    assert total == pytest.approx(1.0, abs=1e-6)


def test_the_unit_of_money_only_scales_v() -> None:
    histories = drawn(PurchaseModel.BG_NBD, 2_000, 2)
    cents = Histories(
        frequency=histories.frequency,
        recency_weeks=histories.recency_weeks,
        observed_weeks=histories.observed_weeks,
        valued=histories.valued,
        mean_value=histories.mean_value * 100,
    )

    one, hundred = fit_values(histories), fit_values(cents)

    np.testing.assert_allclose(hundred.theta / one.theta, [1, 1, 100], rtol=1e-3)


def test_a_prior_holds_shapes_that_the_data_do_not() -> None:
    rng = np.random.default_rng(3)
    alike = np.array([80.0, 800.0, 80.0, 8_000.0])  # customers hardly differ: shapes may be anything large
    histories = draw_customers(PurchaseModel.PARETO_NBD, alike, VALUES, np.full(300, 40.0), 0.0, rng).histories

    held = fit_purchases(histories, PurchaseModel.PARETO_NBD, prior_sd=1.0)

    assert np.all(held.theta[[0, 2]] < alike[[0, 2]])
    assert np.all(np.isfinite(held.covariance))


def test_too_few_customers_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="there are 30"):
        fit_purchases(drawn(PurchaseModel.BG_NBD, 30, 4), PurchaseModel.BG_NBD)


def test_customers_who_never_came_back_are_refused() -> None:
    nothing = np.zeros(500)
    histories = Histories(
        frequency=nothing, recency_weeks=nothing, observed_weeks=nothing + 20, valued=nothing, mean_value=nothing
    )

    with pytest.raises(ValueError, match="500 and 0"):
        fit_purchases(histories, PurchaseModel.PARETO_NBD)
    with pytest.raises(ValueError, match="there are 0"):
        fit_values(histories)
