"""Control's own memory: what was verified, what was live, why a version is barred, and an audit chain of every change.

One SQLite file in WAL mode, written by this process alone. Audit rows are append-only and each carries the sha256 of
the one before it, so that a row that was changed or taken out later is found (`verify_chain`). Rows are on the disk
before a step's effect is announced. Migrations are numbered and only go forward.
Not here: what workers are told (server/desired.py); records of predictions (ledger).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from server.control.rollout import Bar, Candidate
from server.desired import parse_time, render_time

HISTORY_LENGTH = 5  # earlier champions that may answer again when one is barred
_FIRST_HASH = "0" * 64

# Number of a migration is its place in this list, from 1. Never change one that was released; add another.
_MIGRATIONS = (
    """
    create table versions (
        digest text primary key check (length(digest) = 64),
        model text not null,
        version integer not null check (version > 0),
        runtime text not null,
        verified_at text not null,
        champion_since text,
        crashes integer not null default 0 check (crashes >= 0),
        bar_state text check (bar_state in ('rolled_back', 'suspended', 'quarantined')),
        bar_reason text,
        bar_since text,
        bar_in_registry integer not null default 0 check (bar_in_registry in (0, 1)),
        check ((bar_state is null) = (bar_since is null))
    ) strict;
    create index versions_by_champion on versions (model, champion_since);
    create table transitions (
        id integer primary key,
        at text not null,
        kind text not null,
        model text,
        version integer,
        digest text,
        detail text not null,
        previous_hash text not null check (length(previous_hash) = 64),
        hash text not null unique check (length(hash) = 64)
    ) strict;
    create table last_state (
        name text primary key,
        value text not null,
        updated_at text not null
    ) strict;
    """,
)


class StoreError(Exception):
    """The store cannot be used; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of what is live, and why. `detail` holds plain JSON values."""

    kind: str
    model: str | None = None
    version: int | None = None
    digest: str | None = None
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A digest that passed every check here. `runtime` names the libraries it was tried with."""

    model: str
    version: int
    runtime: str
    was_champion: bool
    crashes: int


