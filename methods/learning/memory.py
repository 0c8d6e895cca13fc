"""The memory of a skill: what is recalled now and later, and how each practice changes it.

Recall fades along the power curve of FSRS-6. Stability is known only as a log-normal distribution: its median stands
in the state, its spread follows from the kind of skill and the number of judged answers. An answer moves the median by
what it says (wrong after a short pause: less stable than thought; right after a long one: more), then the practice
itself makes the memory more stable. A wrong answer need not mean forgetting: the learner may never have known.
Sources: FSRS-6 (Ye et al. 2022, KDD, and its published default weight w20); priors of resuscitation skills and
knowledge in docs/methods/optimize_schedule.md; Minka 2001 (one update by matching moments).
Pure; columns of reviews, one skill of one learner a row. Not here: when to practise (schedule.py); how the numbers are
fitted (training/learning/schedule.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.learning.item_response import normal_reach

Floats = NDArray[np.float64]

KNOWLEDGE, PSYCHOMOTOR, TEAM = 0, 1, 2  # rows of `stability_days` and `log_sd`
KINDS = ("KNOWLEDGE", "PSYCHOMOTOR", "TEAM")  # by the contract's names
# Knowledge: 14-33 d, two points only. Skills: HBB 75 d, newborn 21 d, PALS residents 82-152 d (Doymaz 2019), India
# 269-510 d (Das 2018). Medians and spreads of these; different pass marks and populations, so priors and no more.
PRIOR_STABILITY_DAYS = (22.0, 120.0, 120.0)
PRIOR_LOG_SD = (0.8, 1.0, 1.0)
RECALL_AT_STABILITY = 0.9  # stability is the number of days after which recall is 90 %, by definition
SPACED_DAYS = 0.5  # practice within the same hours counts once: massed training does not outlast (Patocka 2015, 2019)
START_DIFFICULTY, LEAST_DIFFICULTY, MOST_DIFFICULTY = 5.0, 1.0, 10.0
LEAST_STABILITY, MOST_STABILITY = 1e-3, 36_500.0  # days; the contract's upper end
RECENT_RATE = 0.25  # weight of the newest answer in `recent`; the contract's own
SHARE_ANSWERS = 4.0  # answers that the mean counts for in a smoothed share
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryParameters:
    """What a version knows. The defaults are the prior: published figures, and JUDGEMENT where it says so.

    Attributes:
        stability_days: median stability after the first practice, days, by kind (KNOWLEDGE, PSYCHOMOTOR, TEAM).
        log_sd: its spread between learners and skills, log scale, by kind.
        skill_log_stability: log of a skill's own median over its kind's, by skill id; 0 for others.
        decay: exponent of the curve; FSRS-6's default w20.
        growth: log growth of stability with a further day of practice; 0.3 reproduces the ordering of Anderson 2019.
        growth_forgotten: the same, more for each unit of forgetting at the time (spacing effect). JUDGEMENT.
        lapse: share of that growth lost when the answer is wrong. JUDGEMENT.
        first_right: log stability of a right first answer over a wrong one. JUDGEMENT.
        answer_information: what a judged answer adds to the precision of log stability, on average; little, since most
            come within a session. 0.0005 on the simulated platform.
        difficulty_step: change of the memory's difficulty for an answer wholly against expectation. JUDGEMENT.
        guess: chance of a right answer without knowing.
        slip: chance of a wrong one while knowing.
        known: logit of knowing at the start; the next four are its slopes.
        known_item: on the item's easiness; known_learner: on the learner's smoothed share in all skills, as log-odds
            over the mean's; known_skill: the same in this skill; known_recent: on the moving average there, less 0.65;
            known_answers: on log(1 + answers) there.
        mean_share: share of right answers over all; where smoothed shares start.
        item_easiness: log-odds of a right answer over the mean's, by item id; 0 for others.
        level: probability that intervals are meant to hold.
        observations: answers the version was fitted on; 0 for the prior.
    """

    stability_days: tuple[float, float, float] = PRIOR_STABILITY_DAYS
    log_sd: tuple[float, float, float] = PRIOR_LOG_SD
    skill_log_stability: Mapping[str, float] = field(default_factory=dict)
    decay: float = 0.1542
    growth: float = 0.3
    growth_forgotten: float = 1.0
    lapse: float = 0.5
    first_right: float = 0.3
    answer_information: float = 0.0005
    difficulty_step: float = 0.5
    guess: float = 0.25
    slip: float = 0.05
    known: float = 1.0
    known_item: float = 1.0
    known_learner: float = 0.5
    known_skill: float = 0.5
    known_recent: float = 0.5
    known_answers: float = 0.1
    mean_share: float = 0.75
    item_easiness: Mapping[str, float] = field(default_factory=dict)
    level: float = 0.9
    observations: int = 0

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        value = asdict(self)
        return value | {"stability_days": list(self.stability_days), "log_sd": list(self.log_sd)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStates:
    """One skill of one learner a row, (n,) each. A skill never practised has no answers and the day NaN.

    Attributes:
        kind: 0 knowledge, 1 psychomotor, 2 team.
        stability_days: median, days.
        difficulty: 1 (easy to keep) to 10.
        answers: judged answers so far; correct: sum of their scores.
        recent: moving average of scores.
        day: of the last practice, days from any origin; NaN when there was none.
    """

    kind: NDArray[np.int64]
    stability_days: Floats
    difficulty: Floats
    answers: Floats
    correct: Floats
    recent: Floats
    day: Floats

    def take(self, rows: NDArray[np.int64] | slice) -> "MemoryStates":
        """The rows alone."""
        return MemoryStates(**{part.name: getattr(self, part.name)[rows] for part in fields(self)})

    def put(self, rows: NDArray[np.int64] | slice, states: "MemoryStates") -> "MemoryStates":
        """The same states with some rows replaced."""
        columns = {part.name: getattr(self, part.name).copy() for part in fields(self)}
        for name, column in columns.items():
            column[rows] = getattr(states, name)
        return MemoryStates(**columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """One judged answer a row, (n,) each: when (days), its score in [0, 1], and what the caller knows beside the skill.

    Attributes:
        day: days from the same origin as the state's.
        score: 1 right, 0 wrong, or the share of the points.
        easiness: of the item (`item_easiness`), 0 when unknown.
        learner_logit: `smoothed_logit` of the learner's earlier answers in all skills, 0 when unknown.
    """

    day: Floats
    score: Floats
    easiness: Floats
    learner_logit: Floats


class SkillAnswer(NamedTuple):
    """One judged answer of a learner: the skill's row (None: of another skill), day, score in [0, 1], and the item."""

    skill: int | None
    day: float
    score: float
    item_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Chance of recall, (n,) each in [0, 1]: median and the interval that the version's level asks for."""

    value: Floats
    lower: Floats
    upper: Floats


