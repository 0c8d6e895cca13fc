"""Customers by id: the columns that churn computes, under the same names."""

import numpy as np
import pandas as pd

from training.data.mart import Mart
from training.features.churn import churn_snapshot
from training.features.customers import SAME, ltv_columns, ltv_schema
from training.features.offers import customer_columns, upsell_schema


def test_a_subscriber_has_the_columns_of_churn_and_pays_by_subscription(simulated_mart: Mart) -> None:
    frame = churn_snapshot(simulated_mart, as_of=simulated_mart.data_time)

    columns = ltv_columns(frame)

    assert set(columns) == set(ltv_schema().names)
    assert set(columns["contract"]) == {"SUBSCRIPTION"}
    assert np.isnan(columns["churn_probability_28d"]).all(), "nobody has said it"
    said = np.linspace(0.0, 1.0, len(frame))
    np.testing.assert_array_equal(ltv_columns(frame, said)["churn_probability_28d"], said)
    for name in SAME:
        assert pd.Series(columns[name]).equals(pd.Series(frame[name].to_numpy())), name


def test_offers_and_churn_say_the_same_of_a_subscriber_by_the_same_name(simulated_mart: Mart) -> None:
    now = simulated_mart.data_time
    frame = churn_snapshot(simulated_mart, as_of=now)

    columns = customer_columns(simulated_mart, frame["subject_id"].tolist(), as_of=now, currency="USD")

    assert set(columns) == set(upsell_schema().names)
    for name in ("tenure_days", "seats"):
        np.testing.assert_array_equal(columns[name], frame[name].to_numpy().astype(float))
    assert columns["plan"].tolist() == frame["plan"].tolist()
    assert (columns["paid_365d"] >= 0).all()
    assert np.isfinite(columns["days_since_last_payment"]).mean() > 0.9
