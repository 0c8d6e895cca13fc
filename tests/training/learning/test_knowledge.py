import numpy as np
import pytest

from methods.learning.knowledge import NEW_LEARNER, Event, correct_logit, describe, fold
from methods.statistics.scores import auc, calibration_error
from training.bands import chance_of
from training.learning.knowledge import (
    Answers,
    KnowledgeModel,
    KnowledgeOptions,
    fit_bank,
    fit_knowledge,
    score_answers,
)

QUICK = KnowledgeOptions(items=(0.8,), slopes=(0.2,), draws=20)


def make_answers(rng: np.random.Generator, learners: int, length: int = 40, first: int = 0) -> Answers:
    """Learners of differing ability on items of differing difficulty, who learn a little with each answer."""
    n = learners * length
    learner = np.repeat(np.arange(first, first + learners), length)
    item = rng.integers(0, 60, n)
    skill = item % 6
    ability = np.repeat(rng.normal(0, 1.2, learners), length)
    difficulty = np.linspace(-1.5, 1.5, 60)[item]
    place = np.tile(np.arange(length), learners)
    outcome = (rng.random(n) < chance_of(0.3 + ability - difficulty + 0.02 * place)).astype(float)
    return Answers(
        learner=learner,
        item=np.array([f"i{k}" for k in item], dtype=object),
        skill=np.array([f"s{k}" for k in skill], dtype=object),
        outcome=outcome,
        days=np.full(n, np.nan),
    )


@pytest.fixture(scope="module")
def model() -> KnowledgeModel:
    return fit_knowledge(make_answers(np.random.default_rng(0), 250), QUICK, np.random.default_rng(0))


def test_other_learners_are_predicted_better_than_by_items_alone(model: KnowledgeModel) -> None:
    test = make_answers(np.random.default_rng(1), 150, first=1_000)

    chance = chance_of(score_answers(test, model.parameters))

    bank = model.parameters.bank
    by_item = auc(test.outcome, [bank.expect(s, i) for s, i in zip(test.skill, test.item, strict=True)])
    assert auc(test.outcome, chance) > by_item + 0.04  # standard errors of both are about 0.007
    assert calibration_error(test.outcome, chance) < 0.04  # 6,000 rows: chance alone makes about 0.02


def test_the_rows_of_training_are_the_answers_of_serving(model: KnowledgeModel) -> None:
    test = make_answers(np.random.default_rng(2), 3, first=1_000)

    state, one_by_one = NEW_LEARNER, []
    for row in range(len(test)):
        if row and test.learner[row] != test.learner[row - 1]:
            state = NEW_LEARNER
        skill, item = str(test.skill[row]), str(test.item[row])
        one_by_one.append(correct_logit(describe(state, skill), model.parameters, skill, item))
        expected = model.parameters.bank.expect(skill, item)
        state = fold(state, Event(skill, float(test.outcome[row]), expected))

    np.testing.assert_allclose(score_answers(test, model.parameters), one_by_one, atol=1e-12)


def test_no_answer_is_predicted_from_itself_or_from_later_ones(model: KnowledgeModel) -> None:
    test = make_answers(np.random.default_rng(3), 1, first=1_000)
    changed = test.outcome.copy()
    changed[20:] = 1 - changed[20:]

    before = score_answers(test, model.parameters)
    after = score_answers(
        Answers(learner=test.learner, item=test.item, skill=test.skill, outcome=changed, days=test.days),
        model.parameters,
    )

    np.testing.assert_array_equal(before[:21], after[:21])
    assert not np.allclose(before[21:], after[21:])


def test_equal_seeds_give_equal_models(model: KnowledgeModel) -> None:
    again = fit_knowledge(make_answers(np.random.default_rng(0), 250), QUICK, np.random.default_rng(0))

    assert again.parameters == model.parameters
    assert again.band == model.band


def test_shares_of_points_are_fitted_like_answers() -> None:
    answers = make_answers(np.random.default_rng(4), 60)
    shares = Answers(
        learner=answers.learner,
        item=answers.item,
        skill=answers.skill,
        outcome=np.where(answers.outcome == 1, 0.9, 0.1),
        days=answers.days,
    )

    model = fit_knowledge(shares, QUICK, np.random.default_rng(0))

    chance = chance_of(score_answers(shares, model.parameters))
    assert chance.mean() == pytest.approx(shares.outcome.mean(), abs=0.02)


def test_days_apart_are_weighed_where_they_matter() -> None:
    rng = np.random.default_rng(5)
    answers = make_answers(rng, 200)
    apart = rng.choice([0.01, 60.0], len(answers))
    outcome = np.where((apart > 1) & (rng.random(len(answers)) < 0.4), 0.0, answers.outcome)
    times = np.concatenate([np.cumsum(apart[k : k + 40]) for k in range(0, len(answers), 40)])
    forgetful = Answers(
        learner=answers.learner,
        item=answers.item,
        skill=np.full(len(answers), "s", dtype=object),
        outcome=outcome,
        days=times,
    )

    model = fit_knowledge(forgetful, QUICK, np.random.default_rng(0))

    state = fold(NEW_LEARNER, Event("s", 1.0, 0.5, days=0.0))
    soon, late = (correct_logit(describe(state, "s", days), model.parameters, "s") for days in (0.01, 60.0))
    assert late < soon - 0.5


def test_a_bank_draws_rare_items_towards_their_skill() -> None:
    n = 103
    answers = Answers(
        learner=np.arange(n),
        item=np.array(["often"] * 100 + ["once", "", ""], dtype=object),
        skill=np.array(["s"] * n, dtype=object),
        outcome=np.array([1.0] * 60 + [0.0] * 40 + [0.0, 1.0, 1.0]),
        days=np.full(n, np.nan),
    )

    bank = fit_bank(answers)

    assert bank.items["often"] == pytest.approx(0.6, abs=0.01)
    assert 0.4 < bank.items["once"] < bank.skills["s"]
    assert "" not in bank.items


def test_too_few_learners_are_refused() -> None:
    with pytest.raises(ValueError, match="2 learners"):
        fit_knowledge(make_answers(np.random.default_rng(6), 2), QUICK, np.random.default_rng(0))
