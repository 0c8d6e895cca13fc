import numpy as np
import pytest

from methods.learning.mastery import MasteryParameters, Practice, infer_learner, learner_points
from training.learning.path import PracticeRows, fit_mastery, practice_log_likelihood

TRUTH = MasteryParameters(prior_logit=0.4, prior_sd=1.2, pace_log=-2.5, pace_sd=0.3, guess=0.15, slip=0.08)


def draw_rows(rng: np.random.Generator, learners: int, skills: int = 6, events: int = 5) -> PracticeRows:
    rows = []
    for learner in range(learners):
        chance = 1.0 / (1.0 + np.exp(-(TRUTH.prior_logit + TRUTH.prior_sd * rng.standard_normal())))
        pace = np.exp(TRUTH.pace_log + TRUTH.pace_sd * rng.standard_normal())
        for skill in range(skills):
            known = rng.random() < chance
            for event in range(events):
                minutes = 0.0 if event == 0 else 8.0
                known = known or rng.random() < 1.0 - np.exp(-pace * minutes)
                right = rng.random() < (1.0 - TRUTH.slip if known else TRUTH.guess)
                rows.append((learner, skill, minutes, float(right)))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return PracticeRows(learner=columns[0], skill=columns[1], minutes=columns[2], outcome=columns[3])


def test_the_fit_finds_what_made_the_data() -> None:
    fitted = fit_mastery(draw_rows(np.random.default_rng(0), learners=150))

    # About three standard errors: 900 first answers, 4,500 in all, 150 learners.
    assert fitted.prior_logit == pytest.approx(TRUTH.prior_logit, abs=0.4)
    assert fitted.prior_sd == pytest.approx(TRUTH.prior_sd, abs=0.4)
    assert fitted.pace_log == pytest.approx(TRUTH.pace_log, abs=0.25)
    assert fitted.guess == pytest.approx(TRUTH.guess, abs=0.06)
    assert fitted.slip == pytest.approx(TRUTH.slip, abs=0.03)


def test_the_likelihood_is_that_of_the_beliefs_that_are_served() -> None:
    rows = draw_rows(np.random.default_rng(1), learners=3, skills=3, events=4)
    prior, _ = learner_points()
    expected = 0.0
    for learner in range(3):
        log_chance = np.zeros(len(prior))
        for skill in range(3):
            mine = (rows.learner == learner) & (rows.skill == skill)
            events = [
                Practice("s", minutes, outcome)
                for minutes, outcome in zip(rows.minutes[mine], rows.outcome[mine], strict=True)
            ]
            for at, event in enumerate(events):
                known = infer_learner(TRUTH, [*events[:at], Practice("s", event.minutes, None)]).mastery("s")
                right = known * (1 - TRUTH.slip) + (1 - known) * TRUTH.guess
                log_chance += np.log(right if event.outcome else 1 - right)
        expected += np.log(np.exp(log_chance).mean())

    assert practice_log_likelihood(rows, TRUTH).sum() == pytest.approx(expected)


def test_unjudged_minutes_teach_and_are_not_scored() -> None:
    rows = PracticeRows(
        learner=np.zeros(2, dtype=np.int64),
        skill=np.zeros(2, dtype=np.int64),
        minutes=np.array([20.0, 0.0]),
        outcome=np.array([np.nan, 1.0]),
    )
    known = infer_learner(TRUTH, [Practice("s", 20.0, None)]).mastery("s")

    expected = np.log((known * (1 - TRUTH.slip) + (1 - known) * TRUTH.guess).mean())
    assert practice_log_likelihood(rows, TRUTH).sum() == pytest.approx(expected)


def test_too_few_learners_and_answers_all_alike_are_refused() -> None:
    few = draw_rows(np.random.default_rng(0), learners=9)
    enough = draw_rows(np.random.default_rng(0), learners=12)
    alike = PracticeRows(
        learner=enough.learner, skill=enough.skill, minutes=enough.minutes, outcome=np.ones_like(enough.outcome)
    )

    with pytest.raises(ValueError, match="9 learners"):
        fit_mastery(few)
    with pytest.raises(ValueError, match="every answer is the same"):
        fit_mastery(alike)
