import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.learning.knowledge import COLUMNS, NEW_LEARNER, SLOPES, Bank, Event, KnowledgeParameters, fold_all
from methods.learning.lessons import (
    Circumstances,
    Completion,
    LessonChoice,
    LessonParameters,
    Recommendation,
    mastery_of,
    parse_lessons,
    propensity_at,
    recommend,
)
from methods.learning.mastery import MasteryParameters, SkillSummary, infer_learner
from methods.statistics.bands import Band

PAGE = Path(__file__).parents[3] / "docs/methods/recommend_next_lesson.md"
KNOWLEDGE = KnowledgeParameters(
    bias=0.3,
    weights=tuple(0.9 if name in {"skill_share", "surprise"} else 0.0 for name in COLUMNS),
    means=tuple(0.0 for _ in COLUMNS),
    items={},
    skills={"easy": (1.0, *(0.0 for _ in SLOPES)), "hard": (-1.5, *(0.0 for _ in SLOPES))},
    bank=Bank(base=0.6),
)
PARAMETERS = LessonParameters(
    knowledge=KNOWLEDGE,
    band=Band(logits=(0.0,), lowers=(-0.2,), uppers=(0.2,)),
    completion=Completion(base=0.7, own_weight=0.5, error=0.2),
)
LESSONS = [
    LessonChoice("easy-10", ("easy",), 10.0),
    LessonChoice("hard-10", ("hard",), 10.0),
    LessonChoice("both-20", ("easy", "hard"), 20.0),
    LessonChoice("new-15", ("new",), 15.0),
]
NOTHING = Circumstances()


def ask(
    lessons: list[LessonChoice] = LESSONS,
    circumstances: Circumstances = NOTHING,
    *,
    most: int = 50,
    chance: float | None = None,
    parameters: LessonParameters = PARAMETERS,
) -> Recommendation:
    return recommend(NEW_LEARNER, lessons, parameters, circumstances, most=most, chance=chance)


def names(answer: Recommendation) -> list[str]:
    return [lesson.lesson_id for lesson in answer.lessons]


@st.composite
def choices(draw: st.DrawFn) -> list[LessonChoice]:
    skills = st.sampled_from(["easy", "hard", "new", "other"])
    return [
        LessonChoice(
            f"l{at}",
            tuple(draw(st.lists(skills, min_size=1, max_size=3, unique=True))),
            draw(st.floats(min_value=1, max_value=120)),
            (),
            draw(st.floats(min_value=-3, max_value=3)),
        )
        for at in range(draw(st.integers(min_value=1, max_value=9)))
    ]


