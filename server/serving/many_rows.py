"""Which way a version scores many rows: tables of its trees where it has such, else the runtime.

Tables are made when a version meets its first batch, beside the loop: most versions never meet one, and their tables
take a megabyte or two in each process. Before they are used they score rows drawn around every threshold, and whatever
differs from the runtime stays with the runtime.
Not here: the tables (trees.py); slices and their pace (modules/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from server.serving.load import LoadRefused
from server.serving.predictor import Predictor
from server.serving.tree_graph import NoTreesError
from server.serving.trees import Trees, read_trees

ROWS_LEAST: Final = 40  # below that the runtime is done before the tables' first step pays
TRIAL_ROWS: Final = 512
SAME: Final = 1e-4  # of scores on the log-odds scale: a thousand sums of float32 in another order stay far below

Margins = Callable[[NDArray[np.float32]], NDArray[np.float64]]
_log = structlog.get_logger(__name__)


class ManyRows:
    """Scores of many rows by one version in one process."""

    __slots__ = ("_predictor", "_read_graph", "_trees")

    def __init__(self, predictor: Predictor, read_graph: Callable[[], bytes]) -> None:
        """`read_graph` gives the graph's bytes once more: nobody keeps them."""
        self._predictor = predictor
        self._read_graph = read_graph
        self._trees: Trees | Predictor | None = None

    async def scorer(self, rows: int) -> Margins:
        """What scores a batch of so many rows: (n, width) float32 -> (n,) raw scores, n rows at a time or fewer."""
        if rows < ROWS_LEAST:
            return self._predictor.margins
        if self._trees is None:  # two first batches at once make them twice, and nothing is lost
            self._trees = await asyncio.to_thread(self._make)
        return self._trees.margins

    def _make(self) -> Trees | Predictor:
        try:
            trees = read_trees(self._read_graph())
        except NoTreesError:
            return self._predictor
        except LoadRefused:
            _log.error("a version's trees cannot be read again; the runtime scores its batches")
            return self._predictor
        rows = trial_rows(trees, self._predictor.width)
        if not np.allclose(trees.margins(rows), self._predictor.margins(rows), rtol=SAME, atol=SAME):
            _log.error("tables of a version's trees differ from its graph; the runtime scores its batches")
            return self._predictor
        return trees


def trial_rows(trees: Trees, width: int) -> NDArray[np.float32]:
    """(TRIAL_ROWS, width) rows whose values lie on, just below and above thresholds, or are missing."""
    rows = np.full((TRIAL_ROWS, width), np.nan, dtype=np.float32)
    for table in trees.tables:
        for column, edges in zip(table.columns, table.edges, strict=True):
            near = np.concatenate([edges, np.nextafter(edges, np.float32(-np.inf)), edges + 1, [np.nan]])
            steps = np.arange(TRIAL_ROWS) * (2 * column + 7919)  # columns in different steps meet in many combinations
            rows[:, column] = near[steps % len(near)]
    return rows
