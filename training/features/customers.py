"""What is known of each subscriber as of a time, as the features of CalculateLtv.

They are columns of churn's under the same names, which mean the same, and the chance of leaving as the churn model says
it for the same row; a platform that sells single purchases has more.
Not here: those columns (churn.py); who says the chance, and the snapshot that holds them (training/snapshot.py).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import FeatureSchema, schema_of
from paedsresus.ml.v1 import revenue_pb2
from training.features import churn
from training.features.digest import digest_code

SAME = ("plan", "price", "seats", "tenure_days", "renewal_time", "role", "auto_renew")


def ltv_schema() -> FeatureSchema:
    """The fields of CalculateLtvFeatures that are known."""
    return schema_of(revenue_pb2.CalculateLtvFeatures.DESCRIPTOR).subset(("contract", "churn_probability_28d", *SAME))


def ltv_columns(subscribers: pd.DataFrame, chance: NDArray[np.float64] | None = None) -> dict[str, NDArray[Any]]:
    """Field -> (n,) values.

    Args:
        subscribers: rows as `training.features.churn.churn_snapshot` gives them.
        chance: (n,) of leaving within 28 days, by the churn model; None when there is none, and it stays unknown.
    """
    return {
        "contract": np.full(len(subscribers), "SUBSCRIPTION", dtype=object),
        "churn_probability_28d": np.full(len(subscribers), np.nan) if chance is None else chance,
        **{name: subscribers[name].to_numpy() for name in SAME},
    }


def expressions_digest() -> str:
    """sha256 over the code that computes these features, that of churn's included."""
    return digest_code([Path(__file__).read_text(encoding="utf-8"), repr(churn.expressions_digest())])
