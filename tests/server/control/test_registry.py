"""Reading MLflow: what counts as a wish, and a registry that is missing, empty, locked, replaced or moved."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.control.artifacts import FetchError
from server.control.registry import (
    MlflowRegistry,
    Model,
    RegistryAway,
    RegistryReader,
    RegistryState,
    Settling,
    Version,
    settle,
)
from tests.fakes.artifacts import write_churn_artifact
from tests.fakes.embedded import copy_embedded, uri_of
from tests.fakes.registry import FakeRegistry
from training.register import RunRecord, record_run, register_version
from training.registry import Registry

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and its libraries warn of themselves


def register(registry: Registry, folder: Path, bias: float = 0.0) -> str:
    digest = write_churn_artifact(folder / f"artifact-{bias}", bias=bias)
    run = record_run(registry, RunRecord(name="fit"))
    register_version(registry, folder / f"artifact-{bias}", run_id=run)
    return digest


def reader(registry: Registry) -> MlflowRegistry:
    return MlflowRegistry(registry.uri, ["churn"])


def wish(champion: int = 1, *, percent: str | None = None, reason: str = "") -> dict[str, Model]:
    tags = {"traffic.mode": "canary", "traffic.percent": percent} if percent else {}
    versions = {
        1: Version(number=1, digest="a" * 64, serving={"serving.reason": reason}),
        2: Version(number=2, digest="b" * 64, traffic=tags),
    }
    return {"churn": Model(name="churn", aliases={"champion": champion, "challenger": 2}, versions=versions)}


def test_the_first_state_counts_at_once_and_a_change_after_a_quiet_second() -> None:
    start = settle(Settling(), wish(), 0.0)
    assert start.settled == wish()

    changed = settle(start, wish(2), 1.0)
    still = settle(changed, wish(2), 1.9)
    done = settle(still, wish(2), 2.0)

    assert (changed.settled, still.settled, done.settled) == (wish(), wish(), wish(2))


def test_an_alias_that_flaps_never_counts() -> None:
    state = settle(Settling(), wish(1), 0.0)

    for step in range(100):
        state = settle(state, wish(1 + step % 2), step * 0.9)

    assert state.settled == wish(1)


def test_a_tag_that_follows_its_alias_within_the_second_counts_with_it() -> None:
    state = settle(Settling(), wish(1), 0.0)

    state = settle(state, wish(2), 1.0)
    state = settle(state, wish(2, percent="5"), 1.5)
    assert settle(state, wish(2, percent="5"), 2.2).settled == wish(1)
    assert settle(state, wish(2, percent="5"), 2.5).settled == wish(2, percent="5")


def test_what_the_server_writes_itself_makes_no_state_wait() -> None:
    state = settle(Settling(), wish(reason="old"), 0.0)

    state = settle(state, wish(reason="new"), 0.2)

    assert state.settled is not None
    assert state.settled["churn"].versions[1].serving == {"serving.reason": "new"}


@given(times=st.lists(st.floats(min_value=0.01, max_value=0.3), min_size=8, max_size=20))
def test_a_change_that_stays_counts_within_its_second_and_one_look(times: list[float]) -> None:
    state, now = settle(Settling(), wish(1), 0.0), 0.0
    first = now + times[0]
    for pause in times:
        now += pause
        state = settle(state, wish(2), now)
        assert (state.settled == wish(2)) == (now - first >= 1.0)


# What both registries promise.


@pytest.fixture(params=["embedded", "fake"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RegistryReader, str]]:
    if request.param == "fake":
        fake = FakeRegistry()
        digest = write_churn_artifact(tmp_path / "artifact")
        fake.aliases["champion"] = fake.register(tmp_path / "artifact", digest)
        yield fake, digest
    else:
        registry: Registry = request.getfixturevalue("embedded")
        yield reader(registry), register(registry, tmp_path)


def test_a_look_gives_aliases_and_digests(filled: tuple[RegistryReader, str]) -> None:
    registry, digest = filled

    found = registry.look({})["churn"]

    assert found.aliases == {"champion": 1}
    assert found.versions[1].digest == digest


def test_tags_are_written_read_and_deleted(filled: tuple[RegistryReader, str]) -> None:
    registry, _ = filled

    registry.write_tags("churn", 1, {"serving.state": "quarantined", "serving.share": "0"})
    barred = registry.look({})["churn"].versions[1]
    registry.write_tags("churn", 1, {"serving.state": None, "serving.absent": None})
    free = registry.look({})["churn"].versions[1]

    assert barred.barred == "quarantined"
    assert free.barred is None
    assert dict(free.serving) == {"serving.share": "0"}


def test_an_alias_is_moved_only_from_where_it_was_seen(filled: tuple[RegistryReader, str]) -> None:
    registry, _ = filled

    assert registry.move_alias("churn", "previous", expected=None, version=1)
    assert not registry.move_alias("churn", "previous", expected=None, version=1)
    assert registry.look({})["churn"].aliases["previous"] == 1


def test_a_versions_files_are_handed_over(filled: tuple[RegistryReader, str], tmp_path: Path) -> None:
    registry, _ = filled
    target = tmp_path / "target"
    target.mkdir()

    registry.fetch("churn", 1, target)

    assert {"manifest.json", "model.onnx", "golden.json"} <= {path.name for path in target.iterdir()}


# What only the real one can suffer.


def test_looking_again_costs_nothing_until_somebody_commits(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    registry = reader(embedded)
    first = registry.look({})

    assert registry.look({}) is first
    embedded.client.set_registered_model_alias("churn", "challenger", "1")
    assert registry.look({}) is not first


def test_tags_of_intent_and_the_switch_are_read_and_others_are_not(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    embedded.client.set_model_version_tag("churn", "1", "traffic.mode", "canary")
    embedded.client.set_model_version_tag("churn", "1", "note", "x")
    embedded.client.set_registered_model_tag("churn", "traffic.switch", "off")

    found = reader(embedded).look({})["churn"]

    assert found.switch == "off"
    assert dict(found.versions[1].traffic) == {"traffic.mode": "canary"}


def test_a_new_version_is_seen_without_an_alias_and_an_old_one_when_it_is_watched(
    embedded: Registry, tmp_path: Path
) -> None:
    registry = reader(embedded)
    for bias in range(5):
        register(embedded, tmp_path, float(bias))

    assert set(registry.look({})["churn"].versions) == {1, 3, 4, 5}  # champion, and the three newest
    assert 2 in registry.look({"churn": frozenset({2, 77})})["churn"].versions


def test_a_deleted_version_is_gone_and_disturbs_nothing(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    register(embedded, tmp_path, 1.0)
    registry = reader(embedded)
    registry.look({})

    embedded.client.delete_model_version("churn", "2")

    found = registry.look({"churn": frozenset({2})})["churn"]
    assert set(found.versions) == {1}
    assert found.aliases == {"champion": 1}


def test_models_of_others_are_left_alone(embedded: Registry) -> None:
    embedded.client.create_registered_model("somebody-elses")

    assert reader(embedded).look({}) == {}


def refusal_of(action: Callable[[], object]) -> RegistryAway:
    with pytest.raises(RegistryAway) as caught:
        action()
    return caught.value


def test_a_missing_registry_is_away_and_is_never_made(tmp_path: Path) -> None:
    registry = MlflowRegistry(uri_of(tmp_path / "nowhere"), ["churn"])

    assert refusal_of(lambda: registry.look({})).state is RegistryState.AWAY
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
def test_a_file_that_is_no_registry_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    registry = MlflowRegistry(uri_of(tmp_path), ["churn"])

    refusal_of(lambda: registry.look({}))

    assert (tmp_path / "mlflow.db").read_bytes() == content


def test_a_registry_that_was_removed_is_away_until_it_is_back(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    registry = reader(embedded)
    before = registry.look({})
    shutil.move(tmp_path / "mlruns", tmp_path / "hidden")

    away = refusal_of(lambda: registry.look({}))
    refusal_of(lambda: registry.write_tags("churn", 1, {"serving.state": "live"}))
    assert "cannot be read" in away.detail
    assert not (tmp_path / "mlruns").exists()

    shutil.move(tmp_path / "hidden", tmp_path / "mlruns")
    assert registry.look({}) == before


def test_a_writer_that_holds_the_registry_does_not_stop_a_look(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    registry = reader(embedded)
    before = registry.look({})
    lock = sqlite3.connect(tmp_path / "mlruns" / "mlflow.db", isolation_level=None)
    lock.execute("begin exclusive")  # in WAL, which every new registry is in

    assert registry.look({}) == before
    assert registry.look({"churn": frozenset({2})}) == before

    lock.execute("rollback")
    lock.close()


def test_a_registry_locked_without_wal_is_named_within_a_second(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        database.execute("pragma journal_mode = delete")
    database.close()
    registry = reader(embedded)
    before = registry.look({})
    lock = sqlite3.connect(tmp_path / "mlruns" / "mlflow.db", isolation_level=None)
    lock.execute("begin exclusive")

    started = time.monotonic()
    away = refusal_of(lambda: registry.look({}))
    took = time.monotonic() - started
    lock.execute("rollback")
    lock.close()

    assert away.state is RegistryState.LOCKED
    assert took < 1
    assert registry.look({}) == before


def test_a_file_that_was_replaced_is_read_in_its_new_form(
    embedded: Registry, registry_template: Path, tmp_path: Path
) -> None:
    register(embedded, tmp_path)
    registry = reader(embedded)
    assert "churn" in registry.look({})

    other = tmp_path / "other"
    shutil.copytree(registry_template, other)
    for leftover in ("mlflow.db-wal", "mlflow.db-shm"):
        (tmp_path / "mlruns" / leftover).unlink(missing_ok=True)
    (other / "mlflow.db").replace(tmp_path / "mlruns" / "mlflow.db")

    assert registry.look({}) == {}


def test_a_registry_of_another_schema_says_what_to_do(embedded: Registry, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = 'from_the_future'")
    database.close()

    away = refusal_of(lambda: reader(embedded).look({}))

    assert away.state is RegistryState.AWAY


def test_files_are_found_when_the_folder_was_moved(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    shutil.move(tmp_path / "mlruns", tmp_path / "moved")
    target = tmp_path / "target"
    target.mkdir()

    MlflowRegistry(uri_of(tmp_path / "moved"), ["churn"]).fetch("churn", 1, target)

    assert (target / "manifest.json").is_file()


def test_files_that_are_gone_are_said_to_be(embedded: Registry, tmp_path: Path) -> None:
    register(embedded, tmp_path)
    shutil.rmtree(tmp_path / "mlruns" / "artifacts" / "models")
    target = tmp_path / "target"
    target.mkdir()

    with pytest.raises(FetchError, match="is not there"):
        reader(embedded).fetch("churn", 1, target)


def test_a_server_that_nobody_runs_is_away_within_seconds() -> None:
    registry = MlflowRegistry("http://127.0.0.1:9", ["churn"])
    assert not registry.is_local

    started = time.monotonic()
    away = refusal_of(lambda: registry.look({}))

    assert away.state is RegistryState.AWAY
    assert time.monotonic() - started < 30


def test_a_copied_registry_serves_what_its_template_had(embedded: Registry, tmp_path: Path) -> None:
    digest = register(embedded, tmp_path)
    copied = copy_embedded(tmp_path / "mlruns", tmp_path / "copy")

    assert reader(copied).look({})["churn"].versions[1].digest == digest
