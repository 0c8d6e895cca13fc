"""What every worker should load and how it should route: one small file, by generation.

Control is the only writer (temporary file, fsync, rename); workers and the compute process read it and confirm.
Two phases keep every moment servable: a generation first says *load*, and only when all have confirmed it does a
later one change *route*. A reader ignores a generation lower than the one it has.

Not here: what should be live (control/registry.py); the order of the steps (control/rollout.py).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

DESIRED_FORMAT = 1
DESIRED_NAME = "desired.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
SHARE_MAX_BP = 10_000


class Switch(StrEnum):
    """Switch of a model's methods, set by a person as the registered model's tag `traffic.switch`."""

    ENABLED = "enabled"
    FALLBACK_ONLY = "fallback_only"
    OFF = "off"


class Mode(StrEnum):
    """What the challenger gets: a copy of the traffic, or the keys of a share."""

    SHADOW = "shadow"
    CANARY = "canary"


class DesiredError(ValueError):
    """The file breaks its format; the text names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One version that a process should hold in memory; `folder` is relative to the state folder."""

    model: str
    version: int
    digest: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionRoute:
    """The version that answers by default, and since when (UTC)."""

    version: int
    digest: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengerRoute:
    """The candidate beside it. `share_bp` is 0 in shadow, else 1 to 10,000 hundredths of a percent."""

    version: int
    digest: str
    since: datetime
    mode: Mode = Mode.SHADOW
    share_bp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who answers for one model. A challenger never stands without a champion."""

    switch: Switch = Switch.ENABLED
    champion: ChampionRoute | None = None
    challenger: ChallengerRoute | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The whole wanted state of a process."""

    generation: int = 0
    load: tuple[Load, ...] = ()
    route: Mapping[str, Route] = field(default_factory=dict)

    @property
    def digests(self) -> frozenset[str]:
        """Digests of every version to load."""
        return frozenset(load.digest for load in self.load)


def render_desired(desired: Desired, *, written_at: datetime) -> bytes:
    """Bytes of the file, sorted and indented so that a person can read it; `written_at` is for that person only."""
    document = {
        "format": DESIRED_FORMAT,
        "generation": desired.generation,
        "written_at": render_time(written_at),
        "load": [
            {"model": load.model, "version": load.version, "digest": load.digest, "folder": load.folder}
            for load in desired.load
        ],
        "route": {model: _render_route(route) for model, route in sorted(desired.route.items())},
    }
    return json.dumps(document, indent=1, allow_nan=False).encode("utf-8") + b"\n"


def parse_desired(content: bytes) -> Desired:
    """Read the file and check it: a route names only versions that are to be loaded.

    Raises: DesiredError: names the field and what it should be.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as cause:
        raise DesiredError("desired state is not JSON") from cause
    top = _Fields(document, "desired state")
    if (found := top.integer("format", at_least=1)) > DESIRED_FORMAT:
        raise DesiredError(f"desired state has format {found}; this release reads up to {DESIRED_FORMAT}")
    load = tuple(_parse_load(item, index) for index, item in enumerate(top.items("load")))
    route = {model: _parse_route(item, f"route[{model!r}]") for model, item in top.entries("route").items()}
    desired = Desired(generation=top.integer("generation", at_least=0), load=load, route=route)
    _check_routes(desired)
    return desired


