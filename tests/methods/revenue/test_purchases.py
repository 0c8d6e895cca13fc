"""The models of buying against scipy's published forms, against brute force, and where the published forms break."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special

from methods.revenue.purchases import (
    Histories,
    PurchaseModel,
    alive_probability,
    expected_value,
    log_odds_gone,
    purchases_if_alive,
    summarise_purchases,
)

SHAPE, SCALE = st.floats(0.1, 8), st.floats(0.5, 60)
WEEKS = np.array([1.0, 39.0, 156.0])


def history(x: int, recent: float, watched: float) -> Histories:
    one = np.ones(1)
    return Histories(
        frequency=x * one, recency_weeks=recent * one, observed_weeks=watched * one, valued=x * one, mean_value=20 * one
    )


def row(*numbers: float) -> NDArray[np.float64]:
    return np.array([numbers])


@given(r=SHAPE, alpha=SCALE, s=SHAPE, beta=SCALE, x=st.integers(0, 60), share=st.floats(0, 0.99))
def test_pareto_nbd_says_alive_as_the_integral_over_leaving_does(
    r: float, alpha: float, s: float, beta: float, x: int, share: float
) -> None:
    watched, recent = 40.0, 40.0 * share if x else 0.0
    odds = log_odds_gone(PurchaseModel.PARETO_NBD, row(r, alpha, s, beta), history(x, recent, watched))

    gone, _ = integrate.quad(
        lambda t: ((alpha + watched) / (alpha + t)) ** (r + x) * ((beta + watched) / (beta + t)) ** s * s / (beta + t),
        recent,
        watched,
        epsrel=1e-11,
        epsabs=0,
        limit=500,
    )
    assert float(odds[0, 0]) == pytest.approx(np.log(gone), abs=1e-7)
    assert float(alive_probability(odds)[0, 0]) == pytest.approx(1 / (1 + gone), rel=1e-7)


def test_pareto_nbd_says_alive_as_the_published_2f1_does() -> None:
    r, alpha, s, beta = 0.553, 10.578, 0.606, 11.668
    x, recent, watched = 2, 30.43, 38.86
    odds = log_odds_gone(PurchaseModel.PARETO_NBD, row(r, alpha, s, beta), history(x, recent, watched))

    def part(t: float) -> float:  # Schmittlein et al. 1987, eq. A22, beta > alpha
        z = (beta - alpha) / (beta + t)
        return float(special.hyp2f1(r + s + x, r + x, r + s + x + 1, z)) / (beta + t) ** (r + s + x)

    gone = s / (r + s + x) * (part(recent) - part(watched)) * (alpha + watched) ** (r + x) * (beta + watched) ** s
    assert float(alive_probability(odds)[0, 0]) == pytest.approx(1 / (1 + gone), rel=1e-10)


@given(
    r=SHAPE,
    alpha=SCALE,
    a=SHAPE.filter(lambda a: abs(a - 1) > 0.05),
    b=SHAPE,
    x=st.integers(1, 40),
    watched=st.floats(1, 80),
)
def test_bg_nbd_expects_what_the_published_2f1_does(
    r: float, alpha: float, a: float, b: float, x: int, watched: float
) -> None:
    ours = purchases_if_alive(PurchaseModel.BG_NBD, row(r, alpha, a, b), history(x, watched, watched), WEEKS)[0, 0]

    c, z = a + b + x - 1, WEEKS / (alpha + watched + WEEKS)
    theirs = c / (a - 1) * (1 - (1 - z) ** (r + x) * special.hyp2f1(r + x, b + x, c, z))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)  # theirs cancels near a = 1, ours does not


def test_bg_nbd_expects_what_brute_force_over_rate_and_dropout_does() -> None:
    r, alpha, a, b, x, watched = 0.4, 5.0, 0.6, 2.0, 3, 20.0
    ours = purchases_if_alive(PurchaseModel.BG_NBD, row(r, alpha, a, b), history(x, 18.0, watched), WEEKS)[0, 0]

    rng = np.random.default_rng(0)
    rate = rng.gamma(r + x, 1 / (alpha + watched), 400_000)
    drop = rng.beta(a, b + x, 400_000)
    for week, value in zip(WEEKS, ours, strict=True):
        draws = -np.expm1(-rate * drop * week) / drop
        assert value == pytest.approx(draws.mean(), abs=4 * draws.std() / np.sqrt(len(draws)))


def test_pareto_nbd_expects_what_brute_force_over_rate_and_lifetime_does() -> None:
    r, alpha, s, beta, x, watched = 0.5, 10.0, 0.7, 12.0, 2, 30.0
    theta = row(r, alpha, s, beta)
    ours = purchases_if_alive(PurchaseModel.PARETO_NBD, theta, history(x, 25.0, watched), WEEKS)[0, 0]

    rng = np.random.default_rng(1)
    rate = rng.gamma(r + x, 1 / (alpha + watched), 400_000)
    leave = rng.gamma(s, 1 / (beta + watched), 400_000)
    for week, value in zip(WEEKS, ours, strict=True):
        draws = -rate * np.expm1(-leave * week) / leave
        assert value == pytest.approx(draws.mean(), abs=4 * draws.std() / np.sqrt(len(draws)))


@pytest.mark.parametrize("model", PurchaseModel, ids=lambda model: model.value)
def test_nothing_breaks_where_the_published_forms_divide_by_zero(model: PurchaseModel) -> None:
    around = [purchases_if_alive(model, row(0.5, 9.0, at, 2.0), history(2, 9.0, 20.0), WEEKS) for at in (0.999, 1.001)]

    at_one = purchases_if_alive(model, row(0.5, 9.0, 1.0, 2.0), history(2, 9.0, 20.0), WEEKS)

    np.testing.assert_allclose(at_one, (around[0] + around[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("model", PurchaseModel, ids=lambda model: model.value)
def test_small_parameters_below_one_and_no_repeat_purchase_are_answered(model: PurchaseModel) -> None:
    ours = purchases_if_alive(model, row(0.2, 4.0, 0.3, 0.2), history(0, 0.0, 10.0), WEEKS)[0, 0]

    assert np.all(np.isfinite(ours))
    assert np.all(np.diff(ours) > 0)


@given(x=st.integers(1, 2000), recent=st.floats(0, 500), silent=st.floats(0.1, 500))
def test_longer_silence_never_makes_a_customer_more_alive(x: int, recent: float, silent: float) -> None:
    theta = np.array([[0.553, 10.578, 0.606, 11.668], [0.243, 4.414, 0.793, 2.426]])
    for model, each in zip((PurchaseModel.PARETO_NBD, PurchaseModel.BG_NBD), theta, strict=True):
        short = log_odds_gone(model, each[None, :], history(x, recent, recent + silent / 2))
        long = log_odds_gone(model, each[None, :], history(x, recent, recent + silent))
        assert np.isfinite(short).all()
        assert long >= short - 1e-9


def test_a_customer_who_bought_today_is_alive_in_pareto_nbd() -> None:
    odds = log_odds_gone(PurchaseModel.PARETO_NBD, row(0.5, 10.0, 0.6, 11.0), history(4, 20.0, 20.0))

    assert float(alive_probability(odds)[0, 0]) == 1.0


def test_many_customers_and_parameters_give_what_each_gives_alone() -> None:
    theta = np.array([[0.5, 10.0, 0.6, 11.0], [0.7, 8.0, 1.4, 30.0], [0.2, 40.0, 0.6, 3.0]])
    many = Histories(
        frequency=np.array([0.0, 3.0]),
        recency_weeks=np.array([0.0, 12.0]),
        observed_weeks=np.array([9.0, 30.0]),
        valued=np.array([0.0, 3.0]),
        mean_value=np.array([0.0, 31.0]),
    )
    for model in PurchaseModel:
        odds, expected = log_odds_gone(model, theta, many), purchases_if_alive(model, theta, many, WEEKS)
        for i in range(2):
            for j in range(3):
                alone = many.take(slice(i, i + 1))
                np.testing.assert_allclose(odds[i, j], log_odds_gone(model, theta[j : j + 1], alone)[0, 0])
                np.testing.assert_allclose(
                    expected[i, j], purchases_if_alive(model, theta[j : j + 1], alone, WEEKS)[0, 0]
                )


def test_the_expected_value_lies_between_the_customers_own_and_all_customers() -> None:
    everybody = 6.25 * 15.44 / 2.74
    values = expected_value(row(6.25, 3.74, 15.44), history(4, 1.0, 1.0))[0, 0]

    assert 20 < values < everybody


def test_purchases_of_one_day_count_once_and_later_ones_not_at_all() -> None:
    customers, histories = summarise_purchases(
        [5, 2, 5, 5, 2, 9], [3.5, 0.1, 10.0, 10.9, 40.0, 41.0], [10.0, 4.0, 6.0, 2.0, 7.0, 1.0], 40.5
    )

    assert customers.tolist() == [2, 5]
    assert histories.frequency.tolist() == [1.0, 1.0]
    assert histories.recency_weeks.tolist() == [40 / 7, 1.0]
    assert histories.observed_weeks.tolist() == [40 / 7, 37 / 7]
    assert histories.mean_value.tolist() == [7.0, 8.0]


def test_no_purchase_by_then_is_nobody() -> None:
    customers, histories = summarise_purchases([1], [10.0], [1.0], 9.0)

    assert len(customers) == len(histories) == 0