def new_states(
    kind: NDArray[np.int64], parameters: MemoryParameters, skill_ids: Sequence[str] | None = None
) -> MemoryStates:
    """Skills that were never practised: (n,) kinds, and ids where skills differ -> (n,) states from the prior."""
    n = kind.size
    own = [parameters.skill_log_stability.get(skill_id, 0.0) for skill_id in skill_ids or ()] or np.zeros(n)
    return MemoryStates(
        kind=kind,
        stability_days=np.asarray(parameters.stability_days)[kind] * np.exp(own),
        difficulty=np.full(n, START_DIFFICULTY),
        answers=np.zeros(n),
        correct=np.zeros(n),
        recent=np.full(n, parameters.mean_share),
        day=np.full(n, np.nan),
    )


def recall_after(elapsed_days: Floats, stability_days: Floats, decay: float) -> Floats:
    """Chance of recall after a pause: 1 at 0, 0.9 at the stability.

    Args:
        elapsed_days: 0 or more.
        stability_days: above 0.
        decay: above 0.
    Source: FSRS-6, R(t) = (1 + f t / S)^-w20 with f so that R(S) = 0.9.

    >>> recall_after(np.array([0.0, 22.0, 220.0]), np.array([22.0]), 0.1542).round(3).tolist()
    [1.0, 0.9, 0.693]
    """
    factor = RECALL_AT_STABILITY ** (-1.0 / decay) - 1.0
    return np.asarray(np.exp(-decay * np.log1p(factor * elapsed_days / stability_days)), dtype=np.float64)


