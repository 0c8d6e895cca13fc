import numpy as np
import pytest

from methods.learning.memory import KNOWLEDGE, PSYCHOMOTOR, MemoryParameters, recall_after
from training.learning.schedule import PracticeLog, ScheduleOptions, fit_memory, foretell

QUICK = ScheduleOptions(most_rows=6_000, most_steps=25, most_skill_rows=6_000)
TRUE_STABILITY, DECAY = (6.0, 60.0), 0.3


def practice_log(learners: int = 250, *, forgets: bool = True, seed: int = 0) -> PracticeLog:
    """Two skills of two kinds, twelve answers each at pauses of minutes to months; stability never grows."""
    rng = np.random.default_rng(seed)
    pauses = np.exp(rng.uniform(np.log(0.01), np.log(120.0), (learners, 2, 12)))
    pauses[:, :, 0] = rng.uniform(0.0, 30.0, (learners, 2))
    day = np.cumsum(pauses, axis=2)
    stability = np.array(TRUE_STABILITY)[:, None] * np.exp(0.5 * rng.standard_normal((learners, 2, 1)))
    recalled = recall_after(pauses, stability, DECAY)
    recalled[:, :, 0] = 1.0
    learner, skill, _ = np.indices(day.shape)
    item = rng.integers(0, 8, day.shape) + 8 * skill
    known = 1.0 / (1.0 + np.exp(-(2.0 + rng.normal(0.0, 0.7, (learners, 1, 1)) - 0.3 * (item % 8 - 3.5))))
    chance = 0.2 + 0.75 * known * (recalled if forgets else 1.0)
    return PracticeLog(
        learner=learner.ravel(),
        skill=skill.ravel(),
        item=item.ravel(),
        correct=(rng.random(day.shape) < chance).astype(np.float64).ravel(),
        day=day.ravel(),
        kind=np.array([KNOWLEDGE, PSYCHOMOTOR])[skill.ravel()],
        item_ids=[f"i{number}" for number in range(16)],
        skill_ids=["rhythms", "compressions"],
    )


def loss(log: PracticeLog, parameters: MemoryParameters) -> float:
    chance = foretell(log, parameters).chance
    return float(-np.mean(np.log(np.where(log.correct > 0.5, chance, 1.0 - chance))))


@pytest.fixture(scope="module")
def fitted() -> MemoryParameters:
    return fit_memory(practice_log(), QUICK).parameters


def test_what_is_forgotten_soon_and_late_is_told_apart(fitted: MemoryParameters) -> None:
    own = [
        stability * np.exp(fitted.skill_log_stability[skill])
        for stability, skill in zip(fitted.stability_days, ("rhythms", "compressions"), strict=False)
    ]

    # a factor of 10 apart in truth; the prior's medians are 22 and 120 days
    assert own[0] < 22.0 < own[1] < 200.0


def test_forgetting_is_worth_something_where_people_forget(fitted: MemoryParameters) -> None:
    fresh = practice_log(seed=1)
    plain = fit_memory(practice_log(), QUICK, forgets=False).parameters

    assert loss(fresh, fitted) < 0.99 * loss(fresh, plain)


def test_where_nobody_forgets_forgetting_wins_nothing() -> None:
    log, fresh = practice_log(forgets=False), practice_log(forgets=False, seed=1)

    with_it = fit_memory(log, QUICK).parameters
    without = fit_memory(log, QUICK, forgets=False).parameters

    assert loss(fresh, with_it) > 0.997 * loss(fresh, without)


def test_without_forgetting_a_pause_changes_nothing() -> None:
    log = practice_log(20)
    plain = fit_memory(log, QUICK, forgets=False).parameters

    stretched = PracticeLog(**{**{name: getattr(log, name) for name in log.__slots__}, "day": log.day * 50.0})

    np.testing.assert_allclose(foretell(stretched, plain).chance, foretell(log, plain).chance, atol=1e-4)


def test_an_answer_is_foretold_from_earlier_ones_alone(fitted: MemoryParameters) -> None:
    log = practice_log(10, seed=2)
    cut = float(np.median(log.day))
    flipped = np.where(log.day > cut, 1.0 - log.correct, log.correct)
    changed = PracticeLog(**{**{name: getattr(log, name) for name in log.__slots__}, "correct": flipped})

    before = log.day <= cut
    np.testing.assert_array_equal(foretell(changed, fitted).chance[before], foretell(log, fitted).chance[before])


def test_the_order_of_the_rows_does_not_matter(fitted: MemoryParameters) -> None:
    log = practice_log(20, seed=3)
    order = np.random.default_rng(0).permutation(log.day.size)

    np.testing.assert_array_equal(foretell(log.take(order), fitted).chance, foretell(log, fitted).chance[order])


def test_the_first_answer_has_no_pause_behind_it(fitted: MemoryParameters) -> None:
    foretold = foretell(practice_log(20), fitted)

    assert np.isnan(foretold.elapsed_days).sum() == np.isnan(foretold.last_correct).sum() == 40
    assert np.nanmin(foretold.elapsed_days) > 0


def test_a_log_in_which_nobody_comes_back_is_refused() -> None:
    log = practice_log(20)

    with pytest.raises(ValueError, match="no learner answered twice"):
        fit_memory(log.take(np.unique(log.learner * 2 + log.skill, return_index=True)[1]))
