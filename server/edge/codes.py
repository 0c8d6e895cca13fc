"""Every reason's gRPC code, and an error's way onto the wire: code, text, `google.rpc.Status` details, push-back.

One table; a test walks the contract's whole list of reasons. Details are ErrorInfo always, BadRequest with field paths,
RetryInfo where asking again may help; then `grpc-retry-pushback-ms` tells retrying clients the same.
Not here: the errors themselves (server/errors.py); who catches them (calls.py).
"""

from __future__ import annotations

from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from server.errors import FieldViolation, Reason, ServingError

DOMAIN = "ml.paedsresus"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

CODES: dict[Reason, grpc.StatusCode] = {
    Reason.MALFORMED_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_BUILT: grpc.StatusCode.UNIMPLEMENTED,
    Reason.UNKNOWN_METHOD: grpc.StatusCode.UNIMPLEMENTED,
    Reason.NO_LIVE_VERSION: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.CONTROL_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.COMPUTE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.WRONG_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CONFLICT: grpc.StatusCode.ABORTED,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.SWITCHED_OFF: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


class Failure(NamedTuple):
    """A call's end that is no answer, as gRPC takes it."""

    code: grpc.StatusCode
    text: str
    trailers: tuple[tuple[str, str | bytes], ...]


def failure_of(error: ServingError) -> Failure:
    """The wire's form of an error."""
    code = CODES[error.reason]
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.metadata)
    ]
    if error.field_violations:
        details.append(_bad_request(error.field_violations))
    trailers: list[tuple[str, str | bytes]] = []
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
        details.append(retry)
        trailers.append((PUSHBACK_KEY, str(round(error.retry_after_seconds * 1000))))
    status = status_pb2.Status(code=code.value[0], message=error.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return Failure(code, error.message, ((DETAILS_KEY, status.SerializeToString()), *trailers))


def unforeseen(request_id: str) -> ServingError:
    """What a caller learns of an error that nobody foresaw: the request's id, for a look into the log."""
    return ServingError(
        Reason.INTERNAL,
        f"internal error; the log has it under request {request_id}",
        metadata={"request_id": request_id},
    )


def error_from(details: bytes, text: str) -> ServingError | None:
    """The error in another process's `grpc-status-details-bin`; None when it is none of ours."""
    try:
        status = status_pb2.Status.FromString(details)
    except DecodeError:
        return None
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    found = {type(kind) for kind in (info, bad, retry) for detail in status.details if detail.Unpack(kind)}
    if type(info) not in found or info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    return ServingError(
        Reason(info.reason),
        text,
        metadata=dict(info.metadata),
        field_violations=[
            FieldViolation(field=item.field, description=item.description, rule=item.reason)
            for item in bad.field_violations
        ],
        retry_after_seconds=retry.retry_delay.ToMilliseconds() / 1000 if type(retry) in found else None,
    )


def _bad_request(violations: tuple[FieldViolation, ...]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=violation.field, description=violation.description, reason=violation.rule
            )
            for violation in violations
        ]
    )
