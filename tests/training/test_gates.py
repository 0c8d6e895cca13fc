import pytest

from training.evaluate import Comparison, Scores
from training.gates import (
    Gate,
    beats_baseline,
    has_enough_events,
    has_no_leak,
    has_parity,
    is_calibrated,
    is_not_worse,
)


def scores(auc: float) -> Scores:
    return Scores(auc=auc, log_loss=0.11, brier=0.026, ece=0.005, lift_top_decile=3.0)


def against(lower: float, upper: float) -> Comparison:
    return Comparison(value=(lower + upper) / 2, lower=lower, upper=upper)


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        pytest.param(has_enough_events(50, 20), True, id="just enough events"),
        pytest.param(has_enough_events(49, 500), False, id="too few events to fit"),
        pytest.param(has_enough_events(500, 19), False, id="too few events to judge"),
        pytest.param(beats_baseline(scores(0.76), scores(0.75)), True, id="above the baseline"),
        pytest.param(beats_baseline(scores(0.748), scores(0.75)), True, id="below within the tolerance"),
        pytest.param(beats_baseline(scores(0.74), scores(0.75)), False, id="below the baseline"),
        pytest.param(is_not_worse(None), True, id="no champion"),
        pytest.param(is_not_worse(against(0.0, 0.0)), True, id="the same answers"),
        pytest.param(is_not_worse(against(-0.002, 0.001)), True, id="worse by chance"),
        pytest.param(is_not_worse(against(-0.002, -0.001)), False, id="worse"),
        pytest.param(is_not_worse(against(float("nan"), float("nan"))), False, id="cannot be said"),
        pytest.param(is_calibrated(0.01, 7_000, 0.03), True, id="calibrated"),
        pytest.param(is_calibrated(0.03, 7_000, 0.03), False, id="not calibrated"),
        pytest.param(is_calibrated(0.03, 500, 0.1), True, id="as calibrated as 500 rows can show"),
        pytest.param(is_calibrated(float("nan"), 7_000, 0.03), False, id="calibration unknown"),
        pytest.param(has_parity(1e-5), True, id="parity"),
        pytest.param(has_parity(2e-5), False, id="no parity"),
        pytest.param(has_parity(float("nan")), False, id="parity unknown"),
        pytest.param(has_no_leak(scores(0.76), "a", 0.7), True, id="no leak"),
        pytest.param(has_no_leak(scores(0.97), "a", 0.7), False, id="the model knows the outcome"),
        pytest.param(has_no_leak(scores(0.76), "a", 0.97), False, id="a column knows the outcome"),
    ],
)
def test_a_gate_passes_what_it_says(gate: Gate, passed: bool) -> None:  # noqa: FBT001 - the expected value of a case
    assert gate.passed is passed


def test_a_reason_has_the_figure_and_what_is_allowed() -> None:
    assert has_parity(0.02).reason == "graph and model differ by at most 0.02 log-odds (allowed 1e-05)"
