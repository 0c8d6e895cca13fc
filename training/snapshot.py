"""Everybody's features at the newest moment of the mart, as a version of the model `features.<module>`.

A snapshot is data: it becomes `champion` at once, and a running server follows. Which versions it answers for stands in
the feature sets of its tables. It is made every night; one that is not is said in every answer (STALE_DATA).
Not here: the features (features/); the files (data/snapshots.py); feature sets (feature_sets.py).
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import schema_of
from methods.learning.item_response import parse_parameters as parse_difficulty
from methods.learning.memory import parse_parameters as parse_memory
from methods.manifest import digest_of
from methods.snapshot import model_of
from paedsresus.ml.v1 import revenue_pb2
from training.artifact import Provenance
from training.data.mart import Mart
from training.data.snapshots import STALE_AFTER_SECONDS, NumbersTable, PayloadTable, Table, write_snapshot
from training.feature_sets import feature_set_of
from training.features import churn, customers, learners, offers
from training.features.folding import PRIOR, Folding
from training.fetching import fetch_artifact, read_files
from training.models import CHURN
from training.register import Registration, RunRecord, Verdict, record_run, register_version
from training.registry import Registry
from training.revenue.champion import fetch_version

SIMULATED_STALE_AFTER: Final = 14 * 86_400.0
Say = Callable[[str], None]
Parameters = TypeVar("Parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of a snapshot: subjects by table, and the version."""

    subjects: Mapping[str, int]
    registration: Registration


class Computed(NamedTuple):
    """What a snapshot of a module holds.

    Attributes:
        tables: the features.
        currency: of their amounts; None when there are none.
        tags: what the version must say of them.
    """

    tables: list[Table]
    currency: str | None
    tags: Mapping[str, str]


def revenue_tables(mart: Mart, registry: Registry | None) -> Computed:
    """Features of everybody subscribed now, for churn, value and offers.

    The chance of leaving among those for value is that of the registry's champion of churn; unknown without one.
    """
    now = mart.data_time
    connection = mart.connect()
    try:
        currency = churn.mart_currency(connection.tables)
    finally:
        connection.backend.disconnect()
    frame = churn.churn_snapshot(mart, as_of=now)
    ids = [str(subject) for subject in frame["subject_id"]]
    schema = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)
    tables: list[Table] = [
        NumbersTable(
            name="churn",
            schema=schema,
            expressions=churn.expressions_digest(),
            subject_ids=ids,
            columns={name: frame[name].to_numpy() for name in schema.names},
        ),
        NumbersTable(
            name="ltv",
            schema=customers.ltv_schema(),
            expressions=customers.expressions_digest(),
            feature_set=feature_set_of("ltv"),
            subject_ids=ids,
            columns=customers.ltv_columns(frame, None if registry is None else _chances_of_leaving(registry, frame)),
        ),
        NumbersTable(
            name="upsell",
            schema=offers.upsell_schema(),
            expressions=offers.expressions_digest(),
            feature_set=feature_set_of("upsell"),
            subject_ids=ids,
            columns=offers.customer_columns(mart, ids, as_of=now, currency=currency or ""),
        ),
    ]
    return Computed(tables, currency, {})


def learning_tables(mart: Mart, registry: Registry | None) -> Computed:
    """Features of every learner, for all methods of the module.

    Older answers are folded with the parameters of the registry's champions of `schedule` and `difficulty`; without
    one, with published figures. The tags `folded.<model>` say which.
    """
    folding, tags = champions_folding(registry)
    found = learners.learner_features(mart, as_of=mart.data_time, folding=folding)
    payloads = {who: each.SerializeToString() for who, each in found}
    message, sets = learners.MESSAGE.DESCRIPTOR.full_name, feature_set_of("path")
    return Computed([PayloadTable(name="learners", message=message, feature_set=sets, payloads=payloads)], None, tags)


def champions_folding(registry: Registry | None) -> tuple[Folding, Mapping[str, str]]:
    """With what older answers are folded, and the versions it comes from as tags."""
    memory, memory_version = _champion_parameters(registry, "schedule", parse_memory, PRIOR.memory)
    difficulty, difficulty_version = _champion_parameters(registry, "difficulty", parse_difficulty, PRIOR.difficulty)
    tags = {"folded.schedule": memory_version, "folded.difficulty": difficulty_version}
    return Folding(memory, difficulty), tags


