"""GeneratePath walked by learners, planned anew after every lesson, against the course's fixed order.

The course is the platform's own catalogue: its skills and prerequisites. Learners, checks, exams and minutes are those
of the truth benchmark (`benchmarks.truth.path_walk`), with the same luck in every walk; here what learners are drawn
from differs between worlds, and the version is fitted on other learners of the same world.
Ranges, drawn for each seed: known before 0.2 to 0.6 (36 % Sutton 2011, 52 % Swinger 2020, and around); guess 0.1 to
0.3, slip 0.05 to 0.15 (about Corbett and Anderson 1995); pace 0.03 to 0.08 a minute, the spreads, gaps 0.05 to 0.2, the
pace without prerequisites 0.3 to 0.8 of the usual: JUDGEMENT. Gaps, differences between items and skills, and the pace
without prerequisites are not in the planner's model.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from benchmarks.closed_loop.comparison import Answered, Kind, Policy, SeedResult, joined
from benchmarks.truth.path import fit_on_learners, fixed_order
from benchmarks.truth.path_walk import Walk, goal_of, lessons_of, walk_fixed, walk_planned
from benchmarks.truth.path_world import Student, StudentShape, draw_student, shares_known, skeleton_of
from benchmarks.truth.prerequisite_pairs import Course
from methods.learning.mastery import Floats, MasteryParameters, infer_learner
from methods.learning.path import LearningPath, plan_path
from methods.learning.prerequisites import prerequisite_graph
from training.data.simulator.catalogue import make_catalogue
from training.data.simulator.parameters import MemoryParameters

LEARNERS: Final = 12
LESSON_MINUTES, LESSON_SD = 14.0, 0.4  # as in the simulated catalogue
KNOWN: Final = (0.2, 0.6)
RANGES: Final = {
    "gaps": (0.05, 0.2),
    "finds": (0.02, 0.1),
    "pace": (0.03, 0.08),
    "pace_sd": (0.3, 0.6),
    "ease_sd": (0.2, 0.5),
    "guess": (0.1, 0.3),
    "slip": (0.05, 0.15),
    "item_sd": (0.2, 0.5),
    "without_prerequisites": (0.3, 0.8),
}


def run(seed: int) -> SeedResult:
    """One world: a fit on its learners, then others who each walk the course three times."""
    rng = np.random.default_rng([seed, 11])
    shape = StudentShape(**{name: float(rng.uniform(*ends)) for name, ends in RANGES.items()})
    known = float(rng.uniform(*KNOWN))
    course = catalogue_course(rng)
    version = fit_on_learners(course, known, rng, shape)
    order, skeleton = fixed_order(course), skeleton_of(course)
    spent: list[list[float]] = []
    answers: dict[str, list[Answered]] = {}
    violations, ready = 0, []
    for number, share in enumerate(shares_known(known, LEARNERS).tolist()):
        student = draw_student(skeleton, share, np.random.default_rng([seed, 12, number]), shape)
        walks = [Walk(course=course, student=student.copy(), parameters=version) for _ in range(3)]
        walk_fixed(walks[0], order, skip_known=False)
        walk_fixed(walks[1], order, skip_known=True)
        walk_planned(walks[2], order)
        spent.append([min(walk.minutes_to_mastery(), walk.minutes) for walk in walks])
        violations += walks[2].violations
        told, foretold, is_ready = _foretold(course, student.copy(), version)
        for name, part in told.items():
            answers.setdefault(name, []).append(part)
        ready.append((foretold, is_ready))
    fixed, skipping, planned = np.array(spent).sum(axis=0)
    return SeedResult(
        gains={
            "fixed_order": float(1.0 - planned / fixed),
            "fixed_order_without_known": float(1.0 - planned / skipping),
        },
        figures={
            "violations": float(violations),
            "minutes_planned": float(planned / LEARNERS),
            "minutes_fixed": float(fixed / LEARNERS),
            "known_before": known,
            "ready_foretold": float(np.mean([chance for chance, _ in ready])),
            "ready_truly": float(np.mean([truth for _, truth in ready])),
        },
        answers={name: joined(parts) for name, parts in answers.items()},
    )


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """What stood in the way."""
    if alternative == "fixed_order_without_known":
        return (
            f"once placement has found what is known ({figures['known_before']:.0%} of the skills), the same lessons "
            "are left, and their order changes few minutes"
        )
    return f"{figures['known_before']:.0%} of the skills were known before, and only those can be left out"


POLICY: Final = Policy(
    name="path",
    gains={
        "fixed_order": "minutes to 95 % of the skills, share saved",
        "fixed_order_without_known": "the same, against skipping what placement found known",
    },
    run=run,
    why=why,
)


def catalogue_course(rng: np.random.Generator) -> Course:
    """The simulated platform's skills and prerequisites; all are targets, minutes drawn."""
    tables = make_catalogue(MemoryParameters(), np.random.default_rng(0)).tables
    names = tables["skills"]["skill_id"].to_pylist()
    pairs = list(
        zip(
            tables["prerequisites"]["skill_id"].to_pylist(),
            tables["prerequisites"]["prerequisite_id"].to_pylist(),
            strict=True,
        )
    )
    graph = prerequisite_graph(pairs, nodes=names)
    return Course(
        graph=graph,
        minutes=np.clip(rng.lognormal(np.log(LESSON_MINUTES), LESSON_SD, len(names)).round(), 3.0, 60.0),
        is_target=np.ones(len(names), dtype=np.bool_),
        pairs=tuple(pairs),
    )


def _foretold(course: Course, student: Student, version: MasteryParameters) -> tuple[dict[str, Answered], float, float]:
    """The first plan after placement: mastery before and after each lesson beside the truth; readiness and truth."""
    walk = Walk(course=course, student=student, parameters=version)
    walk.examine(fixed_order(course).tolist())
    learner = infer_learner(version, walk.practice)
    path = plan_path(lessons_of(course), course.graph, goal_of(course), learner)
    beliefs = learner.beliefs([learner.mastery(name) for name in course.graph.order])
    told = {"mastery": _answered([(b.value, b.lower, b.upper) for b in beliefs], student.knows.astype(np.float64))}
    truth = _follow(course, student, path)
    after = [step.gains[0].after for step in path.steps]
    if after:
        told["mastery_after_lesson"] = _answered([(b.value, b.lower, b.upper) for b in after], truth)
    return told, path.ready.value, float(student.knows.all())


def _follow(course: Course, student: Student, path: LearningPath) -> Floats:
    """(steps,) whether the skill of each step is truly known right after it."""
    place = {name: number for number, name in enumerate(course.graph.order)}
    known = []
    for step in path.steps:
        student.study(place[step.lesson_id], step.minutes)
        known.append(float(student.knows[place[step.lesson_id]]))
    return np.array(known)


def _answered(ends: list[tuple[float, float, float]], truth: Floats) -> Answered:
    value, lower, upper = np.array(ends).T
    return Answered(value=value, lower=lower, upper=upper, truth=truth, kind=Kind.OUTCOMES)
