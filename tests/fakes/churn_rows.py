"""Rows whose true hazard is known, for tests of fitting: made in milliseconds, no platform behind them."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import Feature, FeatureSchema, Kind

LANDMARK = 28  # days between landmarks
START = datetime(2025, 1, 6, tzinfo=UTC)
SCHEMA = FeatureSchema(
    message="test",
    features=(
        Feature(name="tenure_days", kind=Kind.COUNT, unit="days"),
        Feature(name="days_since_last_session", kind=Kind.NUMBER, unit="days"),
        Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "ANNUAL")),
        Feature(name="auto_renew", kind=Kind.FLAG),
    ),
)


def churn_table(rng: np.random.Generator, subjects: int = 1_200, landmarks: int = 10) -> pd.DataFrame:
    """Subjects from the first landmark until they leave or the last one passes; columns as `churn_frame` has them.

    Log-odds of leaving in a period: -2.6, 1.2 more on a monthly plan, 0.03 more a day without a session (redrawn each
    period), 1 less with automatic renewal. A tenth of the days since the last session is missing.
    """
    monthly, renews = rng.random(subjects) < 0.6, rng.random(subjects) < 0.7
    start_tenure = rng.integers(0, 300, subjects)
    idle = rng.gamma(1.5, 10.0, (subjects, landmarks))
    logit = -2.6 + 1.2 * monthly[:, None] + 0.03 * (idle - 15) - 1.0 * renews[:, None]
    leaves = rng.random((subjects, landmarks)) < 1 / (1 + np.exp(-logit))
    last = np.where(leaves.any(axis=1), leaves.argmax(axis=1), landmarks)  # period in which the subject leaves, from 0
    subject, at = np.nonzero(np.arange(landmarks) <= last[:, None])  # present at each landmark up to that period
    ahead = last[subject] - at + 1
    has_left = last[subject] < landmarks
    known_idle = np.where(rng.random(len(subject)) < 0.1, np.nan, idle[subject, at])
    return pd.DataFrame(
        {
            "tenure_days": start_tenure[subject] + LANDMARK * at,
            "days_since_last_session": known_idle,
            "plan": np.where(monthly[subject], "MONTHLY", "ANNUAL"),
            "auto_renew": renews[subject],
            "subject_id": [f"s{number}" for number in subject],
            "as_of_time": pd.Timestamp(START) + pd.to_timedelta(LANDMARK * at, unit="D"),
            "periods_observed": np.where(has_left, ahead, landmarks - at).astype(np.int64),
            "left_in_period": np.where(has_left, ahead, np.nan),
        }
    )


def true_hazard(table: pd.DataFrame, idle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of leaving in the first period; `idle` are the days without a session, known to whoever made the rows."""
    logit = -2.6 + 1.2 * (table["plan"] == "MONTHLY") + 0.03 * (idle - 15) - 1.0 * table["auto_renew"]
    chance: NDArray[np.float64] = (1 / (1 + np.exp(-logit))).to_numpy()
    return chance
