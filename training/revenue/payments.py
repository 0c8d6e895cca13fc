"""The payments model: many small effects on the log odds of a success, each kind shrunken by its own spread.

One regularised logistic regression on the factors of every attempt; the spread of each kind of effect is estimated with
the effects (type-II maximum likelihood by fixed-point steps), then the cells of country, brand and route are fitted on
what the effects leave, older attempts counting for less.
Sources: MacKay 1992, Neural Comput 4:415 (spreads by effective number of parameters); Tierney and Kadane 1986
(Laplace); Gelman and Hill 2007, ch. 14.
Pure. Not here: the factors (methods/revenue/payment_success.py); the platform's rows (training/features/payments.py).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types; comes with scikit-learn

from methods.revenue.demand import expit
from methods.revenue.payment_parameters import NEVER_RETRIED, PaymentParameters
from methods.revenue.payment_success import (
    INTERCEPT,
    Block,
    Cell,
    Payment,
    SuccessModel,
    cell_of,
    factors_of,
)

Floats = NDArray[np.float64]

ROUNDS = 40
STEPS_A_ROUND, NEWTON_STEPS = 1, 12  # Newton's steps between updates of the spreads, and once those have settled
CONVERGED = 5e-3  # largest relative change of a spread
START_SD = 0.3  # where the search for a spread starts
GUESS_SD, GUESS_LEVELS = 0.03, 0.5  # guess of every spread, and the levels that it counts for: most kinds are noise
UNSEEN_SD = 0.15  # least spread that a level never seen is doubted by; JUDGEMENT: a new route differs more than noise
INTERCEPT_SD = 10.0
LEVELS_MOST = 200  # of a kind, the commonest; more belong into cells
ROWS_LEAST = 5  # of a level; with fewer it counts as unknown
HALF_LIFE_DAYS = 180.0  # of an attempt's weight in its cell; JUDGEMENT: routes change by the quarter
CELL_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempts:
    """Logged attempts, one entry each.

    Attributes:
        payments: as they were known before the attempt.
        route: that was tried.
        succeeded: whether the money came.
        age_days: before the end of the log, 0 or more.
    """

    payments: Sequence[Payment]
    route: Sequence[str]
    succeeded: NDArray[np.bool_]
    age_days: Floats

    def __len__(self) -> int:
        return len(self.payments)

    def take(self, rows: NDArray[np.bool_]) -> "Attempts":
        """The chosen ones."""
        chosen = np.flatnonzero(rows).tolist()
        return Attempts(
            payments=[self.payments[i] for i in chosen],
            route=[self.route[i] for i in chosen],
            succeeded=self.succeeded[rows],
            age_days=self.age_days[rows],
        )


def fit_payments(attempts: Attempts, *, half_life_days: float = HALF_LIFE_DAYS) -> PaymentParameters:
    """A version's parameters.

    Raises: ValueError: there is no success or no failure to learn from.
    """
    brought, asked = new_method_counts(attempts)
    return PaymentParameters(
        success=fit_success(attempts, half_life_days=half_life_days),
        hard_codes=NEVER_RETRIED,
        new_method_chance=(brought + 2.0) / (asked + 4.0),  # a guess of one half that counts for four
        observations=len(attempts),
    )


def new_method_counts(attempts: Attempts) -> tuple[int, int]:
    """Successes and attempts after a hard decline: the same card has none, so these are other cards."""
    after = np.array([p.last_decline_code in NEVER_RETRIED for p in attempts.payments], dtype=np.bool_)
    return int(attempts.succeeded[after].sum()), int(after.sum())


def fit_success(attempts: Attempts, *, half_life_days: float = HALF_LIFE_DAYS) -> SuccessModel:
    """The chance of a success by factors and cells; the youngest attempt counts whole in its cell.

    Raises: ValueError: there is no success or no failure to learn from.
    """
    y = attempts.succeeded.astype(np.float64)
    if not 0.0 < y.sum() < len(y):
        raise ValueError("attempts: hold no success and failure to learn from")
    medians = _median_amounts(attempts.payments)
    factors = [factors_of(p, r, medians) for p, r in zip(attempts.payments, attempts.route, strict=True)]
    columns = _columns(factors)
    kinds = list(columns)
    design = _design(factors, columns)
    kind_of_column = np.concatenate([[-1], *(np.full(len(columns[kind]), i) for i, kind in enumerate(kinds))]).astype(
        int
    )
    # Two BLAS threads that wait for each other beside other work took 28 s for what one does in 3.
    with threadpool_limits(limits=1, user_api="blas"):
        mean, covariance, spreads = _fit_effects(design, y, kind_of_column, len(kinds))
    cells, cell_sd = _fit_cells(
        [cell_of(p, r) for p, r in zip(attempts.payments, attempts.route, strict=True)],
        design @ mean,
        y,
        0.5 ** ((attempts.age_days - attempts.age_days.min()) / half_life_days),
    )
    return SuccessModel(
        blocks={
            kind: Block(sd=max(UNSEEN_SD, float(spreads[i])), columns=columns[kind]) for i, kind in enumerate(kinds)
        },
        mean=mean,
        covariance=covariance,
        cells=cells,
        cell_sd=cell_sd,
        median_amounts=medians,
    )


def chances(model: SuccessModel, attempts: Attempts, routes: Sequence[str] | None = None) -> Floats:
    """(n,) mean chance of each attempt on its own route, or on the given ones.

    The numbers that methods.revenue.payment_success.believe gives, for many rows; a test holds them equal.
    """
    chosen = attempts.route if routes is None else routes
    factors = [factors_of(p, r, model.median_amounts) for p, r in zip(attempts.payments, chosen, strict=True)]
    columns = {kind: block.columns for kind, block in model.blocks.items()}
    design = _design(factors, columns, width=model.mean.size)
    unknown = np.zeros(len(factors))
    for row, of in enumerate(factors):
        for kind, level in of:
            block = model.blocks.get(kind)
            if block is not None and level not in block.columns:
                unknown[row] += block.sd**2
    cells = [model.cells.get(cell_of(p, r)) for p, r in zip(attempts.payments, chosen, strict=True)]
    variance = np.asarray((design @ model.covariance * design.toarray()).sum(axis=1)) if len(factors) < 2_000 else None
    if variance is None:
        root = np.linalg.cholesky(model.covariance + 1e-12 * np.eye(model.mean.size))
        variance = np.square(design @ root).sum(axis=1)
    variance = variance + unknown + [model.cell_sd**2 if cell is None else cell.variance for cell in cells]
    mean = design @ model.mean + [0.0 if cell is None else cell.mean for cell in cells]
    return expit(mean / np.sqrt(1.0 + math.pi * variance / 8.0))


def route_propensities(attempts: Attempts, routes: Sequence[str], on: Attempts | None = None) -> Floats:
    """(n, routes) chance with which the log took each route, learned from the log itself.

    One shrunken logistic model a route on the factors that do not name it, then scaled to add up to 1. It knows only
    what the factors know: if routes were chosen by anything else that bears on success, values that rest on it are
    biased. A logged propensity is better.

    Args:
        attempts: to learn from.
        routes: all of them.
        on: to answer for; None for those learned from.
    """
    target = attempts if on is None else on
    every = np.empty((len(target), len(routes)))
    for at, route in enumerate(routes):
        taken = np.array([r == route for r in attempts.route])
        if taken.all() or not taken.any():
            every[:, at] = (taken.sum() + 0.5) / (len(taken) + 0.5 * len(routes))
            continue
        blank = Attempts(
            payments=attempts.payments, route=[""] * len(attempts), succeeded=taken, age_days=attempts.age_days
        )
        every[:, at] = chances(fit_success(blank), target, [""] * len(target))
    return np.asarray(every / every.sum(axis=1, keepdims=True), dtype=np.float64)


def _median_amounts(payments: Sequence[Payment]) -> dict[str, float]:
    amounts: dict[str, list[int]] = {}
    for payment in payments:
        if payment.currency and payment.amount_minor:
            amounts.setdefault(payment.currency, []).append(payment.amount_minor)
    return {currency: float(np.median(values)) for currency, values in sorted(amounts.items())}


def _columns(factors: Sequence[Sequence[tuple[str, str]]]) -> dict[str, dict[str, int]]:
    """Columns of the levels that are worth one, by kind; a kind with a single level says nothing and has none."""
    counts = Counter(pair for of in factors for pair in of)
    kinds: dict[str, list[str]] = {}
    for (kind, level), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if count >= ROWS_LEAST and len(kinds.setdefault(kind, [])) < LEVELS_MOST:
            kinds[kind].append(level)
    columns: dict[str, dict[str, int]] = {}
    width = INTERCEPT + 1
    for kind in sorted(kinds):
        if len(kinds[kind]) > 1:
            columns[kind] = {level: width + i for i, level in enumerate(sorted(kinds[kind]))}
            width += len(kinds[kind])
    return columns


def _design(
    factors: Sequence[Sequence[tuple[str, str]]], columns: Mapping[str, Mapping[str, int]], width: int | None = None
) -> sparse.csr_matrix:
    """(n, d) of ones where a row has a level, the intercept first."""
    index, ends = [], [0]
    for of in factors:
        index.append(INTERCEPT)
        for kind, level in of:
            column = columns.get(kind, {}).get(level)
            if column is not None:
                index.append(column)
        ends.append(len(index))
    if width is None:
        width = 1 + sum(len(levels) for levels in columns.values())
    return sparse.csr_matrix((np.ones(len(index)), np.array(index), np.array(ends)), shape=(len(factors), width))


def _fit_effects(
    design: sparse.csr_matrix, y: Floats, kind: NDArray[np.int64], kinds: int
) -> tuple[Floats, Floats, Floats]:
    """Mode, covariance and spreads: Newton's steps between updates of the spreads."""
    spreads = np.full(kinds, START_SD)
    levels = np.bincount(kind[1:], minlength=kinds)
    mean = np.zeros(design.shape[1])
    mean[INTERCEPT] = math.log(y.sum() / (y.size - y.sum()))
    covariance = np.zeros((mean.size, mean.size))
    for _ in range(ROUNDS):
        precision = np.concatenate([[INTERCEPT_SD**-2.0], spreads[kind[1:]] ** -2.0])
        mean, covariance = _mode(design, y, mean, precision, STEPS_A_ROUND)
        new = _spread(
            np.bincount(kind[1:], weights=mean[1:] ** 2, minlength=kinds),
            np.bincount(kind[1:], weights=covariance.diagonal()[1:], minlength=kinds),
            levels,
            spreads,
        )
        change = float(np.abs(new / spreads - 1.0).max(initial=0.0))
        spreads = new
        if change < CONVERGED:
            break
    precision = np.concatenate([[INTERCEPT_SD**-2.0], spreads[kind[1:]] ** -2.0])
    mean, covariance = _mode(design, y, mean, precision, NEWTON_STEPS)
    return mean, covariance, spreads


