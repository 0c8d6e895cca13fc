"""Rows for a discrete-time hazard: who was watched from which landmark, for how many periods, and who left in which.

One row is one subject at one landmark; it stands for as many person-periods as it was at risk. Pure numpy.
Not here: how the platform's events become such rows (training/features/churn.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import FeatureSchema, encode_columns

DAY = pd.Timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonPeriods:
    """n rows.

    Attributes:
        matrix: (n, columns) float32, missing is NaN.
        subject: (n,) number of the subject; the rows of one subject are not independent.
        time: (n,) the landmark, in days since some origin; all 0 when the data know no time.
        observed: (n,) periods at risk and watched to their end, counting the one in which the subject left; 0 or more.
        left: (n,) period in which the subject left, from 1; 0 when it had not left by the end of the last one watched.
    """

    matrix: NDArray[np.float32]
    subject: NDArray[np.int64]
    time: NDArray[np.float64]
    observed: NDArray[np.int64]
    left: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.subject)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "PersonPeriods":
        """These rows only."""
        return PersonPeriods(
            matrix=self.matrix[rows],
            subject=self.subject[rows],
            time=self.time[rows],
            observed=self.observed[rows],
            left=self.left[rows],
        )

    def as_known_at(self, time: float, period_days: int) -> "PersonPeriods":
        """What was known at that time: later landmarks fall away, and follow-up ends there.

        Without this, a row of the past would carry outcomes of the time that a model is judged on.
        """
        rows = self.take(self.time < time)
        watched = np.floor((time - rows.time) / period_days).astype(np.int64)
        return PersonPeriods(
            matrix=rows.matrix,
            subject=rows.subject,
            time=rows.time,
            observed=np.minimum(rows.observed, watched),
            left=np.where(rows.left <= watched, rows.left, 0),
        )

    @property
    def first_outcome(self) -> NDArray[np.float64]:
        """(m,) 1 for having left in the first period, of the rows that were watched through it."""
        outcome: NDArray[np.float64] = (self.left[self.observed > 0] == 1).astype(np.float64)
        return outcome

    @property
    def events(self) -> int:
        """Rows that left in their first period."""
        return int((self.left == 1).sum())


def person_periods_of(table: pd.DataFrame, schema: FeatureSchema) -> PersonPeriods:
    """A frame of landmarks as rows for the model.

    Args:
        table: one column for each field of the schema (methods.features.encode_columns says how), and `subject_id`,
            `as_of_time` (a time or days), `periods_observed`, `left_in_period` (missing or 0: not seen to leave).
        schema: the fields to use.
    Raises: ValueError: a column is missing, or somebody left in a period that was not observed.
    """
    if absent := [name for name in ("subject_id", "as_of_time", "periods_observed") if name not in table]:
        raise ValueError(f"no column {absent[0]}")
    left = table["left_in_period"].fillna(0).to_numpy(dtype=np.int64)
    observed = table["periods_observed"].to_numpy(dtype=np.int64)
    if (beyond := left > observed).any():
        raise ValueError(f"row {int(np.argmax(beyond))} left in a period that was not observed")
    time = table["as_of_time"]
    if pd.api.types.is_datetime64_any_dtype(time.dtype):
        time = (time - time.min()) / DAY
    return PersonPeriods(
        matrix=encode_columns(schema, {name: column_values(table[name]) for name in schema.names}),
        subject=pd.factorize(table["subject_id"])[0].astype(np.int64),
        time=time.to_numpy(dtype=np.float64),
        observed=np.where(left > 0, left, observed),  # nobody is at risk after leaving
        left=left,
    )


def column_values(column: "pd.Series[Any]") -> NDArray[Any]:
    """A frame's column as encode_columns wants it: numbers with NaN, or names with None."""
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.astype(object).where(column.notna(), None).to_numpy(dtype=object)
