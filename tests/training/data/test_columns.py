from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from paedsresus.ml.v1 import common_pb2
from training.data.columns import as_seen_at, changed_since, contract_levels, describe
from training.data.tables import SKILLS, SUBSCRIPTIONS, TABLES, table_named

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def subscriptions(*rows: Mapping[str, object]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict.fromkeys(SUBSCRIPTIONS.names) | dict(row) for row in rows], SUBSCRIPTIONS.arrow_schema
    )


def test_a_row_is_seen_from_its_time_on() -> None:
    rows = subscriptions(
        {"subscription_id": "at", "started_at": NOON},
        {"subscription_id": "after", "started_at": NOON + timedelta(microseconds=1)},
    )

    assert as_seen_at(SUBSCRIPTIONS, rows, NOON)["subscription_id"].to_pylist() == ["at"]


def test_a_later_value_is_missing_until_it_is_known() -> None:
    rows = subscriptions({"started_at": NOON, "ended_at": NOON + 2 * HOUR, "end_reason": "PAYMENT", "plan": "ANNUAL"})

    early = as_seen_at(SUBSCRIPTIONS, rows, NOON + HOUR).to_pylist()[0]
    late = as_seen_at(SUBSCRIPTIONS, rows, NOON + 2 * HOUR).to_pylist()[0]

    assert (early["ended_at"], early["end_reason"], early["plan"]) == (None, None, "ANNUAL")
    assert (late["ended_at"], late["end_reason"]) == (NOON + 2 * HOUR, "PAYMENT")


def test_looking_twice_shows_what_looking_once_at_the_earlier_time_shows() -> None:
    rows = subscriptions(*({"started_at": NOON + i * HOUR, "ended_at": NOON + (i + 3) * HOUR} for i in range(8)))

    twice = as_seen_at(SUBSCRIPTIONS, as_seen_at(SUBSCRIPTIONS, rows, NOON + 6 * HOUR), NOON + 4 * HOUR)

    assert twice.equals(as_seen_at(SUBSCRIPTIONS, rows, NOON + 4 * HOUR))


def test_a_row_without_its_time_is_not_lost() -> None:
    rows = subscriptions({"subscription_id": "timeless"})

    seen = changed_since(SUBSCRIPTIONS, as_seen_at(SUBSCRIPTIONS, rows, NOON), NOON)

    assert seen["subscription_id"].to_pylist() == ["timeless"]


def test_a_row_that_ended_since_has_changed() -> None:
    rows = subscriptions(
        {"subscription_id": "old", "started_at": NOON - 9 * HOUR},
        {"subscription_id": "ended", "started_at": NOON - 9 * HOUR, "ended_at": NOON + HOUR},
        {"subscription_id": "new", "started_at": NOON + HOUR},
    )

    assert changed_since(SUBSCRIPTIONS, rows, NOON)["subscription_id"].to_pylist() == ["ended", "new"]


def test_levels_come_from_the_contract() -> None:
    levels = contract_levels(common_pb2.ClinicalRole.DESCRIPTOR)

    assert len(levels) == len(common_pb2.ClinicalRole.keys()) - 1
    assert "UNSPECIFIED" not in levels
    assert all(f"CLINICAL_ROLE_{level}" in common_pb2.ClinicalRole.keys() for level in levels)  # noqa: SIM118 - not a dict


def test_every_column_stands_on_its_tables_page() -> None:
    for table in TABLES:
        page = describe(table)
        assert all(f"`{name}`" in page for name in table.names)


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(KeyError, match="no table learners; the platform has users, skills"):
        table_named("learners")
    with pytest.raises(KeyError, match="table skills has no column level; it has skill_id"):
        SKILLS.column("level")
