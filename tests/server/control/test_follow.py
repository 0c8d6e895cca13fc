"""The follower with a registry, a cache and workers: from an alias to every worker, and through every kind of fault.

Workers here are obedient: after each tick they read desired.json and confirm it. No process, no sleep, no real clock.
"""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from methods.features import schema_of
from paedsresus.ml.v1 import revenue_pb2
from server.control.__main__ import try_versions
from server.control.artifacts import Cache, FetchError, Refusal, RefusalCode
from server.control.follow import AliasMove, Follower
from server.control.registry import RegistryAway, RegistryState
from server.control.rollout import Confirmation
from server.control.store import Store
from server.desired import Desired, DesiredError, read_desired, write_atomically
from server.holds import HOLDS_NAME, Hold, HoldKind, add_hold, read_holds, render_holds
from tests.fakes.artifacts import write_churn_artifact
from tests.fakes.registry import FakeRegistry

SCHEMAS = {"churn": schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)}
Probe = Callable[[Path], Refusal | None]


@dataclass
class Rig:
    """Control without its threads: `look` and `try_all` do by hand what they would do."""

    folder: Path
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    processes: dict[int, int] = field(default_factory=lambda: {0: 100, 1: 101})
    deaf: set[int] = field(default_factory=set)
    runtime: str = "onnxruntime 1"
    probe: Probe = lambda _folder: None

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.boot()

    def boot(self) -> None:
        """A new control process over the same folder."""
        self.store = Store.open(self.folder / "store.db")
        self.cache = Cache(self.folder / "cache")
        self.cache.open()
        self.follower = Follower(
            folder=self.folder,
            store=self.store,
            cache=self.cache,
            schemas=SCHEMAS,
            runtime=self.runtime,
            processes=self.processes.copy,
            clock=lambda: self.now,
            steady=lambda: self.now.timestamp(),  # noqa: PLW0108 - `now` moves
        )
        self.follower.recover()
        self.follower.tick()

    def version(self, bias: float) -> int:
        """Register one more version."""
        source = self.folder.parent / f"source-{bias}"
        return self.registry.register(source, write_churn_artifact(source, bias=bias))

    def look(self) -> None:
        """One look of the registry thread, writes included."""
        try:
            self.follower.sighted(self.registry.look(self.follower.watched()))
        except RegistryAway as away:
            self.follower.missed(away)
        for write in self.follower.next_writes():
            try:
                moved = True
                if isinstance(write, AliasMove):
                    moved = self.registry.move_alias(
                        write.model, "previous", expected=write.expected, version=write.version
                    )
                else:
                    self.registry.write_tags(write.model, write.version, write.tags)
            except RegistryAway as away:
                self.follower.write_failed(away)
                return
            self.follower.wrote(write, moved=moved)

    def try_all(self) -> None:
        """The trial thread, until nothing is left to try."""
        while (wanted := self.follower.next_check()) is not None:
            fetch = partial(self.registry.fetch, "churn", wanted.version)
            try:
                refusal = self.cache.publish(wanted, fetch, self.probe)
            except FetchError as failure:
                self.follower.fetch_failed(wanted, str(failure))
            else:
                self.follower.checked(wanted, refusal)

    def run(self, seconds: float = 3.0) -> None:
        """Let the house live for some time, in looks of 0.2 s."""
        for _ in range(round(seconds / 0.2)):
            self.look()
            self.try_all()
            self.follower.tick()
            for slot, pid in self.processes.items():
                if slot not in self.deaf:
                    said = Confirmation(pid=pid, generation=self.desired.generation, loaded=self.desired.digests)
                    self.follower.confirmed(slot, said)
            self.follower.tick()
            self.now += timedelta(seconds=0.2)

    @property
    def desired(self) -> Desired:
        try:
            return read_desired(self.folder / "desired.json") or Desired()
        except DesiredError:  # a worker leaves a broken file alone
            return Desired()

    @property
    def champion(self) -> int | None:
        route = self.desired.route.get("churn")
        return route.champion.version if route and route.champion else None

    @property
    def status(self) -> Any:
        return json.loads((self.folder / "control.json").read_text())

    def tags(self, number: int) -> dict[str, str]:
        return {key: value for key, value in self.registry.entries[number].tags.items() if key.startswith("serving.")}

    def crash(self, digest: str, *, ending: str = "SIGSEGV", slot: int = 0) -> None:
        """What the supervisor notes when a process ends."""
        line = {"at": "2026-01-01T00:00:00Z", "slot": slot, "role": "worker", "pid": 100, "ending": ending}
        with (self.folder / "crashes.jsonl").open("a") as file:
            file.write(json.dumps({**line, "digest_prefix": digest[:16]}) + "\n")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "state")


