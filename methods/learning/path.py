"""An order of lessons towards a goal that never breaks a prerequisite: what to take, when, what it changes, what not.

Three passes, each over everything at once:
1. *Reach.* Lessons become available as their prerequisites are met, the nearest first (Knuth 1977, AND-OR graph).
   Every lesson gets a rank above all that it rests on, so any order by rank is free of violations; what is never
   reached cannot be planned at all.
2. *Choose.* From the goal backwards: for each skill that is needed and not mastered the lesson that teaches it soonest,
   taken again, or with the next best one, until it is expected to be mastered.
3. *Order.* Again and again the lesson with whatever still stands before it whose target skills gain most mastery for
   each minute, while it fits (Sidney 1975, Oper Res 23:283; with all in one chain that is the only order there is).
Source of the fringe that a path may go on from: Falmagne and Doignon 2011, Learning Spaces, ch. 4.
Pure. Not here: what is believed of the learner (mastery.py); the graph's own laws (prerequisites.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

import numpy as np

from methods.learning.mastery import Belief, Floats, Learner
from methods.learning.ordering import order_by_gain, order_by_rank
from methods.learning.prerequisites import PrerequisiteGraph, count_violations, needed_for, prerequisite_graph

MASTERY_TARGET: Final = 0.85  # the contract's own; beyond it practice was found to add little
PASSES_MAX: Final = 4  # times that one lesson is planned; further ones are for a plan that knows how these went
DENSE_MAX: Final = 6_000  # lessons whose ancestors fit in memory as a table (36 MB); beyond, the order goes by rank
DAYS_A_WEEK: Final = 7.0


class PathLesson(NamedTuple):
    """A lesson that could be taken: its skills, its minutes (above 0), lessons before it, its difficulty in logits."""

    lesson_id: str
    skill_ids: tuple[str, ...]
    minutes: float
    prerequisite_lesson_ids: tuple[str, ...] = ()
    difficulty_logit: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PathGoal:
    """What a path is for.

    Attributes:
        target_skills: skills to master.
        minutes_per_week: time that the learner has; above 0.
        days: until the target time; None without one.
        mastery_target: chance of knowing a skill at which it counts as mastered.
        must_include: lessons that the path holds whatever is mastered, finished or short.
        completed: finished lessons; not planned again, and what they teach counts as met.
    """

    target_skills: tuple[str, ...]
    minutes_per_week: float
    days: float | None = None
    mastery_target: float = MASTERY_TARGET
    must_include: tuple[str, ...] = ()
    completed: frozenset[str] = frozenset()

    @property
    def budget_minutes(self) -> float | None:
        """Time until the target time; None without one."""
        return None if self.days is None else max(self.days, 0.0) / DAYS_A_WEEK * self.minutes_per_week


class SkillGain(NamedTuple):
    """What a lesson is expected to change in one skill."""

    skill_id: str
    before: Belief
    after: Belief


class PathStep(NamedTuple):
    """One lesson of a path: its minutes over all passes, the week from 1 in which it begins, and why it is here."""

    lesson_id: str
    week: int
    passes: int
    minutes: float
    gains: tuple[SkillGain, ...]
    reason: str


class SkipReason(Enum):
    """Why a lesson is not in a path; the contract's names."""

    MASTERED = "MASTERED"
    COMPLETED = "COMPLETED"
    NOT_NEEDED = "NOT_NEEDED"
    BETTER_LESSON = "BETTER_LESSON"
    NO_TIME = "NO_TIME"
    PREREQUISITE_MISSING = "PREREQUISITE_MISSING"


class SkippedLesson(NamedTuple):
    """A lesson left out; `mastery` is that of its weakest skill, None when nothing is known of its skills."""

    lesson_id: str
    reason: SkipReason
    text: str
    mastery: Belief | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningPath:
    """The answer.

    Attributes:
        steps: in the order to take them.
        skipped: every other lesson, in the order they came in.
        total_minutes: of all steps.
        shortfall_minutes: short until the target time for all that is needed; 0 when it fits, None without a time.
        ready: chance that every target skill is mastered at the target time, or after the last step without one.
        violations: steps before one of their prerequisites, counted anew from the pairs that came in; 0.
        unreachable: target skills below the mastery target that no lesson can raise, and skills that block them.
    """

    steps: tuple[PathStep, ...]
    skipped: tuple[SkippedLesson, ...]
    total_minutes: float
    shortfall_minutes: float | None
    ready: Belief
    violations: int
    unreachable: tuple[str, ...]


