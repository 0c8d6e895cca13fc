"""The churn model: boosted trees for the score, calibrated on held-out scores into a discrete-time hazard.

Depth and number of trees are chosen on the training rows alone, by cross-validation over subjects; the same fits give
the held-out scores on which slopes, offsets and intervals are fitted. Pure; the generator comes in.
Sources: Chen and Guestrin 2016, KDD (XGBoost); Singer and Willett 1993 (discrete-time hazard); Zadrozny and Elkan 2002
(calibration on held-out scores).
Not here: the platform's rows (training/features/churn.py); judging the model (training/evaluate.py); its files
(training/artifact.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from methods.features import FeatureSchema
from methods.revenue.churn import ChurnParameters
from training.revenue.hazard import fit_hazard
from training.revenue.person_periods import PersonPeriods, expand


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnOptions:
    """How to fit. The defaults serve every data set; none is tuned to one.

    Attributes:
        periods: periods of the answer.
        period_days: length of one.
        fit_periods: periods after each landmark that the score is fitted on; 1 is the next one only. On the simulated
            platform 3 cost 0.02 of AUC at 28 days and 0.004 at 84, and won nothing at 168: features grow old.
        depths: depths of a tree to choose from.
        rounds: most trees.
        patience: trees without gain after which a fit ends.
        learning_rate: shrinkage of each tree.
        folds: of the cross-validation over subjects.
        draws: bootstrap draws behind the intervals.
        rows_most: a larger training set is thinned to about so many rows, whole subjects at a time.
        threads: cores that a fit may use. XGBoost spins while it waits: beside other work two took ten times as long
            as one, and a fit runs beside a server.
    """

    periods: int = 13
    period_days: int = 28
    fit_periods: int = 1
    depths: tuple[int, ...] = (2, 3, 5)
    rounds: int = 500
    patience: int = 30
    learning_rate: float = 0.04
    folds: int = 5
    draws: int = 200
    rows_most: int = 1_000_000
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One depth of the grid, at the number of trees that is best for all folds together."""

    depth: int
    rounds: int
    losses: tuple[float, ...]  # log loss of each held-out fold, nats a person-period

    @property
    def log_loss(self) -> float:
        """Mean over the folds."""
        return sum(self.losses) / len(self.losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnModel:
    """A fitted model."""

    schema: FeatureSchema
    booster: xgb.Booster = field(repr=False)
    parameters: ChurnParameters
    trials: tuple[Trial, ...]
    chosen: Trial
    rows: int  # landmarks it was fitted on

    def margin(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw scores, (n, columns) -> (n,)."""
        return _margin(self.booster, matrix, self.chosen.rounds)


def fit_churn(
    frame: PersonPeriods,
    schema: FeatureSchema,
    options: ChurnOptions,
    rng: np.random.Generator,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> ChurnModel:
    """Chooses, fits and calibrates.

    Args:
        frame: the training rows.
        schema: what the columns of their matrix are.
        options: how to fit.
        rng: chance for folds, trees and draws; equal seeds give equal models.
        progress: is told each step in words.
    Raises: ValueError: the rows hold no event, or events only.
    """
    frame = _thin(frame, options.rows_most, rng)
    seed = int(rng.integers(2**31))
    fold = _folds(frame.subject, options.folds, rng)
    searches = []
    for depth in options.depths:
        progress(f"cross-validating trees of depth {depth}")
        searches.append(_search(frame, fold, depth, options, seed))
    trials = tuple(trial for trial, _ in searches)
    chosen, boosters = searches[trials.index(choose_trial(trials))]
    progress(f"fitting {chosen.rounds} trees of depth {chosen.depth} on {len(frame):,} rows")
    booster = _boost(frame, chosen.depth, chosen.rounds, options, seed)
    progress(f"calibrating with {options.draws} bootstrap draws")
    score = np.empty(len(frame))
    for f, held in enumerate(boosters):
        score[fold == f] = _margin(held, frame.matrix[fold == f], chosen.rounds)
    parameters = fit_hazard(
        score, frame, rng, periods=options.periods, period_days=options.period_days, draws=options.draws
    )
    return ChurnModel(
        schema=schema, booster=booster, parameters=parameters, trials=trials, chosen=chosen, rows=len(frame)
    )


def score_in_time(
    train: PersonPeriods, test: PersonPeriods, chosen: Trial, options: ChurnOptions, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Chance of leaving in the first period for later rows, by the chosen trees fitted on earlier ones; (n,).

    Without the calibration, which moves no order and needs folds of its own: for the table of folds in time.
    """
    booster = _boost(train, chosen.depth, chosen.rounds, options, int(rng.integers(2**31)))
    outcome = train.first_outcome
    rate = (outcome.sum() + 0.5) / (len(outcome) + 1.0)
    margin = _margin(booster, test.matrix, chosen.rounds) + np.log(rate / (1 - rate))
    chance: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-margin))
    return chance


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