@settings(max_examples=50, deadline=None)
@given(choices(), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_lessons_are_ranked_by_score_and_every_interval_contains_its_value(
    lessons: list[LessonChoice], chance: float
) -> None:
    answer = ask(lessons, chance=chance)

    scores = [lesson.score for lesson in answer.lessons if not lesson.drawn]
    assert scores == sorted(scores, reverse=True)
    assert sorted(names(answer)) == sorted(lesson.lesson_id for lesson in lessons)
    for lesson in answer.lessons:
        for value, lower, upper in (lesson.gain, lesson.correct, lesson.mastery):
            assert lower <= value <= upper
        assert lesson.gain.value >= 0
        assert 0 < lesson.propensity <= 1 + 1e-12


@settings(max_examples=20, deadline=None)
@given(choices())
def test_propensities_are_the_frequencies_of_places(lessons: list[LessonChoice]) -> None:
    grid = 2_000
    often: dict[tuple[int, str], int] = {}
    said: dict[tuple[int, str], float] = {}
    for step in range(grid):
        for place, lesson in enumerate(ask(lessons, chance=(step + 0.5) / grid).lessons):
            key = (place, lesson.lesson_id)
            often[key] = often.get(key, 0) + 1
            said[key] = lesson.propensity

    for key, count in often.items():
        assert count / grid == pytest.approx(said[key], abs=2 / grid)  # an even grid errs by a step at each end


@given(st.integers(min_value=1, max_value=12), st.floats(min_value=0, max_value=0.2), st.randoms())
def test_propensities_of_a_place_and_of_a_lesson_add_to_one(count: int, exploration: float, random: object) -> None:
    weights = [random.random() + 0.01 for _ in range(count)]  # type: ignore[attr-defined]  # hypothesis gives a Random
    shares = [weight / sum(weights) for weight in weights]

    table = np.array([[propensity_at(p, r, shares, exploration) for r in range(count)] for p in range(count)])

    np.testing.assert_allclose(table.sum(axis=0), 1.0)
    np.testing.assert_allclose(table.sum(axis=1), 1.0)


def test_a_draw_explores_as_often_as_the_version_says() -> None:
    explored = [ask(chance=step / 1_000).explored for step in range(1_000)]

    assert np.mean(explored) == PARAMETERS.exploration


def test_without_chance_nothing_is_explored_and_every_place_is_sure() -> None:
    answer = ask(chance=None)

    assert not answer.explored
    assert {lesson.propensity for lesson in answer.lessons} == {1.0}


def test_the_same_chance_gives_the_same_answer() -> None:
    assert ask(chance=0.03) == ask(chance=0.03)


def test_what_is_not_known_gains_more_than_what_is() -> None:
    answer = ask(LESSONS[:2])

    assert names(answer) == ["hard-10", "easy-10"]
    assert answer.lessons[0].correct.value < answer.lessons[1].correct.value


def test_answers_change_the_order() -> None:
    state = fold_all(NEW_LEARNER, [*[Event("hard", 1.0, 0.4)] * 12, *[Event("easy", 0.0, 0.8)] * 12])

    answer = recommend(state, LESSONS[:2], PARAMETERS, NOTHING)

    assert names(answer) == ["easy-10", "hard-10"]


def test_a_learner_who_is_known_less_has_a_wider_mastery() -> None:
    state = fold_all(NEW_LEARNER, [Event("new", float(k % 2), 0.6) for k in range(40)])

    seen = recommend(state, LESSONS[3:], PARAMETERS, NOTHING).lessons[0].mastery
    unseen = ask(LESSONS[3:]).lessons[0].mastery

    assert seen.upper - seen.lower < unseen.upper - unseen.lower


def test_gains_are_those_of_the_mastery_model() -> None:
    lesson = LessonChoice("both", ("easy", "hard"), 20.0, (), 0.7)
    masteries = {"easy": 0.8, "hard": 0.3}
    summaries = {skill: SkillSummary(mastery=known) for skill, known in masteries.items()}
    learner = infer_learner(PARAMETERS.mastery, summaries=summaries)

    gain = ask([lesson, *LESSONS], Circumstances(masteries=masteries)).lessons

    added = [learner.after_lesson(learner.mastery(s), 10.0, 0.7) - learner.mastery(s) for s in ("easy", "hard")]
    half = learner.beliefs([(added[0] + added[1]) / 2])[0]
    assert next(each.gain for each in gain if each.lesson_id == "both") == pytest.approx([2 * end for end in half])


def test_mastery_that_the_caller_knows_takes_the_place_of_answers() -> None:
    known = ask(LESSONS[1:2], Circumstances(masteries={"hard": 0.95})).lessons[0]

    assert known.mastery.value == pytest.approx(0.95, abs=0.01)
    assert known.gain.value < ask(LESSONS[1:2]).lessons[0].gain.value


@pytest.mark.parametrize(
    ("lesson", "circumstances"),
    [
        (LessonChoice("x", ("new",), 10.0, ("before",)), NOTHING),
        (LessonChoice("x", ("new",), 10.0), Circumstances(excluded=frozenset({"x"}))),
        (LessonChoice("x", ("new",), 10.0), Circumstances(minutes_available=9.0)),
    ],
    ids=["prerequisite", "excluded", "too long"],
)
@pytest.mark.parametrize("chance", [None, 0.0, 0.07])
def test_a_lesson_that_may_not_be_taken_is_never_named(
    lesson: LessonChoice, circumstances: Circumstances, chance: float | None
) -> None:
    assert "x" not in names(ask([*LESSONS[:1], lesson], circumstances, chance=chance))
    assert ask([lesson], circumstances, chance=chance) == Recommendation(lessons=(), explored=False)


def test_a_finished_lesson_meets_a_prerequisite() -> None:
    lesson = LessonChoice("x", ("new",), 10.0, ("before",))

    assert names(ask([lesson], Circumstances(completed=frozenset({"before"})))) == ["x"]


def test_repetition_and_tiredness_lower_the_score_and_leave_the_gain() -> None:
    fresh = ask(LESSONS[:1]).lessons[0]
    repeated = ask(LESSONS[:1], Circumstances(recent=("easy-10",))).lessons[0]
    tired = ask(LESSONS[:1], Circumstances(minutes_today=180.0)).lessons[0]

    assert repeated.score == pytest.approx(fresh.score / 2)
    assert tired.score == pytest.approx(fresh.score / np.e)
    assert repeated.gain == tired.gain == fresh.gain


def test_completion_is_said_only_by_a_version_that_knows_it() -> None:
    own = ask(circumstances=Circumstances(completion_share=0.9)).lessons[0].completion
    silent = LessonParameters(knowledge=KNOWLEDGE)

    assert own == (pytest.approx(0.8), pytest.approx(0.6), pytest.approx(1.0))
    assert ask(parameters=silent).lessons[0].completion is None


def test_a_lesson_that_stands_twice_counts_once() -> None:
    assert names(ask([*LESSONS, *LESSONS])) == names(ask())


def test_who_guesses_is_not_believed_to_know() -> None:
    assert mastery_of(-20.0, PARAMETERS) < 1e-6
    assert mastery_of(0.0, PARAMETERS) == pytest.approx((0.5 - 0.2) / 0.7)
    assert mastery_of(20.0, PARAMETERS) > 1 - 1e-6


def test_parameters_survive_json() -> None:
    assert parse_lessons(PARAMETERS.to_json()) == PARAMETERS
    silent = LessonParameters(knowledge=KNOWLEDGE)
    assert parse_lessons(silent.to_json()) == silent


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"knowledge": None}, "knowledge"),
        ({"band": None}, "band"),
        ({"mastery": {}}, "prior_logit"),
        ({"completion": 3}, "completion"),
        ({"completion": {"base": 2.0, "own_weight": 0.5, "error": 0.1}}, "base"),
        ({"exploration": 0.5}, "exploration"),
        ({"repeat_discount": None}, "repeat_discount"),
        ({"fatigue_minutes": 0}, "fatigue_minutes"),
    ],
)
def test_parameters_that_are_wrong_are_refused_by_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_lessons({**PARAMETERS.to_json(), **change})


