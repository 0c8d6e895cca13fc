import numpy as np
import pandas as pd
import pytest

from tests.fakes.churn_rows import SCHEMA, churn_table
from training.revenue.person_periods import PersonPeriods, person_periods_of


def rows(observed: list[int], left: list[int], time: list[float] | None = None) -> PersonPeriods:
    n = len(observed)
    return PersonPeriods(
        matrix=np.zeros((n, 1), dtype=np.float32),
        subject=np.arange(n),
        time=np.zeros(n) if time is None else np.array(time),
        observed=np.array(observed),
        left=np.array(left),
    )


def test_the_first_outcome_is_of_those_watched_through_the_first_period() -> None:
    assert rows([3, 1, 0, 1], [0, 1, 0, 0]).first_outcome.tolist() == [0.0, 1.0, 0.0]


def test_the_past_does_not_know_what_came_later() -> None:
    # at day 84: the first row was watched for 3 periods, the second for 1, the third did not exist
    known = rows([5, 4, 2], [5, 1, 2], time=[0.0, 56.0, 84.0]).as_known_at(84.0, period_days=28)

    assert known.observed.tolist() == [3, 1]
    assert known.left.tolist() == [0, 1]


def test_nobody_is_at_risk_after_leaving() -> None:
    table = churn_table(np.random.default_rng(0), subjects=50)

    frame = person_periods_of(table.assign(periods_observed=13), SCHEMA)

    gone = frame.left > 0
    np.testing.assert_array_equal(frame.observed[gone], frame.left[gone])


def test_times_may_be_moments_or_days() -> None:
    table = churn_table(np.random.default_rng(0), subjects=50)

    moments = person_periods_of(table, SCHEMA)
    days = person_periods_of(table.assign(as_of_time=moments.time), SCHEMA)

    np.testing.assert_array_equal(moments.time, days.time)
    assert moments.time.min() == 0
    assert np.unique(np.diff(np.unique(moments.time))).tolist() == [28.0]


def test_a_leaving_that_was_not_observed_is_refused() -> None:
    table = churn_table(np.random.default_rng(0), subjects=50).assign(left_in_period=9, periods_observed=3)

    with pytest.raises(ValueError, match="row 0 left in a period that was not observed"):
        person_periods_of(table, SCHEMA)


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="no column periods_observed"):
        person_periods_of(pd.DataFrame({"subject_id": [], "as_of_time": [], "left_in_period": []}), SCHEMA)
