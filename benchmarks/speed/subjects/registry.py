"""An embedded MLflow registry with two versions of churn, one of them champion, and the hand that moves the alias.

The alias is moved by MLflow's own client, as an engineer would do it; nothing of the server is told.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.register import CHALLENGER, CHAMPION, RunRecord, read_aliases, record_run, register_version
from training.registry import Registry, open_registry

MODEL = "churn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One promotion: when the alias was moved (monotonic clock, before the client's call), and to which version."""

    at: float
    version: int


class ChurnRegistry:
    """The registry of one benchmark, in a folder of its own."""

    def __init__(self, folder: Path, artifacts: Sequence[Path]) -> None:
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._registry: Registry = open_registry(self.uri)
        self._versions = [self._register(artifact) for artifact in artifacts]
        if CHALLENGER in read_aliases(self._registry, MODEL):
            # A challenger gets a copy of the traffic; a promotion is measured without one.
            self._registry.client.delete_registered_model_alias(MODEL, CHALLENGER)

    def move_champion(self) -> Move:
        """Promote the version that is not champion."""
        champion = read_aliases(self._registry, MODEL)[CHAMPION]
        version = next(number for number in self._versions if number != champion)
        at = time.monotonic()
        self._registry.client.set_registered_model_alias(MODEL, CHAMPION, str(version))
        return Move(at=at, version=version)

    def _register(self, artifact: Path) -> int:
        run_id = record_run(self._registry, RunRecord(name="speed benchmark"))
        return register_version(self._registry, artifact, run_id=run_id).version
