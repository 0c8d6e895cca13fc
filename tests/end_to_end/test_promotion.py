"""From data to answer, and through a promotion and a crash under load, without one failed call."""

from __future__ import annotations

import os
import signal
import time

import pytest
from mlflow import MlflowClient

from tests.end_to_end.house import House, wait_until
from tests.end_to_end.load import Load

pytestmark = [
    pytest.mark.filterwarnings("default"),  # MLflow and its libraries warn of themselves
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
]


def test_a_promotion_and_a_killed_worker_cost_no_call(serving: House) -> None:
    serving.run("training", "fit", "churn")
    registry = MlflowClient(serving.registry_uri, serving.registry_uri)

    with Load(target=serving.target) as load:
        wait_until(lambda: len(load.history) > 50, seconds=30, what="load runs")
        moved = time.monotonic()
        registry.set_registered_model_alias("churn", "champion", "2")
        wait_until(lambda: 2 in load.versions_since(moved), seconds=15, what="version 2 answers")
        served = time.monotonic()
        wait_until(lambda: load.versions_since(served + 0.5) == {2}, seconds=15, what="only version 2 answers")
        worker = serving.worker_pids()[0]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in serving.worker_pids(), seconds=15, what="the worker is replaced")
        wait_until(lambda: len(serving.worker_pids()) == serving.workers, seconds=15, what="all workers are back")

    assert load.errors == []
    assert all(call.version in {1, 2} for call in load.history)
    assert not any(call.version == 2 for call in load.history if call.ended < moved)
    assert serving.stop() == 0


def test_a_version_without_an_alias_answers_nothing(serving: House) -> None:
    serving.run("training", "fit", "churn")

    with Load(target=serving.target) as load:
        wait_until(lambda: len(load.history) > 200, seconds=30, what="load runs")

    assert load.errors == []
    assert load.versions_since(0) == {1}