def _spread(squares: ArrayLike, variances: ArrayLike, levels: ArrayLike, spread: ArrayLike) -> Floats:
    """Next spread of effects: their squares over the number of them that the data tell, a guess added to both.

    Source: MacKay 1992, eq. 4.9 (gamma = levels - variances / spread^2); it sheds noise in few steps, where
    expectation-maximisation needs hundreds.
    """
    told = np.maximum(np.asarray(levels) - np.asarray(variances) / np.square(spread), 0.0)
    return np.sqrt((GUESS_LEVELS * GUESS_SD**2 + np.asarray(squares)) / (GUESS_LEVELS + told))


def _mode(design: sparse.csr_matrix, y: Floats, mean: Floats, precision: Floats, steps: int) -> tuple[Floats, Floats]:
    """Mode and covariance of the effects under a normal prior around 0."""

    def value(at: Floats) -> float:
        logit = design @ at
        return float(y @ logit - np.logaddexp(0.0, logit).sum() - precision @ at**2 / 2.0)

    now = value(mean)
    for _ in range(steps):
        chance = expit(design @ mean)
        step = linalg.solve(
            _information(design, chance, precision), design.T @ (y - chance) - precision * mean, assume_a="pos"
        )
        while (new := value(mean + step)) < now - 1e-9 * abs(now):
            step = step / 2.0
        mean, gained, now = mean + step, new - now, new
        if gained < 1e-8 * abs(now):
            break
    information = _information(design, expit(design @ mean), precision)
    inverse = linalg.inv(information)
    return mean, (inverse + inverse.T) / 2.0


