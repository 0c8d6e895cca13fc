"""How a simulated learner walks a course: in a fixed order, in that order without what placement found known, by plan.

All three meet the same check after a lesson (two questions inside the lesson's minutes), take a lesson again until the
same belief says mastered, and sit the same exam (its minutes count) when they believe to be done and are not. Only the
planned walk and the one that skips pay for placement.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.path_world import Student
from benchmarks.truth.prerequisite_pairs import Course
from methods.learning.mastery import Floats, MasteryParameters, Practice, infer_learner
from methods.learning.path import LearningPath, PathGoal, PathLesson, plan_path
from methods.learning.prerequisites import count_violations

MASTERY_TARGET: Final = 0.85
QUESTIONS: Final = 2  # at placement, after a lesson, in an exam; of each skill
QUESTION_MINUTES: Final = 0.5
ATTEMPTS_MAX: Final = 6  # of one lesson in a row
EXAMS_MAX: Final = 20
SHARE_TO_REACH: Final = 0.95  # of the target skills, truly known
PLANS: Final = 40  # of one walk, about; between them the last plan is followed


@dataclass(slots=True, kw_only=True)
class Walk:
    """One learner on the way, and what was noted.

    Attributes:
        practice: what the platform sees.
        trace: (minutes, share of target skills truly known) after each lesson and exam.
        violations: steps before a prerequisite, over all plans, counted from the pairs of the file.
        plans: made.
        foreseen: (skill, belief when placement ended), by the planned walk.
    """

    course: Course
    student: Student
    parameters: MasteryParameters
    minutes: float = 0.0
    practice: list[Practice] = field(default_factory=list)
    own: dict[int, list[Practice]] = field(default_factory=dict)
    trace: list[tuple[float, float]] = field(default_factory=list)
    violations: int = 0
    plans: int = 0
    foreseen: dict[int, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the target skills that the learner truly knows."""
        return float(self.student.knows[self.course.is_target].mean())

    @property
    def is_there(self) -> bool:
        """Whether enough is known. The judge's knowledge: it ends a walk and steers nothing."""
        return self.share >= SHARE_TO_REACH - 1e-12

    def ask(self, skill: int, minutes: float) -> None:
        """Questions on a skill, after so many minutes of learning it."""
        for number in range(QUESTIONS):
            event = Practice(self.name(skill), 0.0 if number else minutes, self.student.answer(skill))
            self.practice.append(event)
            self.own.setdefault(skill, []).append(event)

    def take(self, skill: int) -> None:
        """The lesson of a skill, again until the platform believes it mastered."""
        minutes = float(self.course.minutes[skill])
        for _ in range(ATTEMPTS_MAX):
            self.student.study(skill, minutes)
            self.minutes += minutes
            self.ask(skill, minutes)
            self.note()
            if self.believes(skill) or self.is_there:
                return

    def examine(self, skills: Iterator[int] | list[int]) -> None:
        """Questions on these skills, on the clock."""
        for skill in skills:
            self.ask(skill, 0.0)
            self.minutes += QUESTIONS * QUESTION_MINUTES
        self.note()

    def believes(self, skill: int) -> bool:
        """Whether the skill's own answers say mastered."""
        learner = infer_learner(self.parameters, self.own.get(skill, ()))
        return learner.beliefs([learner.mastery(self.name(skill))])[0].value >= MASTERY_TARGET

    def name(self, skill: int) -> str:
        """The skill's id in the file."""
        return self.course.graph.order[skill]

    def note(self) -> None:
        """Write down where the learner truly is."""
        self.trace.append((self.minutes, self.share))

    def minutes_to_mastery(self) -> float:
        """When enough was truly known; infinite when it never was."""
        return next((minutes for minutes, share in self.trace if share >= SHARE_TO_REACH - 1e-12), math.inf)

    def share_at(self, minutes: float) -> float:
        """Share of the target skills truly known at that time."""
        return next((share for when, share in reversed(self.trace) if when <= minutes), self.trace[0][1])


def walk_fixed(walk: Walk, order: NDArray[np.int64], *, skip_known: bool) -> Walk:
    """Every lesson in the course's order; after an exam once more what it found missing."""
    walk.note()
    if skip_known:
        walk.examine(order.tolist())
    for skill in order.tolist():
        if walk.is_there:
            return walk
        if not (skip_known and walk.believes(skill)):
            walk.take(skill)
    for _ in range(EXAMS_MAX):
        if walk.is_there:
            return walk
        walk.examine(order.tolist())
        for skill in order.tolist():
            if not walk.is_there and not walk.believes(skill):
                walk.take(skill)
    return walk


def walk_planned(walk: Walk, order: NDArray[np.int64]) -> Walk:
    """Placement, then the planner's path, planned anew as answers come in; after an exam what it found missing."""
    walk.note()
    walk.examine(order.tolist())
    learner = infer_learner(walk.parameters, walk.practice)
    beliefs = learner.beliefs([learner.mastery(walk.name(skill)) for skill in order.tolist()])
    walk.foreseen = {skill: belief.value for skill, belief in zip(order.tolist(), beliefs, strict=True)}
    place = {name: number for number, name in enumerate(walk.course.graph.order)}
    exams, follow = 0, math.ceil(len(order) / PLANS)
    while not walk.is_there:
        path = _plan(walk)
        for step in path.steps[:follow]:
            if not walk.is_there:
                walk.take(place[step.lesson_id])
        if not path.steps:
            exams += 1
            if exams > EXAMS_MAX:
                break
            walk.examine(order.tolist())
    return walk


def lessons_of(course: Course) -> list[PathLesson]:
    """One lesson a skill, named like it."""
    return [
        PathLesson(name, (name,), minutes)
        for name, minutes in zip(course.graph.order, course.minutes.tolist(), strict=True)
    ]


def goal_of(course: Course) -> PathGoal:
    """The course's target skills, without a date."""
    names: Floats = np.array(course.graph.order, dtype=object)
    return PathGoal(
        target_skills=tuple(names[course.is_target].tolist()), minutes_per_week=120.0, mastery_target=MASTERY_TARGET
    )


def violations_of(course: Course, path: LearningPath, known: set[str]) -> int:
    """Steps before one of the file's pairs, whatever the planner says of itself."""
    required: dict[str, list[str]] = {}
    for skill, requirement in course.pairs:
        required.setdefault(skill, []).append(requirement)
    steps = [step.lesson_id for step in path.steps if step.lesson_id not in known]
    return count_violations(steps, required, known)


def _plan(walk: Walk) -> LearningPath:
    learner = infer_learner(walk.parameters, walk.practice)
    path = plan_path(lessons_of(walk.course), walk.course.graph, goal_of(walk.course), learner)
    beliefs = learner.beliefs([learner.mastery(name) for name in walk.course.graph.order])
    known = {n for n, b in zip(walk.course.graph.order, beliefs, strict=True) if b.value >= MASTERY_TARGET}
    walk.violations += violations_of(walk.course, path, known)
    walk.plans += 1
    return path
