"""A registered churn version judged on rows it was not fitted on: those from its `data_time` on."""

import pandas as pd

from training.data.mart import Mart
from training.evaluate import Scores, score_probabilities
from training.revenue.champion import Champion
from training.revenue.fitting import SCHEMA, read_frame
from training.revenue.person_periods import person_periods_of


def evaluate_version(version: Champion, mart: Mart) -> tuple[int, Scores]:
    """Number of rows, and the scores on them.

    Raises: ValueError: no landmark of the mart lies after what the version was fitted on, or nobody left since.
    """
    table, _ = read_frame(mart)
    fresh = table[table["as_of_time"] >= pd.Timestamp(version.manifest.data_time)]
    if fresh.empty:
        raise ValueError(
            f"v{version.version} was fitted on everything up to {version.manifest.data_time:%Y-%m-%d}; the mart has no "
            "landmark after that: collect newer data"
        )
    outcome = person_periods_of(fresh, SCHEMA).first_outcome
    if not 0 < outcome.sum() < len(outcome):
        raise ValueError(f"{int(outcome.sum())} of {len(outcome)} left since: scores need both kinds")
    return len(outcome), score_probabilities(outcome, version.answer(fresh))
