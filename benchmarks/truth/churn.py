"""PredictChurn on public data: the product's own fit, export and answer, on somebody else's leavers.

Each split is fitted on its training rows alone (hyper-parameters and calibration too), exported to ONNX, and the test
rows are answered by the graph and methods.revenue.churn, as the server does. The schema comes from the data's
documented columns; nothing else differs from `python -m training fit churn`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Report, describe_environment
from benchmarks.truth.churn_data import ChurnData
from benchmarks.truth.described import find_described, read_described
from benchmarks.truth.oulad import find_oulad, read_oulad
from benchmarks.truth.telco import find_telco, read_telco
from methods.revenue.churn import churn_by_horizon
from methods.statistics.scores import calibration_error, log_loss
from training.baseline import fit_logistic
from training.evaluate import score_probabilities
from training.onnx_trees import run_onnx, trees_to_onnx
from training.revenue.churn import ChurnOptions, fit_churn
from training.revenue.person_periods import PersonPeriods, person_periods_of

PACKAGES = ("numpy", "pandas", "scikit-learn", "xgboost-cpu", "onnxruntime")
READERS: tuple[tuple[Callable[[Path], Any], Callable[[Any], ChurnData]], ...] = (
    (find_described, read_described),
    (find_telco, read_telco),
    (find_oulad, read_oulad),
)


def measure(folder: Path, seed: int = 0, options: ChurnOptions | None = None) -> Report:
    """Fits and judges on the folder's data.

    Raises: FileNotFoundError: the folder holds no data that is known here.
    """
    data = read_churn_data(folder)
    frame = person_periods_of(data.table, data.schema)
    periods = max(1, int(frame.observed.max()))
    options = options or ChurnOptions(periods=periods)
    parts = [_judge(frame.take(train), frame.take(test), data, options, seed) for train, test in data.splits]
    return Report(
        benchmark="truth.churn",
        data=data.name,
        metrics=_metrics(parts, data),
        anchors=dict(data.anchors),
        environment=describe_environment(PACKAGES),
    )


def read_churn_data(folder: Path) -> ChurnData:
    """The folder's data, whichever of the documented forms it has.

    Raises: FileNotFoundError: none of them.
    """
    for find, read in READERS:
        if (found := find(folder)) is not None:
            return read(found)
    raise FileNotFoundError(
        f"{folder} holds neither person_periods.csv with schema.json, nor telco.csv, nor OULAD's five tables; "
        "docs/benchmarks.md says what each looks like"
    )


class _Part:
    """What one split gave: outcomes and both models' chances for its test rows."""

    def __init__(self, outcome: NDArray[np.float64], chance: NDArray[np.float64], plain: NDArray[np.float64]) -> None:
        self.outcome, self.chance, self.plain = outcome, chance, plain
        self.parity = self.base = 0.0
        self.chosen = (0, 0)


def _judge(train: PersonPeriods, test: PersonPeriods, data: ChurnData, options: ChurnOptions, seed: int) -> _Part:
    """Fits on one part, answers for the other."""
    test = test.take(test.observed > 0)
    model = fit_churn(train, data.schema, options, np.random.default_rng(seed))
    margin = run_onnx(trees_to_onnx(model.booster), test.matrix)
    first = (options.period_days,)
    known = train.observed > 0
    part = _Part(
        test.first_outcome,
        churn_by_horizon(margin, model.parameters, first).value[:, 0],
        fit_logistic(train.matrix[known], train.first_outcome)(test.matrix),
    )
    part.parity = float(np.abs(margin - model.margin(test.matrix)).max())
    part.base = float(train.first_outcome.mean())
    part.chosen = (model.chosen.depth, model.chosen.rounds)
    return part


def _metrics(parts: list[_Part], data: ChurnData) -> dict[str, float]:
    """Means over the splits, as published figures are; calibration over all test rows together.

    One split of 1,400 rows has 94 in a bin, and chance alone makes an error of 0.03 there.
    """
    scores = [score_probabilities(part.outcome, part.chance) for part in parts]
    plain = [score_probabilities(part.outcome, part.plain) for part in parts]
    outcome, chance = (np.concatenate(column) for column in zip(*((p.outcome, p.chance) for p in parts), strict=True))
    constant = [log_loss(p.outcome, np.full_like(p.outcome, p.base)) for p in parts]
    metrics = {
        "auc": float(np.mean([s.auc for s in scores])),
        "log_loss": float(np.mean([s.log_loss for s in scores])),
        "brier": float(np.mean([s.brier for s in scores])),
        "ece": calibration_error(outcome, chance),
        f"ece_{data.own_bins}_bins": calibration_error(outcome, chance, bins=data.own_bins),
        "lift_top_decile": float(np.mean([s.lift_top_decile for s in scores])),
        "logistic.auc": float(np.mean([s.auc for s in plain])),
        "logistic.log_loss": float(np.mean([s.log_loss for s in plain])),
        "constant.log_loss": float(np.mean(constant)),
        "onnx.largest_difference": max(part.parity for part in parts),
        "trees": float(np.mean([part.chosen[1] for part in parts])),
        "depth": float(np.mean([part.chosen[0] for part in parts])),
        "rows.judged": float(len(outcome)),
    }
    if len(parts) > 1:
        metrics["auc_sd_over_folds"] = float(np.std([s.auc for s in scores]))
        metrics["ece_mean_of_folds"] = float(np.mean([s.ece for s in scores]))
    return metrics
