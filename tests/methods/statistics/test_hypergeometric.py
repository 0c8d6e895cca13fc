"""Hypergeometric sums against scipy's and against closed forms."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from methods.statistics.hypergeometric import hypergeometric_sum

PARAMETER = st.floats(0.05, 30)


@given(a=st.floats(-5, 30), b=PARAMETER, c=PARAMETER, z=st.floats(0, 0.97))
def test_a_2f1_is_what_scipy_says(a: float, b: float, c: float, z: float) -> None:
    ours = float(hypergeometric_sum((a, b), (c,), z))

    # A sum of terms of both signs is as exact as its largest term, which the same sum of |a| bounds. scipy's own is off
    # by 3e-8 where c - b is a negative integer (the next test).
    assert ours == pytest.approx(special.hyp2f1(a, b, c, z), rel=1e-6, abs=1e-10 * special.hyp2f1(abs(a), b, c, z))


def test_a_2f1_that_ends_is_the_sum_of_fractions() -> None:
    # By Euler, 2F1(1, 26; 13; z) = (1 - z)^-14 2F1(12, -13; 13; z), a sum of 14 terms.
    z = Fraction(7, 8)
    term = total = Fraction(1)
    for n in range(13):
        term *= Fraction((12 + n) * (n - 13), (13 + n) * (n + 1)) * z
        total += term

    exact = float(total / (1 - z) ** 14)

    assert float(hypergeometric_sum((1.0, 26.0), (13.0,), float(z))) == pytest.approx(exact, rel=1e-13)


@given(a=PARAMETER, b=PARAMETER, c=PARAMETER, z=st.floats(0.01, 0.97))
def test_a_3f2_with_1_and_2_is_a_shifted_2f1(a: float, b: float, c: float, z: float) -> None:
    # 3F2(a+1, b+1, 1; c+1, 2; z) = (2F1(a, b; c; z) - 1) c / (a b z)
    ours = float(hypergeometric_sum((a + 1, b + 1, 1.0), (c + 1, 2.0), z))

    whole = special.hyp2f1(a, b, c, z)
    assert ours * a * b * z / c == pytest.approx(whole - 1, rel=1e-6, abs=1e-12 * whole)  # scipy again


@pytest.mark.parametrize("z", [0.99, 0.999], ids=str)
def test_arguments_near_one_are_summed_to_the_end(z: float) -> None:
    assert float(hypergeometric_sum((1.0, 1.0), (2.0,), z)) == pytest.approx(-np.log1p(-z) / z, rel=1e-10)


def test_arrays_give_what_their_elements_give() -> None:
    a, c, z = np.array([[0.5], [2.0]]), np.array([1.5, 3.0, 0.2]), np.array([0.0, 0.3, 0.9])

    whole = hypergeometric_sum((a, 1.2), (c,), z)

    assert whole.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert whole[i, j] == pytest.approx(float(hypergeometric_sum((a[i, 0], 1.2), (c[j],), z[j])), rel=1e-12)


@pytest.mark.parametrize("z", [-0.1, 1.0, float("nan")], ids=str)
def test_an_argument_outside_is_refused(z: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        hypergeometric_sum((1.0,), (), z)


def test_an_argument_too_near_one_is_refused_rather_than_cut_off() -> None:
    with pytest.raises(ValueError, match="too near 1"):
        hypergeometric_sum((1.0, 1.0), (2.0,), 1 - 1e-9)
