"""A version of the model `schedule` from the platform's answers: read, fit on most learners, judge on the others.

Not here: the fit itself (schedule.py); what becomes of the version (training/recipe.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from methods.learning import memory, practice_worth, schedule
from methods.learning.memory import KINDS, MemoryParameters, Recall, SkillAnswer, fold_history, new_states
from methods.learning.schedule import Duty, Frame, Schedule, Slot, default_max_gap, plan_schedule
from training.data.mart import Mart
from training.features import answers as answer_rows
from training.features.answers import answers_frame
from training.features.digest import digest_code
from training.features.landmarks import as_frame
from training.gates import Gate
from training.learning.schedule import FittedMemory, PracticeLog, fit_memory, foretell
from training.recipe import Fitted, Recipe, Say

ROWS_MOST = 1_000_000  # answers that are read; the fit itself draws from them
JUDGED_SHARE = 0.2  # of the learners
LEAST_DELAY_DAYS = 1.0  # within a session nothing is forgotten: nothing to judge
LEAST_JUDGED = 200
GOLDEN, GOLDEN_SKILLS, GOLDEN_SLOTS = 24, 4, 8
GOLDEN_EXAM_DAYS = 60
_SECONDS_PER_DAY = 86_400.0
PURPOSE = (
    "What a learner remembers of each skill and when to practise it, for OptimizeSchedule.",
    "Stability of each skill's memory, from published priors and the platform's answers; recall along FSRS-6's curve.",
)
LIMITS = (
    "Recall of a hands-on skill is a figure for planning; whether it is there is checked hands-on.",
    "Content that was only seen, and a learner's rating of themselves, do not move the memory.",
    "The interval holds what is not known of the stability, not sessions that are planned and missed.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """Mean log loss of answers a day or more after the last on the skill, nats, with forgetting and without it."""

    model: float
    without: float
    standard_error: float  # of the difference, over learners
    rows: int


def read_practice(mart: Mart) -> tuple[PracticeLog, datetime]:
    """Answers of the mart with their skills' kinds. Days count from the returned moment.

    Raises: ValueError: the mart holds no answers, or a skill has no kind that is known.
    """
    connection = mart.connect()
    try:
        skills = as_frame(connection.tables["skills"].select("skill_id", "kind"))
    finally:
        connection.backend.disconnect()
    return practice_of(answers_frame(mart, ROWS_MOST), skills)


def practice_of(frame: pd.DataFrame, skills: pd.DataFrame) -> tuple[PracticeLog, datetime]:
    """Rows of `answers_frame` and (skill_id, kind) as the fit reads them; raises as `read_practice`."""
    if frame.empty:
        raise ValueError("answers: the mart holds none")
    places = {name: place for place, name in enumerate(KINDS)}
    kind = frame["skill_id"].map(skills.set_index("skill_id")["kind"]).map(places)
    if kind.isna().any():
        raise ValueError(f"skill {frame['skill_id'][kind.isna()].iloc[0]}: its kind is none of {', '.join(KINDS)}")
    begins = frame["answered_at"].min()
    learner, _ = pd.factorize(frame["user_id"])
    skill, skill_ids = pd.factorize(frame["skill_id"])
    item, item_ids = pd.factorize(frame["item_id"])
    log = PracticeLog(
        learner=learner.astype(np.int64),
        skill=skill.astype(np.int64),
        item=item.astype(np.int64),
        correct=frame["correct"].to_numpy(dtype=np.float64),
        day=(frame["answered_at"] - begins).dt.total_seconds().to_numpy(dtype=np.float64) / _SECONDS_PER_DAY,
        kind=np.asarray(kind, dtype=np.int64),
        item_ids=[str(name) for name in item_ids],
        skill_ids=[str(name) for name in skill_ids],
    )
    return log, begins.to_pydatetime().astimezone(UTC)


def judge_forgetting(log: PracticeLog, fitted: FittedMemory, without: FittedMemory) -> Forgetting:
    """How much better later answers are foretold with forgetting than by the same model without.

    Raises: ValueError: too few answers a day or more after another one on the skill.
    """
    foretold = foretell(log, fitted.parameters)
    judged = foretold.elapsed_days >= LEAST_DELAY_DAYS
    if judged.sum() < LEAST_JUDGED:
        raise ValueError(f"answers: {int(judged.sum())} come a day or more after another; {LEAST_JUDGED} are needed")
    correct = log.correct[judged]
    chances = foretold.chance[judged], foretell(log, without.parameters).chance[judged]
    loss, plain = (-np.log(np.where(correct == 1.0, chance, 1.0 - chance)) for chance in chances)
    saved = pd.Series(plain - loss).groupby(log.learner[judged]).agg(["sum", "size"])
    mean = float(saved["sum"].sum() / saved["size"].sum())
    spread = float(np.sqrt(((saved["sum"] - mean * saved["size"]) ** 2).sum()) / saved["size"].sum())
    return Forgetting(
        model=float(loss.mean()), without=float(plain.mean()), standard_error=spread, rows=int(judged.sum())
    )


def forgets_better(found: Forgetting) -> Gate:
    """Forgetting must explain something: the log loss saved against none is above 0 with its 90 % interval."""
    saved = found.without - found.model
    least = saved - 1.6449 * found.standard_error
    return Gate(
        name="foretells_better_than_without_forgetting",
        passed=least > 0,
        reason=f"{saved:.4f} nats an answer saved (at least {least:.4f}; above 0 is needed)",
    )


def golden_cases(
    parameters: MemoryParameters, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Requests with histories of 0 to 23 answers in four skills, and the memory and the plan that each must give.

    Of eight cases six have half-hours before the exam, one has slots shorter than a session, one only slots after it.
    """
    known = sorted(parameters.skill_log_stability) or ["skill"]
    items = sorted(parameters.item_easiness) or ["item"]
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for count in range(GOLDEN):
        # by id, the order in which the server plans
        names = sorted(
            [known[int(rng.integers(len(known)))], *(f"golden-{place}" for place in range(1, GOLDEN_SKILLS))]
        )
        kinds = [int(kind) for kind in rng.integers(0, len(KINDS), GOLDEN_SKILLS)]
        ago = np.sort(rng.choice(np.arange(1, 400), count, replace=False))[::-1].tolist()
        answers = [
            SkillAnswer(
                skill=int(rng.integers(GOLDEN_SKILLS)),
                day=-float(days),
                score=float(rng.integers(0, 2)),
                item_id=items[int(rng.integers(len(items)))],
            )
            for days in ago
        ]
        events = [
            {
                "skillId": names[answer.skill or 0],
                "itemId": answer.item_id,
                "correct": answer.score == 1.0,
                "eventTime": _text(as_of + timedelta(days=answer.day)),
            }
            for answer in answers
        ]
        stakes = [round(float(stake), 3) for stake in rng.uniform(0.1, 1.0, GOLDEN_SKILLS)]
        first, minutes = {6: (1, 5), 7: (GOLDEN_EXAM_DAYS + 1, 30)}.get(count % 8, (1, 30))
        days = first + np.sort(rng.choice(GOLDEN_EXAM_DAYS - 1, GOLDEN_SLOTS, replace=False))
        request = {
            "context": {"requestId": f"golden-{count}", "asOfTime": _text(as_of)},
            "features": {"knowledge": {"history": events}},
            "skills": [
                {"skillId": name, "kind": f"SKILL_KIND_{KINDS[kind]}", "criticality": stake}
                for name, kind, stake in zip(names, kinds, stakes, strict=True)
            ],
            "slots": [
                {
                    "startTime": _text(as_of + timedelta(days=day)),
                    "endTime": _text(as_of + timedelta(days=day, minutes=minutes)),
                }
                for day in days.tolist()
            ],
            "examTime": _text(as_of + timedelta(days=GOLDEN_EXAM_DAYS)),
        }
        states = new_states(np.array(kinds), parameters, names)
        states = fold_history(states, answers, (0.0, 0.0), parameters)
        plan = plan_schedule(
            states,
            [
                Duty(criticality=stake, max_gap_days=default_max_gap(kind))
                for kind, stake in zip(kinds, stakes, strict=True)
            ],
            Frame(
                slots=[Slot(start_day=float(day), end_day=(day * 1_440 + minutes) / 1_440) for day in days.tolist()],
                exam_day=float(GOLDEN_EXAM_DAYS),
            ),
            parameters,
        )
        cases.append((request, _answer(states, plan, names, as_of, parameters)))
    return cases


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits the memory on four fifths of the learners, and foretells the answers of the others one by one.

    Raises: ValueError: too few answers, or nobody came back to a skill.
    """
    say("reading answers")
    log, begins = read_practice(mart)
    learners = np.unique(log.learner)
    is_judged = np.isin(log.learner, rng.permutation(learners)[: round(learners.size * JUDGED_SHARE)])
    early, late = log.take(~is_judged), log.take(is_judged)
    say(f"fitting memory to {early.day.size:,} answers")
    fitted = fit_memory(early, rng=rng)
    say("fitting the same without forgetting")
    without = fit_memory(early, rng=rng, forgets=False)
    say("foretelling the others' answers")
    found = judge_forgetting(late, fitted, without)
    parameters = fitted.parameters
    return Fitted(
        parameters=parameters.to_json(),
        golden=golden_cases(parameters, rng),
        figures={"version": {"log_loss": found.model}, "without forgetting": {"log_loss": found.without}},
        gates=[forgets_better(found)],
        observations=parameters.observations,
        data_time=begins + timedelta(days=float(early.day.max())),
        facts={
            "judged on": f"{found.rows:,} answers a day or more after the last on the skill, of learners not fitted on",
            **{
                f"stability, {name.lower()}": f"{days:.0f} days in the median"
                for name, days in zip(KINDS, parameters.stability_days, strict=True)
            },
            "exponent of the curve": f"{parameters.decay:.3f}",
            "steps of the optimiser": f"{fitted.steps}",
        },
        purpose=PURPOSE,
        limits=LIMITS,
    )


def _answer(
    states: memory.MemoryStates, plan: Schedule, names: list[str], as_of: datetime, parameters: MemoryParameters
) -> Mapping[str, Any]:
    """The parts of the response that must match: unknown skills have no recall, an empty list is absent."""
    low, high = memory.stability_interval(states, parameters)
    planned = {practice.skill for session in plan.sessions for practice in session.practices}
    memories, recalls = [], []
    for place, name in enumerate(names):
        stability = {
            "value": float(states.stability_days[place]),
            "lower": float(low[place]),
            "upper": float(high[place]),
        }
        memories.append(
            {"skillId": name, "stabilityDays": stability, "memoryDifficulty": float(states.difficulty[place])}
        )
        entry: dict[str, Any] = {"skillId": name}
        if np.isfinite(states.day[place]):
            entry["recallWithoutPractice"] = _estimate(plan.recall_without_practice, place)
        if np.isfinite(states.day[place]) or place in planned:
            entry["recallProbability"] = _estimate(plan.recall_at_exam, place)
        recalls.append(entry)
    sessions = [
        {
            "startTime": _text(as_of + timedelta(days=session.day)),
            "skills": [{"skillId": names[practice.skill]} for practice in session.practices],
        }
        for session in plan.sessions
    ]
    missed = [
        {"skillId": names[each.skill], "unscheduledReason": f"UNSCHEDULED_REASON_{each.reason.value}"}
        for each in plan.missed
    ]
    lists = {"sessions": sessions, "unscheduled": missed}
    return {"memoryStates": memories, "recallAtExam": recalls} | {name: rows for name, rows in lists.items() if rows}


def _estimate(recall: Recall, place: int) -> Mapping[str, float]:
    return {
        "value": float(recall.value[place]),
        "lower": float(recall.lower[place]),
        "upper": float(recall.upper[place]),
    }


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    sources = (answer_rows.__file__, __file__, memory.__file__, practice_worth.__file__, schedule.__file__)
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model="schedule", fit=fit_version, expressions=_expressions)
