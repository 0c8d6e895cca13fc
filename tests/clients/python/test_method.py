"""How keyword fields become a request."""

import pytest

from paedsresus.ml._services.operations import GET_OPERATION
from paedsresus.ml._services.revenue import PREDICT_CHURN
from paedsresus.ml.method import make_request, request_id_of
from paedsresus.ml.v1 import revenue_pb2


def test_a_request_that_was_given_is_never_changed() -> None:
    given = revenue_pb2.PredictChurnRequest(horizon_days=[28])

    sent = make_request(PREDICT_CHURN, given, {"features": None})

    assert not given.HasField("context")
    assert len(request_id_of(sent)) == 32
    assert list(sent.horizon_days) == [28]


def test_a_request_id_that_was_given_is_kept() -> None:
    given = revenue_pb2.PredictChurnRequest(context={"request_id": "mine"})  # type: ignore[arg-type]

    assert make_request(PREDICT_CHURN, given, {}) is given
    assert request_id_of(make_request(PREDICT_CHURN, None, {"context": {"request_id": "mine"}})) == "mine"


def test_two_calls_are_two_requests() -> None:
    first, second = (make_request(PREDICT_CHURN, None, {}) for _ in range(2))

    assert request_id_of(first) != request_id_of(second)


def test_a_request_and_fields_together_are_refused() -> None:
    with pytest.raises(TypeError, match="got a request and also horizon_days"):
        make_request(PREDICT_CHURN, revenue_pb2.PredictChurnRequest(), {"horizon_days": [1], "features": None})


def test_a_request_type_without_a_context_gets_no_id() -> None:
    assert request_id_of(make_request(GET_OPERATION, None, {"name": "operations/1"})) == ""