def days_until(recall: float, stability_days: Floats, decay: float) -> Floats:
    """Days after a practice until recall has fallen to `recall`, the inverse of `recall_after`.

    >>> days_until(0.8, np.array([22.0]), 0.1542).round(1).tolist()
    [73.0]
    """
    factor = RECALL_AT_STABILITY ** (-1.0 / decay) - 1.0
    return np.asarray(stability_days * (recall ** (-1.0 / decay) - 1.0) / factor, dtype=np.float64)


def log_spread(states: MemoryStates, parameters: MemoryParameters) -> Floats:
    """Standard deviation of log stability, (n,): the kind's, narrowed by judged answers."""
    prior = np.asarray(parameters.log_sd)[states.kind]
    return np.asarray(1.0 / np.sqrt(prior**-2.0 + parameters.answer_information * states.answers), dtype=np.float64)


def recall_at(states: MemoryStates, day: Floats | float, parameters: MemoryParameters) -> Recall:
    """Chance of recall of each skill on a day, (n,), with its interval.

    A skill never practised has nothing to recall: 0, without an interval's width. Else the interval holds what is not
    known of the stability.
    """
    practised = np.isfinite(states.day)
    elapsed = np.where(practised, np.maximum(day - np.where(practised, states.day, 0.0), 0.0), 0.0)
    width = np.exp(normal_reach(parameters.level) * log_spread(states, parameters))
    low, value, high = (
        np.where(practised, recall_after(elapsed, states.stability_days * factor, parameters.decay), 0.0)
        for factor in (1.0 / width, 1.0, width)
    )
    return Recall(value=value, lower=low, upper=high)


def stability_interval(states: MemoryStates, parameters: MemoryParameters) -> tuple[Floats, Floats]:
    """Central interval of each skill's stability in days, (n,) each."""
    width = np.exp(normal_reach(parameters.level) * log_spread(states, parameters))
    return states.stability_days / width, states.stability_days * width


def smoothed_logit(correct: Floats, answers: Floats, parameters: MemoryParameters) -> Floats:
    """Log-odds of a smoothed share of right answers over those of the mean share, (n,); 0 without answers."""
    share = (correct + SHARE_ANSWERS * parameters.mean_share) / (answers + SHARE_ANSWERS)
    share = np.clip(share, 0.01, 0.99)
    return np.asarray(np.log(share / (1.0 - share)), dtype=np.float64) - _logit(parameters.mean_share)


def right_chance(states: MemoryStates, reviews: Reviews, parameters: MemoryParameters) -> Floats:
    """Chance that each answer is right, (n,): known, recalled and not slipped, or guessed; averaged over stability."""
    known, recalled = _known(states, reviews, parameters), _recalled(states, reviews.day, parameters)
    return _right(known, recalled @ _WEIGHTS, parameters)


def fold(states: MemoryStates, reviews: Reviews, parameters: MemoryParameters) -> MemoryStates:
    """The states after one judged answer each, (n,) -> (n,).

    The same function builds training's states, snapshots and a request's recent events; a state built of two parts of a
    history is equal to one built of the whole. An answer at or before the state's own time counts as massed practice.
    """
    return foretell_and_fold(states, reviews, parameters)[1]


