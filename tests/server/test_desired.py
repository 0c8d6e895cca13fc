"""The desired state: comes back as written, is replaced at once, and names only what may be loaded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.desired import (
    ChallengerRoute,
    ChampionRoute,
    Desired,
    DesiredError,
    Load,
    Mode,
    Route,
    Switch,
    parse_desired,
    read_desired,
    render_desired,
    write_desired,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGESTS = ("a" * 64, "b" * 64)


def load(digest: str, version: int = 1) -> Load:
    return Load(model="churn", version=version, digest=digest, folder=f"cache/{digest}")


def desired(share_bp: int = 500) -> Desired:
    mode = Mode.CANARY if share_bp else Mode.SHADOW
    route = Route(
        champion=ChampionRoute(version=1, digest=DIGESTS[0], since=NOW),
        challenger=ChallengerRoute(version=2, digest=DIGESTS[1], since=NOW, mode=mode, share_bp=share_bp),
    )
    return Desired(generation=3, load=(load(DIGESTS[0]), load(DIGESTS[1], 2)), route={"churn": route})


@given(
    generation=st.integers(min_value=0, max_value=2**31),
    share_bp=st.integers(min_value=0, max_value=10_000),
    switch=st.sampled_from(Switch),
    since=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
)
def test_the_state_comes_back_as_it_was_written(
    generation: int, share_bp: int, switch: Switch, since: datetime
) -> None:
    mode = Mode.CANARY if share_bp else Mode.SHADOW
    written = Desired(
        generation=generation,
        load=(load(DIGESTS[0]), load(DIGESTS[1], 2)),
        route={
            "churn": Route(
                switch=switch,
                champion=ChampionRoute(version=1, digest=DIGESTS[0], since=since),
                challenger=ChallengerRoute(version=2, digest=DIGESTS[1], since=since, mode=mode, share_bp=share_bp),
            ),
            "ltv": Route(switch=Switch.OFF),
        },
    )

    assert parse_desired(render_desired(written, written_at=NOW)) == written


def test_a_file_is_replaced_whole_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "desired.json"
    write_desired(path, Desired(), written_at=NOW)

    write_desired(path, desired(), written_at=NOW)

    assert read_desired(path) == desired()
    assert [entry.name for entry in tmp_path.iterdir()] == ["desired.json"]
    assert path.stat().st_mode & 0o077 == 0


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert read_desired(tmp_path / "desired.json") is None


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 2, "format 2"),
        (("generation",), -1, "generation"),
        (("generation",), True, "generation"),
        (("load", 0, "folder"), "../../etc", "folder"),
        (("load", 0, "digest"), "xyz", "digest"),
        (("route", "churn", "switch"), "on", "switch"),
        (("route", "churn", "champion"), None, "no champion"),
        (("route", "churn", "champion", "digest"), "c" * 64, "not to be loaded"),
        (("route", "churn", "champion", "since"), "2026-01-01", "time zone"),
        (("route", "churn", "challenger", "mode"), "ramp", "mode"),
        (("route", "churn", "challenger", "share_bp"), 10_001, "share_bp"),
        (("route", "churn", "challenger", "mode"), "shadow", "share_bp"),
        (("load",), {}, "list"),
        (("route",), [], "object"),
    ],
)
def test_a_broken_state_is_refused_by_field(path: tuple[Any, ...], value: object, said: str) -> None:
    document = json.loads(render_desired(desired(), written_at=NOW))
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value

    with pytest.raises(DesiredError, match=said):
        parse_desired(json.dumps(document).encode())


def test_half_a_file_is_refused() -> None:
    with pytest.raises(DesiredError, match="not JSON"):
        parse_desired(render_desired(desired(), written_at=NOW)[:100])
