"""The whole process over a real registry: alias to routed, SIGTERM, kill -9, a registry that disappears."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from server.catalogue import KINDS
from server.control.__main__ import control_gauges, live_processes, offered_schemas
from server.control.follow import RegistryView, View
from server.control.registry import RegistryState
from server.control.writeback import Place, Recorded
from server.desired import Desired, read_desired
from server.slots import Role, Slots, State
from tests.fakes.artifacts import write_churn_artifact
from training.register import RunRecord, record_run, register_version
from training.registry import Registry

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(240)]
ROOT = Path(__file__).resolve().parents[3]
T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 60) -> T:
    deadline = time.monotonic() + seconds
    seen: T | None = None
    while time.monotonic() < deadline:
        if seen := condition():
            return seen
        time.sleep(0.02)  # the pause of a poll: the condition decides
    raise AssertionError(f"{what}: not within {seconds} s; last seen {seen!r}")


class Control:
    """The process under test; `folder` is its state folder."""

    def __init__(self, folder: Path, registry_uri: str) -> None:
        self.folder = folder
        (folder / "metrics").mkdir(parents=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PAEDSRESUS_", "MLFLOW_"))}
        self.environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python/src")]),
            "PAEDSRESUS_STATE_DIR": str(folder),
            "PAEDSRESUS_REGISTRY_URI": registry_uri,
            "PAEDSRESUS_METRICS_LISTEN": "127.0.0.1:0",
            "PAEDSRESUS_SLOT": "3",
            "PAEDSRESUS_BOOT": "0123456789abcdef",
        }
        self.start()

    def start(self) -> None:
        with (self.folder / "control.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server.control"], env=self.environment, stderr=log, cwd=self.folder
            )

    @property
    def champion(self) -> int | None:
        route = (read_desired(self.folder / "desired.json") or Desired()).route.get("churn")
        return route.champion.version if route and route.champion else None

    def log(self) -> str:
        return (self.folder / "control.log").read_text()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)


@pytest.fixture
def control(embedded: Registry, tmp_path: Path) -> Iterator[Control]:
    for bias in (0.0, 1.0):
        write_churn_artifact(tmp_path / str(bias), bias=bias)
        register_version(embedded, tmp_path / str(bias), run_id=record_run(embedded, RunRecord(name="fit")))
    running = Control(tmp_path / "state", embedded.uri)
    yield running
    running.stop()


def test_from_an_alias_to_routed_through_kill_and_a_registry_that_disappears(
    control: Control, embedded: Registry, tmp_path: Path
) -> None:
    wait_for(lambda: control.champion == 1, "first champion is routed")
    wait_for(lambda: control.log().count("version_verified") == 2, "the challenger is verified too")

    embedded.client.set_registered_model_alias("churn", "champion", "2")
    wait_for(lambda: control.champion == 2, "the moved alias is routed", seconds=20)
    wait_for(
        lambda: embedded.client.get_registered_model("churn").aliases.get("previous") in {1, "1"},
        "previous is set",
        seconds=20,
    )
    tag = "serving.state"
    wait_for(
        lambda: embedded.client.get_model_version("churn", "2").tags.get(tag) == "live", "tags are written", seconds=20
    )

    before = (control.folder / "desired.json").read_bytes()
    control.process.kill()
    control.process.wait()
    (tmp_path / "mlruns").rename(tmp_path / "hidden")
    control.start()
    wait_for(lambda: '"state": "AWAY"' in (control.folder / "control.json").read_text(), "says that it is away")
    assert (control.folder / "desired.json").read_bytes() == before
    assert not (tmp_path / "mlruns").exists()

    control.process.send_signal(signal.SIGTERM)
    assert control.process.wait(timeout=20) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the port is found in /proc")
def test_what_it_knows_is_scraped(control: Control) -> None:
    wait_for(lambda: control.champion == 1, "first champion is routed")
    pid = control.process.pid
    ports = [
        int(line.split()[1].split(":")[1], 16)
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in _sockets(pid)
    ]

    def scraped(line: str) -> bool:
        pages = (urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode() for port in ports)
        return any(line in page.splitlines() for page in pages)

    wait_for(lambda: scraped("paedsresus_registry_up 1.0"), "the registry is up")
    share = 'paedsresus_version_share{model="churn",role="champion",version="1"} 1.0'
    wait_for(lambda: scraped(share), "the file is written first, the picture for others after it")


def _sockets(pid: int) -> set[str]:
    return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}


def test_requests_offer_their_features_to_each_model_that_is_served() -> None:
    schemas = offered_schemas()

    assert set(schemas) == set(KINDS)
    assert "tenure_days" in schemas["churn"].names
    assert schemas["difficulty"].names == ()


def test_only_processes_that_move_and_take_requests_are_waited_for(tmp_path: Path) -> None:
    with Slots.open(tmp_path / "slots", 5) as slots:
        for slot, role in ((0, Role.WORKER), (1, Role.WORKER), (2, Role.HEAVY), (4, Role.CONTROL)):
            slots.claim(slot, role, 100 + slot, 1)
        slots.set_state(1, State.DRAINING)

        assert live_processes(slots, own=4) == {0: 100, 2: 102}


def test_gauges_have_closed_labels_and_count_what_was_taken_out() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    versions = {
        ("churn", 1): Recorded(place=Place(state="live", digest="a", role="champion", share_bp=10_000), since=now),
        ("churn", 2): Recorded(place=Place(state="suspended", digest="b", role="challenger"), since=now),
        ("churn", 3): Recorded(place=Place(state="refused", digest="c"), since=now),
    }
    view = View(
        desired=Desired(generation=3),
        written_at=now,
        registry=RegistryView(state=RegistryState.AWAY, since=now),
        versions=versions,
    )

    gauges = {gauge.name: gauge.rows for gauge in control_gauges(view)}

    assert gauges["registry_up"] == [((), 0.0)]
    assert gauges["version_share"] == [(("churn", "1", "champion"), 1.0)]
    assert gauges["versions_taken_out"] == [(("churn", "suspended"), 1.0)]