def foretell_and_fold(
    states: MemoryStates, reviews: Reviews, parameters: MemoryParameters
) -> tuple[Floats, MemoryStates]:
    """What `right_chance` says of each answer just before it, (n,), and what `fold` makes of it, for half the work."""
    is_first = np.isnan(states.day)
    known, recalled = (
        _known(states, reviews, parameters),
        _recalled(states, reviews.day, parameters),
    )  # (n,), (n, nodes)
    right = _right(known[:, None], recalled, parameters)
    recalled_mean = recalled @ _WEIGHTS
    score = reviews.score
    likely = np.exp(score[:, None] * np.log(right) + (1.0 - score[:, None]) * np.log1p(-right)) * _WEIGHTS
    shift = (likely @ _NODES) / likely.sum(axis=1)  # 0 at a first answer: it tells of knowing alone
    expected = right @ _WEIGHTS
    elapsed = np.where(is_first, 0.0, np.maximum(reviews.day - states.day, 0.0))
    spaced = -np.expm1(-elapsed / SPACED_DAYS)
    growth = parameters.growth * spaced + parameters.growth_forgotten * (1.0 - recalled_mean)
    ease = (11.0 - states.difficulty) / (11.0 - START_DIFFICULTY)
    log_stability = (
        np.log(states.stability_days)
        + log_spread(states, parameters) * shift
        + growth * ease * (1.0 - parameters.lapse * (1.0 - score))
        + np.where(is_first, parameters.first_right * (score - parameters.mean_share), 0.0)
    )
    difficulty = states.difficulty + parameters.difficulty_step * (expected - score)
    return _right(known, recalled_mean, parameters), MemoryStates(
        kind=states.kind,
        stability_days=_within(np.exp(log_stability), states.stability_days),
        difficulty=np.clip(difficulty, LEAST_DIFFICULTY, MOST_DIFFICULTY),
        answers=states.answers + 1.0,
        correct=states.correct + score,
        recent=states.recent + RECENT_RATE * (score - states.recent),
        day=np.where(is_first, reviews.day, np.maximum(states.day, reviews.day)),
    )


def fold_history(
    states: MemoryStates, answers: Sequence[SkillAnswer], learner: tuple[float, float], parameters: MemoryParameters
) -> MemoryStates:
    """The states of one learner after a history in many skills.

    Args:
        states: (n,) skills of the learner.
        answers: judged answers, oldest first, later than the states of their skills; those of other skills count for
            the learner's share alone.
        learner: judged answers in all skills before these, and how many of them were right.
        parameters: the version's.
    """
    count, correct = learner
    rounds: list[dict[int, tuple[SkillAnswer, float]]] = []  # the k-th answer of every skill, folded together
    depth = [0] * states.day.size
    for answer in answers:
        if answer.skill is not None:
            logit = float(smoothed_logit(np.array([correct]), np.array([count]), parameters)[0])
            if depth[answer.skill] == len(rounds):
                rounds.append({})
            rounds[depth[answer.skill]][answer.skill] = (answer, logit)
            depth[answer.skill] += 1
        count, correct = count + 1.0, correct + answer.score
    for turn in rounds:
        rows = np.array(sorted(turn), dtype=np.int64)
        asked = [turn[row] for row in rows.tolist()]
        reviews = Reviews(
            day=np.array([answer.day for answer, _ in asked]),
            score=np.array([answer.score for answer, _ in asked]),
            easiness=np.array([parameters.item_easiness.get(answer.item_id, 0.0) for answer, _ in asked]),
            learner_logit=np.array([logit for _, logit in asked]),
        )
        states = states.put(rows, fold(states.take(rows), reviews, parameters))
    return states


def practise(states: MemoryStates, day: Floats | float, parameters: MemoryParameters) -> MemoryStates:
    """The states after a planned session on each skill: what is expected of it, before anybody has answered.

    Practice in a session ends with the skill recalled; nobody has judged it, so no answer is counted and the interval
    stays as wide as it was.
    """
    is_first = np.isnan(states.day)
    elapsed = np.where(is_first, 0.0, np.maximum(day - np.where(is_first, 0.0, states.day), 0.0))
    recalled = recall_after(elapsed, states.stability_days, parameters.decay)
    spaced = -np.expm1(-elapsed / SPACED_DAYS)
    ease = (11.0 - states.difficulty) / (11.0 - START_DIFFICULTY)
    # A session that finds the skill forgotten grows as a wrong answer does: the growth is averaged over both.
    growth = parameters.growth * spaced + parameters.growth_forgotten * (1.0 - recalled)
    log_growth = growth * ease * (1.0 - parameters.lapse * (1.0 - recalled))
    stability = _within(states.stability_days * np.exp(log_growth), states.stability_days)
    return replace(states, stability_days=stability, day=np.maximum(day, np.where(is_first, -np.inf, states.day)))


