from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.merging import has_repeats, replace_rows, split_repeats, without_known
from training.data.tables import ANSWERS, ITEMS, TICKETS


def tickets(topics: dict[str, str]) -> pa.Table:
    rows = [dict.fromkeys(TICKETS.names) | {"ticket_id": key, "topic": topic} for key, topic in topics.items()]
    return pa.Table.from_pylist(rows, TICKETS.arrow_schema)


def answers(*keys: tuple[str, int]) -> pa.Table:
    rows = [dict.fromkeys(ANSWERS.names) | {"session_id": session, "position": place} for session, place in keys]
    return pa.Table.from_pylist(rows, ANSWERS.arrow_schema)


some_tickets = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["BILLING", "CONTENT"]))


@given(some_tickets, some_tickets)
def test_replacing_rows_is_updating_by_key(held: dict[str, str], fresh: dict[str, str]) -> None:
    rows, new = replace_rows(TICKETS, tickets(held), tickets(fresh))

    assert dict(zip(rows["ticket_id"].to_pylist(), rows["topic"].to_pylist(), strict=True)) == held | fresh
    assert rows.num_rows == len(held | fresh)
    assert new == sum(held.get(key) != topic for key, topic in fresh.items())


def test_a_catalogue_is_replaced_whole() -> None:
    held, fresh = (
        pa.Table.from_pylist([{"item_id": i, "skill_id": "s", "author_level": 3} for i in ids], ITEMS.arrow_schema)
        for ids in (["i1", "i2"], ["i2", "i3"])
    )

    rows, _ = replace_rows(ITEMS, held, fresh)

    assert rows["item_id"].to_pylist() == ["i2", "i3"]


def test_known_rows_are_left_out_by_their_whole_key() -> None:
    left = without_known(ANSWERS, answers(("s1", 0), ("s1", 1), ("s2", 0)), answers(("s1", 0), ("s2", 1)))

    assert list(zip(left["session_id"].to_pylist(), left["position"].to_pylist(), strict=True)) == [
        ("s1", 1),
        ("s2", 0),
    ]


def test_keys_that_only_look_alike_when_joined_are_different() -> None:
    assert without_known(ANSWERS, answers(("s1", 11)), answers(("s11", 1))).num_rows == 1


@pytest.mark.parametrize(("second", "repeats"), [(("s1", 0), True), (("s1", 1), False)])
def test_repeats_are_found_across_files(tmp_path: Path, second: tuple[str, int], *, repeats: bool) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(answers(("s1", 0)), files[0])
    pq.write_table(answers(second), files[1])

    assert has_repeats(ANSWERS, files) is repeats


def test_the_first_of_repeated_rows_stays() -> None:
    first, again = split_repeats(ANSWERS, answers(("s1", 0), ("s2", 0), ("s1", 0)))

    assert first["session_id"].to_pylist() == ["s1", "s2"]
    assert again["session_id"].to_pylist() == ["s1"]
