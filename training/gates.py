"""What a version must show before it may get an alias: pure functions, each a verdict with its figure and its reason.

A gate that fails is a normal result, not an error: the version is registered with the reason and without an alias.
Not here: what is measured (evaluate.py); what becomes of aliases (register.py); guards on live traffic (server).
"""

import math
from dataclasses import dataclass

from training.evaluate import Comparison, Scores

EVENTS_FITTED, EVENTS_JUDGED = 50, 20  # ten events a degree of freedom of a small tree; an AUC to within 0.07
BEHIND_BASELINE = 0.005  # of AUC; trees may lose that much to chance where the truth is a straight line
CALIBRATION_ERROR = 0.02  # what a reader of "12 %" forgives; more when few judged rows make chance alone larger
PARITY = 1e-5  # log-odds between the graph and the model it was written from
LEAK = 0.95  # AUC; nobody foresees leaving so well, so a feature knows the outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One verdict.

    Attributes:
        name: fixed snake_case word.
        passed: whether a version may get an alias as far as this gate goes.
        reason: one sentence with the figure and what is allowed.
    """

    name: str
    passed: bool
    reason: str


def has_enough_events(fitted: int, judged: int) -> Gate:
    """Leavers in the rows fitted on and in those judged on."""
    return Gate(
        name="enough_events",
        passed=fitted >= EVENTS_FITTED and judged >= EVENTS_JUDGED,
        reason=f"{fitted} leavings fitted on ({EVENTS_FITTED} needed), {judged} judged on ({EVENTS_JUDGED} needed)",
    )


def beats_baseline(model: Scores, baseline: Scores) -> Gate:
    """Against a plain logistic regression on the same rows.

    >>> plain = Scores(auc=0.75, log_loss=0.11, brier=0.03, ece=0.01, lift_top_decile=3.0)
    >>> beats_baseline(plain, plain).passed
    True
    """
    return Gate(
        name="beats_baseline",
        passed=model.auc >= baseline.auc - BEHIND_BASELINE,
        reason=f"AUC {model.auc:.4f}, plain logistic {baseline.auc:.4f} (may be {BEHIND_BASELINE} below)",
    )


def is_not_worse(than_champion: Comparison | None, champion: str = "champion") -> Gate:
    """Against the champion on the same rows: refused only when chance does not explain the loss."""
    if than_champion is None:
        return Gate(name="not_worse_than_champion", passed=True, reason="there is no champion to compare with")
    c = than_champion
    return Gate(
        name="not_worse_than_champion",
        passed=c.upper >= 0,
        reason=f"log loss saved against {champion}: {c.value:+.5f} nats a row, 90 % interval {c.lower:+.5f} to "
        f"{c.upper:+.5f} (must reach 0)",
    )


def is_calibrated(ece: float, rows: int, rate: float, bins: int = 15) -> Gate:
    """Calibration error on the judged rows, with room for what chance alone makes of it.

    Args:
        ece: as measured.
        rows: judged rows.
        rate: share of leavers among them.
        bins: of the measured error.
    """
    chance = math.sqrt(2 / math.pi * rate * (1 - rate) * bins / max(rows, 1))  # mean distance of a perfect model
    bound = max(CALIBRATION_ERROR, 2 * chance)
    return Gate(
        name="calibrated",
        passed=ece <= bound,
        reason=f"calibration error {ece:.4f} in {bins} bins (allowed {bound:.4f})",
    )


def has_parity(difference: float) -> Gate:
    """Between the exported graph and the model, on rows with missing values. NaN fails."""
    return Gate(
        name="onnx_parity",
        passed=difference <= PARITY,
        reason=f"graph and model differ by at most {difference:.2g} log-odds (allowed {PARITY:g})",
    )


def has_no_leak(model: Scores, best_feature: str, best_auc: float) -> Gate:
    """No model and no single feature foresees leaving too well to be true.

    Args:
        model: its scores on the judged rows.
        best_feature: the column that alone tells leavers best.
        best_auc: how well, as AUC in either direction.
    """
    return Gate(
        name="no_leak",
        passed=model.auc <= LEAK and best_auc <= LEAK,
        reason=f"AUC {model.auc:.4f}, best single column {best_feature} {best_auc:.4f} "
        f"(above {LEAK} a feature knows the outcome)",
    )
