"""PredictCertificationSuccess on public data: the product's own fit, export and answer, on somebody else's exams.

Trees, calibration and band see earlier cohorts alone; the last one is answered by the exported graph and
methods.learning.certification, as the server does. Then slope and offset are fitted anew on a random fifth of the last
cohort, and judged on the other four.
"""

from pathlib import Path

import numpy as np

from benchmarks.report import Report, describe_environment
from benchmarks.truth.coverage import covered_tenths
from benchmarks.truth.exams import ExamTask, read_exams
from methods.learning.certification import predict_passing
from methods.statistics.scores import auc, brier_score, calibration_error, log_loss
from training.baseline import fit_logistic
from training.learning.certification import (
    CertificationOptions,
    chance_of_passing,
    fit_certification,
    recalibrate,
)
from training.onnx_trees import run_onnx, trees_to_onnx

PACKAGES = ("numpy", "pandas", "scikit-learn", "xgboost-cpu", "onnxruntime")
RECALIBRATION_SHARE = 0.2  # of the judged cohort; these rows are then left out of the score


def measure(folder: Path, seed: int = 0, options: CertificationOptions | None = None) -> Report:
    """Fits and judges on the folder's data.

    Raises: FileNotFoundError, ValueError: as benchmarks.truth.exams.read_exams.
    """
    data = read_exams(folder)
    metrics: dict[str, float] = {}
    for task in data.tasks:
        found = _judge(task, options or CertificationOptions(), np.random.default_rng(seed))
        metrics |= {f"{task.name}.{name}": value for name, value in found.items()}
    return Report(
        benchmark="truth.pass",
        data=data.name,
        metrics=metrics,
        anchors=dict(data.anchors),
        environment=describe_environment(PACKAGES),
    )


def _judge(task: ExamTask, options: CertificationOptions, rng: np.random.Generator) -> dict[str, float]:
    """One task's figures."""
    model = fit_certification(task.train, task.schema, options, rng)
    margin = run_onnx(trees_to_onnx(model.booster), task.test.matrix)
    outcome = task.test.outcome
    answers = [predict_passing(value, model.parameters).passing for value in margin.tolist()]
    ends = np.array(answers)  # (n, 3)
    drawn = rng.random(len(outcome)) < RECALIBRATION_SHARE
    fresh = recalibrate(model.parameters, margin[drawn], outcome[drawn])
    again = chance_of_passing(margin[~drawn], fresh.plain)
    plain = fit_logistic(task.train.matrix, task.train.outcome)(task.test.matrix)
    return {
        "auc": auc(outcome, ends[:, 0]),
        "log_loss": log_loss(outcome, ends[:, 0]),
        "brier": brier_score(outcome, ends[:, 0]),
        "ece": calibration_error(outcome, ends[:, 0]),
        "ece_10_bins": calibration_error(outcome, ends[:, 0], bins=10),
        "ece_recalibrated": calibration_error(outcome[~drawn], again),
        "logistic.auc": auc(outcome, plain),
        "logistic.ece": calibration_error(outcome, plain),
        "bias": float(ends[:, 0].mean() - outcome.mean()),
        "interval.width": float((ends[:, 2] - ends[:, 1]).mean()),
        "interval.covered": covered_tenths(outcome, ends),
        "cohort_spread": model.cohort_spread,
        "onnx.largest_difference": float(np.abs(margin - model.margin(task.test.matrix)).max()),
        "trees": float(model.rounds),
        "depth": float(model.depth),
        "rows.fitted": float(len(task.train)),
        "rows.judged": float(len(outcome)),
        "rows.recalibrated_on": float(drawn.sum()),
    }