@pytest.fixture
def serving(rig: Rig) -> Rig:
    """Version 1 live, version 2 registered."""
    rig.registry.aliases["champion"] = rig.version(0.0)
    rig.version(1.0)
    (rig.folder / "crashes.jsonl").touch()
    rig.run()
    assert rig.champion == 1
    return rig


def test_a_champion_becomes_live_on_every_worker_and_its_tags_say_so(serving: Rig) -> None:
    assert serving.tags(1)["serving.state"] == "live"
    assert serving.tags(1)["serving.share"] == "100"
    assert [row["state"] for row in serving.status["models"]["churn"]["versions"]] == ["live", "verified"]
    assert serving.status["registry"]["state"] == "OK"


def test_a_version_is_verified_as_soon_as_it_is_registered_and_loaded_only_when_asked_for(serving: Rig) -> None:
    digests = {path.name for path in (serving.folder / "cache").iterdir()}

    assert len(digests) == 2
    assert len(serving.desired.digests) == 1


def test_a_promotion_goes_live_previous_is_set_and_the_old_one_retires(serving: Rig) -> None:
    serving.registry.aliases["champion"] = 2
    start = serving.now
    while serving.champion != 2:
        serving.run(0.2)
    assert serving.now - start <= timedelta(seconds=2)

    serving.run()

    assert serving.registry.aliases["previous"] == 1
    assert serving.tags(2)["serving.state"] == "live"
    assert serving.tags(1)["serving.state"] == "retired"
    assert len(serving.desired.load) == 1


def test_a_person_who_moves_previous_first_wins(serving: Rig) -> None:
    serving.registry.aliases["champion"] = 2
    move = None
    while move is None:
        serving.follower.sighted(serving.registry.look({}))
        serving.follower.tick()
        for slot, pid in serving.processes.items():
            desired = serving.desired
            said = Confirmation(pid=pid, generation=desired.generation, loaded=desired.digests)
            serving.follower.confirmed(slot, said)
        serving.follower.tick()
        serving.now += timedelta(seconds=0.2)
        move = next((write for write in serving.follower.next_writes() if isinstance(write, AliasMove)), None)
    serving.registry.aliases["previous"] = 2

    assert not serving.registry.move_alias("churn", "previous", expected=move.expected, version=move.version)
    serving.follower.wrote(move, moved=False)
    serving.run()

    assert serving.registry.aliases["previous"] == 2


def test_an_alias_that_flaps_moves_nothing(serving: Rig) -> None:
    generation = serving.desired.generation
    for turn in range(20):
        serving.registry.aliases["champion"] = 1 + turn % 2
        serving.run(0.4)

    assert serving.desired.generation == generation
    assert serving.champion == 1


def test_a_bad_version_is_refused_with_its_reason_and_the_champion_serves(serving: Rig) -> None:
    serving.probe = lambda _folder: Refusal(code=RefusalCode.PROBE_CRASHED, text="killed by SIGSEGV")
    serving.registry.aliases["champion"] = serving.version(2.0)

    serving.run()

    assert serving.champion == 1
    assert serving.tags(3)["serving.state"] == "refused"
    assert serving.tags(3)["serving.reason"] == "killed by SIGSEGV"
    assert serving.tags(1)["serving.state"] == "live"


def test_deleting_the_tag_of_a_refused_version_asks_for_another_look(serving: Rig) -> None:
    serving.probe = lambda _folder: Refusal(code=RefusalCode.GOLDEN, text="differs")
    serving.registry.aliases["champion"] = serving.version(2.0)
    serving.run()
    serving.probe = lambda _folder: None

    for key in list(serving.tags(3)):
        del serving.registry.entries[3].tags[key]
    serving.run()

    assert serving.champion == 3
    assert serving.tags(3)["serving.state"] == "live"


def test_a_version_that_breaks_its_judge_is_refused_and_control_goes_on(serving: Rig) -> None:
    broken = serving.version(0.5)
    stop = threading.Event()

    def probe(_folder: Path, _factor: float) -> Refusal | None:
        stop.set()
        raise ZeroDivisionError("nobody thought of this file")

    serving.look()
    serving.follower.tick()
    try_versions(serving.follower, serving.registry, serving.cache, probe, stop)
    serving.run()

    assert serving.registry.entries[broken].tags["serving.state"] == "refused"
    assert "log" in serving.registry.entries[broken].tags["serving.reason"]
    assert "nobody thought" not in serving.registry.entries[broken].tags["serving.reason"]
    assert serving.champion == 1


