"""A version of `lessons`: learners whose truth is known, judged on answers after the cut; golden requests as served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from methods.learning.lessons import LessonParameters
from methods.learning.mastery import MasteryParameters
from server.modules.learning.recommend_next_lesson import METHOD
from server.serving.whole import Moment
from tests.training.learning.test_knowledge import QUICK, make_answers
from training.learning.lessons import fit_lessons
from training.learning.lessons_version import (
    Foretold,
    answers_of,
    foretell,
    foretells_better,
    golden_cases,
    thin,
)


def _frame(rng: np.random.Generator, users: int = 120) -> pd.DataFrame:
    answers = make_answers(rng, users)
    return pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in answers.learner],
            "skill_id": answers.skill,
            "item_id": answers.item,
            "correct": answers.outcome == 1.0,
            "answered_at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.tile(np.arange(40), users), "D"),
        }
    )


@pytest.fixture(scope="module")
def parameters() -> LessonParameters:
    early = answers_of(_frame(np.random.default_rng(0)))
    return fit_lessons(early, MasteryParameters(), QUICK, np.random.default_rng(0)).parameters


def test_days_count_from_1970_and_learners_stay_together() -> None:
    answers = answers_of(_frame(np.random.default_rng(0), users=3))

    assert answers.days[0] == pytest.approx(pd.Timestamp("2026-01-01", tz="UTC").timestamp() / 86_400)
    assert (np.diff(answers.learner) >= 0).all()


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="holds none"):
        answers_of(_frame(np.random.default_rng(0)).iloc[:0])


def test_thinning_keeps_whole_learners() -> None:
    answers = answers_of(_frame(np.random.default_rng(0)))

    kept = thin(answers, 2_000, np.random.default_rng(0))

    assert 1_000 < len(kept) < 3_000
    assert set(np.unique(kept.learner, return_counts=True)[1].tolist()) == {40}
    assert thin(answers, 10_000, np.random.default_rng(0)) is answers


def test_only_answers_after_the_cut_are_judged_and_the_learner_helps(parameters: LessonParameters) -> None:
    fresh = answers_of(_frame(np.random.default_rng(1)))

    found = foretell(fresh, parameters, float(np.quantile(fresh.days, 0.5)))

    assert found.rows == 120 * 20
    assert foretells_better(found).passed


def test_the_gate_wants_the_interval_above_zero(parameters: LessonParameters) -> None:
    fresh = answers_of(_frame(np.random.default_rng(1)))
    found = foretell(fresh, parameters, 0.0)
    unsure = Foretold(scores=found.scores, items_alone=found.items_alone, standard_error=1.0, rows=found.rows)

    assert foretells_better(found).passed
    assert not foretells_better(unsure).passed


def test_what_is_served_is_what_golden_requests_expect(parameters: LessonParameters) -> None:
    cases = golden_cases(parameters, np.random.default_rng(0))

    assert len(cases) >= 20
    assert len({str(answer["lessons"]) for _, answer in cases}) > 15
    for asked, expected in cases:
        request: Any = METHOD.request()
        ParseDict(dict(asked), request)
        moment = Moment(float(request.context.as_of_time.seconds), bytes(32))
        served = MessageToDict(METHOD.solve(parameters, request, moment))["lessons"]
        for lesson, said in zip(served, expected["lessons"], strict=True):
            assert lesson["lessonId"] == said["lessonId"]
            assert lesson["score"] == pytest.approx(said["score"])
            assert lesson["propensity"] == said["propensity"] == 1.0
            for name in ("masteryGain", "correctProbability"):
                assert {end: lesson[name][end] for end in said[name]} == pytest.approx(said[name])
