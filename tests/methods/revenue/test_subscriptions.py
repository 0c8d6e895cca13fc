"""What running subscriptions will pay, against sums done by hand and laws that hold for all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from methods.revenue.churn import ChurnParameters, churn_by_horizon
from methods.revenue.subscriptions import (
    MONTH_DAYS,
    Bounded,
    CohortHazard,
    Subscriptions,
    churn_hazards,
    cohort_hazards,
    expected_payments,
    scaled_hazards,
    score_of_chance,
)

CHURN = ChurnParameters(
    period_days=28,
    slopes=(1.0, 0.8, 0.8),
    offsets=(-3.5, -3.4, -3.3),
    calibration_margins=(-2.0, 0.0, 1.0),
    calibration_logits=(-1.5, 0.1, 0.8),
    interval_margins=(-1.0, 1.0),
    interval_lowers=(0.7, 0.9),
    interval_uppers=(1.4, 1.2),
)
COHORT = CohortHazard(plan="MONTHLY", period_days=28, hazards=(0.2, 0.1), variances=(0.004, 0.001))


def subscriptions(price: float, billing: float, renewal: float | None) -> Subscriptions:
    return Subscriptions(
        price=np.array([price]),
        billing_days=np.array([billing]),
        renewal_days=np.array([0.0 if renewal is None else renewal]),
        renewal_known=np.array([renewal is not None]),
    )


def flat(rate: float, count: int = 1) -> object:
    def hazards(days: NDArray[np.float64]) -> Bounded:
        assert len(days) == count
        return Bounded(value=rate * days, lower=0.5 * rate * days, upper=2.0 * rate * days)

    return hazards


def test_two_payments_are_summed_as_by_hand() -> None:
    counts, paid = expected_payments(subscriptions(100.0, 30.0, 10.0), flat(0.01), 2, 0.21)  # type: ignore[arg-type]

    due = (10.0, 40.0)  # the third would come on day 70, after 60.9
    chance = [np.exp(-0.01 * day) for day in due]
    first, second = (100 * p * 1.21 ** (-day / 365.25) for p, day in zip(chance, due, strict=True))
    assert float(counts.value[0]) == pytest.approx(sum(chance))
    np.testing.assert_allclose(paid.value[0], [first, first + second])


def test_a_payment_that_was_due_is_followed_by_the_next_of_its_rhythm() -> None:
    late, _ = expected_payments(subscriptions(100.0, 30.0, -5.0), flat(0.01), 1, 0.0)  # type: ignore[arg-type]

    assert float(late.value[0]) == pytest.approx(np.exp(-0.25))


def test_without_a_known_day_payments_are_spread_evenly() -> None:
    counts, paid = expected_payments(subscriptions(1200.0, 365.25, None), flat(0.0), 12, 0.0)  # type: ignore[arg-type]

    assert float(counts.value[0]) == pytest.approx(1.0)
    np.testing.assert_allclose(paid.value[0], 100.0 * np.arange(1, 13))


@given(
    price=st.floats(1, 1e6),
    billing=st.sampled_from([MONTH_DAYS, 3 * MONTH_DAYS, 365.25]),
    renewal=st.none() | st.floats(-400, 400),
    chance=st.floats(0, 1),
    months=st.integers(1, 120),
    rate=st.floats(0, 1),
)
def test_the_curve_rises_within_its_interval_and_never_above_all_payments(
    price: float, billing: float, renewal: float | None, chance: float, months: int, rate: float
) -> None:
    asked = subscriptions(price, billing, renewal)
    counts, paid = expected_payments(asked, churn_hazards(np.array([chance]), CHURN), months, rate)

    slack = 1e-9 * price
    assert np.all(np.diff(paid.value, axis=1) >= -slack)
    assert np.all(paid.lower <= paid.value + slack)
    assert np.all(paid.value <= paid.upper + slack)
    assert 0 <= counts.lower[0] <= counts.value[0] + 1e-9 <= counts.upper[0] + 2e-9
    assert paid.value[0, -1] <= price * counts.value[0] + slack


@given(chance=st.floats(1e-6, 0.999))
def test_the_chance_of_28_days_gives_back_the_whole_curve_of_the_churn_model(chance: float) -> None:
    days = np.array([[14.0, 28.0, 70.0, 84.0]])
    hazard = churn_hazards(np.array([chance]), CHURN)(days)

    said = churn_by_horizon(score_of_chance(np.array([chance]), CHURN), CHURN, (14, 28, 70, 84))
    np.testing.assert_allclose(-np.expm1(-hazard.value), said.value, rtol=1e-9)
    np.testing.assert_allclose(-np.expm1(-hazard.upper), said.upper, rtol=1e-9)
    assert said.value[0, 1] == pytest.approx(chance, rel=1e-9)


def test_beyond_the_last_period_its_hazard_goes_on() -> None:
    own = churn_hazards(np.array([0.1]), CHURN)(np.array([[56.0, 84.0, 112.0, 168.0]])).value[0]
    plan = cohort_hazards(COHORT, np.array([0.0]), 1.64)(np.array([[28.0, 56.0, 84.0, 140.0]]))

    assert own[2] - own[1] == pytest.approx(own[1] - own[0])
    assert own[3] - own[2] == pytest.approx(2 * (own[1] - own[0]))
    np.testing.assert_allclose(plan.value[0], [0.2, 0.3, 0.4, 0.6])


def test_a_plan_s_hazard_starts_at_the_tenure_reached() -> None:
    hazard = cohort_hazards(COHORT, np.array([14.0, 70.0]), 1.64)(np.array([[28.0], [28.0]]))

    np.testing.assert_allclose(hazard.value[:, 0], [0.15, 0.1])
    sd = np.sqrt([0.0025, 0.001])  # half of each period's variance; the last one's goes on
    np.testing.assert_allclose(np.log(hazard.upper / hazard.value)[:, 0], 1.64 * sd / [0.15, 0.1])


@given(chance=st.floats(1e-6, 0.999), tenure=st.floats(0, 200))
def test_scaled_hazards_give_the_known_chance_and_keep_the_plan_s_course(chance: float, tenure: float) -> None:
    plan = cohort_hazards(COHORT, np.array([tenure]), 1.64)
    days = np.array([[28.0, 56.0, 300.0]])

    own = scaled_hazards(plan, np.array([chance]))(days)

    assert -np.expm1(-own.value[0, 0]) == pytest.approx(chance, rel=1e-9)
    np.testing.assert_allclose(own.value / own.value[0, 0], plan(days).value / plan(days).value[0, 0])


def test_a_churn_model_of_other_periods_is_refused() -> None:
    weekly = ChurnParameters(period_days=7, slopes=(1.0,), offsets=(0.0,))

    with pytest.raises(ValueError, match="period_days"):
        churn_hazards(np.array([0.1]), weekly)


def test_who_leaves_at_the_end_of_a_paid_period_does_so_before_the_next_payment() -> None:
    table = CohortHazard(plan="MONTHLY", period_days=28, hazards=(0.28,) * 5, variances=(0.0,) * 5)  # 0.01 a day
    hazards = cohort_hazards(table, np.zeros(3), 1.0)
    asked = Subscriptions(
        price=np.ones(3),
        billing_days=np.full(3, 30.0),
        renewal_days=np.array([5.0, -5.0, 0.0]),
        renewal_known=np.array([True, True, False]),
        renewal_share=np.array([1.0, 0.5, 1.0]),
    )

    count, _ = expected_payments(asked, hazards, 1, 0.0)

    at_once = np.exp(-0.01 * (5 + 25)) + 0  # all of the period's hazard before its payment
    overdue = np.exp(-0.01 * (25 + 0.5 * 5))
    spread = MONTH_DAYS / 30 * np.exp(-0.01 * (MONTH_DAYS / 2 + 15))
    np.testing.assert_allclose(count.value, [at_once, overdue, spread])


def test_without_a_share_leaving_is_spread_evenly() -> None:
    table = CohortHazard(plan="MONTHLY", period_days=28, hazards=(0.28,) * 5, variances=(0.0,) * 5)
    days = {
        "price": np.ones(1),
        "billing_days": np.full(1, 30.0),
        "renewal_days": np.array([5.0]),
        "renewal_known": np.array([True]),
    }
    hazards = cohort_hazards(table, np.zeros(1), 1.0)

    none, zero = (
        expected_payments(Subscriptions(**days, renewal_share=share), hazards, 3, 0.1)[0].value
        for share in (None, np.zeros(1))
    )

    assert none == zero