def test_a_version_without_files_is_asked_for_again_and_never_refused(serving: Rig) -> None:
    number = serving.version(2.0)
    source, serving.registry.entries[number].folder = serving.registry.entries[number].folder, None
    serving.registry.aliases["champion"] = number
    serving.run()
    assert serving.champion == 1
    assert "serving.state" not in serving.tags(number)

    serving.registry.entries[number].folder = source
    serving.run(8.0)

    assert serving.champion == number


def test_a_registry_that_goes_away_changes_nothing_and_is_said(serving: Rig) -> None:
    before = serving.desired
    serving.registry.lose(RegistryState.LOCKED, "the registry's database is locked")

    serving.run(30.0)

    assert serving.desired == before
    assert serving.status["registry"]["state"] == "LOCKED"
    assert serving.status["registry"]["detail"] == "the registry's database is locked"

    serving.registry.away = None
    serving.registry.aliases["champion"] = 2
    serving.run()
    assert serving.champion == 2


def test_a_boot_without_a_registry_keeps_the_last_verified_state(serving: Rig) -> None:
    before = serving.desired
    serving.registry.lose()

    serving.boot()
    serving.run()

    assert serving.desired == before
    assert serving.status["registry"]["state"] == "AWAY"
    assert serving.status["models"]["churn"]["versions"][0]["state"] == "live"


def test_a_boot_with_everything_unchanged_writes_no_new_generation(serving: Rig) -> None:
    before = serving.desired

    serving.boot()
    serving.run()

    assert serving.desired == before
    assert "previous" not in serving.registry.aliases


def test_a_boot_over_a_broken_desired_state_goes_on_with_higher_generations(serving: Rig) -> None:
    generation = serving.desired.generation
    (serving.folder / "desired.json").write_text("{half")

    serving.boot()
    serving.run()

    assert serving.champion == 1
    assert serving.desired.generation > generation


def edit(content: bytes) -> bytes:
    return content.replace(b'"version": 1', b'"version": 2').replace(b'"generation": ', b'"generation": 9')


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b"{broken"), id="broken"),
        pytest.param(lambda path: path.unlink(), id="deleted"),
        pytest.param(lambda path: path.write_bytes(edit(path.read_bytes())), id="edited by hand"),
    ],
)
def test_a_desired_state_that_others_spoil_is_written_again(serving: Rig, damage: Callable[[Path], Any]) -> None:
    before = serving.desired
    damage(serving.folder / "desired.json")
    spoilt = serving.desired.generation

    serving.follower.tick()

    assert serving.champion == 1
    assert serving.desired.generation > max(before.generation, spoilt)
    serving.run()
    assert serving.desired.generation == max(before.generation, spoilt) + 1


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b"{broken"), id="broken"),
        pytest.param(lambda path: path.unlink(), id="deleted"),
    ],
)
def test_a_boot_without_registry_and_desired_state_goes_on_from_the_store(
    serving: Rig, damage: Callable[[Path], Any]
) -> None:
    before = serving.desired.generation
    serving.registry.lose()
    damage(serving.folder / "desired.json")

    serving.boot()
    serving.run()

    assert serving.champion == 1
    assert serving.desired.generation > before


def test_a_slow_worker_is_waited_for_and_a_deaf_one_is_not_waited_for_for_ever(serving: Rig) -> None:
    serving.deaf.add(1)
    serving.registry.aliases["champion"] = 2

    serving.run(6.0)
    assert serving.champion == 1

    serving.run(8.0)
    assert serving.champion == 2


def test_a_challenger_that_crashes_a_worker_is_suspended_until_its_tag_is_deleted(serving: Rig) -> None:
    serving.registry.aliases["challenger"] = 2
    serving.registry.entries[2].tags |= {"traffic.mode": "canary", "traffic.percent": "5"}
    serving.run()
    challenger = serving.desired.route["churn"].challenger
    assert challenger is not None
    assert challenger.share_bp == 500

    serving.crash(challenger.digest)
    serving.follower.tick()
    assert serving.desired.route["churn"].challenger is None

    serving.run(5.0)
    assert serving.desired.route["churn"].challenger is None
    assert serving.tags(2)["serving.state"] == "suspended"
    assert "crashed" in serving.tags(2)["serving.reason"]

    serving.boot()
    serving.run(5.0)
    assert serving.desired.route["churn"].challenger is None

    del serving.registry.entries[2].tags["serving.state"]
    serving.run(5.0)
    assert serving.desired.route["churn"].challenger is not None
    assert serving.tags(2)["serving.state"] == "live"


