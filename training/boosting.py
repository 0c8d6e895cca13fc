"""Boosted trees for one yes-or-no outcome: depth and number of trees by cross-validation over subjects.

The same fits give every row a score by trees that have not seen its subject: calibration and intervals rest on those.
Sources: Chen and Guestrin 2016, KDD (XGBoost); Breiman et al. 1984, 3.4.3 (the one-standard-error rule).
Pure; the generator comes in. Not here: several periods at once (training/revenue/churn.py); calibration (bands.py).
"""

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
        threads: cores that a fit may use; XGBoost spins while it waits.
    """

    depths: tuple[int, ...] = (2, 3, 5)
    rounds: int = 500
    patience: int = 30
    learning_rate: float = 0.04
    folds: int = 5
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """Chosen trees on all rows, and what the chosen ones said of rows held out."""

    booster: xgb.Booster = field(repr=False)
    depth: int
    rounds: int
    held_out: NDArray[np.float64] = field(repr=False)  # (n,) log-odds

    def margin(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores, (n, columns) -> (n,)."""
        return margin_of(self.booster, matrix)


def fit_boosted(
    matrix: NDArray[np.float32],
    outcome: NDArray[np.float64],
    subject: NDArray[Any],
    options: BoostingOptions,
    rng: np.random.Generator,
) -> Boosted:
    """Chooses and fits.

    Args:
        matrix: (n, columns), missing is NaN.
        outcome: (n,) 0 or 1.
        subject: (n,) whose rows are held out together.
        options: how to fit.
        rng: chance for folds and trees.
    Raises: ValueError: there are fewer subjects than folds, or one outcome only.
    """
    labels, code = np.unique(subject, return_inverse=True)
    if len(labels) < options.folds or np.ptp(outcome) == 0:
        raise ValueError(
            f"cannot fit {len(labels)} subjects in {options.folds} folds, or outcomes that are all the same"
        )
    fold = (rng.permutation(len(labels)) % options.folds)[code]
    seed = int(rng.integers(2**31))
    trials = [_try(matrix, outcome, fold, depth, options, seed) for depth in options.depths]
    best = min(trials, key=lambda trial: trial.loss)
    chosen = next(trial for trial in trials if trial.is_no_worse_than(best))  # depths come shallowest first
    return Boosted(
        booster=boost(matrix, outcome, chosen.depth, chosen.rounds, options, seed=seed),
        depth=chosen.depth,
        rounds=chosen.rounds,
        held_out=chosen.held_out,
    )


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
    """So many trees of that depth. The base score is one half, so that the trees alone are the score."""
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
    train = xgb.DMatrix(matrix, outcome, nthread=options.threads)
    if held is None:
        return xgb.train(setting, train, rounds)
    judge = xgb.DMatrix(*held, nthread=options.threads)
    return xgb.train(
        setting,
        train,
        rounds,
        evals=[(judge, "held")],
        evals_result=curve,
        early_stopping_rounds=options.patience,
        verbose_eval=False,
    )


def margin_of(booster: xgb.Booster, matrix: NDArray[np.float32], rounds: int = 0) -> NDArray[np.float64]:
    """Sum of the first trees' leaves (0: of all), (n, columns) -> (n,)."""
    rounds = min(rounds, booster.num_boosted_rounds())
    margin: NDArray[np.float64] = booster.predict(
        xgb.DMatrix(matrix, nthread=1), output_margin=True, iteration_range=(0, rounds)
    ).astype(np.float64)
    return margin


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One depth at the number of trees that is best for all folds together."""

    depth: int
    rounds: int
    losses: NDArray[np.float64]  # (folds,) log loss of each fold held out
    held_out: NDArray[np.float64]

    @property
    def loss(self) -> float:
        return float(self.losses.mean())

    def is_no_worse_than(self, best: "_Trial") -> bool:
        """Within one standard error of the paired difference over folds."""
        worse = self.losses - best.losses
        return bool(worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse)))


def _try(
    matrix: NDArray[np.float32],
    outcome: NDArray[np.float64],
    fold: NDArray[np.int64],
    depth: int,
    options: BoostingOptions,
    seed: int,
) -> _Trial:
    """Fits one depth on all folds but one, in turn."""
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
    return _Trial(depth=depth, rounds=rounds, losses=table[:, rounds - 1], held_out=held_out)
