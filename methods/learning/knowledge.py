"""What a learner's answers say about the next one: a state folded from events, and the chance of a right answer.

`fold(state, event)` is the only way a state grows: training, feature snapshots and a request's `recent` events run it.
`describe` turns a state into columns, `correct_logit` weighs them: item, skill, and for each skill its own slopes.
Sources: Gervet, Koedinger, Schneider and Mitchell 2020, J Educ Data Mining 12:31 (Best-LR); Pavlik, Cen and Koedinger
2009, AIED (PFA); Galyardt and Goldin 2015, J Educ Data Mining 7:83 (recent answers count more); Pelanek 2016, Comput
Educ 98:169 (answers against what the item lets expect, as in Elo ratings).
Pure, plain floats. Not here: how weights are fitted (training/learning/knowledge.py); mastery and lessons (lessons.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

START_SHARE: Final = 0.65  # where a moving average of right answers begins; share of right answers in published logs
SHARE_ANSWERS: Final = 3.0  # answers that START_SHARE counts for in a smoothed share; few, since learners differ much
RIGHT_FROM: Final = 0.5  # a score from here on continues a run of right answers
SURPRISE_SCALE: Final = 4.0  # a surprise of 0.25 is a usual one: brings the column to the others' size
SKILL_RATE, SLOW_RATE, FAST_RATE = 0.25, 0.1, 0.4  # weight of the newest answer; the contract's own
SKILL_SURPRISE_RATE, SURPRISE_RATES = (
    0.12,
    (0.02, 0.08, 0.3),
)  # slow ones hold ability, the fast one the mood of the hour


class Event(NamedTuple):
    """One thing a learner did in one skill.

    Attributes:
        skill_id: the skill.
        outcome: 1 right, 0 wrong, or the share of the points; None when nothing was judged, or only by the learner.
        expected: what an average learner reaches on that item, 0 to 1; from `Bank.expect`.
        days: when, in days since any fixed moment; None when only the order is known.
    """

    skill_id: str
    outcome: float | None
    expected: float
    days: float | None = None


class SkillState(NamedTuple):
    """One learner in one skill. None is unknown: the state came from a caller who keeps fewer numbers.

    Attributes:
        answers, correct: judged answers and the sum of their outcomes.
        recent: moving average of outcomes, newest SKILL_RATE, from START_SHARE.
        surprise: moving average of outcome less expectation, newest SKILL_SURPRISE_RATE, from 0.
        last: newest outcome; None also before the first answer.
        streak: answers right in a row up to now; below 0 wrong ones.
        position: the learner's answers in all skills up to the newest one here.
        days: time of the newest.
    """

    answers: float = 0.0
    correct: float = 0.0
    recent: float | None = START_SHARE
    surprise: float | None = 0.0
    last: float | None = None
    streak: int | None = 0
    position: float | None = 0.0
    days: float | None = None


class LearnerState(NamedTuple):
    """One learner: the same over all skills, and each skill's own.

    Attributes:
        slow, fast: moving averages of outcomes, newest SLOW_RATE and FAST_RATE.
        surprises: moving averages of outcome less expectation, one for each of SURPRISE_RATES.
        skill_id, run: skill of the newest answer, and how many in a row were of it; None when unknown.
    """

    answers: float = 0.0
    correct: float = 0.0
    slow: float | None = START_SHARE
    fast: float | None = START_SHARE
    surprises: tuple[float, float, float] | None = (0.0, 0.0, 0.0)
    skill_id: str | None = None
    run: int | None = 0
    skills: Mapping[str, SkillState] = MappingProxyType({})


UNSEEN: Final = SkillState()
NEW_LEARNER: Final = LearnerState()


def fold(state: LearnerState, event: Event) -> LearnerState:
    """The state after one more event; the one before stays as it is.

    Events come oldest first. One that nobody judged changes nothing: seeing is no evidence of knowing. Whether an event
    is already in the state is for the caller to know (`newer_events`).

    >>> after = fold(NEW_LEARNER, Event("bls.compressions", 1.0, 0.7))
    >>> after.answers, after.skills["bls.compressions"].streak, round(after.surprises[1], 3)
    (1.0, 1, 0.024)
    """
    outcome = event.outcome
    if outcome is None:
        return state
    surprise, answers = outcome - event.expected, state.answers + 1.0
    skill = state.skills.get(event.skill_id, UNSEEN)
    means = state.surprises
    return LearnerState(
        answers,
        state.correct + outcome,
        _towards(state.slow, outcome, SLOW_RATE),
        _towards(state.fast, outcome, FAST_RATE),
        None if means is None else tuple(m + r * (surprise - m) for m, r in zip(means, SURPRISE_RATES, strict=True)),  # type: ignore[arg-type]  # three rates, three means
        event.skill_id,
        1 if event.skill_id != state.skill_id else (None if state.run is None else state.run + 1),
        {
            **state.skills,
            event.skill_id: SkillState(
                skill.answers + 1.0,
                skill.correct + outcome,
                _towards(skill.recent, outcome, SKILL_RATE),
                _towards(skill.surprise, surprise, SKILL_SURPRISE_RATE),
                outcome,
                _lengthen(skill.streak, is_right=outcome >= RIGHT_FROM),
                answers,
                event.days,
            ),
        },
    )


def fold_all(state: LearnerState, events: Iterable[Event]) -> LearnerState:
    """The state after these events, oldest first."""
    for event in events:
        state = fold(state, event)
    return state


def newer_events(state: LearnerState, events: Iterable[Event]) -> list[Event]:
    """The events that the state does not hold yet, oldest first; those of one moment keep their order.

    An event counts when it is later than the newest one of its skill in the state, or the state knows none.
    """

    def is_new(event: Event) -> bool:
        known = state.skills.get(event.skill_id, UNSEEN).days
        return known is None or event.days is None or event.days > known

    return sorted(filter(is_new, events), key=lambda event: -math.inf if event.days is None else event.days)


COLUMNS: Final = (
    "answers",
    "correct",
    "share",
    "slow",
    "fast",
    "surprise_slow",
    "surprise",
    "surprise_fast",
    "skills",
    "skill_known",
    "skill_answers",
    "skill_correct",
    "skill_share",
    "skill_recent",
    "skill_surprise",
    "skill_last",
    "skill_right_streak",
    "skill_wrong_streak",
    "skill_gap",
    "skill_run",
    "skill_days",
    "run_last",
    "run_streak",
    "run_squared",
    "answers_squared",
    "skill_answers_squared",
    "skill_surprise_answers",
    "surprise_answers",
    "surprise_skill_answers",
    "skill_surprise_gap",
    "surprise_both",
    "skill_share_answers",
)
# Columns that every skill weighs in its own way, held near the slope that all share.
SLOPES: Final = (
    "skill_answers",
    "skill_correct",
    "skill_surprise",
    "skill_last",
    "skill_right_streak",
    "skill_wrong_streak",
    "skill_gap",
    "skill_run",
)
SLOPE_AT: Final = tuple(COLUMNS.index(name) for name in SLOPES)


def describe(state: LearnerState, skill_id: str, days: float | None = None) -> tuple[float, ...]:
    """A learner before an answer in a skill, as columns.

    Args:
        state: what came before.
        skill_id: the skill that is asked.
        days: when, on the scale of the events; None when unknown.
    Returns: one number for each of COLUMNS, NaN for unknown. Counts are on a log scale, shares as log-odds.
    """
    skill = state.skills.get(skill_id, UNSEEN)
    log, nan = math.log1p, math.nan
    answers, total = log(skill.answers), log(state.answers)
    known = skill.answers > 0
    surprises = (nan, nan, nan) if state.surprises is None else state.surprises
    slow, mean, fast = (SURPRISE_SCALE * each for each in surprises)
    own = nan if skill.surprise is None else SURPRISE_SCALE * skill.surprise
    last = 0.0 if not known else (nan if skill.last is None else skill.last)
    streak = nan if skill.streak is None else float(skill.streak)
    right, wrong = (nan, nan) if streak != streak else (log(max(streak, 0.0)), log(max(-streak, 0.0)))  # noqa: PLR0124 - NaN
    gap = 0.0 if not known else (nan if skill.position is None else log(max(state.answers - skill.position, 0.0)))
    run = _run(state, skill_id)
    since = 0.0 if not known or days is None or skill.days is None else log(max(days - skill.days, 0.0))
    skill_share = _smoothed_logit(skill.correct, skill.answers)
    return (
        total,
        log(state.correct),
        _smoothed_logit(state.correct, state.answers),
        nan if state.slow is None else state.slow,
        nan if state.fast is None else state.fast,
        slow,
        mean,
        fast,
        log(len(state.skills)),
        1.0 if known else 0.0,
        answers,
        log(skill.correct),
        skill_share,
        nan if skill.recent is None else skill.recent,
        own,
        last,
        right,
        wrong,
        gap,
        run,
        since,
        run * last,
        run * right,
        run * run,
        total * total,
        answers * answers,
        own * answers,
        mean * total,
        mean * answers,
        own * gap,
        own * mean,
        skill_share * answers,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What an average learner reaches on items and in skills, each 0 to 1.

    Attributes:
        base: over all answers.
        skills: by skill, drawn towards `base` where answers are few.
        items: by item, drawn towards its skill.
    """

    base: float = START_SHARE
    skills: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, float] = field(default_factory=dict)

    def expect(self, skill_id: str, item_id: str = "") -> float:
        """For an item, else for its skill, else for any.

        >>> Bank(base=0.6, skills={"bls": 0.8}).expect("bls", "new item")
        0.8
        """
        found = self.items.get(item_id)
        return self.skills.get(skill_id, self.base) if found is None else found


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeParameters:
    """What a version knows about answers.

    Attributes:
        bias: log-odds.
        weights: one for each of COLUMNS.
        means: of the columns over the rows fitted on; they stand where a column is unknown.
        items: log-odds that an item adds; 0 for others.
        skills: log-odds that a skill adds, then what it adds to the weight of each of SLOPES; zeros for others.
        bank: what to expect of items.
    """

    bias: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    items: Mapping[str, float]
    skills: Mapping[str, tuple[float, ...]]
    bank: Bank

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {
            "bias": self.bias,
            "columns": list(COLUMNS),
            "weights": list(self.weights),
            "means": list(self.means),
            "slopes": list(SLOPES),
            "items": dict(self.items),
            "skills": {name: list(values) for name, values in self.skills.items()},
            "bank": {"base": self.bank.base, "skills": dict(self.bank.skills), "items": dict(self.bank.items)},
        }


