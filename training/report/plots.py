"""Three pictures of a model on the rows it was judged on, as PNG: calibration, gain, ROC.

Every curve of a contender has its colour in all three. Not here: the figures behind them (evaluate.py).
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.statistics.calibration import reliability
from training.evaluate import gain_curve, roc_curve

COLOURS = ("#0b5fa5", "#d1495b", "#7a7a7a")  # new version, champion or baseline, baseline
Curve = tuple[str, NDArray[np.float64]]  # name, (n,) probabilities


def draw_plots(outcome: NDArray[np.float64], curves: Sequence[Curve]) -> dict[str, bytes]:
    """`calibration.png`, `gain.png` and `roc.png` of several contenders on the same rows."""
    return {
        "calibration.png": _calibration(outcome, curves),
        "gain.png": _lines(
            outcome, curves, "share of subscribers, highest scores first", "share of leavers reached", gain_curve
        ),
        "roc.png": _lines(outcome, curves, "share of stayers alarmed about", "share of leavers found", roc_curve),
    }


def _calibration(outcome: NDArray[np.float64], curves: Sequence[Curve]) -> bytes:
    """Observed frequency over predicted chance in bins of equal count, both on a logarithmic scale."""
    figure, axes = _blank("predicted chance of leaving", "observed frequency")
    for (name, probability), colour in zip(curves, COLOURS, strict=False):
        bins = reliability(outcome, probability)
        seen = bins.observed > 0  # a bin without a leaver has no place on the scale
        axes.plot(bins.predicted[seen], bins.observed[seen], "o-", color=colour, label=name, markersize=4)
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, ":", color="black", linewidth=1, label="perfect")
    axes.set(xscale="log", yscale="log")
    return _png(figure, axes)


def _lines(outcome: NDArray[np.float64], curves: Sequence[Curve], across: str, up: str, curve_of: Any) -> bytes:
    """One line a contender and the diagonal of knowing nothing."""
    figure, axes = _blank(across, up)
    for (name, probability), colour in zip(curves, COLOURS, strict=False):
        axes.plot(*curve_of(outcome, probability), color=colour, label=name)
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=1, label="by chance")
    return _png(figure, axes)


def _blank(across: str, up: str) -> tuple[Any, Any]:
    """A figure with labelled axes; no global state of the library is touched."""
    from matplotlib.figure import Figure  # half a second, and only a fit draws

    figure = Figure(figsize=(5, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _png(figure: Any, axes: Any) -> bytes:
    """The picture, without the time of its making: equal figures give equal bytes."""
    axes.legend(frameon=False)
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()
