from datetime import UTC, datetime, timedelta

import ibis
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from training.features.landmarks import (
    AS_OF,
    LANDMARK,
    Landmarks,
    as_frame,
    first_at,
    seen_between,
    seen_within,
    to_microseconds,
)

LAST = datetime(2026, 1, 5, 12, tzinfo=UTC)
GRID = Landmarks(last=LAST, count=5, every=timedelta(days=28))
TIMES = [GRID.first + place * GRID.step for place in range(GRID.count)]
# Times around the grid, often exactly on a landmark or at a window's edge, where an error by one would show.
near = st.builds(
    lambda place, days, micros: GRID.first + place * GRID.step + days * 86_400_000_000 + micros,
    st.integers(-3, 7),
    st.sampled_from([-90, -56, -28, 0, 28]),
    st.integers(-1, 1),
)


def test_a_grid_ends_at_its_last_landmark() -> None:
    assert TIMES[-1] == to_microseconds(LAST)
    assert TIMES[0] == to_microseconds(LAST - timedelta(days=4 * 28))


@settings(max_examples=20, deadline=None)
@given(st.lists(near, min_size=1, max_size=30))
def test_first_at_is_the_first_landmark_not_before_a_time(times: list[int]) -> None:
    rows = ibis.memtable(pa.table({"us": times}))

    places = as_frame(rows.mutate(place=first_at(rows.us, GRID)))

    for us, place in zip(places["us"], places["place"], strict=True):
        assert place == sum(landmark < us for landmark in TIMES)


@settings(max_examples=20, deadline=None)
@given(st.lists(near, min_size=1, max_size=30), st.sampled_from([1, 28, 56, 90]))
def test_a_window_of_w_holds_what_lies_in_the_open_closed_interval_before_a_landmark(
    times: list[int], days: int
) -> None:
    rows = ibis.memtable(pa.table({"row": range(len(times)), "us": times}))
    width = days * 86_400_000_000

    seen = as_frame(seen_within(rows, "us", timedelta(days=days), GRID))

    expected = {(row, at) for row, us in enumerate(times) for at in TIMES if at - width < us <= at}
    assert sorted(zip(seen["row"], seen[AS_OF], strict=True)) == sorted(expected)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(near, st.none() | near), min_size=1, max_size=20))
def test_a_spell_is_seen_from_its_begin_and_no_longer_at_its_end(spells: list[tuple[int, int | None]]) -> None:
    begins, ends = zip(*spells, strict=True)
    columns = {"row": range(len(spells)), "begin": begins, "end": pa.array(ends, pa.int64())}
    rows = ibis.memtable(pa.table(columns))

    seen = as_frame(seen_between(rows, "begin", "end", GRID))

    expected = {
        (row, place)
        for row, (begin, end) in enumerate(spells)
        for place, at in enumerate(TIMES)
        if begin <= at and (end is None or at < end)
    }
    assert sorted(zip(seen["row"], seen[LANDMARK], strict=True)) == sorted(expected)


def test_one_landmark_alone_is_a_grid() -> None:
    rows = ibis.memtable(pa.table({"us": [to_microseconds(LAST), to_microseconds(LAST) + 1]}))

    seen = as_frame(seen_within(rows, "us", timedelta(days=90), Landmarks(last=LAST)))

    assert seen["us"].tolist() == [to_microseconds(LAST)]
