import numpy as np
import pytest

from methods.learning.knowledge import NEW_LEARNER
from methods.learning.lessons import Circumstances, LessonChoice, parse_lessons, recommend
from methods.learning.mastery import MasteryParameters
from tests.training.learning.test_knowledge import QUICK, make_answers
from training.learning.lessons import fit_completion, fit_lessons


def test_a_fit_can_be_stored_and_answers() -> None:
    rng = np.random.default_rng(0)
    share = rng.uniform(0, 1, 200)
    finished = (share, np.clip(0.3 + 0.5 * share + rng.normal(0, 0.05, 200), 0, 1))

    model = fit_lessons(make_answers(rng, 60), MasteryParameters(), QUICK, rng, finished=finished)

    parameters = parse_lessons(model.parameters.to_json())
    assert parameters == model.parameters
    answer = recommend(NEW_LEARNER, [LessonChoice("l", ("s0",), 10.0)], parameters, Circumstances())
    assert answer.lessons[0].completion is not None


def test_finishing_is_told_by_ones_own_share_as_far_as_it_goes() -> None:
    rng = np.random.default_rng(1)
    share = rng.uniform(0, 1, 2_000)
    following = 0.2 + 0.6 * share + rng.normal(0, 0.05, 2_000)

    found = fit_completion(share, following, rng)

    assert found is not None
    assert found.own_weight == pytest.approx(0.6, abs=0.03)
    assert found.error == pytest.approx(1.645 * 0.05, abs=0.015)


def test_nothing_is_said_of_finishing_with_few_learners() -> None:
    assert fit_completion(np.ones(10), np.ones(10), np.random.default_rng(0)) is None
