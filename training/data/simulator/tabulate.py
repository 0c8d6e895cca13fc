"""Arrays to rows of a platform table: types from its definition, days to times, numbers to ids.

Not here: what the values are (the rest of this folder).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.columns import ARROW_TYPES, Kind, Table

MICROSECONDS_A_DAY = 86_400_000_000
Values: TypeAlias = Sequence[object] | NDArray[np.generic] | pa.Array | pa.ChunkedArray


def tabulate(table: Table, **columns: Values) -> pa.Table:
    """Rows of a table.

    Args:
        table: its definition; every column must be given, under its name.
        columns: equally long; NaN stands for a missing number.
    """
    assert set(columns) == set(table.names), sorted(set(columns) ^ set(table.names))
    arrays = [_array(columns[column.name], ARROW_TYPES[column.kind]) for column in table.columns]
    return pa.Table.from_arrays(arrays, schema=table.arrow_schema)


def times(start: datetime, days: NDArray[np.float64]) -> pa.Array:
    """Days after `start`, to the microsecond; NaN and infinity become missing."""
    known = np.isfinite(days)
    offset = int(start.timestamp()) * 1_000_000
    micros = np.where(known, days, 0.0) * MICROSECONDS_A_DAY
    return pa.array(micros.astype(np.int64) + offset, mask=~known).cast(ARROW_TYPES[Kind.TIME])


def numbered(prefix: str, numbers: NDArray[np.int64]) -> pa.Array:
    """Ids like u12, by number; negative numbers become missing."""
    digits = pa.array(numbers, mask=numbers < 0).cast(pa.string())
    return pc.binary_join_element_wise(pa.scalar(prefix), digits, "")


def named(levels: Sequence[str], codes: NDArray[np.int64]) -> pa.Array:
    """Levels by code; negative codes become missing."""
    return pa.array(list(levels), pa.string()).take(pa.array(codes, mask=codes < 0))


def _array(values: Values, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == kind else values.cast(kind)
    return pa.array(values, kind, from_pandas=True)
