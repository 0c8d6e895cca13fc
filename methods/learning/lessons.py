"""Which lesson next: lessons ranked by the mastery they are expected to add for each minute, with a little chance.

What a learner's answers say (knowledge.py) gives the chance of a right answer in each skill; corrected for guessing and
slipping it is the chance that the skill is known, and a lesson's minutes raise that as mastery.py says. Gains count
less for lessons seen lately and for tired learners. With a small probability one lesson is drawn and put first; every
place carries the exact probability with which that lesson stands there.
Sources: Corbett and Anderson 1995 (guess and slip); Pelanek 2016, Comput Educ 98:169 (choose by predicted success);
Langford and Zhang 2007, NIPS (epoch-greedy: exploring with logged probability); Li et al. 2011, WSDM (why to log it).
Pure: chance comes in as a number. Not here: which lessons are asked about (the request); the fit (training/learning).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from methods.learning.knowledge import (
    UNSEEN,
    KnowledgeParameters,
    LearnerState,
    correct_logit,
    describe,
    parse_knowledge,
)
from methods.learning.mastery import (
    SMALLEST,
    Floats,
    MasteryParameters,
    SkillSummary,
    infer_learner,
    parse_mastery,
)
from methods.statistics.bands import Band, Interval, parse_band, sigmoid

EXPLORATION_MOST: Final = 0.2  # a fifth of all first lessons by chance is more than a learner should bear
UNIFORM_SHARE: Final = 0.5  # of the draw; the rest goes by what each lesson could add at best


class LessonChoice(NamedTuple):
    """A lesson that could be taken: skills (1 or more), minutes (above 0), lessons before it, difficulty in logits."""

    lesson_id: str
    skill_ids: tuple[str, ...]
    minutes: float
    prerequisite_lesson_ids: tuple[str, ...] = ()
    difficulty_logit: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """Chance that a lesson is finished: `base + own_weight * (own share - base)`, off by `error` at most as a rule.

    Attributes:
        base: share of begun lessons that all learners finish.
        own_weight: how far a learner's share of the last 28 days tells the next ones; 0 to 1.
        error: half-width of the interval: learners whose next share was held against it.
    """

    base: float
    own_weight: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonParameters:
    """What a version knows.

    Attributes:
        knowledge: of answers.
        band: of the chance of a right answer.
        mastery: of learning by lessons, of guessing and slipping.
        completion: None when no data on finished lessons stood behind the version.
        exploration: probability with which the first lesson is drawn; the contract promises 5 to 10 %.
        repeat_discount: share of the gain lost for each time a lesson was recommended lately or finished. JUDGEMENT
        fatigue_minutes: minutes of learning in a day after which gains have fallen to 1/e. JUDGEMENT
    """

    knowledge: KnowledgeParameters
    band: Band = field(default_factory=Band)
    mastery: MasteryParameters = field(default_factory=MasteryParameters)
    completion: Completion | None = None
    exploration: float = 0.08
    repeat_discount: float = 0.5
    fatigue_minutes: float = 180.0

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        known = self.completion
        return {
            "knowledge": self.knowledge.to_json(),
            "band": self.band.to_json(),
            "mastery": self.mastery.to_json(),
            "completion": None
            if known is None
            else {"base": known.base, "own_weight": known.own_weight, "error": known.error},
            "exploration": self.exploration,
            "repeat_discount": self.repeat_discount,
            "fatigue_minutes": self.fatigue_minutes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known beside the learner's answers; None is unknown.

    Attributes:
        days: the moment, on the scale of the events.
        completed: finished lessons; they meet prerequisites.
        recent: lessons recommended lately, any order, repeated as often as they were.
        excluded: lessons to leave out.
        minutes_available: longer lessons are left out.
        minutes_today: minutes of learning today.
        completion_share: share of the begun lessons of 28 days that were finished.
        masteries: chance that a skill is known, where the caller knows it; takes the place of what answers say.
    """

    days: float | None = None
    completed: frozenset[str] = frozenset()
    recent: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    minutes_available: float | None = None
    minutes_today: float | None = None
    completion_share: float | None = None
    masteries: Mapping[str, float] = field(default_factory=dict)


class RankedLesson(NamedTuple):
    """One lesson at its place.

    Attributes:
        lesson_id: the lesson.
        score: expected mastery gain a minute, after deductions; 1 / minute.
        gain: expected mastery gain of the whole lesson, summed over its skills, before deductions.
        correct: chance that answers in it are right, mean over its skills.
        completion: chance that it is finished; None when it cannot be said.
        propensity: probability with which this lesson was put at this place; above 0, at most 1.
        weakest_skill_id: the skill of it that is known least.
        mastery: chance that that skill is known.
        drawn: whether chance put it first.
    """

    lesson_id: str
    score: float
    gain: Interval
    correct: Interval
    completion: Interval | None
    propensity: float
    weakest_skill_id: str
    mastery: Interval
    drawn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """One answer: lessons, best first, and whether the first was drawn. Empty when no lesson may be taken."""

    lessons: tuple[RankedLesson, ...]
    explored: bool


