"""What a call can fail with: one exception class a gRPC code, each with the server's reason and facts.

    MlError
    ├── InvalidRequest      a field is wrong; `field_violations` names every one
    ├── NotFound            no such model, version, operation or subject
    ├── WrongState          right request, wrong state (a method switched off, for example)
    ├── Conflict            somebody else was faster; read again and decide again
    ├── NotBuilt            the contract has the method, this release of the server does not
    ├── Unavailable         nobody could answer now, after all retries; `retry_after` may say when
    ├── Overloaded          over a limit; `retry_after` says when to come back
    ├── DeadlineExceeded    the time ran out
    ├── Cancelled           the call was cancelled
    ├── Unauthenticated     the server does not know who is calling
    ├── PermissionDenied    the caller may not do this
    └── ServerError         anything unforeseen; `str()` holds the request's id for the server's log

Programs read `reason` and `metadata` (google.rpc.ErrorInfo), never the text. Importing this file loads no grpc.
"""

# ruff: noqa: N818 - names read better without the suffix, as the reasons do
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "ml.paedsresus"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field that breaks a rule of the contract."""

    field: str  # path in the request, e.g. "features.tenure_days"
    description: str  # what is allowed
    rule: str = ""  # id of the rule, e.g. "int32.gte"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """All that is known of one failed call. `reason` is "" when the server said none: the network, for example."""

    code: str  # name of the gRPC code, e.g. "INVALID_ARGUMENT"
    message: str
    method: str  # e.g. "/paedsresus.ml.v1.RevenueService/PredictChurn"
    request_id: str = ""
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None


class MlError(Exception):
    """A call failed. The facts are attributes; `failure` holds them all."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        failure = self.failure
        unsaid = (bad for bad in failure.field_violations if bad.field not in failure.message)
        fields = "".join(f"; {bad.field}: {bad.description}" for bad in unsaid)
        reason = f" {failure.reason}" if failure.reason else ""
        request = f" (request {failure.request_id})" if failure.request_id else ""
        return f"{failure.method}: {failure.code}{reason}: {failure.message}{fields}{request}"

    @property
    def code(self) -> str:
        """Name of the gRPC code, e.g. "UNAVAILABLE"."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """Reason in the contract's closed list (`ErrorReason` without prefix); "" when the server said none."""
        return self.failure.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Every changing part of the message, by name."""
        return self.failure.metadata

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """Fields that break a rule; empty unless the request was invalid."""
        return self.failure.field_violations

    @property
    def retry_after(self) -> timedelta | None:
        """When to ask again, if the server said so."""
        return self.failure.retry_after


class InvalidRequest(MlError):
    """A field is wrong, whatever the state."""


class NotFound(MlError):
    """No such model, version, operation or subject."""


class WrongState(MlError):
    """The request is right and the state is wrong."""


class Conflict(MlError):
    """Somebody else was faster."""


class NotBuilt(MlError):
    """This release of the server does not have the method."""


class Unavailable(MlError):
    """Nobody could answer now."""


class Overloaded(MlError):
    """Over a limit."""


class DeadlineExceeded(MlError):
    """The time ran out."""


class Cancelled(MlError):
    """The call was cancelled."""


class Unauthenticated(MlError):
    """The server does not know who is calling."""


class PermissionDenied(MlError):
    """The caller may not do this."""


class ServerError(MlError):
    """Anything unforeseen on the server."""


ERROR_OF_CODE: Mapping[str, type[MlError]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": InvalidRequest,
        "OUT_OF_RANGE": InvalidRequest,
        "NOT_FOUND": NotFound,
        "FAILED_PRECONDITION": WrongState,
        "ABORTED": Conflict,
        "ALREADY_EXISTS": Conflict,
        "UNIMPLEMENTED": NotBuilt,
        "UNAVAILABLE": Unavailable,
        "RESOURCE_EXHAUSTED": Overloaded,
        "DEADLINE_EXCEEDED": DeadlineExceeded,
        "CANCELLED": Cancelled,
        "UNAUTHENTICATED": Unauthenticated,
        "PERMISSION_DENIED": PermissionDenied,
        "INTERNAL": ServerError,
        "UNKNOWN": ServerError,
        "DATA_LOSS": ServerError,
    }
)


def error_of(
    code: str, message: str, trailers: Sequence[tuple[str, str | bytes]], *, method: str, request_id: str
) -> MlError:
    """Return the exception for a status and its trailing metadata; details that cannot be read are left out."""
    info, violations, retry_after = _read_details(trailers)
    failure = Failure(
        code=code,
        message=message,
        method=method,
        request_id=request_id,
        reason=info.reason,
        metadata=MappingProxyType(dict(info.metadata)),
        field_violations=violations,
        retry_after=retry_after,
    )
    return ERROR_OF_CODE.get(code, ServerError)(failure)


def _read_details(
    trailers: Sequence[tuple[str, str | bytes]],
) -> tuple[error_details_pb2.ErrorInfo, tuple[FieldViolation, ...], timedelta | None]:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, retry_after = error_details_pb2.RetryInfo(), None
    for detail in _details(trailers):
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToTimedelta()
    violations = tuple(
        FieldViolation(field=found.field, description=found.description, rule=found.reason)
        for found in bad.field_violations
    )
    return info, violations, retry_after


def _details(trailers: Sequence[tuple[str, str | bytes]]) -> Sequence[any_pb2.Any]:
    for key, value in trailers:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                details: Sequence[any_pb2.Any] = status_pb2.Status.FromString(value).details
            except DecodeError:
                return ()
            return details
    return ()
