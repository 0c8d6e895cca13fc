"""GeneratePath on any prerequisite graph: violations, and minutes to mastery against a fixed order.

Learners are simulated (path_world.py), so that their truth is known; the planner sees minutes and answers alone, and
its parameters are fitted on other learners who took the course in its fixed order. Both arms meet the same learners.
"""

import math
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment
from benchmarks.truth.path_walk import Walk, goal_of, lessons_of, violations_of, walk_fixed, walk_planned
from benchmarks.truth.path_world import SHARE_KNOWN, USUAL, StudentShape, draw_student, shares_known, skeleton_of
from benchmarks.truth.prerequisite_pairs import Course, read_course
from methods.learning.mastery import Floats, MasteryParameters, infer_learner
from methods.learning.path import plan_path
from methods.learning.prerequisites import needed_for
from methods.statistics.bootstrap import paired_interval
from methods.statistics.scores import auc, calibration_error
from training.learning.path import PracticeRows, fit_mastery

LEARNERS_MAX, LEARNERS_MIN = 120, 4
WALKED_SKILLS: Final = 6_000  # learners times skills, about: a graph of 1,000 skills is walked by 6
FIT_LEARNERS, FIT_SKILLS = 80, 30
OTHER_SHARES: Final = {"nothing_known": 0.0, "little_known": 0.25, "much_known": 0.6}
ANCHORS: Final = {
    "violations": Anchor(at_most=0.0, source="none on any graph"),
    "minutes_ratio": Anchor(at_most=0.9, source="goal; over-practice alone was 14 % of attempts on ASSISTments 2009"),
    "nothing_known.minutes_ratio": Anchor(at_most=1.05, source="where nothing can be skipped only placement is lost"),
}


