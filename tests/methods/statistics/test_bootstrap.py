import numpy as np
import pytest

from methods.statistics.bootstrap import draw_weights, paired_interval


def test_rows_of_one_subject_are_drawn_together() -> None:
    subject = np.array([7, 3, 7, 3, 5, 7])

    for weight in draw_weights(subject, 20, np.random.default_rng(0)):
        assert weight[0] == weight[2] == weight[5]
        assert weight[1] == weight[3]
        assert weight[0] + weight[1] + weight[4] == 3


def test_equal_seeds_draw_equally() -> None:
    first, second = (list(draw_weights(np.arange(5), 3, np.random.default_rng(4))) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_the_interval_of_a_mean_has_the_width_theory_says() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=2_000)

    lower, upper = paired_interval(
        lambda weight: float(values @ weight / weight.sum()), np.arange(2_000), rng, draws=800
    )

    # 90 %: 2 * 1.645 / sqrt(2,000) = 0.0736; its own error with 800 draws is about 4 %
    assert upper - lower == pytest.approx(0.0736, rel=0.15)
    assert lower < values.mean() < upper


def test_rows_of_the_same_subjects_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=200), 10)
    mean = lambda weight: float(values @ weight / weight.sum())  # noqa: E731 - one formula, used twice

    apart = paired_interval(mean, np.arange(2_000), np.random.default_rng(1))
    together = paired_interval(mean, np.repeat(np.arange(200), 10), np.random.default_rng(1))

    assert together[1] - together[0] > 2 * (apart[1] - apart[0])