def parse_knowledge(value: Any) -> KnowledgeParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_knowledge({"bias": "high"})
    Traceback (most recent call last):
    ValueError: bias: must be a finite number
    """
    if not isinstance(value, Mapping):
        raise ValueError("knowledge: not an object")  # noqa: TRY004 - one kind of error for a bad file
    bias = _number(value.get("bias"), "bias")
    for name, known in (("columns", COLUMNS), ("slopes", SLOPES)):
        if value.get(name) != list(known):
            raise ValueError(f"{name}: this release knows {', '.join(known)}")
    bank = value.get("bank")
    if not isinstance(bank, Mapping):
        raise ValueError("bank: not an object")  # noqa: TRY004 - as above
    skills = value.get("skills")
    if not isinstance(skills, Mapping):
        raise ValueError("skills: not an object")  # noqa: TRY004 - as above
    return KnowledgeParameters(
        bias=bias,
        weights=_numbers(value.get("weights"), "weights", len(COLUMNS)),
        means=_numbers(value.get("means"), "means", len(COLUMNS)),
        items=_by_name(value.get("items"), "items"),
        skills={str(k): _numbers(v, f"skills.{k}", 1 + len(SLOPES)) for k, v in skills.items()},
        bank=Bank(
            base=_share(bank.get("base"), "bank.base"),
            skills=_by_name(bank.get("skills"), "bank.skills", are_shares=True),
            items=_by_name(bank.get("items"), "bank.items", are_shares=True),
        ),
    )


def correct_logit(columns: Sequence[float], parameters: KnowledgeParameters, skill_id: str, item_id: str = "") -> float:
    """Log-odds of a right answer.

    Args:
        columns: of `describe`, for that skill.
        parameters: the version's.
        skill_id: the skill.
        item_id: the item; one that the version does not know counts as an average item of its skill.
    """
    total = parameters.bias + parameters.items.get(item_id, 0.0)
    known = [v if v == v else m for v, m in zip(columns, parameters.means, strict=True)]  # noqa: PLR0124 - NaN
    for value, weight in zip(known, parameters.weights, strict=True):
        total += value * weight
    own = parameters.skills.get(skill_id)
    if own is not None:
        total += own[0]
        for at, slope in zip(SLOPE_AT, own[1:], strict=True):
            total += known[at] * slope
    return total


def _towards(mean: float | None, value: float, rate: float) -> float | None:
    """A moving average one step on; unknown stays unknown."""
    return None if mean is None else mean + rate * (value - mean)


def _lengthen(streak: int | None, *, is_right: bool) -> int | None:
    """Answers of one kind in a row after one more. After an unknown row the length stays unknown."""
    if streak is None:
        return None
    if is_right:
        return streak + 1 if streak > 0 else 1
    return streak - 1 if streak < 0 else -1


def _run(state: LearnerState, skill_id: str) -> float:
    """Log of one more than the answers in a row in this skill; NaN when unknown."""
    if state.run is None or (state.skill_id is None and state.answers > 0):
        return math.nan
    return math.log1p(state.run) if state.skill_id == skill_id else 0.0


def _smoothed_logit(correct: float, answers: float) -> float:
    """Log-odds of the share of right answers, with SHARE_ANSWERS more of START_SHARE."""
    right = max(correct, 0.0) + SHARE_ANSWERS * START_SHARE
    wrong = max(answers - correct, 0.0) + SHARE_ANSWERS * (1.0 - START_SHARE)
    return math.log(right / wrong)


def _number(value: Any, name: str) -> float:
    """A finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name}: must be a finite number")
    return float(value)


def _share(value: Any, name: str) -> float:
    """A number from 0 to 1."""
    share = _number(value, name)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{name}: must be from 0 to 1")
    return share


def _numbers(value: Any, name: str, length: int) -> tuple[float, ...]:
    """A list of so many finite numbers."""
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name}: must be a list of {length} numbers")
    return tuple(_number(entry, name) for entry in value)


def _by_name(value: Any, name: str, *, are_shares: bool = False) -> dict[str, float]:
    """Numbers by name."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: not an object")  # noqa: TRY004 - as above
    read = _share if are_shares else _number
    return {str(key): read(entry, f"{name}.{key}") for key, entry in value.items()}
