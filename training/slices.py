"""Figures by slice: how a model did on parts of the rows that judge it, as a model card shows them.

Pure. Not here: the table in the card (report/card.py).
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from methods.statistics.scores import log_loss

ROWS = "rows"  # the name of a count among figures
UNKNOWN = "unknown"
TENURE_EDGES = (90, 365)  # days: new, within the first year, later

Slices = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By what -> slice -> name -> figure."""


def slices_by(
    labels: Mapping[str, NDArray[np.str_]], figures: Callable[[NDArray[np.bool_]], Mapping[str, float]]
) -> Slices:
    """Figures of each slice.

    Args:
        labels: by what -> (n,) the slice that each row belongs to.
        figures: of the rows that a mask (n,) names; their count is added unless it is among them.

    >>> slices_by({"plan": np.array(["A", "B", "A"])}, lambda rows: {"first": float(rows.argmax())})
    {'plan': {'A': {'rows': 2.0, 'first': 0.0}, 'B': {'rows': 1.0, 'first': 1.0}}}
    """
    return {
        what: {
            str(level): {ROWS: float((label == level).sum()), **figures(label == level)} for level in np.unique(label)
        }
        for what, label in labels.items()
    }


def foretold_slices(
    labels: Mapping[str, NDArray[np.str_]],
    outcome: NDArray[np.float64],
    probability: NDArray[np.float64],
    rival: tuple[str, NDArray[np.float64]],
) -> Slices:
    """Share that happened, share foretold, log loss of a model and of what it is held to, in each slice.

    Args:
        labels: as for `slices_by`.
        outcome: (n,) 0 or 1.
        probability: (n,) the model's.
        rival: its name, and its (n,).
    """
    name, other = rival

    def figures(rows: NDArray[np.bool_]) -> Mapping[str, float]:
        return {
            "observed": float(outcome[rows].mean()),
            "foretold": float(probability[rows].mean()),
            "log_loss": log_loss(outcome[rows], probability[rows]),
            f"log_loss of {name}": log_loss(outcome[rows], other[rows]),
        }

    return slices_by(labels, figures)


def label_texts(values: Iterable[object]) -> NDArray[np.str_]:
    """Slices by a text or an enum's name; what is no text is unknown.

    >>> label_texts(["NURSE", None]).tolist()
    ['NURSE', 'unknown']
    """
    return np.array([value if isinstance(value, str) and value else UNKNOWN for value in values], dtype=np.str_)


def label_tenure(days: NDArray[np.floating]) -> NDArray[np.str_]:
    """Slices by (n,) days since the subscription began; NaN is unknown.

    >>> label_tenure(np.array([10.0, 90.0, 400.0, np.nan])).tolist()
    ['below 90 days', '90 to 364 days', '365 days and more', 'unknown']
    """
    first, second = TENURE_EDGES
    words = np.array([f"below {first} days", f"{first} to {second - 1} days", f"{second} days and more"])
    return np.where(np.isnan(days), UNKNOWN, words[np.digitize(np.nan_to_num(days), TENURE_EDGES)])
