"""The compute process's room: methods that take more than two milliseconds, and exact explanations.

One thread computes, one job at a time, behind a bounded queue: a job that finds it full is refused at once, and one
whose caller has gone or whose time is over is not begun. Nothing here knows how jobs arrive.
Not here: the socket and the process (edge/compute.py); what is asked of it (modules/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from server.desired import Load
from server.errors import DeadlineExceeded, NotFound, QueueFull, WrongState
from server.serving.deployments import Deployment
from server.serving.load import Artifact, LoadRefused

T = TypeVar("T")
BOOSTER = "booster.ubj"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explainer:
    """A version's native trees; None where the artifact carries none. `columns` are its matrix columns."""

    booster: Any | None
    columns: int


def open_explainer(artifact: Artifact, load: Load) -> Explainer:
    """Open the native trees of an artifact, from bytes whose sha256 was just compared with the manifest.

    Raises: LoadRefused: they are not what xgboost reads, or read another number of columns.
    """
    columns = len(artifact.schema.columns)
    if BOOSTER not in artifact.manifest.files:
        return Explainer(booster=None, columns=columns)
    import xgboost  # 200 MB and a second: the compute process alone pays for it

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(artifact.read(BOOSTER)))
    except xgboost.core.XGBoostError:
        raise LoadRefused(f"{BOOSTER} of {load.model} v{load.version} is not a model that xgboost reads") from None
    if booster.num_features() != columns:
        raise LoadRefused(f"{BOOSTER} reads {booster.num_features()} columns, the schema has {columns}")
    return Explainer(booster=booster, columns=columns)


def load_libraries() -> None:
    """Import what explanations need, before the first version asks for it: a swap waits for every process."""
    import xgboost  # noqa: F401


def contributions(
    deployment: Deployment[Explainer], rows: Sequence[Sequence[float | None]]
) -> tuple[float, list[list[float]]]:
    """Base and contributions of each matrix column to the raw score; base and a row's contributions add up to it.

    Exact for trees (Lundberg, Erion and Lee 2018, "Consistent individualized feature attribution for tree ensembles").

    Args:
        deployment: a version with native trees.
        rows: (n, columns), None for missing.
    Raises: WrongState: the version has no native trees, or reads another number of columns.
    """
    explainer = deployment.asked
    if explainer.booster is None:
        raise WrongState(
            f"{deployment.model} v{deployment.version} carries no trees to explain; train it again to get them",
            metadata={"model": deployment.model, "version": str(deployment.version)},
        )
    if any(len(row) != explainer.columns for row in rows):
        raise WrongState(
            f"{deployment.model} v{deployment.version} reads {explainer.columns} columns",
            metadata={"columns": str(explainer.columns)},
        )
    import xgboost  # loaded when the version was opened

    matrix = np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float32)
    booster: Any = explainer.booster
    names = booster.feature_names
    found = booster.predict(xgboost.DMatrix(matrix, missing=np.nan, feature_names=names, nthread=1), pred_contribs=True)
    return float(found[0, -1]), found[:, :-1].astype(np.float64).tolist()


class ComputeQueue:
    """The bounded queue and its one thread. `mark` names the version that computes, for the process's slot."""

    def __init__(self, limit: int, mark: Callable[[int], None]) -> None:
        self._limit = limit
        self._mark = mark
        self._waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")

    @property
    def waiting(self) -> int:
        """Jobs that wait or run."""
        return self._waiting

    async def run(self, deployment: Deployment[Any], job: Callable[[], T], remaining: Callable[[], float | None]) -> T:
        """Run a job in its turn.

        Raises: QueueFull: too many wait. DeadlineExceeded: its time is over before its turn. And what the job raises.
        """
        if self._waiting >= self._limit:
            raise QueueFull(
                f"{self._limit} jobs wait for the compute process; ask again later",
                metadata={"limit": str(self._limit), "unit": "jobs waiting"},
            )

        def begin() -> T:
            seconds = remaining()
            if seconds is not None and seconds <= 0:
                raise DeadlineExceeded("the deadline passed in the compute queue", metadata={"phase": "queue"})
            self._mark(deployment.prefix)
            try:
                return job()
            finally:
                self._mark(0)

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, begin)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Take no more jobs; the running one ends."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def find_version(loaded: dict[str, Deployment[Any]], digest: str) -> Deployment[Any]:
    """The loaded version with this digest.

    Raises: NotFound: it is not loaded here (yet).
    """
    deployment = loaded.get(digest)
    if deployment is None:
        raise NotFound("the compute process has not loaded this version", metadata={"digest": digest[:64]})
    return deployment
