import math
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.arrivals import fixed_arrivals, poisson_arrivals

RATES = st.floats(min_value=1, max_value=500)


@given(rate=RATES, seed=st.integers(0, 1000))
def test_poisson_arrivals_come_in_order_and_within_the_run(rate: float, seed: int) -> None:
    times = poisson_arrivals(rate, 2.0, Random(seed))

    assert times == sorted(times)
    assert all(0 < time < 2.0 for time in times)


def test_poisson_arrivals_keep_the_rate() -> None:
    calls = len(poisson_arrivals(1000.0, 20.0, Random(7)))

    # A Poisson count of mean 20,000 has a standard error of 141; five of them.
    assert abs(calls - 20_000) < 5 * math.sqrt(20_000)


@given(rate=RATES)
def test_fixed_arrivals_are_evenly_spaced(rate: float) -> None:
    times = fixed_arrivals(rate, 2.0)

    assert len(times) == round(2.0 * rate)
    assert all(math.isclose(b - a, 1 / rate, rel_tol=1e-6) for a, b in pairwise(times))