def parse_parameters(value: Any) -> MemoryParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_parameters({"decay": -1.0})
    Traceback (most recent call last):
    ValueError: decay: must be a number above 0 and at most 5
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    plain = {part.name: part.default for part in fields(MemoryParameters) if isinstance(part.default, float)}
    numbers = {name: _number(value, name, default) for name, default in plain.items()}
    for name, (low, high) in _RANGES.items():
        if not low < numbers[name] <= high:
            raise ValueError(f"{name}: must be a number above {low:g} and at most {high:g}")
    observations = value.get("observations", 0)
    if not isinstance(observations, int) or isinstance(observations, bool) or observations < 0:
        raise ValueError("observations: must be a whole number, 0 or more")
    return MemoryParameters(
        **numbers,
        stability_days=_kinds(value, "stability_days", PRIOR_STABILITY_DAYS),
        log_sd=_kinds(value, "log_sd", PRIOR_LOG_SD),
        skill_log_stability=_by_id(value, "skill_log_stability"),
        item_easiness=_by_id(value, "item_easiness"),
        observations=observations,
    )


_RANGES = {
    "decay": (0.0, 5.0),
    "guess": (0.0, 0.9),
    "slip": (0.0, 0.5),
    "mean_share": (0.0, 0.999),
    "level": (0.0, 0.9999),
    "lapse": (-1.0, 5.0),
    "answer_information": (-1e-9, 100.0),
}


def _known(states: MemoryStates, reviews: Reviews, parameters: MemoryParameters) -> Floats:
    """Chance that the answer is known if recalled, (n,)."""
    logit = (
        parameters.known
        + parameters.known_item * reviews.easiness
        + parameters.known_learner * reviews.learner_logit
        + parameters.known_skill * smoothed_logit(states.correct, states.answers, parameters)
        + parameters.known_recent * (states.recent - parameters.mean_share)
        + parameters.known_answers * np.log1p(states.answers)
    )
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logit), dtype=np.float64)


def _recalled(states: MemoryStates, day: Floats, parameters: MemoryParameters) -> Floats:
    """Chance of recall at each node of stability, (n, nodes); 1 before the first practice: nothing can be forgotten."""
    is_first = np.isnan(states.day)
    elapsed = np.where(is_first, 0.0, np.maximum(day - np.where(is_first, 0.0, states.day), 0.0))
    stability = states.stability_days[:, None] * np.exp(log_spread(states, parameters)[:, None] * _NODES)
    return recall_after(elapsed[:, None], stability, parameters.decay)


def _right(known: Floats, recalled: Floats, parameters: MemoryParameters) -> Floats:
    """Chance of a right answer from that of knowing and that of recall."""
    recalled = known * recalled
    return np.clip(parameters.guess + (1.0 - parameters.slip - parameters.guess) * recalled, 1e-6, 1.0 - 1e-6)


def _within(stability: Floats, before: Floats) -> Floats:
    """Stability kept to the contract's range; one that was beyond it (the model without forgetting) may stay there."""
    return np.clip(stability, LEAST_STABILITY, np.maximum(MOST_STABILITY, before))


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))


def _number(value: Mapping[str, Any], name: str, default: float) -> float:
    number = value.get(name, default)
    if not _is_number(number):
        raise ValueError(f"{name}: must be a finite number")
    return float(number)


def _kinds(value: Mapping[str, Any], name: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
    row = value.get(name, list(default))
    if not isinstance(row, list) or len(row) != len(KINDS) or not all(_is_number(n) and n > 0 for n in row):
        raise ValueError(f"{name}: must be {len(KINDS)} numbers above 0, for {', '.join(KINDS)}")
    return float(row[0]), float(row[1]), float(row[2])


def _by_id(value: Mapping[str, Any], name: str) -> dict[str, float]:
    numbers = value.get(name, {})
    if not isinstance(numbers, Mapping) or not all(_is_number(number) for number in numbers.values()):
        raise ValueError(f"{name}: must be finite numbers by id")
    return {str(key): float(number) for key, number in numbers.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
