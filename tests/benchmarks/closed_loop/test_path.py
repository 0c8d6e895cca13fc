"""Paths in closed loop."""

import numpy as np
import pytest

from benchmarks.closed_loop import path as benchmark
from benchmarks.closed_loop.path import catalogue_course, run
from benchmarks.truth.path_world import StudentShape, draw_student, skeleton_of


def test_a_world_is_walked_without_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "LEARNERS", 4)

    result = run(0)

    assert result.figures["violations"] == 0.0
    assert set(result.gains) == set(benchmark.POLICY.gains)
    assert -0.5 < result.gains["fixed_order"] < 0.9
    assert result.answers["mastery"].value.size == 4 * 30


def test_the_course_is_the_simulated_platforms() -> None:
    course = catalogue_course(np.random.default_rng(1))

    assert len(course.graph.order) == 30
    assert ("airway-1", "ventilation-1") in course.pairs
    assert course.minutes.min() >= 3.0


def test_a_world_without_pace_before_prerequisites_teaches_nothing_there() -> None:
    course = catalogue_course(np.random.default_rng(1))
    skeleton = skeleton_of(course)
    skill = next(number for number, required in enumerate(skeleton.required) if required)
    student = draw_student(skeleton, 0.0, np.random.default_rng(2), StudentShape(without_prerequisites=0.0))

    student.study(skill, 10_000.0)

    assert not student.knows[skill]
