"""The model `difficulty`: difficulty and discrimination of every item from answers, by marginal maximum likelihood.

A subject is one learner in one skill (in an exam: one person); its ability is N(0, 1) and never estimated on the way.
Items share priors whose means and spreads come from the items themselves, so that an item with three answers lies near
the average one and an item with thousands where its answers say.
Sources: Bock and Aitkin 1981, Psychometrika 46:443 (EM); Mislevy 1986, Psychometrika 51:177 (priors of items);
Efron and Morris 1975 (spread of the prior from the data).
Not here: what is done with the parameters (methods/learning/item_response.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from methods.learning.item_response import (
    LARGEST_LOGIT,
    Ability,
    DifficultyParameters,
    Item,
    ItemAnswer,
    age_ability,
    damped_slope,
    difficulty_error,
    fold_ability,
    logistic,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SMALLEST_PREDICTED = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Judged answers, one a row and (n,) each, in any order.

    Attributes:
        subject: number of the learner in the skill, from 0.
        item: place in `item_ids`.
        correct: 1.0 right, 0.0 wrong.
        day: when, in days from any origin; only differences count.
        item_ids: ids of the items.
    """

    subject: Integers
    item: Integers
    correct: Floats
    day: Floats
    item_ids: Sequence[str]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (self.subject, self.item, self.correct, self.day)}
        if len(lengths) != 1:
            raise ValueError(f"columns differ in length: {sorted(lengths)}")
        if not np.all((self.correct == 0.0) | (self.correct == 1.0)):
            raise ValueError("correct: must be 0 or 1")

    def take(self, rows: NDArray[np.bool_] | Integers) -> "Answers":
        """The rows alone; items keep their places."""
        return replace(
            self, subject=self.subject[rows], item=self.item[rows], correct=self.correct[rows], day=self.day[rows]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DifficultyOptions:
    """How to fit.

    Attributes:
        nodes: quadrature nodes over -5 to 5 standard deviations of ability.
        most_rounds: EM rounds at most.
        tolerance: largest change of a difficulty, logits, at which EM ends.
        log_discrimination_sd: spread of log a among items to start from; kept to 0.1 to 0.6.
        difficulty_sd: spread of b to start from; kept to 0.2 to 3.
        half_lives: candidates in days for the ageing of answers, beside none.
        most_subjects: fit on a random part of so many subjects; 2,000 answers an item leave an error of 0.05 logits.
        most_judged: subjects on which the half-life is chosen.
    """

    nodes: int = 31
    most_rounds: int = 200
    tolerance: float = 2e-3
    log_discrimination_sd: float = 0.4
    difficulty_sd: float = 1.0
    half_lives: tuple[float, ...] = (365.0, 120.0, 40.0)
    most_subjects: int = 60_000
    most_judged: int = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedDifficulty:
    """A fit: the version's parameters, EM rounds used and the marginal log-likelihood an answer."""

    parameters: DifficultyParameters
    rounds: int
    log_likelihood: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """Items on the way, (items,) each, with the means and spreads of their priors."""

    log_a: Floats
    b: Floats
    log_a_mean: float
    log_a_sd: float
    b_mean: float
    b_sd: float


def fit_difficulty(
    answers: Answers, options: DifficultyOptions | None = None, rng: np.random.Generator | None = None
) -> FittedDifficulty:
    """Fits items to answers. Only the first answer of a subject to an item counts: the next one is partly memory.

    Raises: ValueError: fewer than two items or subjects with answers; nothing can be told apart then.
    """
    options, rng = options or DifficultyOptions(), rng or np.random.default_rng(0)
    kept = first_answers(answers)
    used, item = np.unique(kept.item, return_inverse=True)
    subjects, subject = np.unique(kept.subject, return_inverse=True)
    if used.size < 2 or subjects.size < 2:
        raise ValueError(f"answers: {used.size} items and {subjects.size} subjects; at least 2 of each are needed")
    if subjects.size > options.most_subjects:
        chosen = rng.permutation(subjects.size)[: options.most_subjects]
        rows = np.isin(subject, chosen)
        _, subject = np.unique(subject[rows], return_inverse=True)
        item, kept = item[rows], kept.take(rows)
    shape = (int(subject.max()) + 1, used.size)
    right = csr_array((kept.correct, (subject, item)), shape=shape)
    wrong = csr_array((1.0 - kept.correct, (subject, item)), shape=shape)
    items, rounds, log_likelihood = _maximise(right, wrong, options)
    counts = np.bincount(item, minlength=used.size)
    parameters = DifficultyParameters(
        items={
            answers.item_ids[place]: Item(
                difficulty_logit=float(np.clip(b, -LARGEST_LOGIT, LARGEST_LOGIT)),
                discrimination=float(np.exp(log_a)),
                calibration_answers=int(count),
            )
            for place, b, log_a, count in zip(used, items.b, items.log_a, counts, strict=True)
        },
        average=Item(difficulty_logit=items.b_mean, discrimination=float(np.exp(items.log_a_mean))),
        difficulty_sd=items.b_sd,
        observations=int(counts.sum()),
    )
    parameters = replace(parameters, half_life_days=_choose_half_life(answers, parameters, options, rng))
    return FittedDifficulty(parameters=parameters, rounds=rounds, log_likelihood=log_likelihood / float(counts.sum()))


def first_answers(answers: Answers) -> Answers:
    """The first answer of each subject to each item, ordered by subject and time."""
    order = np.lexsort((answers.day, answers.item, answers.subject))
    subject, item = answers.subject[order], answers.item[order]
    is_first = np.ones(order.size, dtype=np.bool_)
    is_first[1:] = (np.diff(subject) != 0) | (np.diff(item) != 0)
    kept = answers.take(order[is_first])
    return kept.take(np.lexsort((kept.day, kept.subject)))


def predicted_loss(answers: Answers, parameters: DifficultyParameters) -> float:
    """Mean log loss of each answer as foretold from the subject's earlier ones, in nats: states folded as served."""
    return float(predicted_losses(answers, parameters)[1].mean()) if answers.day.size else 0.0


def predicted_losses(answers: Answers, parameters: DifficultyParameters) -> tuple[Answers, Floats]:
    """The answers by subject and time, and the log loss of each, in nats, foretold from the subject's earlier ones."""
    order = np.lexsort((answers.day, answers.subject))
    ordered = answers.take(order)
    items = [parameters.items.get(name, parameters.average) for name in answers.item_ids]
    losses: list[float] = []
    state, before, last = Ability(), -1, 0.0
    rows = zip(
        ordered.subject.tolist(), ordered.item.tolist(), ordered.correct.tolist(), ordered.day.tolist(), strict=True
    )
    for subject, place, correct, day in rows:
        if subject != before:
            state, before, last = Ability(), subject, day
        item = items[place]
        aged = age_ability(state, day - last, parameters)
        error = float(np.hypot(aged.standard_error, difficulty_error(item, parameters.difficulty_sd)))
        chance = logistic(damped_slope(item.discrimination, error) * (aged.mean - item.difficulty_logit))
        losses.append(-math.log(max(chance if correct else 1.0 - chance, SMALLEST_PREDICTED)))
        state = fold_ability(aged, ItemAnswer(item=item, score=correct), 0.0, parameters)
        last = day
    return ordered, np.array(losses)


def _maximise(right: csr_array, wrong: csr_array, options: DifficultyOptions) -> tuple[_Items, int, float]:
    """EM until difficulties stand still; `right` and `wrong` are (subjects, items) counts."""
    nodes = np.linspace(-5.0, 5.0, options.nodes)
    log_weights = -0.5 * nodes**2
    log_weights -= np.log(np.exp(log_weights).sum())
    turned_right, asked = csr_array(right.T), csr_array((right + wrong).T)
    shares = (right.sum(axis=0) + 1.0) / (asked.sum(axis=1) + 2.0)
    start = -1.2 * np.log(shares / (1.0 - shares))
    items = _Items(
        log_a=np.zeros(start.size),
        b=start,
        log_a_mean=0.0,
        log_a_sd=options.log_discrimination_sd,
        b_mean=float(start.mean()),
        b_sd=options.difficulty_sd,
    )
    log_likelihood = 0.0
    for number in range(1, options.most_rounds + 1):
        logit = np.exp(items.log_a)[:, None] * (nodes - items.b[:, None])  # (items, nodes)
        log_right = -np.logaddexp(0.0, -logit)
        joint = right @ log_right + wrong @ (log_right - logit) + log_weights  # (subjects, nodes)
        top = joint.max(axis=1, keepdims=True)
        posterior = np.exp(joint - top)
        total = posterior.sum(axis=1, keepdims=True)
        log_likelihood = float((top + np.log(total)).sum())
        posterior /= total
        moved = _improve(items, turned_right @ posterior, asked @ posterior, nodes)
        change = float(np.abs(moved.b - items.b).max())
        items = moved
        if change < options.tolerance:
            return items, number, log_likelihood
    return items, options.most_rounds, log_likelihood


def _improve(items: _Items, right: Floats, asked: Floats, nodes: Floats) -> _Items:
    """Items after two scoring steps on expected counts, (items, nodes) each, and the priors that they then suggest."""
    log_a, b = items.log_a, items.b
    variance_a = variance_b = np.zeros_like(b)
    for _ in range(2):
        a = np.exp(log_a)[:, None]
        logit = a * (nodes - b[:, None])
        chance = 0.5 + 0.5 * np.tanh(0.5 * logit)
        surprise, mass = right - asked * chance, asked * chance * (1.0 - chance)
        slope_a = (surprise * logit).sum(1) - (log_a - items.log_a_mean) / items.log_a_sd**2
        slope_b = -(surprise * a).sum(1) - (b - items.b_mean) / items.b_sd**2
        bend_a = (mass * logit**2).sum(1) + items.log_a_sd**-2
        bend_b = (mass * a**2).sum(1) + items.b_sd**-2
        cross = -(mass * logit * a).sum(1)
        whole = bend_a * bend_b - cross**2
        log_a = log_a + np.clip((bend_b * slope_a - cross * slope_b) / whole, -0.5, 0.5)
        b = b + np.clip((bend_a * slope_b - cross * slope_a) / whole, -1.0, 1.0)
        variance_a, variance_b = bend_b / whole, bend_a / whole
    return _Items(
        log_a=log_a,
        b=b,
        log_a_mean=float(log_a.mean()),
        log_a_sd=float(np.clip(np.sqrt(np.mean((log_a - log_a.mean()) ** 2 + variance_a)), 0.1, 0.6)),
        b_mean=float(b.mean()),
        b_sd=float(np.clip(np.sqrt(np.mean((b - b.mean()) ** 2 + variance_b)), 0.2, 3.0)),
    )


def _choose_half_life(
    answers: Answers, parameters: DifficultyParameters, options: DifficultyOptions, rng: np.random.Generator
) -> float | None:
    """The half-life that foretells answers best from earlier ones; none unless one saves 0.1 % of the loss."""
    if np.ptp(answers.day) <= 1.0:  # one sitting: nothing ages
        return None
    subjects = np.unique(answers.subject)
    part = answers.take(np.isin(answers.subject, rng.permutation(subjects)[: options.most_judged]))
    losses = {days: predicted_loss(part, replace(parameters, half_life_days=days)) for days in options.half_lives}
    best = min(losses, key=lambda days: losses[days])
    return best if losses[best] < 0.999 * predicted_loss(part, parameters) else None
