"""Steady load on a running house, and the history of every call for checks afterwards.

Not here: measuring speed (benchmarks/).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from paedsresus.ml import Client
from paedsresus.ml.v1 import revenue_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One call: when it began and ended (monotonic seconds), who answered, or what went wrong.

    `snapshot` is the version that the features came from, of a call by id.
    """

    began: float
    ended: float
    version: int | None
    error: str | None
    snapshot: int | None = None


@dataclass(slots=True, kw_only=True)
class Load:
    """Calls PredictChurn from `threads` threads until stopped; used as a context manager. By id where there are ids."""

    target: str
    subjects: Sequence[str] = ()
    threads: int = 4
    history: list[Answered] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Start calling."""
        for number in range(self.threads):
            thread = threading.Thread(target=self._call, args=(number,), daemon=True)
            thread.start()
            self._running.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop calling and wait for the last answers."""
        self._stop.set()
        for thread in self._running:
            thread.join(timeout=30)

    @property
    def errors(self) -> list[str]:
        """What went wrong, one line a failed call."""
        return [call.error for call in list(self.history) if call.error]

    def versions_since(self, moment: float) -> set[int]:
        """Versions that answered calls begun after `moment`."""
        return {call.version for call in list(self.history) if call.began > moment and call.version is not None}

    def snapshots_since(self, moment: float) -> set[int]:
        """The same for the feature snapshots that they came from."""
        return {call.snapshot for call in list(self.history) if call.began > moment and call.snapshot is not None}

    def _call(self, number: int) -> None:
        with Client(self.target) as client:
            turn = 1_000 * number  # every thread asks about other learners
            while not self._stop.is_set():
                turn += 1
                began = time.monotonic()
                try:
                    answer = client.revenue.predict_churn(self._request(turn))
                except Exception as error:  # noqa: BLE001 - every failure is a finding, whatever its class
                    self.history.append(Answered(began=began, ended=time.monotonic(), version=None, error=repr(error)))
                else:
                    version, snapshot = answer.info.served_by[0].version, answer.info.feature_snapshot.version or None
                    ended = time.monotonic()
                    self.history.append(
                        Answered(began=began, ended=ended, version=version, error=None, snapshot=snapshot)
                    )
                self._stop.wait(0.002)  # a steady load, not a storm: two cores carry server, load and test

    def _request(self, turn: int) -> revenue_pb2.PredictChurnRequest:
        if self.subjects:
            subject_id = self.subjects[turn % len(self.subjects)]
            return revenue_pb2.PredictChurnRequest(by_id=revenue_pb2.PredictChurnSubject(subject_id=subject_id))
        features = revenue_pb2.PredictChurnFeatures(
            tenure_days=30 + turn % 700, sessions_28d=turn % 20, minutes_28d=float(turn % 500)
        )
        return revenue_pb2.PredictChurnRequest(features=features)
