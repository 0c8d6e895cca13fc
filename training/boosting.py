"""Boosted trees for one yes-or-no outcome: depth and number of trees by cross-validation over subjects.

The same fits give every row a score by trees that have not seen its subject: calibration and intervals rest on those.
Sources: Chen and Guestrin 2016, KDD (XGBoost); Breiman et al. 1984, 3.4.3 (the one-standard-error rule).
Pure; the generator comes in. Not here: calibration (bands.py, training/revenue/hazard.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostingOptions:
    """How to fit; the same for all data.

    Attributes:
        depths: of a tree, to choose from.
        rounds: most trees.
        patience: trees without gain after which a fit ends.
        learning_rate: shrinkage of each tree.
        folds: of the cross-validation over subjects.
        threads: cores that a fit may use. XGBoost spins while it waits: beside other work two took ten times as long
            as one, and a fit runs beside a server.
        from_rate: trees begin at the log-odds of the rows fitted on, which their sum leaves out: for rare outcomes,
            whose first trees would else find nothing but the rate.
    """

    depths: tuple[int, ...] = (2, 3, 5)
    rounds: int = 500
    patience: int = 30
    learning_rate: float = 0.04
    folds: int = 5
    threads: int = 1
    from_rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One depth of the grid, at the number of trees that is best for all folds together."""

    depth: int
    rounds: int
    losses: tuple[float, ...]  # log loss of each fold held out, nats a row

    @property
    def log_loss(self) -> float:
        """Mean over the folds."""
        return sum(self.losses) / len(self.losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """Chosen trees on all rows, and what the chosen ones said of rows held out."""

    booster: xgb.Booster = field(repr=False)
    trials: tuple[Trial, ...]
    chosen: Trial
    held_out: NDArray[np.float64] = field(repr=False)  # (n,) log-odds

    def margin(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores, (n, columns) -> (n,)."""
        return margin_of(self.booster, matrix)

    @property
    def depth(self) -> int:
        """Of the chosen trees."""
        return self.chosen.depth

    @property
    def rounds(self) -> int:
        """Number of the chosen trees."""
        return self.chosen.rounds


def fit_boosted(
    matrix: NDArray[np.float32],
    outcome: NDArray[np.float64],
    subject: NDArray[Any],
    options: BoostingOptions,
    rng: np.random.Generator,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Boosted:
    """Chooses and fits.

    Args:
        matrix: (n, columns), missing is NaN.
        outcome: (n,) 0 or 1.
        subject: (n,) whose rows are held out together.
        options: how to fit.
        rng: chance for folds and trees.
        progress: is told each step in words.
    Raises: ValueError: there are fewer subjects than folds, or one outcome only.
    """
    labels, code = np.unique(subject, return_inverse=True)
    if len(labels) < options.folds or np.ptp(outcome) == 0:
        raise ValueError(
            f"cannot fit {len(labels)} subjects in {options.folds} folds, or outcomes that are all the same"
        )
    fold = (rng.permutation(len(labels)) % options.folds)[code]
    seed = int(rng.integers(2**31))
    found = []
    for depth in options.depths:
        progress(f"cross-validating trees of depth {depth}")
        found.append(_try(matrix, outcome, fold, depth, options, seed))
    trials = tuple(trial for trial, _ in found)
    chosen, held_out = found[trials.index(choose_trial(trials))]
    progress(f"fitting {chosen.rounds} trees of depth {chosen.depth} on {len(outcome):,} rows")
    return Boosted(
        booster=boost(matrix, outcome, chosen.depth, chosen.rounds, options, seed=seed),
        trials=trials,
        chosen=chosen,
        held_out=held_out,
    )


def choose_trial(trials: Sequence[Trial]) -> Trial:
    """The shallowest trees that are not worse than the best by more than one standard error of the difference.

    Source: Breiman et al. 1984, Classification and Regression Trees, 3.4.3 (the one-standard-error rule), with the
    error of the paired difference over folds.

    >>> choose_trial([Trial(depth=2, rounds=9, losses=(0.5, 0.6)), Trial(depth=5, rounds=4, losses=(0.51, 0.58))]).depth
    2
    """
    best = min(trials, key=lambda trial: trial.log_loss)
    for trial in sorted(trials, key=lambda trial: trial.depth):
        worse = np.subtract(trial.losses, best.losses)
        if worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse)):
            return trial
    return best


def boost(
    matrix: NDArray[np.float32],
    outcome: NDArray[np.float64],
    depth: int,
    rounds: int,
    options: BoostingOptions,
    *,
    seed: int,
    held: tuple[NDArray[np.float32], NDArray[np.float64]] | None = None,
    curve: dict[str, dict[str, list[float]]] | None = None,
) -> xgb.Booster:
    """So many trees of that depth.

    The base score is one half, so that the trees alone are the score: exporters have gone wrong on it, and a
    calibration fitted later gives an offset anyway. Where they begin at the rate, its log-odds are a base margin.
    """
    setting = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "tree_method": "hist",
        "max_bin": 128,
        "max_depth": depth,
        "learning_rate": options.learning_rate,
        "min_child_weight": 5,
        "subsample": 0.8,
        "colsample_bytree": 0.6,
        "reg_lambda": 5,
        "seed": seed,
        "nthread": options.threads,
    }
    start = log_odds(outcome) if options.from_rate else 0.0

    def rows(matrix: NDArray[np.float32], outcome: NDArray[np.float64]) -> xgb.DMatrix:
        base = np.full(len(outcome), start) if options.from_rate else None
        return xgb.DMatrix(matrix, outcome, base_margin=base, nthread=options.threads)

    train = rows(matrix, outcome)
    if held is None:
        return xgb.train(setting, train, rounds)
    judge = rows(*held)
    return xgb.train(
        setting,
        train,
        rounds,
        evals=[(judge, "held")],
        evals_result=curve,
        early_stopping_rounds=options.patience,
        verbose_eval=False,
    )


def log_odds(outcome: NDArray[np.float64]) -> float:
    """Of (n,) outcomes, half a yes and half a no added: finite whatever they are."""
    rate = (outcome.sum() + 0.5) / (len(outcome) + 1.0)
    return float(np.log(rate / (1 - rate)))


def margin_of(booster: xgb.Booster, matrix: NDArray[np.float32], rounds: int = 0) -> NDArray[np.float64]:
    """Sum of the first trees' leaves (0: of all), (n, columns) -> (n,)."""
    rounds = min(rounds, booster.num_boosted_rounds())
    margin: NDArray[np.float64] = booster.predict(
        xgb.DMatrix(matrix, nthread=1), output_margin=True, iteration_range=(0, rounds)
    ).astype(np.float64)
    return margin


def _try(
    matrix: NDArray[np.float32],
    outcome: NDArray[np.float64],
    fold: NDArray[np.int64],
    depth: int,
    options: BoostingOptions,
    seed: int,
) -> tuple[Trial, NDArray[np.float64]]:
    """Fits one depth on all folds but one, in turn; the trial, and (n,) what the trees said of the rows held out."""
    boosters, curves = [], []
    for f in range(options.folds):
        curve: dict[str, dict[str, list[float]]] = {}
        out = fold == f
        held = (matrix[out], outcome[out])
        boosters.append(
            boost(matrix[~out], outcome[~out], depth, options.rounds, options, seed=seed, held=held, curve=curve)
        )
        curves.append(curve["held"]["logloss"])
    length = min(len(curve) for curve in curves)
    table = np.array([curve[:length] for curve in curves])  # (folds, rounds)
    rounds = int(np.argmin(table.mean(axis=0))) + 1
    held_out = np.empty(len(outcome))
    for f, booster in enumerate(boosters):
        held_out[fold == f] = margin_of(booster, matrix[fold == f], rounds)
    return Trial(depth=depth, rounds=rounds, losses=tuple(table[:, rounds - 1].tolist())), held_out
