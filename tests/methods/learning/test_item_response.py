import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.learning.item_response import (
    Ability,
    DifficultyParameters,
    Item,
    ItemAnswer,
    Stop,
    age_ability,
    answer_effects,
    decide_stop,
    difficulty_error,
    estimate_ability,
    fold_ability,
    item_chance,
    known_item,
    move_item,
    parse_parameters,
    practice_difficulty,
    rank_for_assessment,
    rank_for_practice,
)

PAGE = Path(__file__).parents[3] / "docs/methods/adjust_difficulty.md"
VERSION = DifficultyParameters(
    items={"i1": Item(difficulty_logit=-0.5, discrimination=1.3, calibration_answers=900)},
    average=Item(difficulty_logit=-0.4, discrimination=1.1),
    difficulty_sd=0.8,
    half_life_days=120.0,
    observations=900,
)
ITEMS = st.builds(
    Item,
    difficulty_logit=st.floats(-10, 10),
    discrimination=st.floats(0.05, 10),
    calibration_answers=st.integers(0, 100_000),
)
ANSWERS = st.builds(ItemAnswer, item=ITEMS, score=st.sampled_from([0.0, 0.5, 1.0]), age_days=st.floats(0, 1_000))
ABILITIES = st.builds(Ability, mean=st.floats(-10, 10), standard_error=st.floats(0.01, 10))


@given(st.lists(ANSWERS, max_size=30))
def test_the_interval_contains_the_ability_and_all_is_finite(answers: list[ItemAnswer]) -> None:
    ability = estimate_ability(answers, VERSION)

    low, high = ability.interval(VERSION.level)
    assert low <= ability.mean <= high
    assert 0 < ability.standard_error <= 1.6  # surprising answers can widen a posterior, never without bound