def test_a_champion_that_crashes_twice_is_quarantined_and_the_previous_one_answers(serving: Rig) -> None:
    serving.registry.aliases["champion"] = 2
    serving.run()
    digest = serving.desired.load[0].digest

    serving.crash(digest)
    serving.run(1.0)
    assert serving.champion == 2

    serving.crash(digest, slot=1)
    serving.run()
    assert serving.champion == 1
    assert serving.tags(2)["serving.state"] == "quarantined"
    assert serving.registry.aliases == {"champion": 2, "previous": 1}


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM"])
def test_a_process_that_somebody_killed_blames_no_version(serving: Rig, ending: str) -> None:
    digest = serving.desired.load[0].digest
    for _ in range(3):
        serving.crash(digest, ending=ending)

    serving.run()

    assert serving.champion == 1
    assert serving.tags(1)["serving.state"] == "live"


def test_a_crash_is_counted_once_even_across_a_restart(serving: Rig) -> None:
    serving.crash(serving.desired.load[0].digest)
    serving.run(1.0)

    serving.boot()
    serving.run()

    assert serving.champion == 1


def test_half_a_crash_line_waits_for_its_other_half(serving: Rig) -> None:
    digest = serving.desired.load[0].digest
    line = json.dumps({"at": "x", "slot": 0, "ending": "SIGSEGV", "digest_prefix": digest[:16]})
    with (serving.folder / "crashes.jsonl").open("a") as file:
        file.write(line[:20])
    serving.run(1.0)
    with (serving.folder / "crashes.jsonl").open("a") as file:
        file.write(line[20:] + "\nnot json\n")
    serving.run(1.0)

    assert serving.store.known()[digest].crashes == 1


@pytest.mark.parametrize("prefix", [5, [], {"a": 1}, True, "", "x" * 100_000], ids=str)
def test_a_crash_record_that_names_no_digest_blames_nobody(serving: Rig, prefix: object) -> None:
    digest = serving.desired.load[0].digest
    with (serving.folder / "crashes.jsonl").open("a") as file:
        file.write(json.dumps({"at": "x", "slot": 0, "ending": "SIGSEGV", "digest_prefix": prefix}) + "\n")
        file.write("[" * 100_000 + "\n")
    serving.run(1.0)
    serving.crash(digest)
    serving.run(1.0)

    assert serving.store.known()[digest].crashes == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(
            b'{"format": 1, "holds": [{"kind": "freeze", "start": "0001-01-01T00:00:00+23:59", "until": "x"}]}',
            id="a time before time",
        ),
    ],
)
def test_a_broken_file_of_holds_is_said_and_ends_no_order(serving: Rig, content: bytes) -> None:
    until = serving.now + timedelta(hours=1)
    hold = Hold(kind=HoldKind.VERSION, model="churn", version=2, start=serving.now, until=until)
    add_hold(serving.folder / HOLDS_NAME, hold)
    serving.run()

    (serving.folder / HOLDS_NAME).write_bytes(content)
    serving.run()

    assert serving.champion == 2
    assert any("holds.json" in warning for warning in serving.status["warnings"])
    serving.now = until
    serving.run()
    assert serving.champion == 1


