import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from methods.statistics.scores import auc, brier_score, calibration_error, lift_at, log_loss

ROWS = st.lists(
    st.tuples(st.integers(min_value=0, max_value=1), st.integers(min_value=1, max_value=9)), min_size=2, max_size=60
).filter(lambda rows: len({outcome for outcome, _ in rows}) == 2)


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes, and probabilities with many ties."""
    outcome, tenth = np.array(rows, dtype=np.float64).T
    return outcome, tenth / 10


@given(ROWS)
def test_scores_equal_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    outcome, probability = columns(rows)

    assert auc(outcome, probability) == pytest.approx(roc_auc_score(outcome, probability))
    assert log_loss(outcome, probability) == pytest.approx(sklearn_log_loss(outcome, probability))
    assert brier_score(outcome, probability) == pytest.approx(brier_score_loss(outcome, probability))


@given(ROWS, st.randoms(use_true_random=False))
def test_no_score_depends_on_the_order_of_the_rows(rows: list[tuple[int, int]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    for score in (auc, log_loss, brier_score, calibration_error, lift_at):
        assert score(*columns(rows)) == pytest.approx(score(*columns(shuffled)))


@given(ROWS, st.integers(min_value=1, max_value=3))
def test_a_weight_counts_like_repeated_rows(rows: list[tuple[int, int]], times: int) -> None:
    outcome, probability = columns(rows)
    weight = np.where(outcome == 1, times, 1)

    weighted = auc(outcome, probability, weight)

    assert weighted == pytest.approx(auc(np.repeat(outcome, weight), np.repeat(probability, weight)))


def test_a_calibrated_model_has_the_error_of_chance_alone() -> None:
    rng = np.random.default_rng(1)
    probability = rng.uniform(0.02, 0.4, 150_000)
    outcome = (rng.random(150_000) < probability).astype(float)

    # 10,000 rows a bin: the mean distance by chance is 0.8 * sqrt(0.17 / 10,000) = 0.0033 at most
    assert calibration_error(outcome, probability) < 0.0066
    assert calibration_error(outcome, probability * 1.5) > 0.08


def test_certainty_about_the_wrong_outcome_costs_much_but_not_infinity() -> None:
    assert 30 < log_loss([0.0], [1.0]) < 40


def test_scores_without_an_event_cannot_be_said() -> None:
    assert np.isnan(auc([0, 0], [0.1, 0.2]))
    assert np.isnan(lift_at([0, 0], [0.1, 0.2]))


@pytest.mark.parametrize(
    ("outcome", "score"),
    [
        pytest.param([], [], id="empty"),
        pytest.param([1, 0], [0.5], id="lengths"),
        pytest.param([1, 0], [0.5, float("nan")], id="nan"),
    ],
)
def test_columns_that_are_no_pair_are_refused(outcome: list[float], score: list[float]) -> None:
    with pytest.raises(ValueError, match="outcomes"):
        auc(outcome, score)
