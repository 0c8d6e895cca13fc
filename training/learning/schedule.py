"""The model `schedule`: how fast skills are forgotten and how practice slows it, refitted to answers.

Maximum likelihood of every answer given the ones before it, with normal priors around the published figures on a scale
that keeps each parameter in its range; the states are folded by methods/learning/memory.py, as they are when served.
Items and learners come in as smoothed shares. A model without forgetting is the same with recall held at 1, fitted in
the same way on the same rows.
Not here: what a schedule makes of it (methods/learning/schedule.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from methods.learning.memory import (
    KINDS,
    MemoryParameters,
    Reviews,
    foretell_and_fold,
    new_states,
    parse_parameters,
    smoothed_logit,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ITEM_ANSWERS = 5.0  # answers that the mean counts for in an item's share
SKILL_GRID: Final = np.linspace(-2.0, 2.0, 21)  # log stability of a skill over its kind's
NEVER_FORGOTTEN_DAYS = 1e12  # stability at which a century of pause leaves recall above 0.9999


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeLog:
    """Judged answers, one a row and (n,) each, in any order.

    Attributes:
        learner: number of the learner, from 0.
        skill: place in `skill_ids`.
        item: place in `item_ids`.
        correct: 1.0 right, 0.0 wrong.
        day: when, days from any origin.
        kind: of the skill: 0 knowledge, 1 psychomotor, 2 team.
        item_ids: ids of the items.
        skill_ids: ids of the skills.
    """

    learner: Integers
    skill: Integers
    item: Integers
    correct: Floats
    day: Floats
    kind: Integers
    item_ids: Sequence[str]
    skill_ids: Sequence[str]

    def take(self, rows: NDArray[np.bool_] | Integers) -> "PracticeLog":
        """The rows alone; items keep their places."""
        columns = {name: getattr(self, name)[rows] for name in ("learner", "skill", "item", "correct", "day", "kind")}
        return replace(self, **columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOptions:
    """How to fit.

    Attributes:
        most_rows: answers to fit the curve on; whole learners, drawn at random. Items use all rows.
        most_steps: of the optimiser.
        longest: answers of one learner in one skill that are folded at most; later ones are not fitted on.
        most_skill_rows: answers on which the skills' own stabilities are found.
        skill_sds: candidates for the spread of skills' own stabilities around their kind's, log scale.
    """

    most_rows: int = 25_000
    most_steps: int = 60
    longest: int = 100
    most_skill_rows: int = 120_000
    skill_sds: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMemory:
    """A fit: the version's parameters, the mean log loss on the rows of the curve, and the optimiser's steps."""

    parameters: MemoryParameters
    log_loss: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Each answer of a log, in the log's own order, (n,) each.

    Attributes:
        chance: of a right answer, from the answers before it alone.
        elapsed_days: since the learner's last answer in the skill; NaN at the first.
        last_correct: that answer; NaN at the first.
    """

    chance: Floats
    elapsed_days: Floats
    last_correct: Floats


@dataclass(frozen=True, slots=True)
class _Scale:
    """A parameter on the optimiser's scale: `log`, `logit` or `plain`, and the prior's spread there."""

    name: str
    shape: str
    prior_sd: float
    forgets: bool = True  # False: the model without forgetting has it too
    place: int | None = None  # of the kind, in a tuple


_SCALES: Final = (
    *(_Scale("stability_days", "log", 0.5, place=place) for place in range(len(KINDS))),
    *(_Scale("log_sd", "log", 0.3, place=place) for place in range(len(KINDS))),
    _Scale("decay", "log", 0.3),
    _Scale("growth", "log", 0.4),
    _Scale("growth_forgotten", "log", 0.5),
    _Scale("lapse", "plain", 0.5),
    _Scale("first_right", "plain", 0.5),
    _Scale("difficulty_step", "log", 1.0),
    _Scale("guess", "logit", 0.5, forgets=False),
    _Scale("slip", "logit", 0.5, forgets=False),
    _Scale("known", "plain", 3.0, forgets=False),
    _Scale("known_item", "plain", 1.0, forgets=False),
    _Scale("known_learner", "plain", 1.0, forgets=False),
    _Scale("known_skill", "plain", 1.0, forgets=False),
    _Scale("known_recent", "plain", 2.0, forgets=False),
    _Scale("known_answers", "plain", 0.5, forgets=False),
)


