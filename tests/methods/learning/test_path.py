import math
import re
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.learning import path as planner
from methods.learning.mastery import Learner, MasteryParameters, Practice, SkillSummary, infer_learner
from methods.learning.path import LearningPath, PathGoal, PathLesson, SkipReason, plan_path
from methods.learning.prerequisites import PrerequisiteCycle, outer_fringe, prerequisite_graph

PAGE = Path(__file__).parents[3] / "docs/methods/generate_path.md"
NEW = infer_learner(MasteryParameters())


def knowing(**mastery: float) -> Learner:
    """A learner of whom these chances are all but certain."""
    return infer_learner(
        MasteryParameters(), summaries={skill: SkillSummary(answers=10_000, mastery=m) for skill, m in mastery.items()}
    )


def one_lesson_each(skills: list[str], minutes: float = 20.0) -> list[PathLesson]:
    return [PathLesson(skill.upper(), (skill,), minutes) for skill in skills]


def taken(path: LearningPath) -> list[str]:
    return [step.lesson_id for step in path.steps]


def reasons(path: LearningPath) -> dict[str, SkipReason]:
    return {skip.lesson_id: skip.reason for skip in path.skipped}


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[PathLesson], list[tuple[str, str]], PathGoal, Learner]:
    """Skills with acyclic pairs, lessons that teach some of them, lessons before lessons, a goal, a learner."""
    count = draw(st.integers(1, 10))
    number = st.integers(0, count - 1)
    pairs = [
        (f"s{max(a, b)}", f"s{min(a, b)}") for a, b in draw(st.lists(st.tuples(number, number), max_size=20)) if a != b
    ]
    lessons = []
    for at in range(draw(st.integers(1, 12))):
        skills = draw(st.sets(number, min_size=1, max_size=3))
        before = draw(st.sets(st.integers(0, at), max_size=2)) - {at}
        minutes, difficulty = draw(st.floats(1.0, 120.0)), draw(st.floats(-2.0, 2.0))
        lessons.append(
            PathLesson(
                f"l{at}", tuple(f"s{n}" for n in sorted(skills)), minutes, tuple(f"l{n}" for n in before), difficulty
            )
        )
    ids = [lesson.lesson_id for lesson in lessons]
    goal = PathGoal(
        target_skills=tuple(f"s{n}" for n in draw(st.sets(number, min_size=1))),
        minutes_per_week=draw(st.floats(10.0, 600.0)),
        days=draw(st.none() | st.floats(0.0, 60.0)),
        must_include=tuple(draw(st.sets(st.sampled_from(ids), max_size=2))),
        completed=frozenset(draw(st.sets(st.sampled_from(ids), max_size=2))),
    )
    events = st.builds(Practice, number.map(lambda n: f"s{n}"), st.just(5.0), st.sampled_from([0.0, 1.0]))
    return lessons, pairs, goal, infer_learner(MasteryParameters(), draw(st.lists(events, max_size=20)))


@given(courses())
@settings(max_examples=300)
def test_no_step_ever_stands_before_a_prerequisite(
    course: tuple[list[PathLesson], list[tuple[str, str]], PathGoal, Learner],
) -> None:
    lessons, pairs, goal, learner = course

    path = plan_path(lessons, prerequisite_graph(pairs), goal, learner)

    by_id = {lesson.lesson_id: lesson for lesson in lessons}
    names = {skill for pair in pairs for skill in pair} | {s for lesson in lessons for s in lesson.skill_ids}
    met = {s for s in names if learner.beliefs([learner.mastery(s)])[0].value >= goal.mastery_target}
    met |= {skill for name in goal.completed for skill in by_id[name].skill_ids}
    finished = set(goal.completed)
    for step in path.steps:
        lesson = by_id[step.lesson_id]
        for skill, required in pairs:
            if skill in lesson.skill_ids and skill not in met:
                assert required in met or required in lesson.skill_ids
        assert set(lesson.prerequisite_lesson_ids) <= finished
        met |= set(lesson.skill_ids)
        finished.add(step.lesson_id)
    assert path.violations == 0


@given(courses())
@settings(max_examples=200)
def test_every_lesson_is_a_step_or_skipped_and_time_is_kept(
    course: tuple[list[PathLesson], list[tuple[str, str]], PathGoal, Learner],
) -> None:
    lessons, pairs, goal, learner = course

    path = plan_path(lessons, prerequisite_graph(pairs), goal, learner)

    assert sorted([*taken(path), *reasons(path)]) == sorted(lesson.lesson_id for lesson in lessons)
    assert path.total_minutes == pytest.approx(sum(step.minutes for step in path.steps))
    assert [step.week for step in path.steps] == sorted(step.week for step in path.steps)
    assert 0.0 <= path.ready.lower <= path.ready.value <= path.ready.upper <= 1.0
    for step in path.steps:
        for gain in step.gains:
            assert gain.before.lower <= gain.before.value <= gain.before.upper
            assert gain.before.value <= gain.after.value
    for name in goal.must_include:
        assert name in taken(path) or reasons(path)[name] is SkipReason.PREREQUISITE_MISSING
    if goal.days is None:
        assert path.shortfall_minutes is None
        assert SkipReason.NO_TIME not in reasons(path).values()
    elif not goal.must_include:
        assert path.total_minutes <= (goal.budget_minutes or 0.0) + 1e-6