def plan_path(
    lessons: Sequence[PathLesson], graph: PrerequisiteGraph[str], goal: PathGoal, learner: Learner
) -> LearningPath:
    """Plan.

    Args:
        lessons: to choose from, each id once.
        graph: which skill needs which first.
        goal: what for, and in what time.
        learner: what is believed of the learner.

    Raises:
        PrerequisiteCycle: lessons require one another in a circle; it names them.
        ValueError: a lesson stands twice, or one that must be included is not among them.

    >>> from methods.learning.mastery import MasteryParameters, infer_learner
    >>> lessons = [PathLesson("team", ("lead",), 20.0), PathLesson("bag", ("bmv",), 15.0)]
    >>> goal = PathGoal(target_skills=("lead",), minutes_per_week=60.0)
    >>> path = plan_path(lessons, prerequisite_graph([("lead", "bmv")]), goal, infer_learner(MasteryParameters()))
    >>> [(step.lesson_id, step.passes, step.week) for step in path.steps], path.violations
    ([('bag', 2, 1), ('team', 2, 1)], 0)
    """
    plan = _Plan.begin(lessons, graph, goal, learner)
    _reach(plan)
    _choose(plan)
    order, cut = _arrange(plan)
    return _describe(plan, order, cut)


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What the passes hand on; lessons and skills by index into `lessons` and by name.

    `now` is the median mastery of every skill, `met` the skills that block nothing, `needs` the skills that a lesson
    waits for, `rank` the lesson's place in reach order (-1: never), `teachers` the lessons of a skill in reach order,
    `passes` of the chosen lessons.
    """

    lessons: Sequence[PathLesson]
    place: Mapping[str, int]
    graph: PrerequisiteGraph[str]
    goal: PathGoal
    learner: Learner
    now: dict[str, Belief]
    met: set[str]
    needed: set[str]
    needs: list[tuple[str, ...]]
    rank: list[int] = field(default_factory=list)
    teachers: dict[str, list[int]] = field(default_factory=dict)
    passes: dict[int, int] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, lessons: Sequence[PathLesson], graph: PrerequisiteGraph[str], goal: PathGoal, learner: Learner
    ) -> "_Plan":
        """Check what came in and look up what is known."""
        place = {lesson.lesson_id: index for index, lesson in enumerate(lessons)}
        if len(place) < len(lessons):
            twice = next(lesson.lesson_id for index, lesson in enumerate(lessons) if place[lesson.lesson_id] != index)
            raise ValueError(f"lesson {twice!r} stands twice")
        if foreign := [lesson_id for lesson_id in goal.must_include if lesson_id not in place]:
            raise ValueError(f"lesson {foreign[0]!r} must be included and is not among the available ones")
        prerequisite_graph((a.lesson_id, b) for a in lessons for b in a.prerequisite_lesson_ids)  # refuses a cycle
        names = dict.fromkeys([*graph.order, *goal.target_skills, *(s for one in lessons for s in one.skill_ids)])
        beliefs = learner.beliefs([learner.mastery(name) for name in names]) if names else []
        now = dict(zip(names, beliefs, strict=True))
        met = {name for name, belief in now.items() if belief.value >= goal.mastery_target}
        met |= {skill for one in lessons if one.lesson_id in goal.completed for skill in one.skill_ids}
        wanted = [*goal.target_skills, *(s for one in goal.must_include for s in lessons[place[one]].skill_ids)]
        needs = [
            tuple(
                dict.fromkeys(
                    required
                    for skill in one.skill_ids
                    if skill not in met
                    for required in graph.required.get(skill, ())
                    if required not in met and required not in one.skill_ids
                )
            )
            for one in lessons
        ]
        return cls(
            lessons=lessons,
            place=place,
            graph=graph,
            goal=goal,
            learner=learner,
            now=now,
            met=met,
            needed=needed_for(graph, wanted, met),
            needs=needs,
        )

    def may_take(self, index: int) -> bool:
        """Whether a lesson can stand in the path at all: not finished, or asked for whatever else holds."""
        lesson_id = self.lessons[index].lesson_id
        return lesson_id not in self.goal.completed or lesson_id in self.goal.must_include

    def lessons_before(self, index: int) -> list[str]:
        """Lessons that must be finished before this one and are not."""
        return [name for name in self.lessons[index].prerequisite_lesson_ids if name not in self.goal.completed]

    def passes_for(self, index: int, known: float, skill: str) -> int:
        """How often the lesson is taken for a skill known with that chance: 1 to PASSES_MAX."""
        lesson = self.lessons[index]
        if skill in self.met:
            return 1
        minutes = self.learner.minutes_to(known, self.goal.mastery_target, lesson.difficulty_logit)
        return min(PASSES_MAX, max(1, math.ceil(minutes / lesson.minutes - 1e-9)))


def _reach(plan: _Plan) -> None:
    """Give every lesson that can be taken its rank; a lesson costs its minutes and the dearest thing before it."""
    waits_for: dict[str, list[int]] = {}  # a condition -> lessons that wait for it
    waits = [_conditions(plan.needs[index], plan.lessons_before(index)) for index in range(len(plan.lessons))]
    for index, conditions in enumerate(waits):
        for condition in conditions:
            waits_for.setdefault(condition, []).append(index)
    still_open = [len(conditions) for conditions in waits]
    plan.rank = [-1] * len(plan.lessons)
    ready = [index for index, count in enumerate(still_open) if not count and plan.may_take(index)]
    heap = [(_own_cost(plan, index), index) for index in ready]
    heapify(heap)
    for place in range(len(plan.lessons)):
        if not heap:
            return
        cost, index = heappop(heap)
        plan.rank[index] = place
        lesson = plan.lessons[index]
        for skill in lesson.skill_ids:
            plan.teachers.setdefault(skill, []).append(index)
        for condition in _conditions(lesson.skill_ids, [lesson.lesson_id]):
            for later in waits_for.pop(condition, ()):  # only the first to meet it opens anything
                still_open[later] -= 1
                if not still_open[later] and plan.may_take(later):
                    heappush(heap, (cost + _own_cost(plan, later), later))


def _conditions(skills: Sequence[str], lessons: Sequence[str]) -> list[str]:
    """Skills and lessons in one space of names."""
    return [*(f"s{skill}" for skill in skills), *(f"l{lesson}" for lesson in lessons)]


def _own_cost(plan: _Plan, index: int) -> float:
    """Minutes that the lesson takes for each skill that it brings to the target."""
    lesson = plan.lessons[index]
    wanted = [skill for skill in lesson.skill_ids if skill in plan.needed] or lesson.skill_ids[:1]
    passes = max(plan.passes_for(index, plan.now[skill].value, skill) for skill in wanted)
    return passes * lesson.minutes / len(wanted)


def _choose(plan: _Plan) -> None:
    """Fill `passes` with the lessons that the goal needs: for each skill its teachers until it should be mastered."""
    waiting = [f"l{name}" for name in plan.goal.must_include if plan.rank[plan.place[name]] >= 0]
    waiting += [f"s{skill}" for skill in plan.graph.order if skill in plan.needed]
    waiting += [f"s{skill}" for skill in plan.needed if skill not in plan.graph.required]
    done: set[str] = set()
    while waiting:
        condition = waiting.pop()
        if condition in done:
            continue
        done.add(condition)
        name = condition[1:]
        chosen = {plan.place[name]: 1} if condition[0] == "l" else _teachers_of(plan, name)
        for index, passes in chosen.items():
            is_new = index not in plan.passes
            plan.passes[index] = max(passes, plan.passes.get(index, 1))
            if is_new:
                waiting += _conditions(plan.needs[index], plan.lessons_before(index))


def _teachers_of(plan: _Plan, skill: str) -> dict[int, int]:
    """Lessons, in reach order, with the passes after which the skill should be mastered; none when none is reached.

    Only those that can be reached without the wanted lessons behind this skill stand first, so the first is a support
    for all that waits for it.
    """
    known, chosen = plan.now[skill].value, {}
    for index in plan.teachers.get(skill, ()):
        passes = chosen[index] = plan.passes_for(index, known, skill)
        lesson = plan.lessons[index]
        left = plan.learner.minutes_to(known, plan.goal.mastery_target, lesson.difficulty_logit)
        left -= passes * lesson.minutes
        if left <= 1e-9:
            break
        pace = math.exp(
            plan.learner.parameters.pace_log - plan.learner.parameters.difficulty_slope * lesson.difficulty_logit
        )
        known = 1.0 - (1.0 - plan.goal.mastery_target) * math.exp(pace * left)
    return chosen


def _before(plan: _Plan, index: int) -> list[int]:
    """Chosen lessons that must stand before this one; all have a lower rank, and every need has at least one."""
    rank = plan.rank[index]
    found = [plan.place[name] for name in plan.lessons_before(index)]
    for skill in plan.needs[index]:
        found += [one for one in plan.teachers[skill] if one in plan.passes and plan.rank[one] < rank]
    return found


def _arrange(plan: _Plan) -> tuple[list[int], set[int]]:
    """The chosen lessons in the order to take them, and those for which there is no time."""
    chosen = sorted(plan.passes, key=plan.rank.__getitem__)
    minutes = np.array([plan.passes[index] * plan.lessons[index].minutes for index in chosen])
    left = plan.goal.budget_minutes
    row = {index: at for at, index in enumerate(chosen)}
    before = [[row[one] for one in _before(plan, index)] for index in chosen]
    first = [row[plan.place[name]] for name in plan.goal.must_include if plan.place[name] in row]
    if len(chosen) > DENSE_MAX:
        taken = order_by_rank(minutes, before, first, left)
    else:
        taken = order_by_gain(minutes, _target_gains(plan, chosen), before, first, left)
    return [chosen[at] for at in taken], set(chosen) - {chosen[at] for at in taken}


def _target_gains(plan: _Plan, chosen: list[int]) -> Floats:
    """Expected rise in mastery, summed over the target skills that a lesson was chosen for; (lessons,).

    A skill with several chosen lessons counts with the first: the others finish what it began.
    """
    targets, counted = set(plan.goal.target_skills), set()
    gains = np.zeros(len(chosen))
    for at, index in enumerate(chosen):
        for skill in plan.lessons[index].skill_ids:
            if skill in targets and skill not in plan.met and skill not in counted:
                counted.add(skill)
                gains[at] += plan.goal.mastery_target - plan.now[skill].value
    return gains


def _describe(plan: _Plan, order: list[int], cut: set[int]) -> LearningPath:
    """The answer in words and figures."""
    goal, learner = plan.goal, plan.learner
    budget = goal.budget_minutes
    known: dict[str, Floats] = {}
    in_time: dict[str, Floats] = {}
    chances, begins, elapsed = [], [], 0.0
    for index in order:
        lesson = plan.lessons[index]
        begins.append(elapsed)
        spent = plan.passes[index] * lesson.minutes
        elapsed += spent
        for skill in lesson.skill_ids:
            before = known.get(skill, learner.mastery(skill))
            known[skill] = learner.after_lesson(before, spent, lesson.difficulty_logit)
            chances += [before, known[skill]]
            if budget is None or elapsed <= budget + 1e-9:
                in_time[skill] = known[skill]
    beliefs = iter(learner.beliefs(chances) if chances else [])
    opens = _opens(plan, order)
    steps = []
    for index, begin in zip(order, begins, strict=True):
        lesson, passes = plan.lessons[index], plan.passes[index]
        gains = tuple(SkillGain(skill, next(beliefs), next(beliefs)) for skill in lesson.skill_ids)
        week = 1 + math.floor(begin / goal.minutes_per_week + 1e-9)
        reason = _reason(plan, index, gains, opens[index])
        steps.append(PathStep(lesson.lesson_id, week, passes, passes * lesson.minutes, gains, reason))
    ready = np.ones_like(learner.weights)
    for skill in goal.target_skills:
        ready = ready * in_time.get(skill, learner.mastery(skill))
    needed_minutes = elapsed + sum(plan.passes[index] * plan.lessons[index].minutes for index in cut)
    return LearningPath(
        steps=tuple(steps),
        skipped=tuple(_skipped(plan, index, cut) for index in range(len(plan.lessons)) if index not in set(order)),
        total_minutes=elapsed,
        shortfall_minutes=None if budget is None else max(0.0, needed_minutes - budget),
        ready=learner.beliefs([ready])[0],
        violations=_violations(plan, order),
        unreachable=tuple(sorted(skill for skill in plan.needed if skill not in plan.teachers)),
    )


def _violations(plan: _Plan, order: list[int]) -> int:
    """Counted from the pairs themselves and from the order, whatever the passes thought."""
    sequence = [plan.lessons[index] for index in order]
    met, count = set(plan.met), 0
    for lesson in sequence:
        inside = {*met, *lesson.skill_ids}
        count += sum(
            required not in inside
            for skill in lesson.skill_ids
            if skill not in met
            for required in plan.graph.required.get(skill, ())
        )
        met |= inside
    pairs = {one.lesson_id: one.prerequisite_lesson_ids for one in sequence}
    return count + count_violations([one.lesson_id for one in sequence], pairs, plan.goal.completed)


def _opens(plan: _Plan, order: list[int]) -> dict[int, list[str]]:
    """For each lesson of the path the lessons that wait for it, in path order."""
    opens: dict[int, list[str]] = {index: [] for index in order}
    for index in order:
        for one in dict.fromkeys(_before(plan, index)):
            opens[one].append(plan.lessons[index].lesson_id)
    return opens


def _reason(plan: _Plan, index: int, gains: tuple[SkillGain, ...], opens: list[str]) -> str:
    """Why a step stands where it does, in one sentence for the learner."""
    lesson, passes = plan.lessons[index], plan.passes[index]
    gain = max(gains, key=lambda one: one.after.value - one.before.value)
    again = "" if passes == 1 else f" when taken {passes} times"
    if all(skill in plan.met for skill in lesson.skill_ids):
        begin = "It must be in the path although you know what it teaches"
    else:
        begin = (
            f"It should raise your chance of knowing {gain.skill_id} from {gain.before.value:.0%} to "
            f"{gain.after.value:.0%}{again}"
        )
    if not opens:
        return f"{begin}."
    more = f" and {len(opens) - 1} more" if len(opens) > 1 else ""
    return f"{begin}, and {opens[0]}{more} builds on it." if not more else f"{begin}; {opens[0]}{more} build on it."


def _skipped(plan: _Plan, index: int, cut: set[int]) -> SkippedLesson:
    """Why a lesson is left out."""
    lesson = plan.lessons[index]
    seen = [skill for skill in lesson.skill_ids if skill in plan.learner.skills]
    reason = _skip_reason(plan, index, cut)
    return SkippedLesson(
        lesson.lesson_id,
        reason,
        _skip_text(plan, index, reason),
        min((plan.now[skill] for skill in seen), default=None),
    )


def _skip_reason(plan: _Plan, index: int, cut: set[int]) -> SkipReason:
    """The first that holds."""
    lesson = plan.lessons[index]
    wanted = [skill for skill in lesson.skill_ids if skill in plan.needed]
    is_reached = plan.rank[index] >= 0
    is_known = all(plan.now[skill].value >= plan.goal.mastery_target for skill in lesson.skill_ids)
    elsewhere = [one for skill in wanted for one in plan.teachers.get(skill, ()) if one in plan.passes]
    holds = {
        SkipReason.COMPLETED: not plan.may_take(index),
        SkipReason.NO_TIME: index in cut,
        SkipReason.MASTERED: is_known and (is_reached or lesson.lesson_id not in plan.goal.must_include),
        SkipReason.NOT_NEEDED: not wanted and lesson.lesson_id not in plan.goal.must_include,
        SkipReason.PREREQUISITE_MISSING: not is_reached,
        SkipReason.BETTER_LESSON: any(one not in cut for one in elsewhere),
    }
    return next((reason for reason, is_so in holds.items() if is_so), SkipReason.NO_TIME)


def _skip_text(plan: _Plan, index: int, reason: SkipReason) -> str:
    """The reason in one sentence for the learner."""
    if reason is SkipReason.MASTERED:
        weakest = min(plan.now[skill].value for skill in plan.lessons[index].skill_ids)
        return f"You are likely to know what it teaches ({weakest:.0%}, target {plan.goal.mastery_target:.0%})."
    if reason is SkipReason.PREREQUISITE_MISSING:
        return f"It needs {_missing(plan, index)} first, which no available lesson leads to."
    return {
        SkipReason.COMPLETED: "You have finished it.",
        SkipReason.NOT_NEEDED: "Nothing that you are working towards needs it.",
        SkipReason.BETTER_LESSON: "Another lesson of your path teaches the same in less time.",
        SkipReason.NO_TIME: "There is no time left before your date for what it teaches.",
    }[reason]


def _missing(plan: _Plan, index: int) -> str:
    """A prerequisite of the lesson that cannot be met, the nearest."""
    for skill in plan.needs[index]:
        if skill not in plan.teachers:
            return skill
    for name in plan.lessons_before(index):
        if name not in plan.place or plan.rank[plan.place[name]] < 0:
            return name
    raise AssertionError(f"{plan.lessons[index].lesson_id} waits for nothing")  # it would have been reached