@given(st.lists(ANSWERS, min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_answers_does_not_matter(answers: list[ItemAnswer], random: object) -> None:
    shuffled = list(answers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert estimate_ability(shuffled, VERSION).mean == pytest.approx(estimate_ability(answers, VERSION).mean, abs=1e-9)


@given(st.lists(ANSWERS, max_size=12), ITEMS)
def test_a_right_answer_never_lowers_the_ability(answers: list[ItemAnswer], item: Item) -> None:
    before = estimate_ability(answers, VERSION)

    after = estimate_ability([*answers, ItemAnswer(item=item, score=1.0)], VERSION)

    assert after.mean >= before.mean - 1e-9


def test_quadrature_agrees_with_a_posterior_drawn_by_rejection() -> None:
    rng = np.random.default_rng(1)
    item, draws = (
        Item(difficulty_logit=0.7, discrimination=1.4, calibration_answers=10**8),
        rng.standard_normal(400_000),
    )
    kept = draws[rng.random(draws.size) < 1.0 / (1.0 + np.exp(-1.4 * (draws - 0.7)))]

    ability = estimate_ability([ItemAnswer(item=item, score=1.0)], VERSION)

    error = kept.std() / np.sqrt(kept.size)  # of the drawn mean; the quantiles' is below twice that
    assert ability.mean == pytest.approx(kept.mean(), abs=4 * error)
    assert ability.standard_error == pytest.approx(kept.std(), abs=4 * error)
    np.testing.assert_allclose(ability.interval(0.9), np.quantile(kept, [0.05, 0.95]), atol=12 * error)


def test_intervals_hold_what_they_promise_when_the_model_is_true() -> None:
    rng = np.random.default_rng(2)
    exam = [
        Item(difficulty_logit=float(b), discrimination=float(a), calibration_answers=10**7)
        for b, a in zip(rng.normal(size=12), rng.uniform(0.6, 1.6, 12), strict=True)
    ]
    held, persons = 0, 1_000
    for ability in rng.standard_normal(persons):
        scores = [float(rng.random() < item_chance(Ability(mean=ability), item, VERSION).value) for item in exam]
        low, high = estimate_ability(
            [ItemAnswer(item=item, score=score) for item, score in zip(exam, scores, strict=True)], VERSION
        ).interval(0.9)
        held += low <= ability <= high

    assert held / persons == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / persons))


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_a_folded_state_stays_close_to_the_exact_posterior(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truth, state, answers = rng.standard_normal(), Ability(), []
    for _ in range(count):
        item = Item(difficulty_logit=rng.normal(), discrimination=rng.uniform(0.5, 1.8), calibration_answers=1_000)
        score = float(rng.random() < item_chance(Ability(mean=truth), item, VERSION).value)
        answers.append(ItemAnswer(item=item, score=score))
        state = fold_ability(state, answers[-1], 0.0, VERSION)

    exact = estimate_ability(answers, VERSION)
    assert abs(state.mean - exact.mean) < 0.5 * exact.standard_error
    assert state.standard_error == pytest.approx(exact.standard_error, rel=0.25)


@given(ABILITIES, ANSWERS)
def test_an_answer_folds_into_any_state(ability: Ability, answer: ItemAnswer) -> None:
    state = fold_ability(ability, answer, 3.0, VERSION)

    assert -10 <= state.mean <= 10
    assert 0 < state.standard_error < 20


@given(ABILITIES, st.floats(0, 5_000), st.floats(0, 5_000))
def test_ageing_twice_is_ageing_once_by_the_sum(ability: Ability, first: float, second: float) -> None:
    once = age_ability(ability, first + second, VERSION)

    twice = age_ability(age_ability(ability, first, VERSION), second, VERSION)

    assert twice.mean == pytest.approx(once.mean, abs=1e-6)
    assert twice.standard_error == pytest.approx(once.standard_error, rel=1e-6)


@given(ABILITIES, ITEMS)
def test_the_chance_lies_in_its_interval(ability: Ability, item: Item) -> None:
    chance = item_chance(ability, item, VERSION)

    assert 0 <= chance.lower <= chance.value <= chance.upper <= 1


def test_an_item_that_few_have_answered_has_a_wider_interval_and_tells_less() -> None:
    new, known = Item(), Item(calibration_answers=5_000)

    wide, narrow = item_chance(Ability(), new, VERSION), item_chance(Ability(), known, VERSION)
    from_new = estimate_ability([ItemAnswer(item=new, score=1.0)], VERSION)
    from_known = estimate_ability([ItemAnswer(item=known, score=1.0)], VERSION)

    assert wide.upper - wide.lower > narrow.upper - narrow.lower
    assert 0 < from_new.mean < from_known.mean


@given(ABILITIES, st.lists(ITEMS, min_size=1, max_size=20))
def test_assessment_ranks_all_items_by_information(ability: Ability, items: list[Item]) -> None:
    ranked = rank_for_assessment(ability, items)

    told = [item_chance(ability, items[place], VERSION).information for place in ranked]
    assert sorted(ranked) == list(range(len(items)))
    assert all(b <= a + 1e-9 for a, b in pairwise(told))


@given(ABILITIES, st.lists(ITEMS, min_size=1, max_size=20))
def test_practice_puts_items_of_the_band_first(ability: Ability, items: list[Item]) -> None:
    ranked = rank_for_practice(ability, items)

    in_band = [0.70 <= item_chance(ability, items[place], VERSION).value <= 0.85 for place in ranked]
    assert in_band == sorted(in_band, reverse=True)


@given(st.floats(-3, 3), st.floats(0.5, 2), st.floats(0.5, 0.95))
def test_an_item_of_the_practice_difficulty_is_right_with_the_target_chance(
    mean: float, a: float, target: float
) -> None:
    difficulty = practice_difficulty(Ability(mean=mean), a, target)

    chance = item_chance(Ability(mean=mean), Item(difficulty_logit=difficulty, discrimination=a), VERSION)
    assert chance.value == pytest.approx(target)


@pytest.mark.parametrize(
    ("error", "asked", "left", "stop"),
    [
        pytest.param(0.5, 3, 9, Stop.CONTINUE, id="goes on"),
        pytest.param(0.3, 30, 0, Stop.PRECISE, id="precise comes first"),
        pytest.param(0.5, 30, 0, Stop.MAX_ITEMS, id="then the number of items"),
        pytest.param(0.5, 3, 0, Stop.NO_ITEMS, id="then that none is left"),
    ],
)
def test_an_assessment_stops_for_the_first_reason_that_holds(error: float, asked: int, left: int, stop: Stop) -> None:
    assert decide_stop(error, asked, left) is stop


def test_elo_brings_a_new_item_to_its_difficulty() -> None:
    rng = np.random.default_rng(4)
    truth, item = 1.2, Item()
    for ability in rng.standard_normal(199):
        right = float(rng.random() < 1.0 / (1.0 + np.exp(truth - ability)))
        item = move_item(item, right, Ability(mean=float(ability), standard_error=0.2))

    assert item.calibration_answers == 199
    assert item.difficulty_logit == pytest.approx(truth, abs=0.6)  # step 0.09 at the end: an error of about 0.2


@given(ITEMS, ABILITIES, st.sampled_from([0.0, 1.0]))
def test_a_calibrated_item_never_moves(item: Item, ability: Ability, score: float) -> None:
    moved = move_item(item, score, ability)

    assert (
        moved == item if item.calibration_answers >= 200 else moved.calibration_answers == item.calibration_answers + 1
    )


def test_more_answers_make_an_item_more_certain() -> None:
    errors = [difficulty_error(Item(calibration_answers=count), 0.8) for count in (0, 10, 200, 5_000)]

    assert errors == sorted(errors, reverse=True)


def test_an_unknown_item_is_an_average_one() -> None:
    assert known_item(VERSION, "never seen") == VERSION.average
    assert known_item(VERSION, "i1", difficulty_logit=2.0).discrimination == 1.3


def test_parameters_survive_their_json() -> None:
    assert parse_parameters(VERSION.to_json()) == VERSION


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"items": []}, "items"),
        ({"items": {"i1": [0.0, 0.0, 3]}}, "items.i1"),
        ({"items": {"i1": [0.0, 1.0]}}, "items.i1"),
        ({"average": [float("nan"), 1.0, 0]}, "average"),
        ({"difficulty_sd": 0.0}, "difficulty_sd"),
        ({"half_life_days": -1.0}, "half_life_days"),
        ({"level": 1.0}, "level"),
        ({"observations": "many"}, "observations"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_field_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(named)}: "):
        parse_parameters(VERSION.to_json() | change)