def _search(
    frame: PersonPeriods, fold: NDArray[np.int64], depth: int, options: ChurnOptions, seed: int
) -> tuple[Trial, list[xgb.Booster]]:
    """Fits one depth on all folds but one, in turn; the number of trees is the best for all folds together."""
    boosters, curves = [], []
    for f in range(options.folds):
        curve: dict[str, dict[str, list[float]]] = {}
        held = frame.take(fold == f)
        boosters.append(_boost(frame.take(fold != f), depth, options.rounds, options, seed, held=held, curve=curve))
        curves.append(curve["held"]["logloss"])
    length = min(len(curve) for curve in curves)
    mean = np.mean([curve[:length] for curve in curves], axis=0)
    rounds = int(np.argmin(mean)) + 1
    return Trial(depth=depth, rounds=rounds, losses=tuple(curve[rounds - 1] for curve in curves)), boosters


def _boost(
    frame: PersonPeriods,
    depth: int,
    rounds: int,
    options: ChurnOptions,
    seed: int,
    *,
    held: PersonPeriods | None = None,
    curve: dict[str, dict[str, list[float]]] | None = None,
) -> xgb.Booster:
    """Boosted trees on the first person-periods of each row, on top of each period's own log-odds.

    The log-odds are a base margin and base_score is one half, so the trees alone are the score: exporters have gone
    wrong on base_score, and a calibration fitted later gives every period its own offset anyway.
    """
    row, period, event = expand(frame, options.fit_periods)
    at_risk = np.bincount(period, minlength=options.fit_periods)
    rate = (np.bincount(period, weights=event, minlength=options.fit_periods) + 0.5) / (at_risk + 1.0)
    logit = np.log(rate / (1 - rate))
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
    train = xgb.DMatrix(frame.matrix[row], event, base_margin=logit[period], nthread=options.threads)
    if held is None:
        return xgb.train(setting, train, rounds)
    row, period, event = expand(held, options.fit_periods)
    judge = xgb.DMatrix(held.matrix[row], event, base_margin=logit[period], nthread=options.threads)
    return xgb.train(
        setting,
        train,
        rounds,
        evals=[(judge, "held")],
        evals_result=curve,
        early_stopping_rounds=options.patience,
        verbose_eval=False,
    )


def _margin(booster: xgb.Booster, matrix: NDArray[np.float32], rounds: int) -> NDArray[np.float64]:
    """Sum of the first trees' leaves, (n, columns) -> (n,)."""
    rounds = min(rounds, booster.num_boosted_rounds())
    return booster.predict(xgb.DMatrix(matrix, nthread=1), output_margin=True, iteration_range=(0, rounds)).astype(
        np.float64
    )


def _folds(subject: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) -> (n,) fold of each row; a subject's rows share one, and folds hold equally many subjects."""
    labels, code = np.unique(subject, return_inverse=True)
    return (rng.permutation(len(labels)) % folds)[code]


def _thin(frame: PersonPeriods, rows_most: int, rng: np.random.Generator) -> PersonPeriods:
    """Some of the subjects, with all their rows, when there are too many rows to fit in time."""
    if len(frame) <= rows_most:
        return frame
    labels, code = np.unique(frame.subject, return_inverse=True)
    return frame.take((rng.random(len(labels)) < rows_most / len(frame))[code])
