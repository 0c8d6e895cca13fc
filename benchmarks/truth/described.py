"""Any churn data in the house's own form: `person_periods.csv` (or .csv.gz) beside a `schema.json` that describes it.

schema.json is a feature schema (methods.features.FeatureSchema.to_json). The table has one column for each feature,
and `subject_id`, `as_of_time` (days), `periods_observed`, `left_in_period` (empty: not seen to leave) and `test` (1:
the row is judged and never fitted on).
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.truth.churn_data import ChurnData
from methods.features import FeatureSchema

SCHEMA_FILE = "schema.json"


def find_described(folder: Path) -> tuple[Path, Path] | None:
    """Table and schema, if the folder holds both."""
    names = ("person_periods.csv.gz", "person_periods.csv")
    table = next((path for name in names if (path := folder / name).exists()), None)
    schema = folder / SCHEMA_FILE
    return (table, schema) if table is not None and schema.exists() else None


def read_described(paths: tuple[Path, Path]) -> ChurnData:
    """The rows with their split.

    Raises: ValueError: the schema is none, or a column is missing.
    """
    table = pd.read_csv(paths[0])
    schema = FeatureSchema.from_json(json.loads(paths[1].read_text(encoding="utf-8")))
    if "test" not in table:
        raise ValueError(f"{paths[0].name} has no column test")
    test = table["test"].to_numpy() == 1
    return ChurnData(
        name=f"{schema.message}, {(~test).sum():,} rows to fit, {test.sum():,} to judge",
        table=table,
        schema=schema,
        splits=[(np.flatnonzero(~test), np.flatnonzero(test))],
    )