@given(courses())
@settings(max_examples=100)
def test_more_time_never_makes_anybody_less_ready(
    course: tuple[list[PathLesson], list[tuple[str, str]], PathGoal, Learner],
) -> None:
    lessons, pairs, goal, learner = course
    graph = prerequisite_graph(pairs)
    goal = PathGoal(target_skills=goal.target_skills, minutes_per_week=60.0)
    endless = plan_path(lessons, graph, goal, learner)

    for weeks in (0.0, 1.0, 4.0):
        dated = PathGoal(target_skills=goal.target_skills, minutes_per_week=60.0, days=7.0 * weeks)
        limited = plan_path(lessons, graph, dated, learner)
        assert limited.ready.value <= endless.ready.value + 1e-12
        assert set(taken(limited)) <= set(taken(endless))


@pytest.mark.parametrize(
    ("width", "depth"), [(1, 3_000), (3_000, 1), (50, 40)], ids=["a chain", "all side by side", "dense layers"]
)
def test_graphs_of_thousands_are_planned_without_a_violation(width: int, depth: int) -> None:
    layers = [[f"k{level}-{number}" for number in range(width)] for level in range(depth)]
    rng = np.random.default_rng(0)
    pairs = [
        (skill, below[one])
        for below, layer in pairwise(layers)
        for skill in layer
        for one in set(rng.integers(width, size=min(width, 20)).tolist())
    ]
    names = [skill for layer in layers for skill in layer]
    rng.shuffle(names)

    path = plan_path(
        one_lesson_each(names),
        prerequisite_graph(pairs),
        PathGoal(target_skills=tuple(names), minutes_per_week=60.0),
        NEW,
    )

    place = {name: at for at, name in enumerate(taken(path))}
    assert len(path.steps) == len(names)
    assert all(place[required.upper()] < place[skill.upper()] for skill, required in pairs)
    assert path.violations == 0


def test_a_graph_too_large_for_a_table_of_ancestors_is_planned_by_rank() -> None:
    count = planner.DENSE_MAX + 500
    names = [f"k{number}" for number in range(count)]
    pairs = [(names[number], names[number - 7]) for number in range(7, count)]
    goal = PathGoal(
        target_skills=tuple(names), minutes_per_week=60.0, days=70.0, must_include=(names[count - 1].upper(),)
    )

    path = plan_path(one_lesson_each(names), prerequisite_graph(pairs), goal, NEW)

    assert path.violations == 0
    assert names[count - 1].upper() in taken(path)
    assert (path.shortfall_minutes or 0.0) > 0.0


def test_the_first_step_comes_from_the_outer_fringe() -> None:
    pairs = [("c", "b"), ("b", "a"), ("e", "d"), ("c", "e")]
    learner = knowing(a=0.95, b=0.3, c=0.1, d=0.2, e=0.1)
    graph = prerequisite_graph(pairs)

    path = plan_path(
        one_lesson_each(list("abcde")), graph, PathGoal(target_skills=("c",), minutes_per_week=60.0), learner
    )

    assert path.steps[0].gains[0].skill_id in outer_fringe(graph, {"a"})


def test_what_gains_most_for_each_minute_comes_first() -> None:
    lessons = [PathLesson("slow", ("a",), 60.0), PathLesson("quick", ("b",), 10.0), PathLesson("far", ("c",), 10.0)]
    learner = knowing(a=0.5, b=0.5, c=0.8)

    path = plan_path(
        lessons, prerequisite_graph([]), PathGoal(target_skills=("a", "b", "c"), minutes_per_week=60.0), learner
    )

    assert taken(path) == ["quick", "slow", "far"] or taken(path) == ["quick", "far", "slow"]
    rates = [sum(gain.after.value - gain.before.value for gain in step.gains) / step.minutes for step in path.steps]
    assert rates[0] == max(rates)


