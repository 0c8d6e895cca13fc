"""The simulated world as batches of tables: the catalogue, then the people chunk by chunk, then the daily figures.

Deterministic: equal parameters give equal tables, whatever the machine; a chunk depends on its own number alone.
Not here: how it is read like any other source (../sources.py).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.data import tables
from training.data.columns import ARROW_TYPES, Kind, as_seen_at
from training.data.simulator.catalogue import Catalogue, make_catalogue
from training.data.simulator.parameters import DAYS_A_WEEK, Parameters
from training.data.simulator.people import draw_people, users_table
from training.data.simulator.studying import study
from training.data.simulator.subscribing import live
from training.data.simulator.tabulate import MICROSECONDS_A_DAY, numbered, tabulate, times
from training.data.simulator.trading import trade

Batch = dict[str, pa.Table]


def simulate(parameters: Parameters) -> Iterator[Batch]:
    """Batches of rows by table name; every row of the world comes once, as it was seen at the world's end."""
    catalogue = make_catalogue(parameters.memory, np.random.default_rng([parameters.seed, 0]))
    yield catalogue.tables
    figures = np.zeros((parameters.days, len(tables.METRICS) + 1))  # one more: payments attempted
    for number, first in enumerate(range(0, parameters.users, parameters.chunk_users)):
        count = min(parameters.chunk_users, parameters.users - first)
        batch = simulate_chunk(parameters, catalogue, number, count)
        figures += _daily_counts(batch, parameters)
        yield {name: as_seen_at(tables.table_named(name), rows, parameters.end) for name, rows in batch.items()}
    yield {
        "improvements": _improvements(parameters, np.random.default_rng([parameters.seed, 1])),
        "daily_metrics": _daily_metrics(figures, parameters),
    }


def write_world(parameters: Parameters, folder: Path) -> None:
    """Writes the world as Parquet files that `FolderSource` reads: `<folder>/<table>/<batch>.parquet`.

    For worlds larger than the memory: one chunk is held at a time.
    """
    for number, batch in enumerate(simulate(parameters)):
        for name, rows in batch.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, folder / name / f"{number:05d}.parquet", compression="zstd")


def simulate_chunk(parameters: Parameters, catalogue: Catalogue, number: int, count: int) -> Batch:
    """The rows of one chunk of `count` people."""
    rng = np.random.default_rng([parameters.seed, 2, number])
    people = draw_people(parameters, number * parameters.chunk_users, count, rng)
    diary = live(people, parameters, rng)
    return {
        "users": users_table(people, parameters, rng),
        **study(people, diary, catalogue, parameters, rng),
        **trade(people, diary, parameters, rng),
    }


def _daily_counts(batch: Batch, parameters: Parameters) -> NDArray[np.float64]:
    """(days, 7): what the chunk adds to each day's figures, in the order of METRICS, then attempts."""
    sessions, payments = batch["sessions"], batch["payments"]
    day = _day(sessions["started_at"], parameters)
    succeeded = payments["succeeded"].to_numpy()
    paid_day = _day(payments["attempted_at"], parameters)
    user = sessions["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    active = np.unique(day * (user.max(initial=0) + 1) + user) // (user.max(initial=0) + 1)
    revenue = payments["amount_minor"].to_numpy() * succeeded
    columns = [
        _count(active, parameters),
        _count(day, parameters),
        _count(_day(batch["users"]["joined_at"], parameters), parameters),
        _count(paid_day, parameters, revenue.astype(np.float64)),
        _count(_day(batch["tickets"]["opened_at"], parameters), parameters),
        _count(paid_day, parameters, succeeded.astype(np.float64)),
        _count(paid_day, parameters),
    ]
    return np.stack(columns, axis=1)


def _daily_metrics(figures: NDArray[np.float64], parameters: Parameters) -> pa.Table:
    values = figures[:, : len(tables.METRICS)].copy()
    share = tables.METRICS.index("PAYMENT_SUCCESS_SHARE")
    attempts = figures[:, -1]
    values[:, share] = np.where(attempts > 0, values[:, share] / np.maximum(attempts, 1.0), np.nan)
    measured = np.repeat(np.arange(1.0, parameters.days + 1.0), len(tables.METRICS))
    rows = tabulate(
        tables.DAILY_METRICS,
        metric=list(tables.METRICS) * parameters.days,
        measured_at=times(parameters.start, measured),
        value=values.ravel(),
    )
    return rows.filter(pc.is_valid(rows["value"]))


def _improvements(parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    """One change in about eight weeks; in this world none of them has an effect, so whoever finds one is wrong."""
    count = max(1, parameters.weeks // 8)
    started = np.sort(rng.uniform(0.0, parameters.days, count))
    taken_back = np.where(rng.random(count) < 0.2, started + rng.uniform(14.0, 60.0, count), np.nan)
    return tabulate(
        tables.IMPROVEMENTS,
        improvement_id=numbered("k", np.arange(count)),
        started_at=times(parameters.start, started),
        area=[tables.AREAS[i % len(tables.AREAS)] for i in range(count)],
        metric=[tables.METRICS[i % len(tables.METRICS)] for i in range(count)],
        share=np.where(rng.random(count) < 0.5, 1.0, 0.5),
        ended_at=times(parameters.start, taken_back),
    )


def _day(column: pa.ChunkedArray, parameters: Parameters) -> NDArray[np.int64]:
    """(n,) whole days after the start."""
    start = pa.scalar(parameters.start, ARROW_TYPES[Kind.TIME]).cast(pa.int64()).as_py()
    return np.asarray((column.cast(pa.int64()).to_numpy() - start) // MICROSECONDS_A_DAY, dtype=np.int64)


def _count(
    day: NDArray[np.int64], parameters: Parameters, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """(days,) how many, or how much, fell on each day of the world; what lies after it is left out."""
    inside = day < parameters.weeks * DAYS_A_WEEK
    kept = None if weights is None else weights[inside]
    return np.bincount(day[inside], weights=kept, minlength=parameters.days).astype(np.float64)
