import numpy as np
import pytest

from methods.learning.item_response import DifficultyParameters
from training.learning.difficulty import Answers, DifficultyOptions, first_answers, fit_difficulty, predicted_loss

DIFFICULTY = np.linspace(-2.0, 2.0, 12)
DISCRIMINATION = np.tile([0.7, 1.0, 1.5], 4)


def exam_answers(subjects: int, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    ability = rng.standard_normal(subjects)
    chance = 1.0 / (1.0 + np.exp(-DISCRIMINATION * (ability[:, None] - DIFFICULTY)))
    subject, item = (part.ravel() for part in np.indices(chance.shape))
    return Answers(
        subject=subject,
        item=item,
        correct=(rng.random(chance.shape) < chance).astype(np.float64).ravel(),
        day=np.zeros(subject.size),
        item_ids=[f"i{number}" for number in range(12)],
    )


def values(parameters: DifficultyParameters) -> tuple[np.ndarray, np.ndarray]:
    items = [parameters.items[f"i{number}"] for number in range(12)]
    return np.array([i.difficulty_logit for i in items]), np.array([i.discrimination for i in items])


def test_items_are_found_again() -> None:
    b, a = values(fit_difficulty(exam_answers(3_000)).parameters)

    # standard errors at 3,000 answers: 0.05 to 0.13 for b (outer items), about 0.06 to 0.1 for a
    assert np.abs(b - DIFFICULTY).max() < 0.4
    assert np.sqrt(np.mean((b - DIFFICULTY) ** 2)) < 0.13
    assert np.sqrt(np.mean((a - DISCRIMINATION) ** 2)) < 0.12


def test_an_item_with_few_answers_lies_nearer_to_the_average() -> None:
    answers = exam_answers(1_500)
    is_hardest = answers.item == 11
    thinned = answers.take(~is_hardest | (answers.subject < 4))

    few = fit_difficulty(thinned).parameters
    many = fit_difficulty(answers).parameters

    assert few.items["i11"].calibration_answers == 4
    assert few.items["i11"].difficulty_logit < many.items["i11"].difficulty_logit


def test_the_fit_does_not_hang_on_the_order_of_the_rows() -> None:
    answers = exam_answers(300)

    shuffled = fit_difficulty(answers.take(np.random.default_rng(1).permutation(answers.day.size)))

    np.testing.assert_allclose(
        values(shuffled.parameters), values(fit_difficulty(answers).parameters), rtol=1e-9, atol=1e-9
    )


def test_only_the_first_answer_of_a_subject_to_an_item_counts() -> None:
    answers = exam_answers(300)
    again = Answers(
        subject=np.concatenate([answers.subject, answers.subject]),
        item=np.concatenate([answers.item, answers.item]),
        correct=np.concatenate([answers.correct, np.ones_like(answers.correct)]),
        day=np.concatenate([answers.day, answers.day + 1.0]),
        item_ids=answers.item_ids,
    )

    kept = first_answers(again)

    assert kept.day.size == answers.day.size
    assert kept.correct.sum() == answers.correct.sum()


def test_abilities_that_wander_get_a_half_life_and_steady_ones_none() -> None:
    rng = np.random.default_rng(3)
    subjects, times = 400, 20
    walk = np.cumsum(rng.normal(0.0, 0.6, (subjects, times)), axis=1)
    wandering = walk / walk.std(axis=0)
    steady = np.repeat(rng.standard_normal((subjects, 1)), times, axis=1)

    chosen = []
    for ability in (wandering, steady):
        item = rng.integers(0, 12, ability.shape)
        right = rng.random(ability.shape) < 1.0 / (1.0 + np.exp(-1.5 * (ability - DIFFICULTY[item])))
        answers = Answers(
            subject=np.repeat(np.arange(subjects), times),
            item=item.ravel(),
            correct=right.astype(np.float64).ravel(),
            day=np.tile(40.0 * np.arange(times), subjects),
            item_ids=[f"i{number}" for number in range(12)],
        )
        chosen.append(fit_difficulty(answers).parameters.half_life_days)

    assert chosen[0] is not None
    assert chosen[1] is None


def test_knowing_the_items_foretells_better_than_not() -> None:
    answers = exam_answers(300, seed=5)

    fitted = predicted_loss(answers, fit_difficulty(exam_answers(2_000)).parameters)

    assert fitted < 0.95 * predicted_loss(answers, DifficultyParameters())


def test_a_sample_of_subjects_is_enough() -> None:
    options = DifficultyOptions(most_subjects=500)

    fitted = fit_difficulty(exam_answers(2_000), options, np.random.default_rng(1))

    assert fitted.parameters.observations == 500 * 12
    assert np.abs(values(fitted.parameters)[0] - DIFFICULTY).max() < 0.6


def test_one_item_is_refused() -> None:
    answers = exam_answers(30)

    with pytest.raises(ValueError, match="1 items and 30 subjects"):
        fit_difficulty(answers.take(answers.item == 0))


def test_answers_other_than_right_and_wrong_are_refused() -> None:
    with pytest.raises(ValueError, match="correct"):
        Answers(subject=np.array([0]), item=np.array([0]), correct=np.array([0.5]), day=np.zeros(1), item_ids=["i0"])