def fit_memory(
    log: PracticeLog,
    options: ScheduleOptions | None = None,
    rng: np.random.Generator | None = None,
    *,
    forgets: bool = True,
) -> FittedMemory:
    """Fits the memory model; with `forgets=False` the same without forgetting.

    Raises: ValueError: no learner answered in one skill twice, so there is nothing to see of forgetting.
    """
    options, rng = options or ScheduleOptions(), rng or np.random.default_rng(0)
    pairs = log.learner * (log.skill.max(initial=0) + 1) + log.skill
    if np.unique(pairs).size == pairs.size:
        raise ValueError("log: no learner answered twice in one skill; forgetting cannot be seen")
    start = _start(log)
    if not forgets:
        never = NEVER_FORGOTTEN_DAYS
        start = replace(start, stability_days=(never, never, never), log_sd=(1e-6, 1e-6, 1e-6))
    rows = _sequences(_sample(log, options.most_rows, rng), start, options.longest)
    scales = tuple(s for s in _SCALES if (forgets or not s.forgets) and (s.place is None or rows.has_kind(s.place)))
    centre = np.array([_leave(scale, _get(start, scale)) for scale in scales])
    spread = np.array([scale.prior_sd for scale in scales])

    def objective(moved: Floats) -> float:
        return rows.loss(_set(start, scales, centre + spread * moved)) + float(moved @ moved) / (2.0 * rows.count)

    bounds = [(-4.0, 4.0)] * len(scales)
    found = minimize(
        objective,
        np.zeros(len(scales)),
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": options.most_steps, "ftol": 1e-7},
    )
    parameters = replace(_set(start, scales, centre + spread * found.x), observations=int(log.day.size))
    if forgets:
        own = _skill_stabilities(_sample(log, options.most_skill_rows, rng), parameters, options)
        parameters = replace(parameters, skill_log_stability=own)
        parameters = replace(parameters, answer_information=_answer_information(rows, parameters))
    return FittedMemory(parameters=parameters, log_loss=rows.loss(parameters), steps=int(found.nit))


def _skill_stabilities(log: PracticeLog, parameters: MemoryParameters, options: ScheduleOptions) -> dict[str, float]:
    """Log of each skill's own stability over its kind's: posterior means along a grid, one fold for each point.

    The spread among skills is the candidate under which the log is likeliest: where skills are alike, all stay near 0.
    """
    rows = _sequences(log, parameters, options.longest)
    skill, count = log.skill[rows.order], len(log.skill_ids)
    told = np.empty((SKILL_GRID.size, count))
    for place, moved in enumerate(SKILL_GRID):
        right = rows.chances(replace(parameters, skill_log_stability=dict.fromkeys(log.skill_ids, float(moved))))
        weights = np.log(np.where(rows.reviews.score > 0.5, right, 1.0 - right))
        told[place] = np.bincount(skill, weights=weights, minlength=count)
    told -= told.max(axis=0)
    priors = [np.exp(-0.5 * (SKILL_GRID / spread) ** 2) for spread in options.skill_sds]
    fits = [float(np.log((prior / prior.sum()) @ np.exp(told)).sum()) for prior in priors]
    posterior = priors[int(np.argmax(fits))][:, None] * np.exp(told)
    means = SKILL_GRID @ (posterior / posterior.sum(axis=0))
    return {log.skill_ids[place]: float(means[place]) for place in np.unique(skill).tolist()}


def _answer_information(rows: "_Sequences", parameters: MemoryParameters) -> float:
    """Mean Fisher information of an answer about log stability: most come in the same session and tell nothing.

    Fitted for its own sake it would be free: the likelihood hardly feels it, and intervals would be too narrow.
    """
    step = 0.1
    more, less = (
        rows.chances(replace(parameters, stability_days=_scaled(parameters.stability_days, math.exp(sign * step))))
        for sign in (1.0, -1.0)
    )
    middle = (more + less) / 2.0
    return float(np.mean(((more - less) / (2.0 * step)) ** 2 / (middle * (1.0 - middle))))


