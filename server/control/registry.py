"""What MLflow says should be live: aliases, traffic tags and switches of the models that this server serves.

`MlflowRegistry` is used by one thread only (follow.py), never by a loop: a locked database blocks a read for 20 s. A
look at a local file costs 10 µs while nothing has changed (`PRAGMA data_version` on a connection kept open, and the
file's inode, since a replaced file would be read in its old form for ever). A missing or empty file is never opened
by MLflow, which would make an empty registry of it.

A registry keeps no order between an alias and its tags, so a state counts only when it was seen unchanged for a while
(`settle`). mlflow is imported here when the first look happens, and nowhere else in the server.
Not here: what follows from the state (rollout.py); what is written back (writeback.py).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote

from methods.manifest import DIGEST_TAG
from server.control.artifacts import FetchError, FetchTooLargeError, bytes_max, check_size, copy_folder

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
SWITCH_TAG = "traffic.switch"
TRAFFIC_PREFIX, SERVING_PREFIX = "traffic.", "serving."
STATE_TAG = "serving.state"
BARRING_STATES = frozenset({"rolled_back", "suspended", "quarantined"})
QUIET_SECONDS = 1.0
"""How long a state must stand unchanged before it counts: alias and tag of one promotion are two writes."""

RECENT_VERSIONS = 3  # newest versions of a model that are verified before anybody gives them an alias
_SQLITE = "sqlite:///"
_GATE_SECONDS = 0.1
# A slow or closed server is "away" within seconds; MLflow's own defaults block one call for minutes. NullPool: every
# session opens the file anew, so that a replaced file is seen.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


class RegistryState(StrEnum):
    """Whether the registry answers."""

    UNKNOWN = "UNKNOWN"
    OK = "OK"
    AWAY = "AWAY"
    LOCKED = "LOCKED"


class RegistryAway(Exception):  # noqa: N818 - a state of the world, not a mistake
    """The registry cannot be read just now.

    `detail` says why in our words and may reach callers; `cause` is what a library said and goes to the log alone.
    """

    def __init__(self, state: RegistryState, detail: str, cause: str = "") -> None:
        super().__init__(detail)
        self.state = state
        self.detail = detail
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One registered version.

    `traffic` holds its `traffic.*` tags, `barred` the value of `serving.state` where that bars it. What the server
    itself wrote (`serving`) is no part of the state: it must not make a state count as changed.
    """

    number: int
    digest: str | None
    traffic: Mapping[str, str] = field(default_factory=dict)
    barred: str | None = None
    serving: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One registered model: aliases by name, its switch, and the versions with an alias, the new and the watched."""

    name: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    switch: str | None = None
    versions: Mapping[int, Version] = field(default_factory=dict)


T = TypeVar("T")
_ASKING = (CHAMPION, CHALLENGER)
Aspired = Mapping[str, Model]
"""The wanted state by model name; a model that the registry does not have is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A state that counts, and one that is waiting to. `since` is when the waiting one was first seen, in seconds."""

    settled: Aspired | None = None
    waiting: Aspired | None = None
    since: float = 0.0


def settle(before: Settling, seen: Aspired, now: float, quiet_seconds: float = QUIET_SECONDS) -> Settling:
    """Take in one look: it counts when it has been the same for `quiet_seconds`, and starts to wait when it differs.

    The first state ever seen counts at once: there is nothing that it could be the half of.
    """
    wish = intent(seen)
    if before.settled is None or wish == intent(before.settled):
        return Settling(settled=seen)
    if before.waiting is None or wish != intent(before.waiting):
        return replace(before, waiting=seen, since=now)
    if now - before.since >= quiet_seconds:
        return Settling(settled=seen)
    return replace(before, waiting=seen)


def intent(aspired: Aspired) -> dict[str, tuple[object, ...]]:
    """The part of a state that a person sets and that changes the traffic.

    What the server writes itself (`previous`, `serving.*` but for bars) and which other versions were read beside must
    not count: a promotion would wait for the echo of the one before.
    """
    return {
        name: (
            model.switch,
            *((alias, model.aliases.get(alias), model.versions.get(model.aliases.get(alias, 0))) for alias in _ASKING),
        )
        for name, model in aspired.items()
    }


class RegistryReader(Protocol):
    """What the rest of control needs of a registry; every call may block for long."""

    def look(self, watched: Mapping[str, frozenset[int]]) -> Aspired:
        """Read the wanted state, and beside it the versions named in `watched`. Raises RegistryAway."""
        ...

    def fetch(self, model: str, version: int, folder: Path) -> None:
        """Put a version's files into an empty folder. Raises FetchError."""
        ...

    def write_tags(self, model: str, version: int, tags: Mapping[str, str | None]) -> None:
        """Set tags of a version; None deletes one. Raises RegistryAway."""
        ...

    def move_alias(self, model: str, alias: str, *, expected: int | None, version: int) -> bool:
        """Move an alias if it still stands where it was seen; False when a person was faster. Raises RegistryAway."""
        ...


