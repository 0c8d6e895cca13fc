"""A model judged: the five scores of every table of the house, and what the plots are drawn from.

Pure. Not here: whether a version passes (gates.py); the drawing (plots.py).
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from methods.statistics.bootstrap import paired_interval
from methods.statistics.scores import auc, brier_score, calibration_error, lift_at, log_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How good probabilities were on some rows."""

    auc: float  # chance that a random leaver scores above a random stayer
    log_loss: float  # nats a row
    brier: float
    ece: float  # calibration error, 15 bins of equal count
    lift_top_decile: float  # leavers among the tenth with the highest scores, against all

    def as_metrics(self, prefix: str = "") -> dict[str, float]:
        """Flat names, as MLflow and the benchmarks want them."""
        return {f"{prefix}{name}": value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A difference on the same rows, with its interval over drawn subjects; above 0 means better."""

    value: float
    lower: float
    upper: float


def score_probabilities(outcome: NDArray[np.float64], probability: NDArray[np.float64]) -> Scores:
    """The five scores of (n,) probabilities against (n,) outcomes."""
    return Scores(
        auc=auc(outcome, probability),
        log_loss=log_loss(outcome, probability),
        brier=brier_score(outcome, probability),
        ece=calibration_error(outcome, probability),
        lift_top_decile=lift_at(outcome, probability),
    )


def compare_log_loss(
    outcome: NDArray[np.float64],
    probability: NDArray[np.float64],
    other: NDArray[np.float64],
    subject: NDArray[np.int64],
    rng: np.random.Generator,
) -> Comparison:
    """Nats a row that `probability` saves against `other`; subjects are drawn, rows of one stay together."""
    saved = _row_losses(outcome, other) - _row_losses(outcome, probability)
    lower, upper = paired_interval(lambda weight: float(saved @ weight / weight.sum()), subject, rng)
    return Comparison(value=float(saved.mean()), lower=lower, upper=upper)


def strongest_column(
    matrix: NDArray[np.float32], columns: tuple[str, ...], outcome: NDArray[np.float64]
) -> tuple[str, float]:
    """The column that alone tells best who leaves, and its AUC in the better direction; missing ranks lowest."""
    found = [auc(outcome, np.nan_to_num(matrix[:, i], nan=-np.inf)) for i in range(len(columns))]
    both = [max(value, 1 - value) for value in found]
    best = int(np.argmax(both))
    return columns[best], both[best]


def gain_curve(
    outcome: NDArray[np.float64], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of rows acted on, highest scores first -> share of all leavers reached; (n + 1,) each."""
    order = np.argsort(-probability, kind="stable")
    reached = np.concatenate([[0.0], np.cumsum(outcome[order])])
    return np.linspace(0, 1, len(reached)), reached / max(1.0, reached[-1])


def roc_curve(
    outcome: NDArray[np.float64], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False positive rate -> true positive rate; (n + 1,) each."""
    order = np.argsort(-probability, kind="stable")
    hits = np.concatenate([[0.0], np.cumsum(outcome[order])])
    alarms = np.arange(len(hits)) - hits
    return alarms / max(1.0, alarms[-1]), hits / max(1.0, hits[-1])


def _row_losses(outcome: NDArray[np.float64], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """-log of the chance given to what happened, (n,)."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return -(outcome * np.log(p) + (1 - outcome) * np.log1p(-p))
