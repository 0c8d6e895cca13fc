"""The compute room: exact contributions, a bounded queue, no work for those whose time is over."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
import xgboost

from server.desired import Load
from server.errors import DeadlineExceeded, NotFound, QueueFull, WrongState
from server.modules.revenue.churn import FEATURES
from server.serving.deployments import Deployment
from server.serving.heavy import BOOSTER, ComputeQueue, Explainer, contributions, find_version, open_explainer
from server.serving.load import LoadRefused, ModelKind, load_version
from tests.fakes.artifacts import churn_schema, write_artifact, write_churn_artifact

KINDS = {"churn": ModelKind(features=FEATURES, open=open_explainer)}
WIDTH = len(churn_schema().columns)


def fit(width: int = WIDTH) -> xgboost.Booster:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, width)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    target = np.nan_to_num(rows[:, 0]) + rng.normal(size=200)
    return xgboost.train({"max_depth": 3, "base_score": 0.0}, xgboost.DMatrix(rows, target), num_boost_round=10)


def load(folder: Path, booster: bytes | None) -> Deployment[Explainer]:
    made = folder / "made"
    digest = write_churn_artifact(made)
    if booster is not None:
        contents = {path.name: path.read_bytes() for path in made.iterdir() if path.name != "manifest.json"}
        digest = write_artifact(made, {**contents, BOOSTER: booster}, churn_schema())
    (folder / "cache").mkdir()
    made.rename(folder / "cache" / digest)
    return load_version(Load(model="churn", version=7, digest=digest, folder=f"cache/{digest}"), folder, KINDS)


def test_contributions_and_base_add_up_to_the_raw_score(tmp_path: Path) -> None:
    booster = fit()
    deployment = load(tmp_path, bytes(booster.save_raw("ubj")))
    rows: list[list[float | None]] = [[0.5, None] + [0.1] * (WIDTH - 2), [None] * WIDTH]

    base, found = contributions(deployment, rows)

    matrix = np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float32)
    margins = booster.predict(xgboost.DMatrix(matrix), output_margin=True)
    np.testing.assert_allclose([base + sum(row) for row in found], margins, atol=1e-5)


def test_a_version_without_trees_cannot_be_explained(tmp_path: Path) -> None:
    with pytest.raises(WrongState, match="carries no trees"):
        contributions(load(tmp_path, None), [[0.0] * WIDTH])


def test_a_row_of_another_width_is_refused(tmp_path: Path) -> None:
    deployment = load(tmp_path, bytes(fit().save_raw("ubj")))

    with pytest.raises(WrongState, match="columns"):
        contributions(deployment, [[0.0]])


@pytest.mark.parametrize("width", [None, 3], ids=["garbage", "another width"])
def test_trees_that_do_not_fit_are_refused_at_load(tmp_path: Path, width: int | None) -> None:
    content = b"{}" if width is None else bytes(fit(width).save_raw("ubj"))

    with pytest.raises(LoadRefused):
        load(tmp_path, content)


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    deployment = load(tmp_path, None)
    queue = ComputeQueue(1, lambda _prefix: None)
    begun, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert may_end.wait(10)
        return "done"

    running = asyncio.create_task(queue.run(deployment, slow, lambda: None))
    await asyncio.to_thread(begun.wait, 10)
    with pytest.raises(QueueFull) as caught:
        await queue.run(deployment, lambda: "never", lambda: None)
    may_end.set()

    assert await running == "done"
    assert caught.value.retry_after_seconds is not None
    assert queue.waiting == 0
    queue.close()


async def test_a_job_whose_time_is_over_is_not_begun(tmp_path: Path) -> None:
    deployment = load(tmp_path, None)
    queue = ComputeQueue(4, lambda _prefix: None)
    begun: list[str] = []

    with pytest.raises(DeadlineExceeded):
        await queue.run(deployment, lambda: begun.append("begun"), lambda: 0.0)

    assert begun == []
    queue.close()


async def test_the_version_that_computes_is_marked(tmp_path: Path) -> None:
    deployment = load(tmp_path, None)
    marks: list[int] = []
    queue = ComputeQueue(4, marks.append)

    await queue.run(deployment, lambda: None, lambda: None)

    assert marks == [deployment.prefix, 0]
    queue.close()


def test_a_version_that_is_not_loaded_is_not_found() -> None:
    with pytest.raises(NotFound):
        find_version({}, "0" * 64)
