"""A registry in memory that keeps the promises of the real one, and breaks them when it is told to.

It fulfils `RegistryReader`; tests/server/control/test_registry.py runs the same checks on it and on MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from methods.manifest import DIGEST_TAG
from server.control.artifacts import FetchError, copy_folder
from server.control.registry import (
    BARRING_STATES,
    SERVING_PREFIX,
    STATE_TAG,
    SWITCH_TAG,
    TRAFFIC_PREFIX,
    Aspired,
    Model,
    RegistryAway,
    RegistryState,
    Version,
)


@dataclass(slots=True)
class _Entry:
    folder: Path | None
    tags: dict[str, str] = field(default_factory=dict)


class FakeRegistry:
    """Registered versions of one model, set up by hand."""

    def __init__(self, model: str = "churn") -> None:
        self.model = model
        self.aliases: dict[str, int] = {}
        self.model_tags: dict[str, str] = {}
        self.entries: dict[int, _Entry] = {}
        self.away: RegistryAway | None = None

    def register(self, folder: Path | None, digest: str | None) -> int:
        """A new version with its files; its number."""
        number = len(self.entries) + 1
        self.entries[number] = _Entry(folder, {} if digest is None else {DIGEST_TAG: digest})
        return number

    def lose(self, state: RegistryState = RegistryState.AWAY, detail: str = "gone") -> None:
        """Stop answering."""
        self.away = RegistryAway(state, detail)

    def look(self, watched: Mapping[str, frozenset[int]]) -> Aspired:
        """See RegistryReader. It reads every version, so those named in `watched` too."""
        del watched
        self._check()
        if not self.entries:
            return {}
        versions = {number: self._version(number) for number in self.entries}
        switch = self.model_tags.get(SWITCH_TAG)
        aliases = {alias: number for alias, number in self.aliases.items() if number in versions}
        return {self.model: Model(name=self.model, aliases=aliases, switch=switch, versions=versions)}

    def fetch(self, model: str, version: int, folder: Path) -> None:
        """See RegistryReader."""
        assert model == self.model
        source = self.entries[version].folder
        if self.away is not None or source is None:
            raise FetchError("no files")
        copy_folder(source, folder)

    def write_tags(self, model: str, version: int, tags: Mapping[str, str | None]) -> None:
        """See RegistryReader."""
        assert model == self.model
        self._check()
        entry = self.entries[version]
        for key, value in tags.items():
            if value is None:
                entry.tags.pop(key, None)
            else:
                entry.tags[key] = value

    def move_alias(self, model: str, alias: str, *, expected: int | None, version: int) -> bool:
        """See RegistryReader."""
        assert model == self.model
        self._check()
        if self.aliases.get(alias) != expected:
            return False
        self.aliases[alias] = version
        return True

    def _check(self) -> None:
        if self.away is not None:
            raise self.away

    def _version(self, number: int) -> Version:
        tags = self.entries[number].tags
        state = tags.get(STATE_TAG)
        found = Version(
            number=number,
            digest=tags.get(DIGEST_TAG),
            traffic={key: value for key, value in tags.items() if key.startswith(TRAFFIC_PREFIX)},
            serving={key: value for key, value in tags.items() if key.startswith(SERVING_PREFIX)},
        )
        return replace(found, barred=state if state in BARRING_STATES else None)
