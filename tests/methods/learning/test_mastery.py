import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.learning.mastery import (
    DRAWS,
    WEIGHTED_DRAWS,
    MasteryParameters,
    Practice,
    SkillSummary,
    infer_learner,
    parse_mastery,
    weighted_quantiles,
)

PARAMETERS = MasteryParameters()
EVENTS = st.lists(
    st.builds(
        Practice,
        st.sampled_from(["bmv", "cpr", "iv"]),
        st.floats(0.0, 60.0),
        st.one_of(st.none(), st.floats(0.0, 1.0)),
    ),
    max_size=30,
)


@given(EVENTS)
def test_beliefs_are_chances_inside_their_interval(events: list[Practice]) -> None:
    learner = infer_learner(PARAMETERS, events)

    for belief in learner.beliefs([learner.mastery(skill) for skill in ("bmv", "cpr", "iv", "never seen")]):
        assert 0.0 < belief.lower <= belief.value <= belief.upper < 1.0
    assert math.isclose(learner.weights.sum(), 1.0)
    assert 1.0 / (learner.weights @ learner.weights) >= WEIGHTED_DRAWS * 0.99


@given(EVENTS)
def test_a_right_answer_never_speaks_against_knowing(events: list[Practice]) -> None:
    before = infer_learner(PARAMETERS, events)
    after_right = infer_learner(PARAMETERS, [*events, Practice("bmv", 0.0, 1.0)])
    after_wrong = infer_learner(PARAMETERS, [*events, Practice("bmv", 0.0, 0.0)])

    tiny = 1e-9  # no belief leaves [SMALLEST, 1 - SMALLEST]
    assert (after_right.mastery("bmv") >= before.mastery("bmv") - tiny).all()
    assert (after_wrong.mastery("bmv") <= before.mastery("bmv") + tiny).all()


def test_what_was_only_seen_is_learned_and_judges_nobody() -> None:
    learner = infer_learner(PARAMETERS, [Practice("bmv", 14.0, None)])
    new = infer_learner(PARAMETERS)

    assert learner.answers == 0
    assert np.array_equal(learner.weights, new.weights)
    assert (learner.mastery("bmv") > new.mastery("bmv")).all()


def test_answers_in_one_skill_say_something_of_the_others() -> None:
    able = infer_learner(PARAMETERS, [Practice("cpr", 0.0, 1.0)] * 4)
    unable = infer_learner(PARAMETERS, [Practice("cpr", 0.0, 0.0)] * 4)

    seen = [learner.beliefs([learner.unseen])[0].value for learner in (unable, infer_learner(PARAMETERS), able)]
    assert seen == sorted(set(seen))


def test_a_belief_follows_the_published_update() -> None:
    sure = MasteryParameters(prior_sd=0.0, prior_logit=0.0, pace_sd=0.0, pace_log=math.log(0.05))
    learner = infer_learner(sure, [Practice("bmv", 0.0, 1.0), Practice("bmv", 10.0, None)])

    right = 0.5 * 0.9 / (0.5 * 0.9 + 0.5 * 0.2)  # Corbett and Anderson 1995, equation 2
    assert learner.mastery("bmv") == pytest.approx(1 - (1 - right) * math.exp(-0.5))


def test_a_summary_of_few_answers_agrees_with_the_answers_themselves() -> None:
    events = [Practice("bmv", 0.0, outcome) for outcome in (1.0, 0.0, 1.0)]
    traced = infer_learner(PARAMETERS, events)
    summed = infer_learner(PARAMETERS, summaries={"bmv": SkillSummary(answers=3, correct=2)})

    assert summed.mastery("bmv") == pytest.approx(traced.mastery("bmv"))
    assert summed.weights == pytest.approx(traced.weights)


def test_mastery_from_another_model_is_taken_with_doubt_that_answers_shrink() -> None:
    def width(answers: int) -> float:
        learner = infer_learner(PARAMETERS, summaries={"bmv": SkillSummary(answers=answers, mastery=0.7)})
        belief = learner.beliefs([learner.mastery("bmv")])[0]
        assert belief.value == pytest.approx(0.7, abs=0.02)
        return belief.upper - belief.lower

    assert width(100) < width(5) < width(0)


def test_an_empty_summary_says_nothing() -> None:
    learner = infer_learner(PARAMETERS, summaries={"bmv": SkillSummary()})

    assert np.array_equal(learner.mastery("bmv"), learner.unseen)


@given(st.floats(0.0, 0.99), st.floats(0.5, 0.99), st.floats(-3.0, 3.0))
def test_the_minutes_to_a_target_reach_it_for_the_median_learner(
    known: float, target: float, difficulty: float
) -> None:
    learner = infer_learner(MasteryParameters(pace_sd=0.0))

    minutes = learner.minutes_to(known, target, difficulty)

    after = learner.after_lesson(np.full(DRAWS, known), minutes, difficulty)
    assert after == pytest.approx(max(known, target), abs=1e-9)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_a_quantile_of_equal_weights_is_that_of_the_sorted_values(values: list[int], share: float) -> None:
    found = weighted_quantiles(np.array([values], dtype=float), np.ones(len(values)), (share,))[0, 0]

    expected = np.quantile(values, share, method="inverted_cdf")
    neighbour = np.quantile(values, min(1.0, share + 1e-9), method="inverted_cdf")
    assert found in {expected, neighbour}


def test_parameters_come_back_from_json() -> None:
    value = MasteryParameters(prior_logit=-1.25, slip=0.05)

    assert parse_mastery(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize("name", list(MasteryParameters().to_json()))
@pytest.mark.parametrize("wrong", [None, "1", True, math.nan, 1e9], ids=str)
def test_a_wrong_parameter_is_refused_by_name(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=name):
        parse_mastery({**MasteryParameters().to_json(), name: wrong})
