"""The prior of shares: learners and skills whose spread is known give it back."""

from __future__ import annotations

import numpy as np
import pytest

from training.learning.exam_skills import SLOPE_LEAST, fit_exam_items, fit_skill_prior


def make_counts(learner_answers: float, skill_answers: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """600 learners in 10 skills, 20 answers in each; beta spreads of these strengths around 0.7."""
    rng = np.random.default_rng(0)
    own = rng.beta(0.7 * learner_answers, 0.3 * learner_answers, 600).repeat(10)
    share = rng.beta(own * skill_answers, (1 - own) * skill_answers)
    answers = np.full(6_000, 20.0)
    return np.arange(600).repeat(10), answers, rng.binomial(20, share).astype(float)


def test_the_spread_of_learners_and_of_skills_is_found() -> None:
    prior = fit_skill_prior(*make_counts(12.0, 6.0), slip=0.05)

    assert prior.share == pytest.approx(0.7, abs=0.02)  # standard error 0.006
    assert 8.0 < prior.learner_answers < 18.0
    assert 4.0 < prior.skill_answers < 9.0
    assert prior.slip == 0.05


def test_skills_that_differ_little_are_drawn_together_more() -> None:
    alike = fit_skill_prior(*make_counts(12.0, 100.0), slip=0.05)
    apart = fit_skill_prior(*make_counts(12.0, 3.0), slip=0.05)

    assert alike.skill_answers > 5 * apart.skill_answers


@pytest.mark.parametrize("right", [0.0, 20.0], ids=["all wrong", "all right"])
def test_answers_of_one_outcome_are_refused(right: float) -> None:
    with pytest.raises(ValueError, match="one outcome"):
        fit_skill_prior(np.arange(3), np.full(3, 20.0), np.full(3, right), slip=0.05)


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="none before the exams"):
        fit_skill_prior(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), slip=0.05)


def test_the_ends_of_an_exams_items_are_found() -> None:
    rng = np.random.default_rng(1)
    known = rng.uniform(0.3, 1.0, 2_000)

    guess, slip = fit_exam_items(known, rng.binomial(50, 0.3 + 0.6 * known) / 50)

    assert guess == pytest.approx(0.3, abs=0.03)  # standard error 0.005
    assert slip == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    "score", [np.array([0.9, 0.1]), np.array([0.0, 1.0]), np.array([1.0, 1.0])], ids=["falling", "steep", "all right"]
)
def test_no_exam_gives_chances_outside_0_to_1(score: np.ndarray) -> None:
    guess, slip = fit_exam_items(np.array([0.4, 0.6]), score)

    assert 0.0 <= guess <= 1.0
    assert 0.0 <= slip <= 1.0
    assert 1.0 - guess - slip >= SLOPE_LEAST - 1e-12


def test_exams_without_known_skills_are_refused() -> None:
    with pytest.raises(ValueError, match="no learner's skills"):
        fit_exam_items(np.empty(0), np.empty(0))