@given(st.lists(st.tuples(st.floats(0.05, 0.8), st.floats(5.0, 60.0)), min_size=1, max_size=4), st.integers(0, 3))
@settings(max_examples=50)
def test_an_order_earns_mastery_about_as_early_as_the_best_of_all(
    skills: list[tuple[float, float]], chained: int
) -> None:
    names = [f"s{at}" for at in range(len(skills))]
    pairs = [(names[at], names[at - 1]) for at in range(1, len(names)) if at <= chained]
    learner = knowing(**{name: mastery for name, (mastery, _) in zip(names, skills, strict=True)})
    lessons = [PathLesson(name, (name,), minutes) for name, (_, minutes) in zip(names, skills, strict=True)]
    goal = PathGoal(target_skills=tuple(names), minutes_per_week=60.0)

    path = plan_path(lessons, prerequisite_graph(pairs), goal, learner)

    before = {name: goal.mastery_target - learner.beliefs([learner.mastery(name)])[0].value for name in names}
    minutes = {step.lesson_id: step.minutes for step in path.steps}

    def waiting(order: tuple[str, ...] | list[str]) -> float:
        """Mastery still to be gained, summed over minutes: what Sidney's order makes small."""
        clock, total = 0.0, 0.0
        for name in order:
            clock += minutes[name]
            total += before[name] * clock
        return total

    allowed = [o for o in permutations(names) if all(o.index(b) < o.index(a) for a, b in pairs)]
    assert waiting(taken(path)) <= 1.000001 * min(waiting(order) for order in allowed)


def test_a_mastered_skill_is_skipped_and_nothing_below_it_is_asked_for() -> None:
    path = plan_path(
        one_lesson_each(["a", "b", "c"]),
        prerequisite_graph([("c", "b"), ("b", "a")]),
        PathGoal(target_skills=("c",), minutes_per_week=60.0),
        knowing(a=0.2, b=0.95, c=0.4),
    )

    assert taken(path) == ["C"]
    assert reasons(path) == {"A": SkipReason.NOT_NEEDED, "B": SkipReason.MASTERED}
    assert path.skipped[1].mastery is not None
    assert path.skipped[1].mastery.value == pytest.approx(0.95, abs=0.01)


def test_each_way_of_being_left_out_is_named() -> None:
    lessons = [
        PathLesson("done", ("a",), 10.0),
        PathLesson("known", ("b",), 10.0),
        PathLesson("long", ("c",), 90.0),
        PathLesson("short", ("c",), 10.0),
        PathLesson("elsewhere", ("z",), 10.0),
        PathLesson("blocked", ("e",), 10.0),
        PathLesson("late", ("f",), 500.0),
    ]
    path = plan_path(
        lessons,
        prerequisite_graph([("e", "nobody-teaches-it")]),
        PathGoal(
            target_skills=("a", "b", "c", "e", "f"), minutes_per_week=100.0, days=7.0, completed=frozenset(["done"])
        ),
        knowing(a=0.5, b=0.95, c=0.5, f=0.1),
    )

    assert taken(path) == ["short"]
    assert reasons(path) == {
        "done": SkipReason.COMPLETED,
        "known": SkipReason.MASTERED,
        "long": SkipReason.BETTER_LESSON,
        "elsewhere": SkipReason.NOT_NEEDED,
        "blocked": SkipReason.PREREQUISITE_MISSING,
        "late": SkipReason.NO_TIME,
    }
    assert "nobody-teaches-it" in next(skip.text for skip in path.skipped if skip.lesson_id == "blocked")
    assert "nobody-teaches-it" in path.unreachable


def test_too_little_time_is_said_in_minutes() -> None:
    lessons = one_lesson_each(["a", "b"], minutes=40.0)
    learner = knowing(a=0.5, b=0.5)
    graph = prerequisite_graph([("b", "a")])
    whole = plan_path(lessons, graph, PathGoal(target_skills=("b",), minutes_per_week=50.0), learner)

    path = plan_path(lessons, graph, PathGoal(target_skills=("b",), minutes_per_week=50.0, days=7.0), learner)

    assert path.shortfall_minutes == pytest.approx(whole.total_minutes - 50.0)
    assert path.ready.value < whole.ready.value


def test_what_must_be_included_is_there_with_its_prerequisites_although_time_is_short() -> None:
    path = plan_path(
        [*one_lesson_each(["a", "b", "c"]), PathLesson("drill", ("b",), 30.0, prerequisite_lesson_ids=("A",))],
        prerequisite_graph([("b", "a")]),
        PathGoal(target_skills=("c",), minutes_per_week=10.0, days=7.0, must_include=("drill",)),
        knowing(a=0.1, b=0.2, c=0.5),
    )

    assert taken(path).index("A") < taken(path).index("drill")
    assert (path.shortfall_minutes or 0.0) > 0.0


def test_what_must_be_included_is_taken_once_when_it_is_mastered() -> None:
    path = plan_path(
        one_lesson_each(["a", "b"]),
        prerequisite_graph([("b", "a")]),
        PathGoal(target_skills=("b",), minutes_per_week=60.0, must_include=("B",)),
        knowing(a=0.1, b=0.99),
    )

    assert [(step.lesson_id, step.passes) for step in path.steps] == [("B", 1)]
    assert "must be in the path" in path.steps[0].reason