def measure(folder: Path, seed: int = 0) -> Report:
    """Fits on learners of its own, walks the course with others.

    Raises:
        FileNotFoundError: the folder holds no prerequisites.csv.
        ValueError: a column or a cell is wrong, or the pairs hold a cycle, which is named.
    """
    course = read_course(folder)
    order = fixed_order(course)
    rng = np.random.default_rng(seed)
    learners = max(LEARNERS_MIN, min(LEARNERS_MAX, WALKED_SKILLS // len(order)))
    parameters = fit_on_learners(course, SHARE_KNOWN, rng)
    cohort = _Cohort.walk(course, parameters, learners, SHARE_KNOWN, seed)
    metrics = {
        "violations": float(cohort.violations + _violations_from_scratch(course, parameters)),
        "minutes_ratio": cohort.ratio,
        **cohort.metrics(np.random.default_rng(seed)),
    }
    for name, share in OTHER_SHARES.items():
        part = _Cohort.walk(course, parameters, max(LEARNERS_MIN, learners // 3), share, seed + 1)
        metrics[f"{name}.minutes_ratio"] = part.ratio
        metrics["violations"] += part.violations
    started = time.process_time()
    plan_path(lessons_of(course), course.graph, goal_of(course), infer_learner(parameters))
    metrics |= {
        "plan_seconds": time.process_time() - started,
        "fitted.known_share": 1.0 / (1.0 + math.exp(-parameters.prior_logit)),
        "fitted.pace": math.exp(parameters.pace_log),
        "fitted.guess": parameters.guess,
        "fitted.slip": parameters.slip,
        "skills": float(len(course.graph.order)),
        "pairs": float(len(set(course.pairs))),
    }
    return Report(
        benchmark="truth.path",
        data=f"{len(course.graph.order):,} skills, {int(course.is_target.sum()):,} of them targets",
        metrics=metrics,
        anchors=ANCHORS,
        environment=describe_environment(("numpy", "scipy")),
    )


def fixed_order(course: Course) -> NDArray[np.int64]:
    """The skills that the goal needs, as a course book would have them: the graph's own order."""
    targets = [name for name, is_target in zip(course.graph.order, course.is_target, strict=True) if is_target]
    needed = needed_for(course.graph, targets)
    return np.array([number for number, name in enumerate(course.graph.order) if name in needed], dtype=np.int64)


def fit_on_learners(
    course: Course, share: float, rng: np.random.Generator, shape: StudentShape = USUAL
) -> MasteryParameters:
    """Parameters from learners of their own, who were placed and then took a part of the course in its order.

    Args:
        course: what they took.
        share: of it that they knew before, on average.
        rng: chance.
        shape: what the learners are drawn from.
    """
    skeleton, order = skeleton_of(course), fixed_order(course)
    numbers = {name: number for number, name in enumerate(course.graph.order)}
    rows: list[tuple[int, int, float, float]] = []
    for learner, known in enumerate(shares_known(share, FIT_LEARNERS).tolist()):
        walk = Walk(course=course, student=draw_student(skeleton, known, rng, shape), parameters=MasteryParameters())
        begin = int(rng.integers(max(1, len(order) - FIT_SKILLS + 1)))
        part = order[begin : begin + FIT_SKILLS]
        walk.examine(part.tolist())
        for skill in part.tolist():
            walk.take(skill)
        rows += [(learner, numbers[e.skill_id], e.minutes, float(e.outcome or 0.0)) for e in walk.practice]
    columns = list(zip(*rows, strict=True))
    return fit_mastery(
        PracticeRows(
            learner=np.array(columns[0], dtype=np.int64),
            skill=np.array(columns[1], dtype=np.int64),
            minutes=np.array(columns[2]),
            outcome=np.array(columns[3]),
        )
    )


class _Cohort:
    """The three walks of each learner."""

    def __init__(self, fixed: list[Walk], skipping: list[Walk], planned: list[Walk], before: list[Floats]) -> None:
        self.fixed, self.skipping, self.planned, self.before = fixed, skipping, planned, before

    @classmethod
    def walk(cls, course: Course, parameters: MasteryParameters, learners: int, share: float, seed: int) -> "_Cohort":
        """Walk the course with so many learners who know that share of it before."""
        skeleton, order = skeleton_of(course), fixed_order(course)
        fixed, skipping, planned, before = [], [], [], []
        for number, known in enumerate(shares_known(share, learners).tolist()):
            student = draw_student(skeleton, known, np.random.default_rng([seed, number]))
            walks = [Walk(course=course, student=student.copy(), parameters=parameters) for _ in range(3)]
            before.append(student.knows.astype(np.float64))
            fixed.append(walk_fixed(walks[0], order, skip_known=False))
            skipping.append(walk_fixed(walks[1], order, skip_known=True))
            planned.append(walk_planned(walks[2], order))
        return cls(fixed, skipping, planned, before)

    @property
    def violations(self) -> int:
        """Over all plans of all learners."""
        return sum(walk.violations for walk in self.planned)

    @property
    def ratio(self) -> float:
        """Minutes to mastery by plan, summed over learners, over those in fixed order."""
        return float(self._minutes(self.planned).sum() / self._minutes(self.fixed).sum())

    def metrics(self, rng: np.random.Generator) -> dict[str, float]:
        """Everything that stands beside the ratio."""
        planned, fixed = self._minutes(self.planned), self._minutes(self.fixed)
        low, high = paired_interval(
            lambda weight: float((weight * planned).sum() / (weight * fixed).sum()), np.arange(len(fixed)), rng
        )
        half = [walk.minutes_to_mastery() / 2.0 for walk in self.fixed]
        skills = [np.array(list(walk.foreseen)) for walk in self.planned]
        believed = np.concatenate([np.array(list(walk.foreseen.values())) for walk in self.planned])
        truth = np.concatenate([known[which] for known, which in zip(self.before, skills, strict=True)])
        return {
            "minutes_ratio_lower": low,
            "minutes_ratio_upper": high,
            "minutes.planned": float(planned.mean()),
            "minutes.fixed": float(fixed.mean()),
            "minutes.fixed_without_known": float(self._minutes(self.skipping).mean()),
            "half_time.known_planned": float(
                np.mean([walk.share_at(t) for walk, t in zip(self.planned, half, strict=True)])
            ),
            "half_time.known_fixed": float(
                np.mean([walk.share_at(t) for walk, t in zip(self.fixed, half, strict=True)])
            ),
            "known_before": float(np.mean([known.mean() for known in self.before])),
            "placement.auc": auc(truth, believed),
            "placement.ece": calibration_error(truth, believed),
            "never_there": float(np.mean([math.isinf(walk.minutes_to_mastery()) for walk in self.planned])),
            "learners": float(len(self.fixed)),
            "plans": float(sum(walk.plans for walk in self.planned)),
        }

    @staticmethod
    def _minutes(walks: list[Walk]) -> Floats:
        """(learners,) minutes to mastery; one who never got there counts with all that was spent."""
        return np.array([min(walk.minutes_to_mastery(), walk.minutes) for walk in walks])


def _violations_from_scratch(course: Course, parameters: MasteryParameters) -> int:
    """Of the path of somebody of whom nothing is known and who is taken to know nothing: the whole order at once."""
    path = plan_path(lessons_of(course), course.graph, goal_of(course), infer_learner(parameters))
    missing = 0 if path.steps else 1  # an empty path would be an easy way to break nothing
    return missing + violations_of(course, path, known=set())
