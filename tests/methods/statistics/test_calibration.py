import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from methods.statistics.calibration import centred_isotonic, reliability

VALUES = st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=40)


@given(VALUES)
def test_knots_rise_strictly(values: list[float]) -> None:
    x, y = centred_isotonic(np.arange(len(values)), values, np.ones(len(values)))

    assert np.all(np.diff(x) > 0)
    assert np.all(np.diff(y) > 0)


@given(VALUES)
def test_the_ends_are_those_of_plain_isotonic_regression(values: list[float]) -> None:
    position = np.arange(len(values), dtype=float)

    _, y = centred_isotonic(position, values, np.ones(len(values)))

    plain = IsotonicRegression().fit_transform(position, values)
    np.testing.assert_allclose([y[0], y[-1]], [plain[0], plain[-1]], atol=1e-9)


def test_bins_hold_equal_counts_and_every_row() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(1_003)

    bins = reliability((rng.random(1_003) < probability).astype(float), probability)

    assert bins.rows.sum() == 1_003
    assert bins.rows.max() - bins.rows.min() <= 1
    assert np.all(np.diff(bins.predicted) > 0)