class _Scored(NamedTuple):
    """A lesson before chance came in; `hope` is the score at the upper end of its gain."""

    lesson: LessonChoice
    score: float
    hope: float
    gain: Interval
    weakest: str


def recommend(
    state: LearnerState,
    candidates: Sequence[LessonChoice],
    parameters: LessonParameters,
    circumstances: Circumstances,
    *,
    most: int = 3,
    chance: float | None = None,
) -> Recommendation:
    """The lessons to take next.

    Args:
        state: the learner.
        candidates: to choose from; one that stands twice counts once.
        parameters: the version's.
        circumstances: what else is known.
        most: lessons to name, 1 or more.
        chance: a number in [0, 1), drawn anew for each request and the same for a retry; None forbids exploring.
    Returns: lessons whose prerequisites are finished, that fit the time and are not excluded; equal scores in the order
        given. Propensities hold for this candidate list and this state.
    """
    lessons = _eligible(candidates, circumstances)
    if not lessons:
        return Recommendation(lessons=(), explored=False)
    tutor = _Tutor(state, parameters, circumstances, lessons)
    ranked = sorted(tutor.score(lessons, circumstances), key=lambda each: -each.score)
    exploration = 0.0 if chance is None else parameters.exploration
    shares = _draw_shares(ranked)
    drawn = None
    if chance is not None and chance < exploration:
        drawn = _pick(shares, chance / exploration)
    completion = _completion(parameters.completion, circumstances.completion_share)
    places = []
    for place, at in enumerate(_order(len(ranked), drawn)[:most]):
        each = ranked[at]
        places.append(
            RankedLesson(
                each.lesson.lesson_id,
                each.score,
                each.gain,
                tutor.correct(each.lesson),
                completion,
                propensity_at(place, at, shares, exploration),
                each.weakest,
                tutor.mastery[each.weakest],
                drawn is not None and place == 0,
            )
        )
    return Recommendation(lessons=tuple(places), explored=drawn is not None)


def propensity_at(place: int, rank: int, shares: Sequence[float], exploration: float) -> float:
    """Probability with which the lesson of that rank stands at that place.

    With probability `exploration` one lesson is drawn by `shares` and put first, and those above it move down by one;
    otherwise all stand by rank.

    >>> [round(propensity_at(place, place, (0.5, 0.25, 0.25), 0.1), 6) for place in (0, 1, 2)]
    [0.95, 0.95, 0.975]
    >>> propensity_at(0, 2, (0.5, 0.25, 0.25), 0.1)
    0.025
    """
    stays = 1.0 - exploration
    if place == 0:
        return (stays if rank == 0 else 0.0) + exploration * shares[rank]
    if rank == place:
        return stays + exploration * math.fsum(shares[:place])
    return exploration * math.fsum(shares[place:]) if rank == place - 1 else 0.0


def mastery_of(logit: float, parameters: LessonParameters) -> float:
    """Chance that a skill is known, from the log-odds of a right answer in it: who guesses right does not know.

    Source: Corbett and Anderson 1995, the chance of a right answer solved for the chance of knowing.
    """
    mastery = parameters.mastery
    known = (sigmoid(logit) - mastery.guess) / (1.0 - mastery.slip - mastery.guess)
    return min(max(known, SMALLEST), 1.0 - SMALLEST)


