"""Fits the chance of a right answer from columns of answers: a sparse logistic regression over folded states.

Items, skills and each skill's own slopes are held near what all share by a penalty; how near is chosen on held-out
learners. Slope and offset of the log-odds, and the band, come from answers of learners that a fit had not seen.
Sources: Gervet, Koedinger, Schneider and Mitchell 2020, J Educ Data Mining 12:31 (Best-LR). Pure; chance comes in.
Not here: the columns themselves (methods/learning/knowledge.py); lessons (lessons.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from methods.learning.knowledge import (
    COLUMNS,
    NEW_LEARNER,
    SLOPE_AT,
    SLOPES,
    Bank,
    Event,
    KnowledgeParameters,
    describe,
    fold,
)
from methods.statistics.bands import Band
from methods.statistics.scores import log_loss
from training.bands import chance_of, fit_band, fit_platt

SKILL_ANSWERS, ITEM_ANSWERS = 5.0, 6.0  # answers that the wider mean counts for in a skill's and an item's share
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """n judged answers; those of one learner stand in the order in which they were given.

    Attributes:
        learner: (n,) number of the learner.
        item: (n,) ids as text; empty for unknown.
        skill: (n,) ids as text.
        outcome: (n,) 1 right, 0 wrong, or a share of the points.
        days: (n,) when, in days since any moment; NaN when only the order is known.
    """

    learner: NDArray[np.int64]
    item: NDArray[np.object_]
    skill: NDArray[np.object_]
    outcome: Floats
    days: Floats

    def __len__(self) -> int:
        return len(self.learner)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Answers":
        """These rows only."""
        return Answers(
            learner=self.learner[rows],
            item=self.item[rows],
            skill=self.skill[rows],
            outcome=self.outcome[rows],
            days=self.days[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """How freely weights may differ, as standard deviations in log-odds."""

    item: float  # of an item's weight around 0
    slope: float  # of a skill's slope around the one all share


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeOptions:
    """How to fit. The same for all data; what depends on the data is chosen within.

    Attributes:
        items: standard deviations of item weights to choose from, the first with the first of `slopes`.
        slopes: the same for slopes.
        folds: of learners; each is held out once.
        draws: bootstrap draws of learners behind the band.
    """

    items: tuple[float, ...] = (0.85, 0.5, 1.4)
    slopes: tuple[float, ...] = (0.4, 0.2)
    folds: int = 3
    draws: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeModel:
    """A fitted model, and what was seen on learners held out."""

    parameters: KnowledgeParameters
    band: Band
    prior: Prior
    slope: float  # Platt's, of the held-out log-odds; near 1 when the penalties are right
    held_out_log_loss: float
    rows: int
    learners: int


def fit_knowledge(
    answers: Answers,
    options: KnowledgeOptions,
    rng: np.random.Generator,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> KnowledgeModel:
    """Chooses, fits and calibrates.

    Raises: ValueError: there are fewer learners than folds, or every answer is the same.
    """
    learners, code = np.unique(answers.learner, return_inverse=True)
    if len(learners) < options.folds or np.ptp(answers.outcome) == 0:
        raise ValueError(f"cannot fit answers of {len(learners)} learners with outcomes that differ nowhere or hardly")
    fold_of = (rng.permutation(len(learners)) % options.folds)[code]
    progress(f"folding {len(answers):,} answers of {len(learners):,} learners")
    held = [_Held(answers, fold_of == f) for f in range(options.folds)]
    progress("choosing penalties on learners held out")
    prior = _choose(held[0], options)
    progress("scoring learners held out")
    score = np.empty(len(answers))
    for part in held:
        score[part.rows] = part.score(prior)
    slope, offset = fit_platt(score, answers.outcome)
    progress("fitting all answers")
    parameters = _calibrated(_fit(answers, prior), slope, offset)
    logit = slope * score + offset
    return KnowledgeModel(
        parameters=parameters,
        band=fit_band(logit, answers.outcome, code, rng, draws=options.draws),
        prior=prior,
        slope=slope,
        held_out_log_loss=log_loss(answers.outcome, chance_of(logit)),
        rows=len(answers),
        learners=len(learners),
    )


def score_answers(answers: Answers, parameters: KnowledgeParameters) -> Floats:
    """Log-odds of a right answer before each answer, each learner from nothing; (n,)."""
    return _Rows(answers, parameters.bank).score(parameters)


def fit_bank(answers: Answers) -> Bank:
    """Shares of right answers by skill and item, each drawn towards the wider one."""
    base = float(answers.outcome.mean())
    skill_names, skill = _codes(answers.skill)
    sums, counts = np.bincount(skill, weights=answers.outcome), np.bincount(skill)
    skills = (sums + SKILL_ANSWERS * base) / (counts + SKILL_ANSWERS)
    known = np.flatnonzero(answers.item.astype(bool))
    item_names, item = _codes(answers.item[known])
    prior = np.empty(len(item_names))
    prior[item] = skills[skill[known]]
    sums = np.bincount(item, weights=answers.outcome[known], minlength=len(item_names))
    counts = np.bincount(item, minlength=len(item_names))
    items = (sums + ITEM_ANSWERS * prior) / (counts + ITEM_ANSWERS)
    return Bank(
        base=base,
        skills=dict(zip(skill_names, skills.tolist(), strict=True)),
        items=dict(zip(item_names, items.tolist(), strict=True)),
    )


def describe_rows(answers: Answers, bank: Bank) -> Floats:
    """The columns before each answer, (n, COLUMNS): `describe` and `fold`, learner by learner."""
    rows = np.empty((len(answers), len(COLUMNS)))
    learner, state = None, NEW_LEARNER
    columns = (answers.learner.tolist(), answers.item, answers.skill, answers.outcome.tolist(), answers.days.tolist())
    for row, (who, item, skill, outcome, time) in enumerate(zip(*columns, strict=True)):
        if who != learner:
            learner, state = who, NEW_LEARNER
        days = time if time == time else None  # noqa: PLR0124 - NaN
        rows[row] = describe(state, skill, days)
        state = fold(state, Event(skill, outcome, bank.expect(skill, item), days))
    return rows


class _Rows:
    """Answers as columns under one bank."""

    def __init__(self, answers: Answers, bank: Bank) -> None:
        self.answers, self.bank = answers, bank
        self.columns = describe_rows(answers, bank)

    def score(self, parameters: KnowledgeParameters) -> Floats:
        """Log-odds, as `correct_logit` gives them one by one."""
        known = np.where(np.isnan(self.columns), parameters.means, self.columns)
        logit = parameters.bias + known @ np.asarray(parameters.weights)
        logit += [parameters.items.get(item, 0.0) for item in self.answers.item]
        names, code = _codes(self.answers.skill)
        none = (0.0,) * (1 + len(SLOPES))
        own = np.array([parameters.skills.get(name, none) for name in names])[code]  # (n, 1 + slopes)
        total: Floats = logit + own[:, 0] + (known[:, SLOPE_AT] * own[:, 1:]).sum(axis=1)
        return total


class _Held:
    """One fold: columns of all rows under a bank that has not seen it."""

    def __init__(self, answers: Answers, rows: NDArray[np.bool_]) -> None:
        self.rows, self.answers = rows, answers
        self._all = _Rows(answers, fit_bank(answers.take(~rows)))

    def score(self, prior: Prior) -> Floats:
        """Log-odds of the fold's answers by a fit of the others."""
        fitted, judged = _part(self._all, ~self.rows), _part(self._all, self.rows)
        return judged.score(_fit_rows(fitted, prior))

    def loss(self, prior: Prior) -> float:
        """Log loss of the fold's answers, after slope and offset: the order of priors must not hang on those."""
        score, outcome = self.score(prior), self.answers.outcome[self.rows]
        slope, offset = fit_platt(score, outcome)
        return log_loss(outcome, chance_of(slope * score + offset))


