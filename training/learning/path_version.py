"""A version of the model `path`: how learners learn, from the platform's practice, beside the graph that experts keep.

Learners are split by a hash: some are fitted on, others foretold. Not here: the fit (path.py); what becomes of the
version (training/recipe.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.learning import mastery, ordering, prerequisites
from methods.learning import path as planner
from methods.learning.mastery import Floats, Practice, infer_learner
from methods.learning.path import LearningPath, PathGoal, PathLesson, plan_path
from methods.learning.path_parameters import PathParameters
from methods.learning.prerequisites import prerequisite_graph
from training.data.mart import Mart
from training.features import practice
from training.features.digest import digest_code
from training.features.practice import practice_frame, read_catalogue
from training.gates import Gate
from training.learning.path import PracticeRows, first_events, fit_mastery, practice_log_likelihood
from training.recipe import Fitted, Recipe, Say

FITTED_LEARNERS, JUDGED_LEARNERS = 120, 240  # pace to a tenth, log loss to 0.01 nats; more costs seconds a hundred
GOLDEN = 24
LESSON_MINUTES = 15.0
PURPOSE = (
    "An order of lessons towards a certification or chosen skills, for GeneratePath.",
    "Knowledge tracing with learners who differ in head start and pace, over the prerequisite graph that experts keep.",
)
LIMITS = (
    "Forgetting until the target date is not part of it; OptimizeSchedule looks at that.",
    "One rate of learning a minute serves all lessons, but for the difficulty that comes with them.",
    "Prerequisites are what experts say. They are not learned from what learners did.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Mean log loss of answers of learners not fitted on: the version's, and that of each skill's share right."""

    model: float
    baseline: float
    standard_error: float  # of the difference, over learners
    rows: int


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits on some learners and foretells others, each answer from those before it.

    Raises: ValueError: too few learners, or an expert's graph with a cycle, whose members are named.
    """
    say("reading practice")
    catalogue = read_catalogue(mart)
    graph = prerequisite_graph(catalogue.pairs, nodes=catalogue.skills)
    frame = practice_frame(mart, FITTED_LEARNERS + JUDGED_LEARNERS)
    rows, data_time = practice_of(frame)
    learners = int(rows.learner.max()) + 1 if rows.learner.size else 0
    is_fitted = rng.permutation(learners) < learners * FITTED_LEARNERS // (FITTED_LEARNERS + JUDGED_LEARNERS)
    early, late = take(rows, is_fitted[rows.learner]), take(rows, ~is_fitted[rows.learner])
    say(f"fitting how {int(is_fitted.sum())} learners learn")
    fitted = fit_mastery(early)
    say("foretelling the others")
    found = foretell(late, early, fitted)
    parameters = PathParameters(mastery=fitted, graph=graph, certifications=catalogue.certifications)
    return Fitted(
        parameters=parameters.to_json(),
        golden=golden_cases(parameters, rng),
        figures={"version": {"log_loss": found.model}, "share of the skill": {"log_loss": found.baseline}},
        gates=[foretells_better(found)],
        observations=int((~np.isnan(early.outcome)).sum()),
        data_time=data_time,
        facts={
            "skills": f"{len(graph.order):,}",
            "prerequisite pairs": f"{sum(len(required) for required in graph.required.values()):,}",
            "judged on": f"{found.rows:,} answers of {int((~is_fitted).sum())} learners not fitted on",
            "known before anything is seen": f"{1.0 / (1.0 + np.exp(-fitted.prior_logit)):.0%} of skills",
            "rate of learning": f"{np.exp(fitted.pace_log):.3f} a minute",
            "right without knowing, wrong while knowing": f"{fitted.guess:.2f}, {fitted.slip:.2f}",
        },
        purpose=PURPOSE,
        limits=LIMITS,
    )


def practice_of(frame: pd.DataFrame) -> tuple[PracticeRows, datetime]:
    """Rows of `practice_frame` as the fit reads them, and the newest moment in them.

    Raises: ValueError: there are none.
    """
    if frame.empty:
        raise ValueError("practice: the mart holds none")
    learner, _ = pd.factorize(frame["user_id"])
    skill, _ = pd.factorize(frame["skill_id"])
    rows = PracticeRows(
        learner=learner.astype(np.int64),
        skill=skill.astype(np.int64),
        minutes=frame["minutes"].to_numpy(dtype=np.float64),
        outcome=frame["outcome"].to_numpy(dtype=np.float64),
    )
    return rows, frame["begun_at"].max().to_pydatetime().astimezone(UTC)


def take(rows: PracticeRows, which: NDArray[np.bool_]) -> PracticeRows:
    """The rows of some learners, who are numbered anew."""
    _, learner = np.unique(rows.learner[which], return_inverse=True)
    return PracticeRows(
        learner=learner.astype(np.int64),
        skill=rows.skill[which],
        minutes=rows.minutes[which],
        outcome=rows.outcome[which],
    )


def foretell(rows: PracticeRows, fitted_on: PracticeRows, parameters: mastery.MasteryParameters) -> Foretold:
    """How well each answer is foretold from what the learner did before, beside the skill's share right."""
    counts = first_events(rows) & ~np.isnan(rows.outcome)
    learner, skill, outcome = rows.learner[counts], rows.skill[counts], rows.outcome[counts]
    share = _shares(fitted_on, int(rows.skill.max()) + 1)[skill]
    model = -practice_log_likelihood(rows, parameters)  # (learners,)
    surprise = -np.log(np.where(outcome == 1.0, share, 1.0 - share))
    baseline = np.bincount(learner, weights=surprise, minlength=model.size).astype(np.float64)
    sizes = np.bincount(learner, minlength=model.size)
    mean = float((baseline - model).sum() / sizes.sum())
    spread = float(np.sqrt((((baseline - model) - mean * sizes) ** 2).sum()) / sizes.sum())
    return Foretold(
        model=float(model.sum() / sizes.sum()),
        baseline=float(baseline.sum() / sizes.sum()),
        standard_error=spread,
        rows=int(sizes.sum()),
    )