class MlflowRegistry:
    """The registry at one address. `models` are the names this server serves; all others are left alone."""

    def __init__(self, uri: str, models: Iterable[str]) -> None:
        self._models = tuple(sorted(models))
        self._gate = _Gate(_file_of(uri)) if uri.startswith(_SQLITE) else None
        self._uri = self._gate.uri if self._gate else uri
        self._client: Any = None
        self._last: Aspired | None = None
        self._last_watched: Mapping[str, frozenset[int]] = {}
        self._recent: dict[str, tuple[int, dict[int, Any]]] = {}

    @property
    def is_local(self) -> bool:
        """Whether the registry is a file on this machine, cheap enough to look at five times a second."""
        return self._gate is not None

    def look(self, watched: Mapping[str, frozenset[int]] = MappingProxyType({})) -> Aspired:
        """See RegistryReader."""
        changed = self._gate is None or self._gate.has_changed()
        if not changed and self._last is not None and watched == self._last_watched:
            return self._last
        seen = self._call(lambda client: self._read(client, watched))
        self._last, self._last_watched = seen, dict(watched)
        return seen

    def fetch(self, model: str, version: int, folder: Path) -> None:
        """See RegistryReader. Local files are copied by our own hand: MLflow's copy follows links."""
        try:
            source = str(self._call(lambda client: client.get_model_version_download_uri(model, str(version))))
        except RegistryAway as away:
            raise FetchError(away.detail) from away
        local, most = self._local_path(source), bytes_max(model)
        if local is not None:
            copy_folder(local, folder, most)
            return
        # The repository itself, not mlflow.artifacts: its listing names files from the version's own folder on.
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with TemporaryDirectory(prefix=".staging-", dir=folder.parent) as transit:  # MLflow adds folders of its own
            try:
                repository: Any = get_artifact_repository(artifact_uri=source, tracking_uri=self._uri)
                _check_listing(lambda place: repository.list_artifacts(place or None), most)
                found = repository.download_artifacts("", dst_path=transit)
            except FetchTooLargeError:
                raise
            except Exception as error:
                raise FetchError(f"the registry does not hand over the files: {error}") from error
            copy_folder(Path(found), folder, most)

    def write_tags(self, model: str, version: int, tags: Mapping[str, str | None]) -> None:
        """See RegistryReader."""
        for key, value in tags.items():
            self._call(partial(_write_tag, model=model, version=version, key=key, value=value))

    def move_alias(self, model: str, alias: str, *, expected: int | None, version: int) -> bool:
        """See RegistryReader. MLflow has no compare-and-set: read, move, read back; on any difference a person wins."""
        if self._call(lambda client: _alias(client, model, alias)) != expected:
            return False
        self._call(lambda client: client.set_registered_model_alias(model, alias, str(version)))
        return self._call(lambda client: _alias(client, model, alias)) == version

    def _read(self, client: Any, watched: Mapping[str, frozenset[int]]) -> Aspired:
        registered: dict[str, Any] = {}
        token = None
        while True:
            page = client.search_registered_models(max_results=1000, page_token=token)
            registered |= {entry.name: entry for entry in page if entry.name in self._models}
            token = page.token
            if not token:
                break
        return {
            name: self._read_model(client, entry, watched.get(name, frozenset()))
            for name, entry in sorted(registered.items())
        }

    def _read_model(self, client: Any, entry: Any, watched: frozenset[int]) -> Model:
        # Version numbers are int from a file and str over HTTP.
        aliases = {alias: int(number) for alias, number in entry.aliases.items() if alias in _OUR_ALIASES}
        recent = self._recent_versions(client, entry)
        wanted = {*aliases.values(), *watched, *recent}
        found = {number: _version(client, entry.name, number) for number in sorted(wanted)}
        return Model(
            name=entry.name,
            aliases=aliases,
            switch=dict(entry.tags).get(SWITCH_TAG),
            versions={number: version for number, version in found.items() if version is not None},
        )

    def _recent_versions(self, client: Any, entry: Any) -> dict[int, Any]:
        # The model's own time moves when a version is created, and on no alias or tag: the dear query is rarely made.
        moment = int(entry.last_updated_timestamp)
        known = self._recent.get(entry.name)
        if known is None or known[0] != moment:
            name = entry.name.replace("'", "''")
            newest = client.search_model_versions(
                f"name = '{name}'", max_results=RECENT_VERSIONS, order_by=["version_number DESC"]
            )
            known = (moment, {int(version.version): None for version in newest})
            self._recent[entry.name] = known
        return known[1]

    def _call(self, action: Callable[[Any], T]) -> T:
        if self._gate is not None:
            self._gate.check()
        try:
            if self._client is None:
                self._client = _connect(self._uri)
            return action(self._client)
        except Exception as error:  # MLflow, SQLAlchemy and requests have no common class
            self._last = None
            raise _away(error) from error

    def _local_path(self, source: str) -> Path | None:
        if source.startswith("file://"):
            source = unquote(source.removeprefix("file://"))
        if "://" in source or source.startswith("mlflow-artifacts:"):
            return None
        path = Path(source)
        if path.is_dir() or self._gate is None:
            return path
        # The folder was moved since: MLflow keeps absolute paths, and everything after `artifacts` stayed as it was.
        parts = path.parts
        for at in (index for index, part in enumerate(parts[:-1]) if part == "artifacts"):  # the last is MLflow's own
            moved = self._gate.file.parent.joinpath(*parts[at:])
            if moved.is_dir():
                return moved
        return path


