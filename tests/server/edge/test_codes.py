"""Every reason has its code, and an error keeps everything on its way through two processes."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from server.edge.codes import CODES, DETAILS_KEY, DOMAIN, PUSHBACK_KEY, error_from, failure_of, unforeseen
from server.errors import FieldViolation, Overloaded, Reason, ServingError

# The style's table, situation by situation.
EXPECTED = {
    grpc.StatusCode.INVALID_ARGUMENT: {"MALFORMED_REQUEST", "INVALID_FIELD"},
    grpc.StatusCode.UNIMPLEMENTED: {"NOT_BUILT", "UNKNOWN_METHOD"},
    grpc.StatusCode.UNAVAILABLE: {"NO_LIVE_VERSION", "DRAINING", "CONTROL_UNAVAILABLE", "COMPUTE_UNAVAILABLE"},
    grpc.StatusCode.RESOURCE_EXHAUSTED: {"OVERLOADED", "QUEUE_FULL"},
    grpc.StatusCode.DEADLINE_EXCEEDED: {"DEADLINE_EXCEEDED"},
    grpc.StatusCode.NOT_FOUND: {"NOT_FOUND"},
    grpc.StatusCode.FAILED_PRECONDITION: {"WRONG_STATE", "SWITCHED_OFF"},
    grpc.StatusCode.ABORTED: {"CONFLICT"},
    grpc.StatusCode.UNAUTHENTICATED: {"UNAUTHENTICATED"},
    grpc.StatusCode.PERMISSION_DENIED: {"PERMISSION_DENIED"},
    grpc.StatusCode.INTERNAL: {"INTERNAL"},
}


def details_of(trailers: object) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(trailers)[DETAILS_KEY])  # type: ignore[call-overload]


def test_the_table_has_every_reason_and_the_right_code() -> None:
    assert set(CODES) == set(Reason)
    assert {code: {reason for reason in Reason if CODES[reason] is code} for code in EXPECTED} == EXPECTED


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_travels_with_its_domain_and_metadata(reason: Reason) -> None:
    failure = failure_of(ServingError(reason, "what, where, what to do", metadata={"model": "churn"}))

    status = details_of(failure.trailers)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.value, DOMAIN, {"model": "churn"})
    assert status.code == CODES[reason].value[0]


def test_an_error_that_may_pass_says_when_in_both_places() -> None:
    failure = failure_of(Overloaded("too many", retry_after_seconds=0.25))

    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in details_of(failure.trailers).details)
    assert retry.retry_delay.ToMilliseconds() == 250
    assert dict(failure.trailers)[PUSHBACK_KEY] == "250"


def test_an_error_comes_back_from_its_details_as_it_was() -> None:
    violation = FieldViolation(field="features.seats", description="must be more", rule="int32.gte")
    error = ServingError(
        Reason.INVALID_FIELD, "text", metadata={"a": "b"}, field_violations=[violation], retry_after_seconds=1.5
    )

    found = error_from(dict(failure_of(error).trailers)[DETAILS_KEY], "text")  # type: ignore[arg-type]

    assert found is not None
    assert vars(found) == vars(error)


@pytest.mark.parametrize("details", [b"", b"\xff\xff", status_pb2.Status(code=13, message="x").SerializeToString()])
def test_details_of_somebody_else_are_none_of_ours(details: bytes) -> None:
    assert error_from(details, "secret path") is None


def test_what_is_unforeseen_tells_the_requests_id_and_nothing_else() -> None:
    error = unforeseen("r-1")

    assert error.reason is Reason.INTERNAL
    assert error.message == "internal error; the log has it under request r-1"
    assert error.metadata == {"request_id": "r-1"}