def read_desired(path: Path) -> Desired | None:
    """The file's content; None when there is no file yet.

    Raises: DesiredError: the file is there and broken. OSError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse_desired(content)


def write_desired(path: Path, desired: Desired, *, written_at: datetime) -> None:
    """Replace the file at once: a reader sees the old content or the new, never half of one."""
    write_atomically(path, render_desired(desired, written_at=written_at))


class DesiredFile:
    """The file in the hands of its one writer, who notices what others did to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = ()  # what `stat` says of it; None: not there

    def write(self, desired: Desired, *, written_at: datetime) -> None:
        """Replace the file; see `write_desired`."""
        write_desired(self._path, desired, written_at=written_at)
        self._seen = self._look()

    def spoilt(self, ours: Desired) -> int | None:
        """Generation of what stands there when it is not ours, 0 when it cannot be read; None when all is well.

        One `stat` while nobody touches it.
        """
        seen = self._look()
        if seen == self._seen:
            return None
        try:
            found = read_desired(self._path)
        except (DesiredError, OSError):
            found = None
        if found is None:
            return 0
        # Compared as written: times in memory are finer.
        moment = datetime.fromtimestamp(0, UTC)
        if render_desired(found, written_at=moment) != render_desired(ours, written_at=moment):
            return found.generation
        self._seen = seen
        return None

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by temporary file, fsync and rename, then fsync the folder, so that a power cut keeps one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def render_time(moment: datetime) -> str:
    """An aware time as 2026-01-31T09:00:00Z, the form of every file in the state folder."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Read such a time.

    Raises: DesiredError: it is none, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError) as cause:  # the first and the last day of the calendar have no UTC everywhere
        raise DesiredError(f"{text[:40]!r} is not a time such as 2026-01-31T09:00:00Z") from cause
    if moment.tzinfo is None:
        raise DesiredError(f"{text[:40]!r} has no time zone")
    return in_utc


def _render_route(route: Route) -> dict[str, object]:
    champion, challenger = route.champion, route.challenger
    return {
        "switch": route.switch.value,
        "champion": None
        if champion is None
        else {"version": champion.version, "digest": champion.digest, "since": render_time(champion.since)},
        "challenger": None
        if challenger is None
        else {
            "version": challenger.version,
            "digest": challenger.digest,
            "mode": challenger.mode.value,
            "share_bp": challenger.share_bp,
            "since": render_time(challenger.since),
        },
    }


@dataclass(frozen=True, slots=True)
class _Fields:
    """A JSON object with the place it was found at, for messages."""

    value: object
    place: str

    def get(self, name: str) -> object:
        if not isinstance(self.value, dict):
            raise DesiredError(f"{self.place} must be a JSON object")
        return self.value.get(name)

    def integer(self, name: str, *, at_least: int) -> int:
        value = self.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise DesiredError(f"{self.place}.{name} must be a whole number, at least {at_least}")
        return value

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str) or not value:
            raise DesiredError(f"{self.place}.{name} must be a text that is not empty")
        return value

    def digest(self) -> str:
        value = self.text("digest")
        if not _DIGEST.fullmatch(value):
            raise DesiredError(f"{self.place}.digest must be a sha256 in hexadecimal")
        return value

    def items(self, name: str) -> list[object]:
        value = self.get(name)
        if not isinstance(value, list):
            raise DesiredError(f"{self.place}.{name} must be a JSON list")
        return value

    def entries(self, name: str) -> dict[str, object]:
        value = self.get(name)
        if not isinstance(value, dict):
            raise DesiredError(f"{self.place}.{name} must be a JSON object")
        return value


def _parse_load(value: object, index: int) -> Load:
    fields = _Fields(value, f"load[{index}]")
    digest = fields.digest()
    folder = fields.text("folder")
    # The one place where the file names a path: it can only name the cache of that very digest.
    if folder != f"cache/{digest}":
        raise DesiredError(f"load[{index}].folder must be cache/{digest}")
    return Load(model=fields.text("model"), version=fields.integer("version", at_least=1), digest=digest, folder=folder)


def _parse_route(value: object, place: str) -> Route:
    fields = _Fields(value, place)
    try:
        switch = Switch(fields.text("switch"))
    except ValueError as cause:
        raise DesiredError(f"{place}.switch must be one of {', '.join(Switch)}") from cause
    champion, challenger = fields.get("champion"), fields.get("challenger")
    return Route(
        switch=switch,
        champion=None if champion is None else _parse_champion(_Fields(champion, f"{place}.champion")),
        challenger=None if challenger is None else _parse_challenger(_Fields(challenger, f"{place}.challenger")),
    )


def _parse_champion(fields: _Fields) -> ChampionRoute:
    return ChampionRoute(
        version=fields.integer("version", at_least=1),
        digest=fields.digest(),
        since=parse_time(fields.text("since")),
    )


def _parse_challenger(fields: _Fields) -> ChallengerRoute:
    try:
        mode = Mode(fields.text("mode"))
    except ValueError as cause:
        raise DesiredError(f"{fields.place}.mode must be one of {', '.join(Mode)}") from cause
    share_bp = fields.integer("share_bp", at_least=0)
    if share_bp > SHARE_MAX_BP or (mode is Mode.SHADOW and share_bp):
        raise DesiredError(f"{fields.place}.share_bp must be 0 in shadow and at most {SHARE_MAX_BP}")
    return ChallengerRoute(
        version=fields.integer("version", at_least=1),
        digest=fields.digest(),
        since=parse_time(fields.text("since")),
        mode=mode,
        share_bp=share_bp,
    )


def _check_routes(desired: Desired) -> None:
    for model, route in desired.route.items():
        if route.challenger is not None and route.champion is None:
            raise DesiredError(f"route[{model!r}] has a challenger and no champion")
        for routed in (route.champion, route.challenger):
            if routed is not None and routed.digest not in desired.digests:
                raise DesiredError(f"route[{model!r}] names version {routed.version}, which is not to be loaded")