def _information(design: sparse.csr_matrix, chance: Floats, precision: Floats) -> Floats:
    weighted = design.multiply((chance * (1.0 - chance))[:, None]).tocsr()
    dense: Floats = (design.T @ weighted).toarray()
    dense[np.diag_indices_from(dense)] += precision
    return dense


def _fit_cells(names: Sequence[str], offset: Floats, y: Floats, weight: Floats) -> tuple[dict[str, Cell], float]:
    """Each cell's own log odds beside the effects, and the spread between cells; Newton's steps, a cell for itself."""
    cells, index = np.unique(np.array(names), return_inverse=True)
    own, variance, spread = np.zeros(cells.size), np.zeros(cells.size), START_SD
    for _ in range(CELL_STEPS):
        chance = expit(offset + own[index])
        gradient = np.bincount(index, weights=weight * (y - chance)) - own / spread**2
        variance = 1.0 / (np.bincount(index, weights=weight * chance * (1.0 - chance)) + spread**-2.0)
        step = np.clip(gradient * variance, -1.0, 1.0)
        own = own + step
        new = float(_spread(float(own @ own), float(variance.sum()), cells.size, spread))
        done = abs(new / spread - 1.0) < CONVERGED and float(np.abs(step).max()) < CONVERGED
        spread = new
        if done:
            break
    return {
        str(name): Cell(mean=float(mean), variance=float(doubt))
        for name, mean, doubt in zip(cells, own, variance, strict=True)
    }, max(UNSEEN_SD, spread)