_OUR_ALIASES = frozenset({CHAMPION, CHALLENGER, PREVIOUS})


class _Gate:
    """Whether a local registry has changed since the last question, for 10 µs."""

    def __init__(self, file: Path) -> None:
        self.file = file
        # mode=rw: SQLite then refuses to create a missing file, even between our check and MLflow's use. The driver is
        # named because MLflow makes a folder out of every `sqlite:///…`, also out of `sqlite:///file:…`.
        self.uri = f"sqlite+pysqlite:///file:{quote(str(file))}?mode=rw&uri=true"
        self._connection: sqlite3.Connection | None = None
        self._mark: tuple[int, int, int] | None = None

    def check(self) -> None:
        """Raise RegistryAway unless there is a registry in that file that can be read now."""
        try:
            status = self.file.stat()
        except OSError as missing:
            self._close()
            raise RegistryAway(
                RegistryState.AWAY,
                f"{self.file.name} cannot be read ({missing.strerror}); restore it, or train once to make a new one",
            ) from missing
        if self._mark is not None and self._mark[:2] != (status.st_dev, status.st_ino):
            self._close()

    def has_changed(self) -> bool:
        """Whether anybody committed since the last call."""
        self.check()
        try:
            mark = self._read_mark()
        except sqlite3.Error as error:
            self._close()
            raise _away(error) from error
        changed = mark != self._mark
        self._mark = mark
        return changed

    def _read_mark(self) -> tuple[int, int, int]:
        if self._connection is None:
            location = f"file:{quote(str(self.file))}?mode=ro"
            self._connection = sqlite3.connect(
                location, uri=True, timeout=_GATE_SECONDS, isolation_level=None, check_same_thread=False
            )
            found = self._connection.execute(
                "select count(*) from sqlite_master where type = 'table' and name = 'registered_models'"
            ).fetchone()
            if not found[0]:
                raise sqlite3.DatabaseError("it holds no registry")
        # Taking a read lock too: `data_version` alone answers while another process holds the file exclusively.
        self._connection.execute("select 1 from registered_models limit 1").fetchone()
        version = self._connection.execute("pragma data_version").fetchone()[0]
        status = self.file.stat()
        return status.st_dev, status.st_ino, int(version)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._mark = None, None


def _connect(uri: str) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_REGISTRY_URI"] = uri
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it prints a whole trace for every locked read
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _version(client: Any, model: str, number: int) -> Version | None:
    try:
        entry = client.get_model_version(model, str(number))
    except Exception as error:
        if _code(error) == "RESOURCE_DOES_NOT_EXIST":  # deleted between two reads
            return None
        raise
    tags = {str(key): str(value) for key, value in dict(entry.tags).items()}
    state = tags.get(STATE_TAG)
    return Version(
        number=number,
        digest=tags.get(DIGEST_TAG),
        traffic={key: value for key, value in sorted(tags.items()) if key.startswith(TRAFFIC_PREFIX)},
        barred=state if state in BARRING_STATES else None,
        serving={key: value for key, value in tags.items() if key.startswith(SERVING_PREFIX)},
    )


def _check_listing(list_folder: Callable[[str], Iterable[Any]], most: int) -> None:
    """Refuse what is too large before a byte of it is on our disk."""
    waiting, files, total = [""], 0, 0
    while waiting:
        for entry in list_folder(waiting.pop()):
            files += 1
            total += int(entry.file_size or 0)
            check_size(files, total, most)
            if entry.is_dir:
                waiting.append(str(entry.path))


def _alias(client: Any, model: str, alias: str) -> int | None:
    aliases = client.get_registered_model(model).aliases
    return int(aliases[alias]) if alias in aliases else None


def _write_tag(client: Any, *, model: str, version: int, key: str, value: str | None) -> None:
    if value is not None:
        client.set_model_version_tag(model, str(version), key, value)
    elif key in client.get_model_version(model, str(version)).tags:
        client.delete_model_version_tag(model, str(version), key)


def _file_of(uri: str) -> Path:
    return Path(unquote(uri.removeprefix(_SQLITE).split("?")[0]).removeprefix("file:")).absolute()


def _code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))


def _away(error: Exception) -> RegistryAway:
    said = " ".join(str(error).split())[:500] or type(error).__name__
    if "database is locked" in said:
        return RegistryAway(RegistryState.LOCKED, "the registry's database is locked by another process", said)
    if "out-of-date database schema" in said:
        text = "the registry was written by another MLflow; run `mlflow db upgrade` after a backup"
        return RegistryAway(RegistryState.AWAY, text, said)
    if isinstance(error, sqlite3.Error):
        return RegistryAway(RegistryState.AWAY, "the registry's file is damaged or holds no registry", said)
    return RegistryAway(RegistryState.AWAY, "the registry does not answer", said)
