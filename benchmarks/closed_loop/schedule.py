"""OptimizeSchedule followed until an exam, planned anew every two weeks, against other uses of the same minutes.

Learners have ten skills, practised on one to three days of the last year (between certifications most practise little:
Wolfram 2003, Binkhorst 2018), three free slots a week and an exam in two to five months. What is planned is done; the
answers given there are told to the next plan. The others get as many sessions as the plan used, the skills in turn:
evenly spread over the slots until the exam; massed in the first ones; crammed into the last ones. Recall at the exam is
the true one, each skill with its criticality. The version is fitted on other learners of the same world.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from benchmarks.closed_loop.comparison import Answered, Floats, Kind, Policy, SeedResult, joined
from benchmarks.closed_loop.worlds.memories import (
    ITEMS,
    KINDS,
    SKILLS,
    MemoryLaw,
    Mind,
    draw_law,
    draw_mind,
    live_before,
)
from methods.learning.memory import MemoryParameters, MemoryStates, Recall, SkillAnswer, fold_history, new_states
from methods.learning.schedule import Duty, Frame, Schedule, Slot, default_max_gap, plan_schedule
from training.learning.schedule import PracticeLog, ScheduleOptions, fit_memory

FITTED_LEARNERS, LEARNERS = 100, 16
HISTORY_DAYS: Final = 365.0
EXAM_DAYS: Final = (60.0, 150.0)
SLOTS_A_WEEK, SLOT_MINUTES, SESSION_MINUTES = 3, 30.0, 10.0
MINUTES_A_WEEK: Final = (10.0, 30.0)  # JUDGEMENT: what a clinician in service spends
REPLAN_DAYS: Final = 14.0
LATER_DAYS: Final = 90.0
OPTIONS: Final = ScheduleOptions(most_rows=8_000, most_skill_rows=8_000)
SKILL_IDS: Final = tuple(f"s{number}" for number in range(SKILLS))


def run(seed: int) -> SeedResult:
    """One world: a fit, then learners who each meet their exam after four uses of the same minutes."""
    rng = np.random.default_rng([seed, 21])
    law = draw_law(rng)
    version = fit_memory(_log(law, rng), OPTIONS, rng).parameters
    ends = [_Until(law, version, np.random.default_rng([seed, 22, number])) for number in range(LEARNERS)]
    recalls = {way: np.mean([end.at_exam[way] for end in ends]) for way in ends[0].at_exam}
    later = {way: np.mean([end.later[way] for end in ends]) for way in ends[0].later}
    return SeedResult(
        gains={way: 100.0 * float(recalls["planned"] - recalls[way]) for way in POLICY.gains},
        figures={
            **{f"recall_at_exam.{way}": float(value) for way, value in recalls.items()},
            **{f"recall_90_days_later.{way}": float(value) for way, value in later.items()},
            "recall_at_exam.nothing": float(np.mean([end.without for end in ends])),
            "sessions": float(np.mean([end.sessions for end in ends])),
        },
        answers={name: joined([end.answers[name] for end in ends]) for name in ends[0].answers},
    )


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """What stood in the way."""
    planned, other = (figures[f"recall_at_exam.{way}"] for way in ("planned", alternative))
    later_planned, later = (figures[f"recall_90_days_later.{way}"] for way in ("planned", alternative))
    if alternative == "crammed":
        return (
            f"practice just before the exam is recalled at the exam ({other:.1%} against {planned:.1%}); 90 days after "
            f"it, {later:.1%} against {later_planned:.1%}"
        )
    return (
        f"recall is {planned:.1%} against {other:.1%} with {figures['sessions']:.0f} sessions; little is left to gain"
    )


POLICY: Final = Policy(
    name="schedule",
    gains={
        "evenly": "true recall at the exam, points",
        "massed": "true recall at the exam, points, against all minutes at the start",
        "crammed": "true recall at the exam, points, against all minutes at the end",
    },
    run=run,
    why=why,
)


class _Until:
    """One learner until the exam: recall there and later by way of using the minutes, and what was foretold."""

    def __init__(self, law: MemoryLaw, version: MemoryParameters, rng: np.random.Generator) -> None:
        mind = draw_mind(law, rng)
        history = live_before(mind, HISTORY_DAYS, rng)
        self.exam, self.version = float(rng.uniform(*EXAM_DAYS)), version
        criticality = rng.uniform(0.3, 1.0, SKILLS)
        self.weight = criticality / criticality.sum()
        self.duties = [
            Duty(criticality=float(c), minutes=SESSION_MINUTES, max_gap_days=default_max_gap(int(kind)))
            for c, kind in zip(criticality, KINDS, strict=True)
        ]
        self.minutes_a_week = float(rng.uniform(*MINUTES_A_WEEK))
        weeks = int(self.exam // 7)
        self.slots = [7.0 * week + 1.8 + 2.0 * place for week in range(weeks) for place in range(SLOTS_A_WEEK)]
        self.without = float(self.weight @ mind.recall(self.exam))
        first = self._plan(self._states(history), 0.0)
        luck = int(rng.integers(2**31))
        planned = mind.copy()
        done = self._follow(planned, history, np.random.default_rng(luck))
        self.sessions = len(done)
        ways = {"planned": planned}
        for way, days in self._other_ways(len(done)).items():
            ways[way] = _practised(mind.copy(), days, np.random.default_rng(luck))
        self.at_exam = {way: float(self.weight @ one.recall(self.exam)) for way, one in ways.items()}
        self.later = {way: float(self.weight @ one.recall(self.exam + LATER_DAYS)) for way, one in ways.items()}
        as_first = _practised(mind.copy(), _days_of(first), np.random.default_rng(luck))
        self.answers = {
            **_beside("recall_without_practice", first.recall_without_practice, mind.recall(self.exam)),
            **_beside("recall_at_exam", first.recall_at_exam, as_first.recall(self.exam)),
        }

    def _states(self, answers: Sequence[SkillAnswer]) -> MemoryStates:
        return fold_history(new_states(KINDS, self.version, SKILL_IDS), answers, (0.0, 0.0), self.version)

    def _plan(self, states: MemoryStates, now: float) -> Schedule:
        """A plan from `now` on; its days are counted from now."""
        hours = SLOT_MINUTES / 1_440.0
        slots = [Slot(start_day=day - now, end_day=day - now + hours) for day in self.slots if day >= now]
        frame = Frame(slots=slots, exam_day=self.exam - now, minutes_per_week=self.minutes_a_week)
        moved = MemoryStates(**{**{n: getattr(states, n) for n in MemoryStates.__slots__}, "day": states.day - now})
        return plan_schedule(moved, self.duties, frame, self.version)

    def _follow(self, mind: Mind, history: list[SkillAnswer], rng: np.random.Generator) -> list[tuple[float, int]]:
        """Practises what is planned; every REPLAN_DAYS the plan is made anew from all answers so far."""
        answers, done, now = list(history), [], 0.0
        while now < self.exam:
            plan = self._plan(self._states(answers), now)
            due = [(now + day, skill) for day, skill in _days_of(plan) if day < REPLAN_DAYS]
            for day, skill in due:
                answers += mind.practise(skill, day, rng)
            done += due
            now += REPLAN_DAYS
        return done

    def _other_ways(self, count: int) -> dict[str, list[tuple[float, int]]]:
        """So many sessions, the skills in turn: spread, in the first slots, in the last."""
        places = [day + number * SESSION_MINUTES / 1_440.0 for day in self.slots for number in range(3)]  # 3 fit a slot
        spread = [places[int(at)] for at in np.linspace(0, len(places) - 1, count)] if count else []
        chosen = {"evenly": spread, "massed": places[:count], "crammed": places[len(places) - count :]}
        return {way: [(day, number % SKILLS) for number, day in enumerate(days)] for way, days in chosen.items()}


def _practised(mind: Mind, days: Sequence[tuple[float, int]], rng: np.random.Generator) -> Mind:
    for day, skill in days:
        mind.practise(skill, day, rng)
    return mind


def _days_of(plan: Schedule) -> list[tuple[float, int]]:
    return sorted((practice.day, practice.skill) for session in plan.sessions for practice in session.practices)


def _beside(name: str, told: Recall, truth: Floats) -> dict[str, Answered]:
    """Counted one by one, and as chances are, by tenths."""
    ends = {"value": told.value, "lower": told.lower, "upper": told.upper, "truth": truth}
    return {name: Answered(kind=Kind.TENTHS, **ends), f"{name}_each": Answered(kind=Kind.EACH, **ends)}


def _log(law: MemoryLaw, rng: np.random.Generator) -> PracticeLog:
    """A year of other learners, as the platform's answers tell them."""
    rows = [
        (learner, answer)
        for learner in range(FITTED_LEARNERS)
        for answer in live_before(draw_mind(law, rng), HISTORY_DAYS, rng)
    ]
    skill = np.array([answer.skill for _, answer in rows], dtype=np.int64)
    item_ids = [f"i{number}-{item}" for number in range(SKILLS) for item in range(ITEMS)]
    place = {name: number for number, name in enumerate(item_ids)}
    return PracticeLog(
        learner=np.array([learner for learner, _ in rows], dtype=np.int64),
        skill=skill,
        item=np.array([place[answer.item_id] for _, answer in rows], dtype=np.int64),
        correct=np.array([answer.score for _, answer in rows]),
        day=np.array([answer.day for _, answer in rows]),
        kind=KINDS[skill],
        item_ids=item_ids,
        skill_ids=SKILL_IDS,
    )