class Store:
    """The open store; used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open or create the store and bring it up to date.

        Raises: StoreError: a newer release wrote it, or it cannot be read.
        """
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")  # audit rows must survive a power cut
            connection.execute("pragma foreign_keys = on")
            _migrate(connection)
        except sqlite3.Error as error:
            raise StoreError(f"{path.name} cannot be used: {error}") from error
        path.chmod(0o600)
        return cls(connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def append(self, transition: Transition, at: datetime) -> None:
        """Add one row to the audit chain."""
        with self._connection:
            self._append(transition, at)

    def record_verified(self, candidate: Candidate, *, runtime: str, at: datetime) -> None:
        """A digest passed every check."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute(
                "insert into versions (digest, model, version, runtime, verified_at) values (?, ?, ?, ?, ?) "
                "on conflict (digest) do update set model = excluded.model, version = excluded.version, "
                "runtime = excluded.runtime, verified_at = excluded.verified_at",
                (candidate.digest, candidate.model, candidate.version, runtime, render_time(at)),
            )
            self._append(_of(candidate, "verified", {"runtime": runtime}), at)

    def record_champion(self, candidate: Candidate, at: datetime) -> None:
        """A champion went live on every worker."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute(
                "update versions set champion_since = ?, crashes = 0 where digest = ?",
                (render_time(at), candidate.digest),
            )
            self._append(_of(candidate, "champion_live", {}), at)

    def record_crash(self, digest: str, detail: Mapping[str, object], at: datetime) -> None:
        """A process crashed while computing with a digest."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute("update versions set crashes = crashes + 1 where digest = ?", (digest,))
            self._append(Transition(kind="crash", digest=digest, detail=detail), at)

    def place_bar(self, digest: str, bar: Bar) -> None:
        """Bar a digest, whether it was ever verified here or not."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute(
                "insert into versions (digest, model, version, runtime, verified_at, bar_state, bar_reason, bar_since) "
                "values (?, ?, ?, '', ?, ?, ?, ?) on conflict (digest) do update set bar_state = excluded.bar_state, "
                "bar_reason = excluded.bar_reason, bar_since = excluded.bar_since, bar_in_registry = 0",
                (
                    digest,
                    bar.model,
                    bar.version,
                    render_time(bar.since),
                    bar.state,
                    bar.reason,
                    render_time(bar.since),
                ),
            )
            candidate = Candidate(model=bar.model, version=bar.version, digest=digest)
            self._append(_of(candidate, bar.state, {"reason": bar.reason}), bar.since)

    def mark_bar(self, digest: str) -> None:
        """The bar's tag was seen in the registry."""
        self._connection.execute("update versions set bar_in_registry = 1 where digest = ?", (digest,))

    def lift_bar(self, digest: str, at: datetime) -> None:
        """Set a digest free; its crashes are forgotten."""
        with self._connection:
            self._connection.execute("begin immediate")
            self._connection.execute(
                "update versions set bar_state = null, bar_reason = null, bar_since = null, bar_in_registry = 0, "
                "crashes = 0 where digest = ?",
                (digest,),
            )
            self._append(Transition(kind="set_free", digest=digest, detail={}), at)

    def bars(self) -> dict[str, Bar]:
        """Every digest that is barred."""
        rows = self._connection.execute(
            "select digest, model, version, bar_state, bar_reason, bar_since, bar_in_registry from versions "
            "where bar_state is not null"
        )
        return {
            digest: Bar(
                model=model,
                version=version,
                state=state,
                reason=reason or "",
                since=parse_time(since),
                in_registry=bool(in_registry),
            )
            for digest, model, version, state, reason, since, in_registry in rows
        }

    def known(self) -> dict[str, Known]:
        """Every digest that passed every check here, oldest first."""
        rows = self._connection.execute(
            "select digest, model, version, runtime, champion_since is not null, crashes from versions "
            "where runtime <> '' order by verified_at"
        )
        return {
            digest: Known(
                model=model, version=version, runtime=runtime, was_champion=bool(was_champion), crashes=crashes
            )
            for digest, model, version, runtime, was_champion, crashes in rows
        }

    def history(self) -> dict[str, tuple[Candidate, ...]]:
        """Earlier champions of each model, newest first."""
        rows = self._connection.execute(
            "select model, version, digest from versions where champion_since is not null "
            "order by champion_since desc"  # versions_by_champion
        )
        found: dict[str, list[Candidate]] = {}
        for model, version, digest in rows:
            found.setdefault(model, []).append(Candidate(model=model, version=version, digest=digest))
        return {model: tuple(candidates[:HISTORY_LENGTH]) for model, candidates in found.items()}

    def read_state(self, name: str) -> str | None:
        """One remembered value."""
        row = self._connection.execute("select value from last_state where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def write_state(self, name: str, value: str | None, at: datetime) -> None:
        """Remember one value; None forgets it."""
        if value is None:
            self._connection.execute("delete from last_state where name = ?", (name,))
            return
        self._connection.execute(
            "insert into last_state (name, value, updated_at) values (?, ?, ?) "
            "on conflict (name) do update set value = excluded.value, updated_at = excluded.updated_at",
            (name, value, render_time(at)),
        )

    def verify_chain(self) -> int | None:
        """Id of the first audit row that does not fit the one before it; None when the chain is whole."""
        previous = _FIRST_HASH
        rows = self._connection.execute(
            "select id, at, kind, model, version, digest, detail, previous_hash, hash from transitions order by id"
        )
        for number, at, kind, model, version, digest, detail, linked, found in rows:
            if linked != previous or found != _hash(previous, (at, kind, model, version, digest, detail)):
                return int(number)
            previous = found
        return None

    def _append(self, transition: Transition, at: datetime) -> None:
        row = self._connection.execute("select hash from transitions order by id desc limit 1").fetchone()
        previous = _FIRST_HASH if row is None else str(row[0])
        detail = json.dumps(dict(transition.detail), sort_keys=True, separators=(",", ":"))
        facts = (
            render_time(at),
            transition.kind,
            transition.model,
            transition.version,
            transition.digest,
            detail,
        )
        self._connection.execute(
            "insert into transitions (at, kind, model, version, digest, detail, previous_hash, hash) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)",
            (*facts, previous, _hash(previous, facts)),
        )


def _migrate(connection: sqlite3.Connection) -> None:
    done = int(connection.execute("pragma user_version").fetchone()[0])
    if done > len(_MIGRATIONS):
        raise StoreError(f"the store has form {done} and this release knows {len(_MIGRATIONS)}; upgrade the server")
    for number, script in enumerate(_MIGRATIONS[done:], start=done + 1):
        # executescript commits what is open and knows no binding: the number is ours, and all of it is one transaction.
        connection.executescript(f"begin immediate; {script} pragma user_version = {number}; commit;")


def _hash(previous: str, facts: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps([previous, *facts], separators=(",", ":")).encode()).hexdigest()


def _of(candidate: Candidate, kind: str, detail: Mapping[str, object]) -> Transition:
    return Transition(
        kind=kind, model=candidate.model, version=candidate.version, digest=candidate.digest, detail=detail
    )
