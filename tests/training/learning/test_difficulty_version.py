"""A version of `difficulty`: learners and items whose truth is known, judged on answers after the cut."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from methods.learning.item_response import DifficultyParameters, Item
from training.learning.difficulty import Answers, fit_difficulty
from training.learning.difficulty_version import Foretold, answers_of, foretell, foretells_better, golden_cases


def _frame(rng: np.random.Generator, users: int = 300, items: int = 20) -> pd.DataFrame:
    ability, difficulty = rng.normal(0, 1, users), rng.normal(0, 1, items)
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(users), np.arange(items), indexing="ij"))
    chance = 1 / (1 + np.exp(difficulty[item] - ability[user]))
    return pd.DataFrame(
        {
            "user_id": [f"u{place}" for place in user],
            "skill_id": "airway",
            "item_id": [f"i{place}" for place in item],
            "correct": rng.uniform(size=user.size) < chance,
            "answered_at": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(rng.integers(0, 8_640_000, user.size), "s"),
        }
    )


def test_subjects_are_learners_in_skills_and_days_count_from_the_first_answer() -> None:
    frame = _frame(np.random.default_rng(1), users=3, items=2)
    frame.loc[frame["item_id"] == "i1", "skill_id"] = "rhythm"

    answers, begins = answers_of(frame)

    assert np.unique(answers.subject).size == 6
    assert answers.day.min() == 0.0
    assert begins == frame["answered_at"].min()


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="holds none"):
        answers_of(_frame(np.random.default_rng(1), users=1, items=2).iloc[:0])


def test_knowing_the_learner_helps_where_learners_differ_and_is_refused_where_they_do_not() -> None:
    rng = np.random.default_rng(2)
    for spread, expected in ((1.0, True), (0.0, False)):
        frame = _frame(rng)
        if not spread:
            frame["correct"] = rng.uniform(size=len(frame)) < 0.6
        answers, _ = answers_of(frame)
        early = answers.take(answers.day < 80)
        shares = np.array([early.correct[early.item == place].mean() for place in range(20)])

        found = foretell(answers, fit_difficulty(early).parameters, 80.0, shares)

        assert found.rows == int((answers.day >= 80).sum())
        assert foretells_better(found).passed is expected


def test_the_gate_wants_the_interval_above_zero() -> None:
    assert not foretells_better(Foretold(model=0.5, baseline=0.505, standard_error=0.004, rows=9)).passed
    assert foretells_better(Foretold(model=0.5, baseline=0.51, standard_error=0.004, rows=9)).passed


def test_golden_requests_differ_and_name_the_ability() -> None:
    parameters = DifficultyParameters(items={f"i{n}": Item(difficulty_logit=n - 1.0) for n in range(3)})

    cases = golden_cases(parameters, np.random.default_rng(3))

    assert len(cases) >= 20
    assert len({answer["ability"]["value"] for _, answer in cases}) > 15
    assert datetime.fromisoformat(cases[0][0]["context"]["asOfTime"]) == datetime(2026, 1, 1, tzinfo=UTC)
    assert isinstance(answers_of(_frame(np.random.default_rng(4), users=2, items=2))[0], Answers)
