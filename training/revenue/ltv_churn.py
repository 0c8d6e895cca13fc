"""The subscribers' own course for the ltv model: the churn model as it would have been fitted at a moment.

Of its fit the ltv version keeps the hazard's numbers alone: they turn one chance of leaving within 28 days, which a
request may bring, into a whole curve. The chances of those who ran at the moment judge whether it is worth having.
Not here: the fit (churn.py); what is made of the curve (methods/revenue/subscriptions.py).
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from methods.features import encode_columns, schema_of
from methods.revenue.churn import ChurnParameters, churn_by_horizon
from methods.revenue.subscriptions import CHURN_PERIOD_DAYS
from paedsresus.ml.v1 import revenue_pb2
from training.data.mart import Mart
from training.features.churn import churn_frame, churn_snapshot
from training.revenue.churn import ChurnOptions, fit_churn
from training.revenue.person_periods import column_values, person_periods_of

SCHEMA = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)
OPTIONS = ChurnOptions(depths=(2,))  # the curve hardly hangs on the trees' depth, and time does


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCourse:
    """A churn fit's hazard, and by user the chance of leaving within 28 days of those subscribed at the moment."""

    churn: ChurnParameters
    chance: "pd.Series[float]"


def fit_own_course(mart: Mart, now: datetime, rng: np.random.Generator) -> OwnCourse | None:
    """Fitted on what was known at a moment; None where too little was.

    Args:
        mart: the data; what lies after `now` is not looked at.
        now: the moment, aware UTC.
        rng: chance of folds, trees and draws.
    """
    try:
        frame = person_periods_of(churn_frame(mart, as_of=now), SCHEMA)
        model = fit_churn(frame, SCHEMA, OPTIONS, rng)
    except ValueError:  # nobody watched for 28 days, or nobody left: there is no curve to be had
        return None
    rows = churn_snapshot(mart, as_of=now)
    matrix = encode_columns(SCHEMA, {name: column_values(rows[name]) for name in SCHEMA.names})
    chance = churn_by_horizon(model.margin(matrix), model.parameters, (CHURN_PERIOD_DAYS,)).value[:, 0]
    return OwnCourse(churn=model.parameters, chance=pd.Series(chance, index=rows["subject_id"].to_numpy()))
