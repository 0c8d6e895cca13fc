"""Control's memory: survives a restart, only goes forward, and shows when somebody changed the audit chain."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.control.rollout import Bar, Candidate
from server.control.store import Store, StoreError, Transition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, B = (Candidate(model="churn", version=number, digest=letter * 64) for number, letter in ((1, "a"), (2, "b")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


def bar(state: str = "suspended") -> Bar:
    return Bar(model="churn", version=1, state=state, reason="crashed", since=NOW)


def test_what_was_remembered_survives_a_restart(store: Store, path: Path) -> None:
    store.record_verified(A, runtime="onnx 1", at=NOW)
    store.record_champion(A, NOW)
    store.record_crash(A.digest, {"ending": "SIGSEGV"}, NOW)
    store.place_bar(A.digest, bar())
    store.write_state("generation", "7", NOW)
    store.close()

    again = Store.open(path)

    assert again.bars() == {A.digest: bar()}
    assert again.history() == {"churn": (A,)}
    assert again.known()[A.digest].was_champion
    assert again.known()[A.digest].crashes == 1
    assert again.read_state("generation") == "7"
    assert again.verify_chain() is None
    again.close()


def test_the_file_is_its_owners_alone_and_in_wal(store: Store, path: Path) -> None:
    store.write_state("x", "1", NOW)

    assert path.stat().st_mode & 0o077 == 0
    with sqlite3.connect(path) as other:
        assert other.execute("pragma journal_mode").fetchone() == ("wal",)
    other.close()


def test_history_names_the_newest_champion_first(store: Store) -> None:
    for candidate, moment in ((A, NOW), (B, NOW + timedelta(hours=1))):
        store.record_verified(candidate, runtime="r", at=NOW)
        store.record_champion(candidate, moment)

    assert store.history()["churn"] == (B, A)


def test_a_bar_is_marked_and_lifted_and_its_crashes_are_forgotten(store: Store) -> None:
    store.record_verified(A, runtime="r", at=NOW)
    store.record_crash(A.digest, {}, NOW)
    store.place_bar(A.digest, bar("quarantined"))
    store.mark_bar(A.digest)
    assert store.bars()[A.digest].in_registry

    store.lift_bar(A.digest, NOW)

    assert store.bars() == {}
    assert store.known()[A.digest].crashes == 0


def test_a_digest_that_was_never_verified_here_can_be_barred(store: Store) -> None:
    store.place_bar(B.digest, bar())

    assert B.digest in store.bars()
    assert B.digest not in store.known()


def test_a_value_is_replaced_and_forgotten(store: Store) -> None:
    store.write_state("x", "1", NOW)
    store.write_state("x", "2", NOW)
    assert store.read_state("x") == "2"

    store.write_state("x", None, NOW)

    assert store.read_state("x") is None


@pytest.mark.parametrize(
    "tamper",
    [
        "update transitions set detail = '{}' where id = 2",
        "update transitions set at = '2027-01-01T00:00:00.000Z' where id = 2",
        "delete from transitions where id = 2",
        "update transitions set previous_hash = hex(zeroblob(32)) where id = 2",
        "update transitions set hash = hex(zeroblob(32)) where id = 2",
    ],
)
def test_a_changed_audit_row_is_found(store: Store, path: Path, tamper: str) -> None:
    for number in range(4):
        store.append(Transition(kind="note", model="churn", version=number + 1, detail={"n": number}), NOW)
    assert store.verify_chain() is None

    with sqlite3.connect(path) as other:
        other.execute(tamper)
    other.close()

    assert store.verify_chain() in {2, 3}


def test_a_store_of_a_newer_release_is_refused_with_what_to_do(store: Store, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as other:
        other.execute("pragma user_version = 99")
    other.close()

    with pytest.raises(StoreError, match="upgrade the server"):
        Store.open(path)


def test_a_file_that_is_no_store_is_refused(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)

    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(path)


def test_opening_again_migrates_nothing_twice_and_keeps_every_row(store: Store, path: Path) -> None:
    store.append(Transition(kind="note", detail={}), NOW)
    store.close()

    for _ in range(2):
        again = Store.open(path)
        assert again.verify_chain() is None
        again.close()

    with sqlite3.connect(path) as other:
        assert other.execute("select count(*) from transitions").fetchone() == (1,)
    other.close()
