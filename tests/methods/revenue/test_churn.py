import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.revenue.churn import (
    ChurnParameters,
    churn_at,
    churn_by_horizon,
    parse_parameters,
    survival_curve,
)

PAGE = Path(__file__).parents[3] / "docs/methods/predict_churn.md"
YEAR = ChurnParameters(
    period_days=28,
    slopes=tuple(np.linspace(1.0, 0.3, 13).tolist()),
    offsets=tuple(np.linspace(-3.5, -2.9, 13).tolist()),
    calibration_margins=(-2.0, 0.0, 2.5),
    calibration_logits=(-1.5, 0.1, 2.0),
    interval_margins=(-1.0, 0.5, 3.0),
    interval_lowers=(0.7, 0.85, 0.6),
    interval_uppers=(1.3, 1.1, 1.7),
)
MARGINS = st.floats(min_value=-60, max_value=60)
HORIZONS = st.lists(st.integers(min_value=1, max_value=364), min_size=1, max_size=13).map(tuple)


@settings(max_examples=300)
@given(MARGINS, HORIZONS)
def test_one_row_and_a_batch_give_the_same(margin: float, horizons: tuple[int, ...]) -> None:
    batch = churn_by_horizon(np.array([margin]), YEAR, horizons)

    single = np.array(churn_at(margin, YEAR, horizons))

    np.testing.assert_allclose(single.T, [batch.value[0], batch.lower[0], batch.upper[0]], rtol=1e-12, atol=1e-300)


@given(MARGINS, HORIZONS)
def test_the_interval_contains_the_value_and_all_are_probabilities(margin: float, horizons: tuple[int, ...]) -> None:
    for value, lower, upper in churn_at(margin, YEAR, horizons):
        assert 0 <= lower <= value <= upper <= 1


@given(MARGINS)
def test_the_chance_never_falls_with_the_horizon(margin: float) -> None:
    answers = churn_at(margin, YEAR, tuple(range(1, 365)))

    assert np.all(np.diff(np.array(answers), axis=0) >= 0)


@given(MARGINS, st.floats(min_value=0, max_value=10))
def test_a_higher_score_never_means_a_lower_chance(margin: float, step: float) -> None:
    low, high = churn_at(margin, YEAR, (28,)), churn_at(margin + step, YEAR, (28,))

    assert high[0][0] >= low[0][0] - 1e-15


@given(MARGINS)
def test_survival_is_one_less_the_chance_at_each_period(margin: float) -> None:
    days, values, lowers, uppers = survival_curve(margin, YEAR)

    answers = churn_at(margin, YEAR, tuple(days))
    assert days == [28 * k for k in range(1, 14)]
    np.testing.assert_allclose(values, [1 - value for value, _, _ in answers])
    assert all(low <= value <= high for low, value, high in zip(lowers, values, uppers, strict=True))


def test_the_order_of_horizons_and_rows_does_not_matter() -> None:
    margin = np.array([-1.0, 0.2, 2.0])

    forward = churn_by_horizon(margin, YEAR, (28, 90, 180)).value
    backward = churn_by_horizon(margin[::-1], YEAR, (180, 90, 28)).value

    np.testing.assert_array_equal(forward, backward[::-1, ::-1])


def test_a_horizon_beyond_the_last_period_is_refused() -> None:
    short = ChurnParameters(period_days=28, slopes=(1.0,), offsets=(-3.0,))

    with pytest.raises(IndexError):
        churn_at(0.0, short, (29,))
    with pytest.raises(IndexError):
        churn_by_horizon(np.zeros(1), short, (29,))


def test_parameters_survive_json() -> None:
    assert parse_parameters(YEAR.to_json()) == YEAR


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"period_days": 0}, "period_days"),
        ({"period_days": True}, "period_days"),
        ({"slopes": []}, "offsets"),
        ({"slopes": [-1.0], "offsets": [0.0]}, "slopes"),
        ({"offsets": [float("nan")] * 13}, "offsets"),
        ({"calibration": {"margins": [0.0, 0.0], "logits": [0.0, 1.0]}}, r"calibration\.margins"),
        ({"calibration": {"margins": [0.0, 1.0], "logits": [1.0, 0.0]}}, r"calibration\.logits"),
        ({"calibration": 3}, "calibration"),
        ({"interval": {"margins": [0.0], "lowers": [1.1], "uppers": [1.2]}}, r"interval\.lowers"),
        ({"interval": {"margins": [0.0], "lowers": [0.9], "uppers": [0.9]}}, r"interval\.uppers"),
        ({"interval": {"margins": [0.0], "lowers": [0.9], "uppers": []}}, r"interval\.uppers"),
        ({"interval": {"level": 1.0, "margins": [], "lowers": [], "uppers": []}}, r"interval\.level"),
    ],
)
def test_parameters_that_are_no_hazard_are_refused_by_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_parameters({**YEAR.to_json(), **change})


def test_parameters_that_are_no_object_are_refused() -> None:
    with pytest.raises(ValueError, match="parameters"):
        parse_parameters([1.0])


def test_the_worked_example_of_the_page_is_what_the_code_gives() -> None:
    parameters = ChurnParameters(
        period_days=28,
        slopes=(1.0, 0.8),
        offsets=(-3.5, -3.4),
        interval_margins=(0.0,),
        interval_lowers=(0.8,),
        interval_uppers=(1.25,),
    )
    rows = re.findall(
        r"^\| (at|interval at) (\d+) days \|.*\| ([\d.]+)(?: to ([\d.]+))? \|$", PAGE.read_text(), re.MULTILINE
    )

    said = {(kind, int(days)): [float(v) for v in values if v] for kind, days, *values in rows}

    at = {days: churn_at(1.0, parameters, (days,))[0] for days in (28, 42, 56)}
    assert len(said) == 4
    for days in (28, 42, 56):
        assert said["at", days] == [pytest.approx(at[days][0], abs=5e-5)]
    assert said["interval at", 28] == [pytest.approx(at[28][1], abs=5e-5), pytest.approx(at[28][2], abs=5e-5)]
