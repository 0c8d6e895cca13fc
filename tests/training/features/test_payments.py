import pandas as pd
import pytest

from methods.revenue.payment_success import Stage
from training.features.payments import NEEDED, payments_frame, read_log


def log(**columns: list[object]) -> pd.DataFrame:
    base: dict[str, list[object]] = {
        "time": ["2025-01-01T10:00:00Z", "2025-02-01T10:00:00Z", "2025-02-03T10:00:00Z", "2025-02-04T10:00:00Z"],
        "amount_minor": [5_000] * 4,
        "currency": ["USD"] * 4,
        "country": ["KE", "KE", None, "KE"],
        "card_brand": ["VISA", "VISA", "AMEX", "VISA"],
        "route": ["A", "B", "A", "A"],
        "succeeded": [1, 0, 0, 1],
        "decline_code": [None, "51", "91", None],
        "attempt": [1, 1, 2, 3],
        "payment_id": ["p1", "p2", "p2", "p2"],
        "payer_id": ["u"] * 4,
    }
    return pd.DataFrame(base | columns)


def test_a_retry_knows_the_decline_before_it() -> None:
    payments = read_log(log()).attempts.payments

    assert [p.last_decline_code for p in payments] == [None, None, "51", "91"]
    assert [p.last_route for p in payments] == [None, None, "B", "A"]
    assert [p.hours_since_decline for p in payments] == [None, None, 48.0, 24.0]


def test_history_counts_what_came_before_and_not_the_running_payment() -> None:
    payments = read_log(log()).attempts.payments

    assert [p.payments_365d for p in payments] == [0, 1, 1, 1]
    assert [p.failures_365d for p in payments] == [0, 0, 0, 0]
    assert [p.stage for p in payments] == [Stage.CHECKOUT, Stage.RENEWAL, Stage.RETRY, Stage.RETRY]


def test_no_attempt_knows_its_future() -> None:
    whole = read_log(log()).attempts.payments
    cut = read_log(log().head(2)).attempts.payments

    assert whole[:2] == cut


def test_rows_are_put_into_the_order_of_time_and_remember_their_place() -> None:
    shuffled = log().iloc[[3, 1, 0, 2]]

    read = read_log(shuffled)

    assert read.rows.tolist() == [2, 1, 3, 0]
    assert read.attempts.payments == read_log(log()).attempts.payments
    assert read.attempts.age_days[-1] == 0.0


def test_without_payer_and_payment_nothing_is_made_up() -> None:
    payments = read_log(log().drop(columns=["payer_id", "payment_id"])).attempts.payments

    assert all(p.payments_365d is None and p.last_decline_code is None for p in payments)
    assert [p.stage for p in payments] == [None, None, Stage.RETRY, Stage.RETRY]


def test_brands_have_the_contracts_names() -> None:
    assert read_log(log()).attempts.payments[2].card_brand == "AMERICAN_EXPRESS"


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"no column {name}"):
        read_log(log().drop(columns=name))


def test_the_platforms_table_is_cut_into_payments_at_each_first_attempt() -> None:
    table = log().drop(columns=["payment_id"])
    table = table.rename(columns={"time": "attempted_at", "payer_id": "user_id"})
    table = table.assign(payment_id=["x1", "x2", "x3", "x4"], subscription_id="s")

    runs = payments_frame(table)["payment_id"]

    assert runs.nunique() == 2
    assert runs.iloc[1] == runs.iloc[2] == runs.iloc[3] != runs.iloc[0]