def foretells_better(found: Foretold) -> Gate:
    """Knowing the learner must help: the log loss saved against skills alone is above 0 with its 90 % interval."""
    saved = found.baseline - found.model
    least = saved - 1.6449 * found.standard_error
    return Gate(
        name="foretells_better_than_skills_alone",
        passed=least > 0,
        reason=f"{saved:.4f} nats an answer saved (at least {least:.4f}; above 0 is needed)",
    )


def golden_cases(
    parameters: PathParameters, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Requests with 0 to 23 answers, some with a date, and the path that each must give."""
    names, as_of = list(parameters.graph.order), datetime(2026, 1, 1, tzinfo=UTC)
    lessons = [PathLesson(f"lesson-{name}", (name,), LESSON_MINUTES) for name in names]
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for count in range(GOLDEN):
        asked = [names[place] for place in rng.integers(0, len(names), count)]
        outcomes = rng.integers(0, 2, count).tolist()
        weeks = count % 4  # 0: no date
        goal = PathGoal(
            target_skills=(names[int(rng.integers(len(names)))],),
            minutes_per_week=60.0,
            days=7.0 * weeks if weeks else None,
        )
        learner = infer_learner(
            parameters.mastery, [Practice(name, 0.0, float(o)) for name, o in zip(asked, outcomes, strict=True)]
        )
        request: dict[str, Any] = {
            "context": {"requestId": f"golden-{count}", "asOfTime": _text(as_of)},
            "features": {
                "knowledge": {
                    "history": [
                        {"skillId": name, "correct": bool(o), "eventTime": _text(as_of - timedelta(days=count - at))}
                        for at, (name, o) in enumerate(zip(asked, outcomes, strict=True))
                    ]
                }
            },
            "targetSkills": {"skillIds": list(goal.target_skills)},
            "studyTimePerWeek": "3600s",
            "availableLessons": [
                {"lessonId": one.lesson_id, "skillIds": list(one.skill_ids), "duration": f"{one.minutes * 60:.0f}s"}
                for one in lessons
            ],
        }
        if weeks:
            request["targetTime"] = _text(as_of + timedelta(weeks=weeks))
        cases.append((request, _answer(plan_path(lessons, parameters.graph, goal, learner))))
    return cases


def _answer(path: LearningPath) -> Mapping[str, Any]:
    """The parts of the response that must match."""
    ready = path.ready
    answer: dict[str, Any] = {
        "readyProbability": {"value": ready.value, "lower": ready.lower, "upper": ready.upper},
    }
    if path.steps:
        answer["steps"] = [{"lessonId": step.lesson_id, "week": step.week} for step in path.steps]
    return answer


def _shares(rows: PracticeRows, skills: int) -> Floats:
    """Share right of each skill, drawn to one half by two answers."""
    judged = ~np.isnan(rows.outcome)
    right = np.bincount(rows.skill[judged], weights=rows.outcome[judged], minlength=skills)
    return np.asarray((right + 1.0) / (np.bincount(rows.skill[judged], minlength=skills) + 2.0))


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    modules = (practice, mastery, prerequisites, ordering, planner)
    return digest_code([Path(module.__file__ or "").read_text(encoding="utf-8") for module in modules])


RECIPE = Recipe(model="path", fit=fit_version, expressions=_expressions)
