from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from training.data.simulator.parameters import Parameters
from training.data.simulator.world import simulate
from training.features.price import retention_rows, sales_rows
from training.revenue.price import fit_price

START = datetime(2025, 1, 6, tzinfo=UTC)


def exposures(**changes: list[object]) -> pa.Table:
    columns: dict[str, list[object]] = {
        "plan": ["MONTHLY"] * 4,
        "country": ["KE", "KE", None, "KE"],
        "price_minor": [5_000, 5_000, 5_000, 6_000],
        "randomised": [True, True, True, True],
        "shown_at": [START, START + timedelta(hours=1), START, START],
        "converted_at": [START + timedelta(days=1), None, None, START + timedelta(days=200)],
        "user_id": ["u1", None, None, "u2"],
    }
    columns |= changes
    table = pa.table(columns)
    times = pa.timestamp("us", tz="UTC")
    for name in ("shown_at", "converted_at"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(times))
    return table


def test_visitors_and_buyers_are_counted_by_segment_and_price() -> None:
    rows = sales_rows(exposures())

    counted = dict(zip(zip(rows.group, rows.price, strict=True), np.asarray(rows.trials), strict=True))
    assert counted == {("MONTHLY|KE", 5_000.0): 2, ("MONTHLY|", 5_000.0): 1, ("MONTHLY|KE", 6_000.0): 1}
    assert np.asarray(rows.buyers).sum() == 2


def test_only_buyers_watched_for_ninety_days_count_for_retention() -> None:
    spells = pa.table(
        {
            "user_id": ["u1", "u2"],
            "started_at": pa.array([START + timedelta(days=1)] * 2, pa.timestamp("us", tz="UTC")),
            "ended_at": pa.array([START + timedelta(days=50), None], pa.timestamp("us", tz="UTC")),
        }
    )

    early = retention_rows(exposures(), spells, START + timedelta(days=100))
    late = retention_rows(exposures(), spells, START + timedelta(days=300))

    assert (np.asarray(early.trials).tolist(), np.asarray(early.buyers).tolist()) == ([1], [0])
    assert sorted(zip(np.asarray(late.trials).tolist(), np.asarray(late.buyers).tolist(), strict=True)) == [
        (1, 0),
        (1, 1),
    ]


def test_the_simulated_platforms_elasticity_is_found() -> None:
    parameters = Parameters(start=START, users=2_000, weeks=52)
    tables = [batch["price_exposures"] for batch in simulate(parameters) if "price_exposures" in batch]

    line = fit_price(sales_rows(pa.concat_tables(tables))).conversion

    # About 17,000 visitors of a tenth buying: the slope's standard error is about 0.1, and groups lean on each other.
    assert line.slope == pytest.approx(parameters.trade.price_elasticity, abs=0.35)
    assert line.level == pytest.approx(np.log(1 / 9), abs=0.15)
