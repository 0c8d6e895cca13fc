"""Break-glass orders survive their file, expire, and replace one another."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.desired import DesiredError
from server.holds import Hold, HoldKind, add_hold, end_hold, holds_in_force, parse_holds, read_holds, render_holds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TIMES = st.integers(0, 10**9).map(lambda milliseconds: NOW + timedelta(milliseconds=milliseconds))
_HOLDS = st.one_of(
    st.builds(
        Hold,
        kind=st.just(HoldKind.VERSION),
        model=st.sampled_from(["churn", "ltv"]),
        version=st.integers(1, 9),
        start=_TIMES,
        until=_TIMES,
        reason=st.text(),
    ),
    st.builds(Hold, kind=st.just(HoldKind.FREEZE), start=_TIMES, until=_TIMES, by=st.text()),
)


def _held(version: int, *, hours: int = 2, since: datetime = NOW) -> Hold:
    until = since + timedelta(hours=hours)
    return Hold(kind=HoldKind.VERSION, model="churn", version=version, start=since, until=until)


@given(holds=st.lists(_HOLDS, max_size=5))
def test_orders_survive_their_file(holds: list[Hold]) -> None:
    assert list(parse_holds(render_holds(holds))) == holds


@given(holds=st.lists(_HOLDS, max_size=5), now=_TIMES)
def test_at_most_one_order_a_model_and_kind_is_in_force_and_none_that_ended(holds: list[Hold], now: datetime) -> None:
    in_force = holds_in_force(holds, now)

    assert len({(hold.kind, hold.model) for hold in in_force}) == len(in_force)
    assert all(hold.start <= now < hold.until for hold in in_force)


def test_a_reason_typed_in_another_encoding_can_be_told_to_callers(tmp_path: Path) -> None:
    """A terminal's bytes that are no UTF-8 arrive as half surrogates, which no answer can carry."""
    path = tmp_path / "holds.json"
    add_hold(path, Hold(kind=HoldKind.FREEZE, start=NOW, until=NOW, reason="caf\udce9", by="m\udcfcller"))

    (hold,) = read_holds(path)

    assert (hold.reason, hold.by) == ("caf?", "m?ller")


def test_a_later_order_replaces_an_earlier_one() -> None:
    later = _held(8, since=NOW + timedelta(minutes=1))

    assert holds_in_force([_held(7), later], NOW + timedelta(minutes=2)) == (later,)


def test_an_order_ends_by_itself() -> None:
    assert holds_in_force([_held(7, hours=2)], NOW + timedelta(hours=2)) == ()


def test_adding_keeps_what_still_runs_and_ending_removes_one(tmp_path: Path) -> None:
    path = tmp_path / "holds.json"
    old, running = _held(6, since=NOW - timedelta(hours=3)), _held(7, since=NOW - timedelta(hours=1))
    for hold in (old, running, _held(8)):
        add_hold(path, hold)

    assert read_holds(path) == (running, _held(8))
    end_hold(path, running)
    assert read_holds(path) == (_held(8),)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format": 2, "holds": []}',
        '{"format": 1, "holds": {}}',
        '{"format": 1, "holds": [7]}',
        '{"format": 1, "holds": [{"kind": "forever"}]}',
        '{"format": 1, "holds": [{"kind": "version", "model": "churn", "version": 0}]}',
        '{"format": 1, "holds": [{"kind": "freeze", "start": "soon", "until": "later"}]}',
    ],
)
def test_a_broken_file_is_refused(content: str) -> None:
    with pytest.raises(DesiredError):
        parse_holds(content.encode())
