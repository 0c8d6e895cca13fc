"""Break-glass orders: what may be ordered, and what is written for control."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.commands.hold import OrderRefused, order_freeze, order_hold, order_release, parse_duration
from server.desired import Desired, Load, write_desired
from server.holds import HoldKind, read_holds
from server.settings import Settings

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DIGEST = "7" * 64


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    state = tmp_path / "state"
    (state / "cache" / DIGEST).mkdir(parents=True)
    load = Load(model="churn", version=7, digest=DIGEST, folder=f"cache/{DIGEST}")
    write_desired(state / "desired.json", Desired(generation=1, load=(load,)), written_at=NOW)
    return Settings(state_dir=state)


def test_a_version_of_the_cache_can_be_held(settings: Settings) -> None:
    said = order_hold(settings, "churn", 7, "2h", reason="v8 is wrong", now=NOW)

    (hold,) = read_holds(settings.state_dir / "holds.json")
    assert said == (
        "churn answers from version 7 until 2026-01-01 14:00:00 UTC, or until the registry asks for it too; "
        "to end it now: python -m server release"
    )
    assert (hold.kind, hold.model, hold.version, hold.reason) == (HoldKind.VERSION, "churn", 7, "v8 is wrong")
    assert (hold.start, hold.until) == (NOW, NOW + timedelta(hours=2))
    assert hold.by


def test_a_version_that_is_not_here_is_refused_with_those_that_are(settings: Settings) -> None:
    with pytest.raises(OrderRefused, match=r"churn version 8 is not in the cache .* there are: 7"):
        order_hold(settings, "churn", 8, "2h", reason="", now=NOW)


def test_a_freeze_names_no_model(settings: Settings) -> None:
    order_freeze(settings, "30m", reason="", now=NOW)

    (hold,) = read_holds(settings.state_dir / "holds.json")
    assert (hold.kind, hold.model, hold.version) == (HoldKind.FREEZE, None, None)


def test_a_release_ends_every_order_and_names_them(settings: Settings) -> None:
    order_hold(settings, "churn", 7, "2h", reason="", now=NOW)
    order_freeze(settings, "2h", reason="", now=NOW)
    order_freeze(settings, "1m", reason="", now=NOW + timedelta(minutes=1))

    said = order_release(settings, now=NOW + timedelta(minutes=90))

    assert read_holds(settings.state_dir / "holds.json") == ()
    assert said == "ended: churn held at version 7, everything frozen; the registry decides again"


def test_a_release_of_nothing_says_so(settings: Settings) -> None:
    assert order_release(settings, now=NOW) == "no hold and no freeze is in force; the registry decides"


def test_no_server_has_run_here_is_said(tmp_path: Path) -> None:
    with pytest.raises(OrderRefused, match="no server has run here"):
        order_freeze(Settings(state_dir=tmp_path / "none"), "1h", reason="", now=NOW)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)])
def test_durations_have_one_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "-1h", "2h30m", "8d", "999999d", "1w"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(OrderRefused, match="write 90s, 30m, 2h or 1d"):
        parse_duration(text)
