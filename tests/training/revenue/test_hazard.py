import numpy as np
import pytest
from numpy.typing import NDArray

from methods.revenue.churn import churn_by_horizon
from training.revenue.hazard import fit_hazard
from training.revenue.person_periods import PersonPeriods

SLOPES, OFFSETS = np.linspace(1.0, 0.4, 6), np.linspace(-2.2, -1.9, 6)


def watched(logit: NDArray[np.float64], rng: np.random.Generator, *, rows_each: int = 1) -> PersonPeriods:
    """Subjects with these log-odds of leaving, (n, periods), each watched for 1 to all periods."""
    n, periods = logit.shape
    leaves = rng.random(logit.shape) < 1 / (1 + np.exp(-logit))
    watch = rng.integers(1, periods + 1, n)
    first = np.where(leaves.any(axis=1), leaves.argmax(axis=1) + 1, periods + 1)
    left = np.where(first <= watch, first, 0)
    return PersonPeriods(
        matrix=np.zeros((n, 1), dtype=np.float32),
        subject=np.arange(n) // rows_each,
        time=np.zeros(n),
        observed=np.where(left > 0, left, watch),
        left=left,
    )


def test_slopes_and_offsets_are_found_again() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=60_000)
    frame = watched(score[:, None] * SLOPES + OFFSETS, rng)

    found = fit_hazard(score, frame, rng, periods=6, draws=0)

    # about 1,200 leavings in the last period: standard errors near 0.03
    np.testing.assert_allclose(found.slopes, SLOPES, atol=0.1)
    np.testing.assert_allclose(found.offsets, OFFSETS, atol=0.1)
    assert found.calibration_margins == ()


def test_a_bent_score_gets_a_calibration_curve() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(scale=1.5, size=40_000)
    frame = watched((-2.0 + 3.0 * np.tanh(score))[:, None], rng)

    found = fit_hazard(score, frame, rng, periods=1, draws=0)

    chance = churn_by_horizon(np.array([-1.5, 0.0, 1.5]), found, (28,)).value[:, 0]
    truth = 1 / (1 + np.exp(-(-2.0 + 3.0 * np.tanh([-1.5, 0.0, 1.5]))))
    assert len(found.calibration_margins) >= 3
    np.testing.assert_allclose(chance, truth, rtol=0.3)


def test_periods_that_nobody_reached_follow_the_one_before() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=5_000)
    frame = watched(score[:, None] * SLOPES[:2] + OFFSETS[:2], rng)

    found = fit_hazard(score, frame, rng, periods=13, draws=0)

    assert len(found.slopes) == 13
    np.testing.assert_allclose(found.slopes[2:], found.slopes[1], atol=1e-6)
    np.testing.assert_allclose(found.offsets[2:], found.offsets[1], atol=1e-6)


def test_a_score_that_points_the_wrong_way_gets_no_negative_slope() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=20_000)
    frame = watched(-2.0 * score[:, None] - 2.0, rng)

    found = fit_hazard(score, frame, rng, periods=1, draws=0)

    assert found.slopes == (0.0,)
    assert found.offsets[0] == pytest.approx(np.log(np.mean(frame.left == 1) / np.mean(frame.left != 1)), abs=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    grid = np.linspace(-1.5, 1.5, 7)
    truth = 1 / (1 + np.exp(-(grid * SLOPES[0] + OFFSETS[0])))
    held = []
    for _ in range(12):
        score = rng.normal(size=4_000)
        found = fit_hazard(score, watched(score[:, None] * SLOPES + OFFSETS, rng), rng, periods=6, draws=60)
        curve = churn_by_horizon(grid, found, (28,))
        held.append((curve.lower[:, 0] <= truth) & (truth <= curve.upper[:, 0]))

    # 84 answers that are not independent: 90 % with a standard error of about 5 points
    assert np.mean(held) > 0.75


def test_rows_of_the_same_subject_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    score = np.repeat(rng.normal(size=600), 8)
    once = watched(score[::8, None] * SLOPES + OFFSETS, rng)
    rows = np.repeat(np.arange(600), 8)
    repeated = once.take(rows)

    def width(frame: PersonPeriods) -> float:
        found = fit_hazard(score, frame, np.random.default_rng(1), periods=6, draws=100)
        return float(np.mean(np.subtract(found.interval_uppers, found.interval_lowers)))

    apart = PersonPeriods(
        matrix=repeated.matrix,
        subject=np.arange(len(rows)),
        time=repeated.time,
        observed=repeated.observed,
        left=repeated.left,
    )
    # by theory sqrt(8), less what the finer table of the many separate subjects adds to their noise
    assert width(repeated) > 1.3 * width(apart)


@pytest.mark.parametrize("left", [0, 1], ids=["nobody left", "everybody left"])
def test_rows_of_one_kind_are_refused(left: int) -> None:
    frame = PersonPeriods(
        matrix=np.zeros((50, 1), dtype=np.float32),
        subject=np.arange(50),
        time=np.zeros(50),
        observed=np.ones(50, dtype=np.int64),
        left=np.full(50, left),
    )

    with pytest.raises(ValueError, match="rows that did not"):
        fit_hazard(np.linspace(-1, 1, 50), frame, np.random.default_rng(0), periods=1)