class _Tutor:
    """What is believed of one learner in the skills that are asked about."""

    def __init__(
        self,
        state: LearnerState,
        parameters: LessonParameters,
        circumstances: Circumstances,
        lessons: Sequence[LessonChoice],
    ) -> None:
        self._parameters = parameters
        skill_ids = dict.fromkeys(skill for lesson in lessons for skill in lesson.skill_ids)
        self._logits = {
            skill: correct_logit(describe(state, skill, circumstances.days), parameters.knowledge, skill)
            for skill in skill_ids
        }
        self._learner = infer_learner(
            parameters.mastery,
            summaries={
                skill: SkillSummary(
                    answers=state.skills.get(skill, UNSEEN).answers,
                    mastery=circumstances.masteries.get(skill, mastery_of(logit, parameters)),
                )
                for skill, logit in self._logits.items()
            },
        )
        self._known = np.stack([self._learner.mastery(skill) for skill in skill_ids])  # (skills, draws)
        self._row = {skill: row for row, skill in enumerate(skill_ids)}
        beliefs = self._learner.beliefs(self._known)
        self.mastery = {skill: Interval(*belief) for skill, belief in zip(skill_ids, beliefs, strict=True)}

    def correct(self, lesson: LessonChoice) -> Interval:
        """Chance that answers in the lesson are right: the mean over its skills, end by end."""
        band = self._parameters.band
        each = [band.probability(self._logits[skill] - lesson.difficulty_logit) for skill in lesson.skill_ids]
        return Interval(*(math.fsum(column) / len(each) for column in zip(*each, strict=True)))

    def score(self, lessons: Sequence[LessonChoice], circumstances: Circumstances) -> list[_Scored]:
        """The lessons' gains, and their scores after deductions."""
        scored = []
        for lesson, belief in zip(lessons, self._learner.beliefs(self._gains(lessons)), strict=True):
            gain = Interval(*belief)
            factor = self._deduction(lesson, circumstances) / lesson.minutes
            weakest = min(lesson.skill_ids, key=lambda skill: self.mastery[skill].value)
            scored.append(_Scored(lesson, gain.value * factor, gain.upper * factor, gain, weakest))
        return scored

    def _gains(self, lessons: Sequence[LessonChoice]) -> Floats:
        """Mastery that each lesson adds, summed over its skills; (lessons, draws).

        As Learner.after_lesson says, for all lessons at once. Skills share a lesson's time evenly, as in a path.
        """
        counts = [len(lesson.skill_ids) for lesson in lessons]
        rows = [self._row[skill] for lesson in lessons for skill in lesson.skill_ids]
        slope = self._parameters.mastery.difficulty_slope
        eased = [
            lesson.minutes / len(lesson.skill_ids) * math.exp(-slope * lesson.difficulty_logit) for lesson in lessons
        ]
        minutes = np.repeat(np.array(eased), counts)[:, None]  # (pairs of lesson and skill, 1)
        learned = -np.expm1(-self._learner.pace * minutes)  # (pairs, draws)
        gains: Floats = np.add.reduceat((1.0 - self._known[rows]) * learned, np.cumsum([0, *counts[:-1]]), axis=0)
        return gains

    def _deduction(self, lesson: LessonChoice, circumstances: Circumstances) -> float:
        """What is left of the gain for a lesson seen before and a learner who is tired half-way through it."""
        times = circumstances.recent.count(lesson.lesson_id) + (lesson.lesson_id in circumstances.completed)
        tired = (circumstances.minutes_today or 0.0) + lesson.minutes / 2.0
        kept: float = (1.0 - self._parameters.repeat_discount) ** times
        return kept * math.exp(-tired / self._parameters.fatigue_minutes)


def _eligible(candidates: Sequence[LessonChoice], circumstances: Circumstances) -> list[LessonChoice]:
    """Lessons that may be taken now, each once."""
    limit = math.inf if circumstances.minutes_available is None else circumstances.minutes_available
    return list(
        {
            lesson.lesson_id: lesson
            for lesson in reversed(candidates)
            if lesson.minutes <= limit
            and lesson.lesson_id not in circumstances.excluded
            and circumstances.completed.issuperset(lesson.prerequisite_lesson_ids)
        }.values()
    )[::-1]


def _draw_shares(ranked: Sequence[_Scored]) -> tuple[float, ...]:
    """Probability of each lesson to be the one drawn; sum 1, none 0: half even, half by what it could add at best."""
    hopes = [max(each.hope, 0.0) for each in ranked]
    total, even = math.fsum(hopes), 1.0 / len(ranked)
    if total <= 0.0:
        return (even,) * len(ranked)
    return tuple(UNIFORM_SHARE * even + (1.0 - UNIFORM_SHARE) * hope / total for hope in hopes)


def _pick(shares: Sequence[float], chance: float) -> int:
    """The rank at which the shares, added up, pass a number in [0, 1)."""
    total = 0.0
    for rank, share in enumerate(shares):
        total += share
        if chance < total:
            return rank
    return len(shares) - 1  # rounding left the sum just below 1


def _order(count: int, drawn: int | None) -> list[int]:
    """Ranks by place."""
    ranks = list(range(count))
    if drawn is not None:
        ranks.insert(0, ranks.pop(drawn))
    return ranks


def _completion(known: Completion | None, own: float | None) -> Interval | None:
    """Chance that a lesson is finished; None when the version knows nothing of it."""
    if known is None:
        return None
    value = known.base if own is None else known.base + known.own_weight * (own - known.base)
    return Interval(value, max(value - known.error, 0.0), min(value + known.error, 1.0))


def parse_lessons(value: Any) -> LessonParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_lessons([])
    Traceback (most recent call last):
    ValueError: parameters: not an object
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    given = value.get("completion")
    completion = None
    if given is not None:
        if not isinstance(given, Mapping):
            raise ValueError("completion: not an object")
        completion = Completion(**{name: _number(given, name, 0.0, 1.0) for name in ("base", "own_weight", "error")})
    return LessonParameters(
        knowledge=parse_knowledge(value.get("knowledge")),
        band=parse_band(value.get("band")),
        mastery=parse_mastery(value.get("mastery")),
        completion=completion,
        exploration=_number(value, "exploration", 0.0, EXPLORATION_MOST),
        repeat_discount=_number(value, "repeat_discount", 0.0, 1.0),
        fatigue_minutes=_number(value, "fatigue_minutes", 1.0, 1e6),
    )


def _number(value: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """A number within bounds."""
    number = value.get(name)
    if not isinstance(number, int | float) or isinstance(number, bool) or not low <= number <= high:
        raise ValueError(f"{name}: must be a number from {low:g} to {high:g}")
    return float(number)
