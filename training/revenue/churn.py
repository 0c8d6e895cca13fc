"""The churn model: boosted trees for the score, calibrated on held-out scores into a discrete-time hazard.

Depth and number of trees are chosen on the training rows alone, by cross-validation over subjects; the same fits give
the held-out scores on which slopes, offsets and intervals are fitted. The trees see the first period after each
landmark: on the simulated platform three cost 0.02 of AUC at 28 days and 0.004 at 84, and won nothing at 168, for
features grow old. Pure; the generator comes in.
Sources: Chen and Guestrin 2016, KDD (XGBoost); Singer and Willett 1993 (discrete-time hazard); Zadrozny and Elkan 2002
(calibration on held-out scores).
Not here: how trees are chosen (training/boosting.py); the platform's rows (training/features/churn.py); judging the
model (training/evaluate.py); its files (training/artifact.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from methods.features import FeatureSchema
from methods.revenue.churn import ChurnParameters
from training.bands import chance_of
from training.boosting import BoostingOptions, Trial, boost, fit_boosted, log_odds, margin_of
from training.revenue.hazard import fit_hazard
from training.revenue.person_periods import PersonPeriods


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnOptions:
    """How to fit. The defaults serve every data set; none is tuned to one.

    Attributes:
        periods: periods of the answer.
        period_days: length of one.
        depths, rounds, patience, learning_rate, folds, threads: of the trees (training/boosting.py).
        draws: bootstrap draws behind the intervals.
        rows_most: a larger training set is thinned to about so many rows, whole subjects at a time.
    """

    periods: int = 13
    period_days: int = 28
    depths: tuple[int, ...] = (2, 3, 5)
    rounds: int = 500
    patience: int = 30
    learning_rate: float = 0.04
    folds: int = 5
    draws: int = 200
    rows_most: int = 1_000_000
    threads: int = 1

    @property
    def boosting(self) -> BoostingOptions:
        """How the trees are fitted: leaving within a period is rare, so they begin at its rate."""
        return BoostingOptions(
            depths=self.depths,
            rounds=self.rounds,
            patience=self.patience,
            learning_rate=self.learning_rate,
            folds=self.folds,
            threads=self.threads,
            from_rate=True,
        )


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
        return margin_of(self.booster, matrix)


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
    frame = _thin(frame.take(frame.observed > 0), options.rows_most, rng)
    trees = fit_boosted(frame.matrix, frame.first_outcome, frame.subject, options.boosting, rng, progress=progress)
    progress(f"calibrating with {options.draws} bootstrap draws")
    parameters = fit_hazard(
        trees.held_out, frame, rng, periods=options.periods, period_days=options.period_days, draws=options.draws
    )
    return ChurnModel(
        schema=schema,
        booster=trees.booster,
        parameters=parameters,
        trials=trees.trials,
        chosen=trees.chosen,
        rows=len(frame),
    )


def score_in_time(
    train: PersonPeriods, test: PersonPeriods, chosen: Trial, options: ChurnOptions, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Chance of leaving in the first period for later rows, by the chosen trees fitted on earlier ones; (n,).

    Without the calibration, which moves no order and needs folds of its own: for the table of folds in time.
    """
    matrix, outcome = train.matrix[train.observed > 0], train.first_outcome
    seed = int(rng.integers(2**31))
    booster = boost(matrix, outcome, chosen.depth, chosen.rounds, options.boosting, seed=seed)
    return chance_of(margin_of(booster, test.matrix) + log_odds(outcome))


def _thin(frame: PersonPeriods, rows_most: int, rng: np.random.Generator) -> PersonPeriods:
    """Some of the subjects, with all their rows, when there are too many rows to fit in time."""
    if len(frame) <= rows_most:
        return frame
    labels, code = np.unique(frame.subject, return_inverse=True)
    return frame.take((rng.random(len(labels)) < rows_most / len(frame))[code])
