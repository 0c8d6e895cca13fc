"""What the churn benchmark needs of a data set: rows, their schema, the split, and figures to stand beside.

Not here: how a data set is read (telco.py, oulad.py, described.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import Anchor
from methods.features import FeatureSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnData:
    """One data set.

    Attributes:
        name: for the table's head.
        table: as training.revenue.person_periods.person_periods_of reads it.
        schema: its features.
        splits: (train rows, test rows) by position; each test row occurs once over all of them.
        own_bins: bins of the calibration error that the data set's own figures use.
        anchors: figures to stand beside, by metric.
    """

    name: str
    table: pd.DataFrame
    schema: FeatureSchema
    splits: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
    own_bins: int = 10
    anchors: Mapping[str, Anchor] = field(default_factory=dict)