def test_the_worked_example_of_the_page_is_what_the_code_gives() -> None:
    state = fold_all(NEW_LEARNER, [Event("skill", outcome, 0.7) for outcome in (1.0, 1.0, 0.0)])
    plain = KnowledgeParameters(
        bias=0.8, weights=(0.0,) * len(COLUMNS), means=(0.0,) * len(COLUMNS), items={}, skills={}, bank=Bank()
    )
    parameters = LessonParameters(knowledge=plain, mastery=MasteryParameters(prior_sd=0.0, pace_sd=0.0))

    answer = recommend(state, [LessonChoice("l", ("skill",), 10.0)], parameters, Circumstances(minutes_today=20.0))

    lesson, even = answer.lessons[0], (0.25,) * 4
    given = {
        "moving average of right answers": state.skills["skill"].recent,
        "moving average of surprise": state.skills["skill"].surprise,
        "chance of a right answer": lesson.correct.value,
        "mastery": lesson.mastery.value,
        "mastery after the lesson": lesson.mastery.value + lesson.gain.value,
        "gain": lesson.gain.value,
        "score": lesson.score,
        "propensity of the best of four lessons drawn evenly": propensity_at(0, 0, even, 0.08),
        "propensity of the second at its place": propensity_at(1, 1, even, 0.08),
        "propensity of the last at the first place": propensity_at(0, 3, even, 0.08),
    }
    said = dict(re.findall(r"^\| ([a-z ]+) \|.*\| (-?\d\.\d{4}) \|$", PAGE.read_text(), re.MULTILINE))
    assert {name: float(number) for name, number in said.items()} == {
        name: pytest.approx(value, abs=5e-5) for name, value in given.items()
    }
