"""The benchmark on small graphs in the documented form."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.truth import path as benchmark
from benchmarks.truth.path import measure
from benchmarks.truth.path_walk import Walk, lessons_of, violations_of, walk_fixed
from benchmarks.truth.path_world import draw_student, shares_known, skeleton_of
from benchmarks.truth.prerequisite_pairs import read_course
from methods.learning.mastery import MasteryParameters, infer_learner
from methods.learning.path import PathGoal, plan_path
from methods.learning.prerequisites import PrerequisiteCycle, count_violations

TREE = "skill_id,prerequisite_id\nb,a\nc,a\nd,b\nd,c\ne,d\nf,c\n"


def write(folder: Path, pairs: str = TREE, skills: str | None = None) -> Path:
    (folder / "prerequisites.csv").write_text(pairs)
    if skills is not None:
        (folder / "skills.csv").write_text(skills)
    return folder


def test_a_small_course_is_measured_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "LEARNERS_MAX", 12)

    report = measure(write(tmp_path))

    assert report.metrics["violations"] == 0.0
    assert 0.3 < report.metrics["minutes_ratio"] < 1.3
    assert report.metrics["minutes_ratio_lower"] <= report.metrics["minutes_ratio"]
    assert report.metrics["never_there"] == 0.0
    assert report.metrics["plans"] >= 12.0


def test_minutes_and_targets_are_read_where_there_are_any(tmp_path: Path) -> None:
    course = read_course(write(tmp_path, skills="skill_id,minutes,target\ne,40,1\na,5,\nalone,7,0\n"))

    found = dict(zip(course.graph.order, zip(course.minutes, course.is_target, strict=True), strict=True))
    assert found["e"] == (40.0, True)
    assert found["a"] == (5.0, False)
    assert found["alone"] == (7.0, False)
    assert found["b"] == (15.0, False)


@pytest.mark.parametrize(
    ("pairs", "skills", "message"),
    [
        ("skill,needs\nb,a\n", None, "skill_id and prerequisite_id"),
        ("skill_id,prerequisite_id\nb,\n", None, "prerequisite_id is empty in line 2"),
        ("skill_id,prerequisite_id\nb,a\nc,b\na,c\n", None, "needs"),
        ("skill_id,prerequisite_id\n", None, "holds no pair"),
        (TREE, "name\na\n", "needs the column skill_id"),
        (TREE, "skill_id,minutes\na,0\n", "minutes of a are not above 0"),
        (TREE, "skill_id,target\na,0\n", "no skill has target"),
    ],
    ids=["columns", "empty", "cycle", "nothing", "skills", "minutes", "targets"],
)
def test_data_that_are_wrong_are_refused_by_name(tmp_path: Path, pairs: str, skills: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_course(write(tmp_path, pairs, skills))


def test_a_cycle_is_named_in_order(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteCycle) as refusal:
        measure(write(tmp_path, "skill_id,required_skill_id\nb,a\nc,b\na,c\nd,a\n"))

    members = refusal.value.members
    assert members[members.index("b") - len(members) + 1] == "a"
    assert set(members) == {"a", "b", "c"}


def test_a_folder_without_pairs_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/benchmarks\.md"):
        measure(tmp_path)


def test_a_learner_starts_from_a_state_of_knowledge_but_for_gaps_and_finds(tmp_path: Path) -> None:
    skeleton = skeleton_of(read_course(write(tmp_path)))
    rng = np.random.default_rng(0)
    known = np.array([draw_student(skeleton, 0.5, rng).knows for _ in range(400)])

    broken = [known[:, s] & ~known[:, r] for s, required in enumerate(skeleton.required) for r in required]
    # Without gaps and finds nobody knows a skill and not its prerequisite; with them, about a tenth of the pairs.
    assert 0.0 < np.mean(broken) < 0.15
    assert known.mean() == pytest.approx(0.5 * 0.9 + 0.5 * 0.05, abs=4 * 0.5 / np.sqrt(known.size))
    assert shares_known(0.0, 3).tolist() == [0.0, 0.0, 0.0]
    assert shares_known(0.44, 200).mean() == pytest.approx(0.44, abs=0.005)


def test_the_same_learner_has_the_same_luck_in_both_walks(tmp_path: Path) -> None:
    course = read_course(write(tmp_path))
    student = draw_student(skeleton_of(course), 0.5, np.random.default_rng(1))
    order = np.arange(len(course.graph.order))

    first, second = (
        walk_fixed(Walk(course=course, student=student.copy(), parameters=MasteryParameters()), order, skip_known=False)
        for _ in range(2)
    )

    assert first.trace == second.trace
    assert first.practice == second.practice
    assert not np.array_equal(first.student.knows, student.knows)


def test_the_judge_counts_what_a_wrong_order_breaks(tmp_path: Path) -> None:
    course = read_course(write(tmp_path))
    goal = PathGoal(target_skills=("e",), minutes_per_week=60.0)
    path = plan_path(lessons_of(course), course.graph, goal, infer_learner(MasteryParameters()))

    assert violations_of(course, path, known=set()) == 0
    assert count_violations(["e", "d"], course.graph.required) > 0
