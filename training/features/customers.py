"""What is known of each subscriber as of a time, as the features of CalculateLtv.

They are columns of churn's under the same names, which mean the same; a platform that sells single purchases has more.
Not here: those columns (churn.py); the snapshot that holds them (training/snapshot.py).
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
    return schema_of(revenue_pb2.CalculateLtvFeatures.DESCRIPTOR).subset(("contract", *SAME))


def ltv_columns(subscribers: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Field -> (n,) values, of rows as `training.features.churn.churn_snapshot` gives them."""
    contract = np.full(len(subscribers), "SUBSCRIPTION", dtype=object)
    return {"contract": contract, **{name: subscribers[name].to_numpy() for name in SAME}}


def expressions_digest() -> str:
    """sha256 over the code that computes these features, that of churn's included."""
    return digest_code([Path(__file__).read_text(encoding="utf-8"), repr(churn.expressions_digest())])