def test_an_order_given_while_another_ends_is_not_lost(serving: Rig) -> None:
    """The command and control both rewrite the file; each waits for the other's lock."""
    path = serving.folder / HOLDS_NAME
    until = serving.now + timedelta(hours=1)
    agreed = Hold(kind=HoldKind.VERSION, model="churn", version=1, start=serving.now, until=until)
    add_hold(path, agreed)
    given = Hold(kind=HoldKind.FREEZE, start=serving.now, until=until)
    ending = threading.Thread(target=serving.follower.tick)
    with (serving.folder / "holds.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the command does, between its reading and its writing
        ending.start()
        ending.join(timeout=0.5)
        write_atomically(path, render_holds([agreed, given]))
    ending.join(timeout=10)

    assert read_holds(path) == (given,)


def test_a_hold_answers_while_the_registry_is_away_and_expires(serving: Rig) -> None:
    serving.registry.lose()
    serving.run(1.0)
    until = serving.now + timedelta(minutes=1)
    hold = Hold(kind=HoldKind.VERSION, model="churn", version=2, start=serving.now, until=until)
    add_hold(serving.folder / HOLDS_NAME, hold)

    serving.run()
    assert serving.champion == 2

    serving.registry.away = None
    serving.now = until
    serving.run()
    assert serving.champion == 1


def test_a_hold_of_a_version_that_is_not_here_is_said(serving: Rig) -> None:
    hold = Hold(
        kind=HoldKind.VERSION, model="churn", version=9, start=serving.now, until=serving.now + timedelta(hours=1)
    )
    add_hold(serving.folder / HOLDS_NAME, hold)

    serving.run(1.0)

    assert serving.champion == 1
    assert "version 9 is held and not in this server's cache" in serving.status["warnings"][0]


def test_a_hold_ends_when_the_registry_agrees(serving: Rig) -> None:
    hold = Hold(
        kind=HoldKind.VERSION, model="churn", version=2, start=serving.now, until=serving.now + timedelta(hours=1)
    )
    add_hold(serving.folder / HOLDS_NAME, hold)
    serving.run()
    assert serving.champion == 2

    serving.registry.aliases["champion"] = 2
    serving.run()
    serving.registry.aliases["champion"] = 1
    serving.run()

    assert serving.champion == 1


def test_a_live_version_that_drifts_under_another_runtime_goes_on_and_is_said(serving: Rig) -> None:
    serving.runtime = "onnxruntime 2"
    serving.boot()
    serving.probe = lambda _folder: Refusal(code=RefusalCode.GOLDEN, text="golden answer 3 of 24 differs by 0.5")

    serving.run()

    assert serving.champion == 1
    assert any("golden answer 3" in warning for warning in serving.status["warnings"])
    assert serving.tags(1)["serving.state"] == "live"


def test_a_cached_version_that_rotted_is_fetched_again(serving: Rig) -> None:
    digest = serving.desired.load[0].digest
    model = serving.folder / "cache" / digest / "model.onnx"
    model.chmod(0o600)
    model.write_bytes(b"rotten")

    serving.boot()
    serving.run()

    assert serving.champion == 1
    assert model.read_bytes() != b"rotten"


def test_every_change_stands_in_the_audit_chain(serving: Rig) -> None:
    serving.registry.aliases["champion"] = 2
    serving.run()

    rows = serving.store._connection.execute("select kind from transitions order by id").fetchall()
    kinds = [kind for (kind,) in rows]
    assert kinds.count("champion_live") == 2
    assert {"verified", "load", "route", "drop", "alias_moved"} <= set(kinds)
    assert serving.store.verify_chain() is None


def test_the_picture_for_others_is_replaced_not_changed(serving: Rig) -> None:
    before = serving.follower.view
    kept = dict(before.versions)

    serving.registry.aliases["champion"] = 2
    serving.run()

    assert dict(before.versions) == kept
    assert serving.follower.view is not before


def test_the_cache_keeps_what_may_answer_again_and_nothing_else(serving: Rig) -> None:
    loose = serving.folder / "cache" / ("f" * 64)
    loose.mkdir()

    keep = serving.follower.kept()
    assert keep is not None
    assert serving.cache.prune(keep) == {"f" * 64}
    assert len(list((serving.folder / "cache").iterdir())) == 2

    serving.registry.lose()
    serving.run(1.0)
    assert serving.follower.kept() is None, "while the registry is away nobody knows what may go"


def test_a_boot_without_a_registry_still_has_the_earlier_champion_to_fall_back_on(serving: Rig) -> None:
    serving.registry.aliases["champion"] = 2
    serving.run()
    digest = serving.desired.load[0].digest
    serving.registry.lose()
    serving.boot()
    serving.run(1.0)

    for slot in (0, 1):
        serving.crash(digest, slot=slot)
    serving.run()

    assert serving.champion == 1


def test_a_hold_is_on_record_from_its_first_moment_to_its_last(serving: Rig) -> None:
    until = serving.now + timedelta(seconds=2)
    hold = Hold(kind=HoldKind.FREEZE, start=serving.now, until=until, by="somebody")
    add_hold(serving.folder / HOLDS_NAME, hold)
    serving.run(4.0)

    rows = serving.store._connection.execute("select detail from transitions where kind = 'holds' order by id")
    counts = [(len(json.loads(detail)["before"]), len(json.loads(detail)["now"])) for (detail,) in rows]
    assert counts == [(0, 1), (1, 0)]


def test_nothing_is_written_while_workers_swap(serving: Rig) -> None:
    serving.registry.aliases["champion"] = 2
    generation = serving.desired.generation
    while serving.desired.generation == generation:
        serving.follower.sighted(serving.registry.look(serving.follower.watched()))
        serving.follower.tick()
        serving.now += timedelta(seconds=0.2)
    assert serving.follower.next_writes() == []
    serving.run()
    assert serving.tags(2)["serving.state"] == "live"
