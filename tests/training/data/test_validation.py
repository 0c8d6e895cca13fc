from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from training.data.columns import Table
from training.data.tables import ANSWERS, SESSIONS, SUBSCRIPTIONS, USERS
from training.data.validation import REASONS, check, conform

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD: dict[str, dict[str, object]] = {
    "users": {"user_id": "u1", "joined_at": NOON, "role": "NURSE", "country": "KE", "experience_years": 3.0},
    "sessions": {
        "session_id": "s1", "user_id": "u1", "started_at": NOON, "ended_at": NOON + timedelta(minutes=9),
        "minutes": 9.0, "lessons_finished": 1, "device": "PHONE",
    },
    "subscriptions": {
        "subscription_id": "c1", "user_id": "u1", "started_at": NOON, "plan": "MONTHLY", "price_minor": 5_000,
        "currency": "USD", "seats": 1, "auto_renew": True,
    },
    "answers": {
        "session_id": "s1", "position": 0, "user_id": "u1", "item_id": "i1", "answered_at": NOON, "correct": True,
    },
}  # fmt: skip
PARENTS = {
    "users": pa.array(["u1"]),
    "items": pa.array(["i1"]),
    "lessons": pa.array(["l1"]),
}


def rows_of(table: Table, *changes: Mapping[str, object]) -> pa.Table:
    rows = [dict.fromkeys(table.names) | GOOD[table.name] | dict(change) for change in changes]
    return pa.Table.from_pylist(rows, table.arrow_schema)


@pytest.mark.parametrize("table", [USERS, SESSIONS, SUBSCRIPTIONS, ANSWERS], ids=lambda table: table.name)
def test_good_rows_pass_unchanged(table: Table) -> None:
    rows = rows_of(table, {})

    judged = check(table, rows, PARENTS)

    assert judged.good.equals(rows)
    assert judged.bad.num_rows == 0


