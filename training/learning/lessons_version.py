"""A version of the model `lessons` from the platform's answers: read, fit before a cut in time, judge after it.

Not here: the fit itself (knowledge.py, lessons.py, path.py); what becomes of the version (training/recipe.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.learning import knowledge, lessons, mastery
from methods.learning.knowledge import NEW_LEARNER, Event, fold_all
from methods.learning.lessons import Circumstances, LessonChoice, LessonParameters, RankedLesson, recommend
from methods.statistics.bands import Interval
from training.bands import chance_of
from training.data.mart import Mart
from training.evaluate import Scores, score_probabilities
from training.features import answers as answer_rows
from training.features import practice
from training.features.answers import answers_frame
from training.features.digest import digest_code
from training.features.practice import practice_frame
from training.gates import Gate
from training.learning.knowledge import Answers, KnowledgeOptions, score_answers
from training.learning.lessons import fit_lessons
from training.learning.path import fit_mastery
from training.learning.path_version import FITTED_LEARNERS, practice_of
from training.recipe import Fitted, Recipe, Say

JUDGED_SHARE = 0.2  # of the answers, the newest
ROWS_AN_ITEM = 120  # answers fitted on; on the simulated platform 60 cost 0.006 nats against 320, and 320 a minute
ROWS_LEAST, ROWS_MOST = (
    30_000,
    200_000,
)  # of them, whole learners; the most is as many as assist2009 has, a minute's fit
JUDGED_LEARNERS = 2_000
GOLDEN = 24
GOLDEN_SKILLS = 4
NORMAL_90 = 1.6449
_SECONDS_PER_DAY = 86_400.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PURPOSE = (
    "An order of lessons by the mastery that each adds for a minute, for RecommendNextLesson.",
    "Sparse logistic regression on a fold over earlier answers (Best-LR, decay, surprise, slopes by skill).",
    "What a minute of a lesson adds is knowledge tracing, fitted as for the model `path`.",
)
LIMITS = (
    "Gains are expected, not measured: nobody was randomised to lessons. Explored lessons are there to find out.",
    "Fatigue and the discount for repetition are judgement.",
    "Nothing is said about finishing a lesson: the platform's tables do not tell which lessons were broken off.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Answers after the cut, each foretold from all that the learner answered before it."""

    scores: Scores
    items_alone: float  # log loss of the item's share of right answers
    standard_error: float  # of the difference in log loss, over learners
    rows: int


def answers_of(frame: pd.DataFrame) -> Answers:
    """Rows of `answers_frame` as the fit reads them; days count from 1970.

    Raises: ValueError: there are none.
    """
    if frame.empty:
        raise ValueError("answers: the mart holds none")
    learner, _ = pd.factorize(frame["user_id"])
    return Answers(
        learner=learner.astype(np.int64),
        item=frame["item_id"].to_numpy(dtype=object),
        skill=frame["skill_id"].to_numpy(dtype=object),
        outcome=frame["correct"].to_numpy(dtype=np.float64),
        days=np.asarray((frame["answered_at"] - pd.Timestamp(_EPOCH)) / pd.Timedelta(days=1), dtype=np.float64),
    )


def thin(answers: Answers, rows_most: int, rng: np.random.Generator) -> Answers:
    """Some of the learners, with all their answers, when there are too many answers to fit in time."""
    if len(answers) <= rows_most:
        return answers
    _, code = np.unique(answers.learner, return_inverse=True)
    return answers.take((rng.random(int(code.max()) + 1) < rows_most / len(answers))[code])


def foretell(answers: Answers, parameters: LessonParameters, cut: float) -> Foretold:
    """How well answers from day `cut` on are foretold; earlier ones only inform."""
    late = answers.days >= cut
    chance = chance_of(score_answers(answers, parameters.knowledge))[late]
    outcome, bank = answers.outcome[late], parameters.knowledge.bank
    pairs = zip(answers.skill[late], answers.item[late], strict=True)
    alone = np.array([bank.expect(skill, item) for skill, item in pairs])
    saved = pd.Series(_losses(outcome, alone) - _losses(outcome, chance))
    learners = saved.groupby(answers.learner[late]).agg(["sum", "size"])
    mean = float(saved.mean())
    spread = float(np.sqrt(((learners["sum"] - mean * learners["size"]) ** 2).sum()) / learners["size"].sum())
    return Foretold(
        scores=score_probabilities(outcome, chance),
        items_alone=float(_losses(outcome, alone).mean()),
        standard_error=spread,
        rows=int(late.sum()),
    )


def foretells_better(found: Foretold) -> Gate:
    """Knowing the learner must help: the log loss saved against items alone is above 0 with its 90 % interval."""
    saved = found.items_alone - found.scores.log_loss
    least = saved - NORMAL_90 * found.standard_error
    return Gate(
        name="foretells_better_than_items_alone",
        passed=least > 0,
        reason=f"{saved:.4f} nats an answer saved (at least {least:.4f}; above 0 is needed)",
    )