def test_the_page_shows_what_the_code_gives() -> None:
    exam = [(-1.0, 1.2, 1.0), (0.0, 0.9, 1.0), (0.8, 1.5, 0.0)]
    answers = [
        ItemAnswer(item=Item(difficulty_logit=b, discrimination=a, calibration_answers=5_000), score=score)
        for b, a, score in exam
    ]
    version = DifficultyParameters()

    ability = estimate_ability(answers, version)
    low, high = ability.interval(0.9)
    candidate = item_chance(ability, Item(difficulty_logit=0.3, calibration_answers=5_000), version)
    moved = move_item(Item(calibration_answers=20), 1.0, ability)

    page = PAGE.read_text()
    for figure in (
        f"| {ability.mean:.3f} |",
        f"| {ability.standard_error:.3f} |",
        f"| {low:.2f} to {high:.2f} |",
        f"| {practice_difficulty(ability):.3f} |",
        f"| {candidate.value:.3f}, {candidate.lower:.3f} to {candidate.upper:.3f} |",
        f"| {candidate.information:.3f} |",
        f"| {moved.difficulty_logit:.3f} |",
    ):
        assert figure in page, figure


@settings(max_examples=30)
@given(st.lists(ANSWERS, max_size=12), st.integers(1, 12))
def test_an_effect_is_the_ability_less_that_without_the_answer(answers: list[ItemAnswer], newest: int) -> None:
    whole = estimate_ability(answers, VERSION).mean

    effects = answer_effects(answers, VERSION, newest=newest)

    without = [estimate_ability(answers[:place] + answers[place + 1 :], VERSION).mean for place in range(len(answers))]
    assert effects == pytest.approx([whole - mean for mean in without[-newest:]], abs=1e-9)