@pytest.mark.parametrize(
    ("table", "change", "reason"),
    [
        pytest.param(SUBSCRIPTIONS, {"seats": 0}, "seats: outside 1 to 100000", id="below the range"),
        pytest.param(SESSIONS, {"minutes": 1441.0}, "minutes: outside 0 to 1440", id="above the range"),
        pytest.param(SUBSCRIPTIONS, {"plan": "WEEKLY"}, "plan: not a known level", id="unknown level"),
        pytest.param(SUBSCRIPTIONS, {"plan": None}, "plan: missing", id="missing"),
        pytest.param(USERS, {"joined_at": None}, "joined_at: missing", id="without its time"),
        pytest.param(USERS, {"user_id": "a b"}, "user_id: not printable ASCII of 1 to 128 letters", id="not an id"),
        pytest.param(SESSIONS, {"user_id": "u9"}, "user_id: not in users", id="orphan"),
        pytest.param(USERS, {"referrer_id": "u9"}, "referrer_id: not in users", id="orphan in its own table"),
        pytest.param(
            SUBSCRIPTIONS,
            {"ended_at": NOON - timedelta(days=1)},
            "ended_at: before started_at",
            id="ended before it began",
        ),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(table: Table, change: dict[str, object], reason: str) -> None:
    key = {"users": "user_id", "sessions": "session_id", "subscriptions": "subscription_id"}[table.name]
    other = {key: "other"}

    judged = check(table, rows_of(table, {**change}, other), PARENTS)

    assert judged.good[key].to_pylist() == ["other"]
    assert judged.bad[REASONS].to_pylist() == [reason]


def test_all_reasons_of_a_row_are_given() -> None:
    judged = check(SUBSCRIPTIONS, rows_of(SUBSCRIPTIONS, {"seats": 0, "user_id": "u9", "price_minor": -1}), PARENTS)

    (reasons,) = judged.bad[REASONS].to_pylist()
    assert reasons.split("; ") == [
        "price_minor: outside 0 to 1e+09",
        "seats: outside 1 to 100000",
        "user_id: not in users",
    ]


def test_what_ends_the_moment_it_begins_is_no_mistake() -> None:
    judged = check(SUBSCRIPTIONS, rows_of(SUBSCRIPTIONS, {"started_at": NOON, "ended_at": NOON}), PARENTS)

    assert judged.bad.num_rows == 0


def test_the_first_of_equal_keys_stays() -> None:
    judged = check(ANSWERS, rows_of(ANSWERS, {"seconds": 1.0}, {"seconds": 2.0}, {"position": 1}), PARENTS)

    assert judged.good["seconds"].to_pylist() == [1.0, None]
    assert judged.bad[REASONS].to_pylist() == ["session_id, position: seen before"]


def test_a_user_brought_by_somebody_in_the_same_batch_is_no_orphan() -> None:
    judged = check(USERS, rows_of(USERS, {"user_id": "u7"}, {"user_id": "u8", "referrer_id": "u7"}), PARENTS)

    assert judged.bad.num_rows == 0


def test_an_outlier_is_counted_and_kept() -> None:
    minutes = np.append(np.random.default_rng(1).lognormal(2.5, 0.1, 999), 1_400.0)
    changes = [{"session_id": f"s{i}", "minutes": float(value)} for i, value in enumerate(minutes)]

    judged = check(SESSIONS, rows_of(SESSIONS, *changes), PARENTS)

    assert judged.good.num_rows == 1_000
    assert judged.findings.outliers == {"minutes": 1}


def test_missing_values_are_counted_where_they_may_be_missing() -> None:
    judged = check(USERS, rows_of(USERS, {}, {"user_id": "u2", "country": None}), PARENTS)

    assert judged.findings.missing["country"] == 1
    assert "joined_at" not in judged.findings.missing


@pytest.mark.parametrize(
    ("column", "given", "typed", "wrong"),
    [
        pytest.param("seats", ["1", "two", None, "3.0", "2.5"], [1, None, None, 3, None], [1, 4], id="text"),
        pytest.param("price_minor", [5.0, 5.5], [5, None], [1], id="integer from numbers"),
        pytest.param("auto_renew", ["true", "False", "1", "if"], [True, False, True, None], [3], id="flag of text"),
        pytest.param("auto_renew", [1, 0, 2], [True, False, None], [2], id="flag from integers"),
        pytest.param(
            "started_at", ["2026-03-01T12:00:00Z", "2026-03-01 15:00:00+03:00", "2026-03-01 12:00", "soon"],
            [NOON, NOON, NOON, None], [3], id="time from text, UTC where no zone is given",
        ),
        pytest.param("started_at", [1_772_366_400, None], [None, None], [0], id="no time from a bare number"),
        pytest.param("plan", ["MONTHLY", None], ["MONTHLY", None], [], id="text stays"),
        pytest.param("currency", [1, 2], ["1", "2"], [], id="text from integers"),
    ],
)  # fmt: skip
def test_types_are_settled_and_what_does_not_fit_is_complained_about(
    column: str, given: list[object], typed: list[object], wrong: list[int]
) -> None:
    rows, complaints = conform(SUBSCRIPTIONS, pa.table({column: given}))

    assert rows.schema == SUBSCRIPTIONS.arrow_schema
    assert rows[column].to_pylist() == typed
    found = np.flatnonzero(sum(complaints.values(), np.zeros(len(given), dtype=np.bool_))).tolist()
    assert found == wrong


def test_a_flag_of_two_is_complained_about_with_its_column() -> None:
    _, complaints = conform(SUBSCRIPTIONS, pa.table({"auto_renew": [1, 2]}))

    assert list(complaints) == ["auto_renew: not a flag"]


def test_absent_columns_are_missing_and_unknown_ones_left_out() -> None:
    rows, complaints = conform(USERS, pa.table({"user_id": ["u1"], "mail": ["a@b.c"]}))

    assert rows.column_names == list(USERS.names)
    assert rows["role"].null_count == 1
    assert not complaints