def golden_cases(
    parameters: LessonParameters, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Requests with histories of 0 to 23 answers and a lesson for each of a few skills, and the ranking they must get.

    Exploring is switched off: chance hangs on the version's digest, which hangs on these files.
    """
    skills, items = sorted(parameters.knowledge.skills), sorted(parameters.knowledge.items)
    chosen = [skills[place] for place in rng.permutation(len(skills))[:GOLDEN_SKILLS]]
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    choices = [LessonChoice(f"lesson-{k}", (skill,), 10.0 + 5.0 * k) for k, skill in enumerate(chosen)]
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for count in range(GOLDEN):
        asked = [
            (chosen[int(rng.integers(len(chosen)))], items[int(rng.integers(len(items)))] if items else "")
            for _ in range(count)
        ]
        scores = rng.integers(0, 2, count).tolist()
        times = [as_of - timedelta(days=count - place) for place in range(count)]
        events = [
            {"skillId": skill, "itemId": item, "correct": bool(score), "eventTime": _text(time)}
            for (skill, item), score, time in zip(asked, scores, times, strict=True)
        ]
        bank = parameters.knowledge.bank
        state = fold_all(
            NEW_LEARNER,
            [
                Event(skill, float(score), bank.expect(skill, item), _days(time))
                for (skill, item), score, time in zip(asked, scores, times, strict=True)
            ],
        )
        found = recommend(state, choices, parameters, Circumstances(days=_days(as_of)), most=len(choices))
        request = {
            "context": {"requestId": f"golden-{count}", "asOfTime": _text(as_of)},
            "features": {"knowledge": {"history": events}},
            "candidates": [
                {
                    "lessonId": choice.lesson_id,
                    "skillIds": list(choice.skill_ids),
                    "duration": f"{choice.minutes * 60:.0f}s",
                }
                for choice in choices
            ],
            "maxLessons": len(choices),
            "disableExploration": True,
        }
        cases.append((request, {"lessons": [_said(ranked) for ranked in found.lessons]}))
    return cases


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits what was answered before a cut in time, and foretells what came after.

    Raises: ValueError: too few answers, or too little practice.
    """
    say("reading answers")
    answers = answers_of(answers_frame(mart))
    cut = float(np.quantile(answers.days, 1.0 - JUDGED_SHARE))
    early = answers.take(answers.days < cut)
    rows_most = ROWS_AN_ITEM * np.unique(early.item.astype(str)).size
    early = thin(early, int(np.clip(rows_most, ROWS_LEAST, ROWS_MOST)), rng)
    say("fitting how fast learners learn")
    rows, _ = practice_of(practice_frame(mart, FITTED_LEARNERS))
    model = fit_lessons(early, fit_mastery(rows), KnowledgeOptions(), rng, progress=say)
    say("foretelling later answers")
    late = np.unique(answers.learner[answers.days >= cut])
    judged = answers.take(np.isin(answers.learner, rng.permutation(late)[:JUDGED_LEARNERS]))
    found = foretell(judged, model.parameters, cut)
    return Fitted(
        parameters=model.parameters.to_json(),
        golden=golden_cases(model.parameters, rng),
        figures={"version": found.scores.as_metrics(), "share of the item": {"log_loss": found.items_alone}},
        gates=[foretells_better(found)],
        observations=model.knowledge.rows,
        data_time=_EPOCH + timedelta(days=cut),
        facts={
            "learners": f"{model.knowledge.learners:,}",
            "skills": f"{len(model.parameters.knowledge.skills):,}",
            "items": f"{len(model.parameters.knowledge.items):,}",
            "judged on": f"{found.rows:,} answers after the cut",
            "spread of items, of slopes": f"{model.knowledge.prior.item:g}, {model.knowledge.prior.slope:g} log-odds",
            "explored": f"{model.parameters.exploration:.0%} of first places",
        },
        purpose=PURPOSE,
        limits=LIMITS,
    )


def _losses(outcome: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """-log of the chance given to what happened, (n,)."""
    p = np.clip(chance, 1e-9, 1 - 1e-9)
    losses: NDArray[np.float64] = -(outcome * np.log(p) + (1 - outcome) * np.log1p(-p))
    return losses


def _said(ranked: RankedLesson) -> Mapping[str, Any]:
    """The parts of one lesson's answer that must match."""

    def ends(interval: Interval) -> Mapping[str, float]:
        return {"value": interval.value, "lower": interval.lower, "upper": interval.upper}

    return {
        "lessonId": ranked.lesson_id,
        "score": ranked.score,
        "propensity": ranked.propensity,
        "masteryGain": ends(ranked.gain),
        "correctProbability": ends(ranked.correct),
    }


def _days(time: datetime) -> float:
    return (time - _EPOCH).total_seconds() / _SECONDS_PER_DAY


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    modules = (answer_rows, practice, knowledge, lessons, mastery)
    sources = (__file__, *(str(module.__file__) for module in modules))
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model="lessons", fit=fit_version, expressions=_expressions)
