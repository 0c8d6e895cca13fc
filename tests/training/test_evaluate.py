import numpy as np
import pytest

from training.evaluate import compare_log_loss, gain_curve, roc_curve, score_probabilities, strongest_column


def test_metrics_have_the_names_of_every_table() -> None:
    scores = score_probabilities(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.9, 0.2, 0.6]))

    assert set(scores.as_metrics("test.")) == {
        "test.auc",
        "test.log_loss",
        "test.brier",
        "test.ece",
        "test.lift_top_decile",
    }


def test_a_better_model_saves_log_loss_and_chance_does_not_hide_it() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.05, 0.6, 4_000)
    outcome = (rng.random(4_000) < chance).astype(float)

    found = compare_log_loss(outcome, chance, np.full(4_000, outcome.mean()), np.arange(4_000), rng)

    assert 0 < found.lower < found.value < found.upper


def test_a_model_beside_itself_saves_nothing() -> None:
    outcome, chance = np.array([0.0, 1.0]), np.array([0.2, 0.7])

    found = compare_log_loss(outcome, chance, chance, np.arange(2), np.random.default_rng(0))

    assert (found.lower, found.value, found.upper) == (0, 0, 0)


def test_the_column_that_tells_most_is_found_in_either_direction() -> None:
    outcome = np.array([0.0, 0.0, 1.0, 1.0])
    matrix = np.array([[1, 9], [2, 8], [1, 2], [2, np.nan]], dtype=np.float32)

    assert strongest_column(matrix, ("noise", "falling"), outcome) == ("falling", 1.0)


def test_curves_begin_and_end_where_they_must() -> None:
    outcome, chance = np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.9, 0.4])

    for curve in (gain_curve, roc_curve):
        across, up = curve(outcome, chance)
        assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
    assert gain_curve(outcome, chance)[1].tolist() == pytest.approx([0, 0.5, 1, 1])