TABLES: Final[Mapping[str, Callable[[Mart, Registry | None], Computed]]] = {
    "revenue": revenue_tables,
    "learning": learning_tables,
}
"""Module -> what its snapshot holds."""


def publish_snapshot(
    module: str,
    mart: Mart,
    registry: Registry,
    *,
    now: datetime,
    progress: Say,
    stale_after_seconds: float | None = None,
) -> Published:
    """Compute, write, register, and give it `champion`.

    Args:
        module: one of TABLES.
        mart: the data; its newest moment is the snapshot's.
        registry: where the version goes.
        now: when it is made, aware UTC.
        progress: is told each step.
        stale_after_seconds: age from which answers are marked as stale; None: 36 hours, of a simulated platform,
            which ends with the last full week, two weeks.
    Raises: ValueError: nobody is known.
    """
    if stale_after_seconds is None:
        stale_after_seconds = SIMULATED_STALE_AFTER if mart.source.startswith("simulator") else STALE_AFTER_SECONDS
    progress(f"computing features as of {mart.data_time:%Y-%m-%d %H:%M} UTC")
    tables, currency, tags = TABLES[module](mart, registry)
    counts = {table.name: len(_subjects(table)) for table in tables}
    if not any(counts.values()):
        raise ValueError(f"the mart knows no subject of {module}: a snapshot of nobody is not published")
    sets = "".join(sorted(_expressions(table) for table in tables))
    provenance = Provenance(
        data_version=mart.data_version,
        data_time=mart.data_time,
        observations=max(counts.values()),
        created_at=now,
        currency=currency,
        expressions=digest_of(sets.encode()),
    )
    with tempfile.TemporaryDirectory(prefix=f"snapshot-{module}-") as scratch:
        folder = Path(scratch, "artifact")
        progress("writing the snapshot")
        write_snapshot(folder, module, tables, provenance, stale_after_seconds=stale_after_seconds)
        progress("registering the version")
        run_id = record_run(
            registry,
            RunRecord(
                name=f"snapshot {model_of(module)}",
                began=now,
                metrics={f"subjects.{name}": float(count) for name, count in counts.items()},
                tags={
                    "data.version": mart.data_version,
                    "data.source": mart.source,
                    "data.time": mart.data_time.isoformat(),
                    **tags,
                },
            ),
        )
        registration = register_version(
            registry,
            folder,
            run_id=run_id,
            verdict=Verdict(),
            tags={"data.version": mart.data_version, **tags},
            description=f"Features of {max(counts.values()):,} subjects as of {mart.data_time:%Y-%m-%d %H:%M} UTC.",
            is_data=True,
        )
    return Published(subjects=counts, registration=registration)


def _chances_of_leaving(registry: Registry, subscribers: pd.DataFrame) -> NDArray[np.float64] | None:
    """What the champion of churn says of each row for the next 28 days, (n,); None without a champion."""
    with tempfile.TemporaryDirectory(prefix="snapshot-churn-") as scratch:
        champion = fetch_version(registry, CHURN, Path(scratch))
    return None if champion is None or subscribers.empty else champion.answer(subscribers)


def _champion_parameters(
    registry: Registry | None, model: str, parse: Callable[[Any], Parameters], prior: Parameters
) -> tuple[Parameters, str]:
    """Parameters of a model's champion and its version as text; the prior without one."""
    with tempfile.TemporaryDirectory(prefix=f"snapshot-{model}-") as scratch:
        found = None if registry is None else fetch_artifact(registry, model, Path(scratch))
        if found is None:
            return prior, "prior"
        _, files = read_files(found, ["parameters.json"])
        return parse(json.loads(files["parameters.json"])), str(found.version)


def _subjects(table: Table) -> Sized:
    return table.subject_ids if isinstance(table, NumbersTable) else table.payloads


def _expressions(table: Table) -> str:
    return table.expressions if isinstance(table, NumbersTable) else table.feature_set