def _scaled(days: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return days[0] * factor, days[1] * factor, days[2] * factor


def foretell(log: PracticeLog, parameters: MemoryParameters) -> Foretold:
    """The chance of each answer as the model gives it just before, folding states answer by answer."""
    rows = _sequences(log, parameters, longest=None)
    chance, elapsed, last = (np.full(log.day.size, np.nan) for _ in range(3))
    chance[rows.order] = rows.chances(parameters)
    day, correct = log.day[rows.order], log.correct[rows.order]
    is_first = rows.position == 0
    elapsed[rows.order] = np.where(is_first, np.nan, np.diff(day, prepend=0.0))
    last[rows.order] = np.where(is_first, np.nan, np.concatenate([[np.nan], correct[:-1]]))
    return Foretold(chance=chance, elapsed_days=elapsed, last_correct=last)


class _Sequences:
    """Answers sorted by learner, skill and time, with what stands beside the skill's own state worked out."""

    def __init__(self, order: Integers, position: Integers, reviews: Reviews, log: PracticeLog) -> None:
        self.order, self.position, self.reviews = order, position, reviews
        self.kind, self.skill, self.skill_ids = log.kind[order], log.skill[order], log.skill_ids
        self.count = max(1, order.size)
        starts = np.flatnonzero(position == 0)
        lengths = np.diff(np.append(starts, position.size))
        longest_first = np.argsort(-lengths, kind="stable")
        self.starts, self.lengths = starts[longest_first], lengths[longest_first]

    def has_kind(self, kind: int) -> bool:
        return bool(np.any(self.kind == kind))

    def chances(self, parameters: MemoryParameters) -> Floats:
        """(n,) in the sorted order: one fold for all sequences at a time, the longest ones first."""
        chance = np.empty(self.order.size)
        names = [self.skill_ids[place] for place in self.skill[self.starts].tolist()]
        states = new_states(self.kind[self.starts], parameters, names)
        for place in range(int(self.lengths.max(initial=0))):
            going = int(np.searchsorted(-self.lengths, -place, side="left"))
            states = states.take(slice(0, going))
            rows = self.starts[:going] + place
            asked = Reviews(
                day=self.reviews.day[rows],
                score=self.reviews.score[rows],
                easiness=self.reviews.easiness[rows],
                learner_logit=self.reviews.learner_logit[rows],
            )
            chance[rows], states = foretell_and_fold(states, asked, parameters)
        return chance

    def loss(self, parameters: MemoryParameters) -> float:
        """Mean log loss, nats."""
        chance, score = self.chances(parameters), self.reviews.score
        return float(-np.mean(np.log(np.where(score > 0.5, chance, 1.0 - chance))))


def _sequences(log: PracticeLog, parameters: MemoryParameters, longest: int | None) -> _Sequences:
    """The log in sequences; easiness of items and the learner's earlier share are those of the parameters."""
    by_time = np.lexsort((log.day, log.learner))
    before, correct_before = _counts_before(log.learner[by_time], log.correct[by_time])
    learner_logit = np.empty(log.day.size)
    learner_logit[by_time] = smoothed_logit(correct_before, before, parameters)
    easiness = np.array([parameters.item_easiness.get(name, 0.0) for name in log.item_ids])[log.item]
    order = np.lexsort((log.day, log.skill, log.learner))
    position = _place_in_run(log.learner[order], log.skill[order])
    if longest is not None:
        order, position = order[position < longest], position[position < longest]
    reviews = Reviews(
        day=log.day[order], score=log.correct[order], easiness=easiness[order], learner_logit=learner_logit[order]
    )
    return _Sequences(order, position, reviews, log)


def _counts_before(group: Integers, correct: Floats) -> tuple[Floats, Floats]:
    """Answers and right answers of the same group in the rows above, (n,) each; groups lie together."""
    place = _place_in_run(group, np.zeros_like(group))
    running = np.cumsum(correct) - correct
    return place.astype(np.float64), running - running[np.arange(group.size) - place]


def _place_in_run(first: Integers, second: Integers) -> Integers:
    """(n,) place of each row within its run of equal pairs, from 0."""
    index = np.arange(first.size)
    is_start = np.ones(first.size, dtype=np.bool_)
    is_start[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
    return np.asarray(index - index[is_start][np.cumsum(is_start) - 1], dtype=np.int64)


def _sample(log: PracticeLog, most_rows: int, rng: np.random.Generator) -> PracticeLog:
    """Whole learners drawn at random, until their answers are as many as wanted."""
    if log.day.size <= most_rows:
        return log
    learners, counts = np.unique(log.learner, return_counts=True)
    order = rng.permutation(learners.size)
    kept = learners[order[np.cumsum(counts[order]) <= most_rows]]
    return log.take(np.isin(log.learner, kept if kept.size else learners[order[:1]]))


def _start(log: PracticeLog) -> MemoryParameters:
    """The prior with the log's own base rate and items."""
    mean = float(np.clip(log.correct.mean(), 0.05, 0.95))
    asked = np.bincount(log.item, minlength=len(log.item_ids))
    right = np.bincount(log.item, weights=log.correct, minlength=len(log.item_ids))
    share = (right + ITEM_ANSWERS * mean) / (asked + ITEM_ANSWERS)
    easiness = np.log(share / (1.0 - share)) - math.log(mean / (1.0 - mean))
    return MemoryParameters(
        mean_share=mean,
        item_easiness={log.item_ids[place]: float(easiness[place]) for place in np.flatnonzero(asked).tolist()},
    )


def _get(parameters: MemoryParameters, scale: _Scale) -> float:
    value = getattr(parameters, scale.name)
    return float(value if scale.place is None else value[scale.place])


def _set(parameters: MemoryParameters, scales: tuple[_Scale, ...], values: Floats) -> MemoryParameters:
    """The parameters with the optimiser's values put in."""
    items, skills = parameters.item_easiness, parameters.skill_log_stability  # thousands, which no scale moves
    value = replace(parameters, item_easiness={}, skill_log_stability={}).to_json()
    for scale, moved in zip(scales, values, strict=True):
        if scale.place is None:
            value[scale.name] = _return(scale, float(moved))
        else:
            value[scale.name][scale.place] = _return(scale, float(moved))
    return replace(parse_parameters(value), item_easiness=items, skill_log_stability=skills)


def _leave(scale: _Scale, value: float) -> float:
    """From a parameter's own scale to the optimiser's."""
    if scale.shape == "plain":
        return value
    return math.log(value) if scale.shape == "log" else math.log(value / (1.0 - value))


def _return(scale: _Scale, value: float) -> float:
    """And back."""
    if scale.shape == "plain":
        return value
    return math.exp(value) if scale.shape == "log" else 1.0 / (1.0 + math.exp(-value))