def _part(rows: _Rows, keep: NDArray[np.bool_]) -> _Rows:
    """Some of the rows without folding anew."""
    part = object.__new__(_Rows)
    part.answers, part.bank, part.columns = rows.answers.take(keep), rows.bank, rows.columns[keep]
    return part


def _choose(held: _Held, options: KnowledgeOptions) -> Prior:
    """The best of `items` with the first slope, then the best of `slopes` with that item."""
    first = [Prior(item=item, slope=options.slopes[0]) for item in options.items]
    losses = [held.loss(prior) for prior in first]
    best = first[int(np.argmin(losses))]
    second = [Prior(item=best.item, slope=slope) for slope in options.slopes[1:]]
    further = [min(losses), *(held.loss(prior) for prior in second)]
    return [best, *second][int(np.argmin(further))]


def _fit(answers: Answers, prior: Prior) -> KnowledgeParameters:
    """Bank, columns and weights from the same answers."""
    return _fit_rows(_Rows(answers, fit_bank(answers)), prior)


def _fit_rows(rows: _Rows, prior: Prior) -> KnowledgeParameters:
    """The penalised regression. Columns are scaled, so that one penalty means the same for all."""
    outcome = rows.answers.outcome
    means = np.nanmean(rows.columns, axis=0)
    known = np.where(np.isnan(rows.columns), means, rows.columns)
    scales = known.std(axis=0)
    scales[scales == 0] = 1.0
    item_names, item = _codes(rows.answers.item)
    skill_names, skill = _codes(rows.answers.skill)
    width = 1 + len(SLOPES)
    own = np.column_stack([np.ones(len(known)), prior.slope * known[:, SLOPE_AT]])
    matrix = sparse.hstack(
        [
            sparse.csr_matrix((known - means) / scales),
            _indicators(item, len(item_names), np.full((len(known), 1), prior.item)),
            _indicators(skill, len(skill_names), own),
        ],
        format="csr",
    )
    # A share of the points is so many right and so many wrong answers.
    whole = np.isin(outcome, (0.0, 1.0)).all()
    design, label, weight = (
        (matrix, outcome, None)
        if whole
        else (
            sparse.vstack([matrix, matrix], format="csr"),
            np.repeat([1.0, 0.0], len(outcome)),
            np.concatenate([outcome, 1 - outcome]),
        )
    )
    # newton-cg converges in about ten steps; 300 of lbfgs did not, and cost 0.004 of AUC on assist2009
    model = LogisticRegression(C=1.0, solver="newton-cg", max_iter=200, tol=1e-4).fit(design, label, weight)
    found, at = model.coef_[0], len(COLUMNS)
    weights = found[:at] / scales
    items = prior.item * found[at : at + len(item_names)]
    skills = found[at + len(item_names) :].reshape(len(skill_names), width) * np.array(
        [1.0, *([prior.slope] * len(SLOPES))]
    )
    return KnowledgeParameters(
        bias=float(model.intercept_[0] - means @ weights),
        weights=tuple(weights.tolist()),
        means=tuple(means.tolist()),
        items={name: weight for name, weight in zip(item_names, items.tolist(), strict=True) if name},
        skills={name: tuple(values) for name, values in zip(skill_names, skills.tolist(), strict=True)},
        bank=rows.bank,
    )


def _indicators(code: NDArray[np.int64], labels: int, values: Floats) -> Any:
    """(n,) labels and (n, k) values -> (n, labels * k) sparse, row i filled in the columns of its label."""
    rows, width = values.shape
    at = code[:, None] * width + np.arange(width)
    return sparse.csr_matrix(
        (values.ravel(), at.ravel(), np.arange(0, rows * width + 1, width)), (rows, labels * width)
    )


def _calibrated(p: KnowledgeParameters, slope: float, offset: float) -> KnowledgeParameters:
    """The same with every log-odds times the slope, plus the offset."""
    return KnowledgeParameters(
        bias=slope * p.bias + offset,
        weights=tuple(slope * weight for weight in p.weights),
        means=p.means,
        items={name: slope * weight for name, weight in p.items.items()},
        skills={name: tuple(slope * value for value in values) for name, values in p.skills.items()},
        bank=p.bank,
    )


def _codes(labels: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct labels, and for each row the place of its own among them."""
    names, code = np.unique(labels.astype(str), return_inverse=True)
    return names.tolist(), code.astype(np.int64)