def test_lessons_in_a_circle_are_refused_by_name() -> None:
    lessons = [PathLesson("x", ("a",), 5.0, ("y",)), PathLesson("y", ("b",), 5.0, ("x",))]

    with pytest.raises(PrerequisiteCycle) as refusal:
        plan_path(lessons, prerequisite_graph([]), PathGoal(target_skills=("a",), minutes_per_week=60.0), NEW)

    assert set(refusal.value.members) == {"x", "y"}


def test_lessons_that_wait_for_each_other_through_skills_are_left_out() -> None:
    lessons = [PathLesson("both", ("s1", "s4"), 5.0), PathLesson("middle", ("s2",), 5.0)]

    path = plan_path(
        lessons,
        prerequisite_graph([("s2", "s1"), ("s4", "s2")]),
        PathGoal(target_skills=("s4",), minutes_per_week=60.0),
        NEW,
    )

    assert taken(path) == []
    assert set(reasons(path).values()) == {SkipReason.PREREQUISITE_MISSING}


@pytest.mark.parametrize(
    ("lessons", "must", "message"),
    [(["a", "a"], (), "'A' stands twice"), (["a"], ("B",), "'B' must be included")],
    ids=["twice", "foreign"],
)
def test_a_request_that_contradicts_itself_is_refused(lessons: list[str], must: tuple[str, ...], message: str) -> None:
    goal = PathGoal(target_skills=("a",), minutes_per_week=60.0, must_include=must)

    with pytest.raises(ValueError, match=message):
        plan_path(one_lesson_each(lessons), prerequisite_graph([]), goal, NEW)


def test_a_second_lesson_helps_where_repeating_one_is_not_enough() -> None:
    lessons = [PathLesson("first", ("a",), 5.0), PathLesson("second", ("a",), 6.0)]

    path = plan_path(
        lessons, prerequisite_graph([]), PathGoal(target_skills=("a",), minutes_per_week=60.0), knowing(a=0.3)
    )

    assert taken(path) == ["first", "second"]
    assert path.steps[0].passes == planner.PASSES_MAX
    assert path.steps[1].gains[0].before == path.steps[0].gains[0].after


def test_the_page_gives_the_figures_of_the_code() -> None:
    rows = re.findall(r"^\| ([a-z][^|]+) \| [^|]+ \| ([0-9.]+) \|$", PAGE.read_text(), re.MULTILINE)
    alike = MasteryParameters(
        prior_logit=math.log(0.4 / 0.6), prior_sd=0.0, pace_log=math.log(0.05), pace_sd=0.0, guess=0.2, slip=0.1
    )
    learner = infer_learner(alike, [Practice("bmv", 0.0, 1.0), Practice("bmv", 0.0, 1.0), Practice("cpr", 0.0, 0.0)])
    lessons = [
        PathLesson("bag", ("bmv",), 15.0),
        PathLesson("drill", ("cpr",), 20.0),
        PathLesson("team", ("lead",), 10.0),
    ]
    graph = prerequisite_graph([("lead", "bmv"), ("lead", "cpr")])

    path = plan_path(lessons, graph, PathGoal(target_skills=("lead",), minutes_per_week=60.0), learner)
    short = plan_path(lessons, graph, PathGoal(target_skills=("lead",), minutes_per_week=60.0, days=7.0), learner)

    drill, team = path.steps
    bmv, cpr = (learner.beliefs([learner.mastery(skill)])[0].value for skill in ("bmv", "cpr"))
    assert (drill.passes, team.passes, taken(short), short.ready.value) == (2, 3, ["drill"], pytest.approx(0.4))
    assert reasons(path) == {"bag": SkipReason.MASTERED}
    assert {name: float(figure) for name, figure in rows} == pytest.approx(
        {
            "mastery of bmv": bmv,
            "mastery of cpr": cpr,
            "minutes to the target, cpr": learner.minutes_to(cpr, 0.85),
            "cpr after drill, taken twice": drill.gains[0].after.value,
            "minutes to the target, lead": learner.minutes_to(0.4, 0.85),
            "lead after team, three times": team.gains[0].after.value,
            "minutes of the path": path.total_minutes,
            "short, with one week left": short.shortfall_minutes,
        },
        abs=0.05,
    )
    assert {name: float(figure) for name, figure in rows if "." in figure and len(figure) == 6} == pytest.approx(
        {
            "mastery of bmv": bmv,
            "mastery of cpr": cpr,
            "cpr after drill, taken twice": drill.gains[0].after.value,
            "lead after team, three times": team.gains[0].after.value,
        },
        abs=5e-5,
    )
