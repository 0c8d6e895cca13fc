"""Requests by id on a running server: answered, swapped under load without a failed call, kept when one is bad."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from methods.manifest import MANIFEST_NAME
from paedsresus.ml import Client
from paedsresus.ml.errors import MlError
from paedsresus.ml.v1 import common_pb2, learning_pb2, revenue_pb2
from tests.end_to_end.house import House, wait_until
from tests.end_to_end.load import Load
from training.data.mart import Mart, open_mart
from training.features.churn import churn_snapshot
from training.models import SNAPSHOTS
from training.register import RunRecord, record_run, register_version
from training.registry import open_registry

pytestmark = [
    pytest.mark.filterwarnings("default"),  # MLflow and its libraries warn of themselves
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
]


@pytest.fixture
def mart(house: House) -> Mart:
    return open_mart(house.folder / "data/mart")


@pytest.fixture
def subscribers(mart: Mart) -> list[str]:
    frame = churn_snapshot(mart, as_of=mart.data_time)
    monthly_first = frame.sort_values("plan", key=lambda plans: plans != "MONTHLY", kind="stable")
    return [str(each) for each in monthly_first["subject_id"]]


@pytest.fixture
def answering(serving: House) -> House:
    """A house whose snapshots are live on every worker."""
    for model in SNAPSHOTS.values():
        wait_until(lambda name=model: is_live(serving, name, 1), seconds=60, what=f"{model} is live")  # type: ignore[misc]
    return serving


def is_live(house: House, model: str, version: int) -> bool:
    return house.version_tag(version, "serving.state", model) == "live"


def test_subjects_are_answered_for_by_id_on_the_loop_and_in_the_compute_process(
    answering: House, mart: Mart, subscribers: list[str]
) -> None:
    with Client(answering.target) as client:
        churn = client.revenue.predict_churn(by_id={"subject_id": subscribers[0]})
        value = client.revenue.calculate_ltv(by_id={"subject_id": subscribers[0]}, horizon_months=12)
        planned = client.learning.generate_path(_path(subscribers[0]))
        status = client.orchestration.get_system_status()

    for answer, module in ((churn, "revenue"), (value, "revenue"), (planned, "learning")):
        said = answer.info.feature_snapshot
        assert (said.model, said.version) == (SNAPSHOTS[module], 1)
        assert said.data_time.ToDatetime(tzinfo=UTC) == mart.data_time
        assert abs(said.age.ToTimedelta() - (datetime.now(UTC) - mart.data_time)) < timedelta(minutes=5)
    assert planned.info.evidence == common_pb2.EVIDENCE_PERSONAL
    shown = status.modules.revenue.snapshot
    assert (shown.snapshot.model, shown.snapshot.version) == ("features.revenue", 1)
    assert shown.subjects == len(subscribers)


def test_who_is_unknown_and_what_is_stale_are_told(answering: House, mart: Mart, subscribers: list[str]) -> None:
    with Client(answering.target) as client:
        with pytest.raises(MlError) as unknown:
            client.revenue.predict_churn(by_id={"subject_id": "nobody"})
        request = revenue_pb2.PredictChurnRequest(by_id=revenue_pb2.PredictChurnSubject(subject_id=subscribers[0]))
        request.context.as_of_time.FromDatetime(mart.data_time + timedelta(days=60))
        old = client.revenue.predict_churn(request)
        request.context.as_of_time.FromDatetime(mart.data_time - timedelta(days=1))
        with pytest.raises(MlError) as past:
            client.revenue.predict_churn(request)

    assert (unknown.value.code, unknown.value.reason) == ("NOT_FOUND", "NOT_FOUND")
    assert unknown.value.metadata["field"] == "by_id.subject_id"
    assert common_pb2.WARNING_STALE_DATA in old.info.warnings
    assert past.value.reason == "INVALID_FIELD"


def test_a_new_snapshot_comes_under_load_without_a_failed_call(answering: House, subscribers: list[str]) -> None:
    with Load(target=answering.target, subjects=subscribers) as load:
        wait_until(lambda: len(load.history) > 50, seconds=30, what="load runs")
        answering.run("training", "snapshot", "revenue")
        wait_until(lambda: 2 in load.snapshots_since(0), seconds=60, what="snapshot 2 answers")
        wait_until(lambda: is_live(answering, "features.revenue", 2), seconds=30, what="snapshot 2 is live")
        wait_until(lambda: load.snapshots_since(_last(load)) == {2}, seconds=30, what="only snapshot 2 answers")

    assert load.errors == []
    assert load.versions_since(0) == {1}
    wait_until(
        lambda: answering.version_tag(1, "serving.state", "features.revenue") == "retired",
        seconds=30,
        what="snapshot 1 is retired",
    )


def test_a_damaged_snapshot_is_refused_with_the_reason_and_the_old_one_answers_on(
    answering: House, subscribers: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as scratch, Load(target=answering.target, subjects=subscribers) as load:
        damaged = Path(scratch, "artifact")
        shutil.copytree(_artifact(answering, "features.revenue"), damaged)
        content = bytearray((damaged / "churn.numbers.npy").read_bytes())
        content[-1] ^= 1
        (damaged / "churn.numbers.npy").chmod(0o600)
        (damaged / "churn.numbers.npy").write_bytes(content)
        manifest = damaged / MANIFEST_NAME
        manifest.chmod(0o600)
        manifest.write_bytes(manifest.read_bytes().replace(b'"observations":', b'"observations":1'))  # another digest
        registry = open_registry(answering.registry_uri)
        run_id = record_run(registry, RunRecord(name="a torn snapshot"))
        version = register_version(registry, damaged, run_id=run_id, is_data=True).version

        tag = wait_until(
            lambda: answering.version_tag(version, "serving.state", "features.revenue"), seconds=60, what="a verdict"
        )
        reason = answering.version_tag(version, "serving.reason", "features.revenue") or ""
        seen = len(load.history)
        wait_until(lambda: len(load.history) > seen + 50, seconds=30, what="load goes on")

    assert tag == "refused"
    assert "churn.numbers.npy" in reason
    assert load.errors == []
    assert load.snapshots_since(0) == {1}
    client = MlflowClient(answering.registry_uri, answering.registry_uri)
    assert client.get_model_version_by_alias("features.revenue", "champion").version == version


def _last(load: Load) -> float:
    """When the newest calls began, less half a second."""
    return max((call.began for call in load.history), default=0.0) - 0.5


def _artifact(house: House, model: str) -> Path:
    """The verified folder of what answers for a model."""
    return house.folder / "state/cache" / house.state("desired.json")["route"][model]["champion"]["digest"]


def _path(subject_id: str) -> learning_pb2.GeneratePathRequest:
    request = learning_pb2.GeneratePathRequest()
    request.by_id.subject_id = subject_id
    request.target_skills.skill_ids.append("knots")
    request.study_time_per_week.FromTimedelta(timedelta(hours=1))
    request.available_lessons.add(lesson_id="lesson", skill_ids=["knots"]).duration.FromTimedelta(timedelta(minutes=15))
    return request
