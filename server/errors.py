"""The one tree of errors that a call can end with, each with its reason from the contract's closed list.

    ServingError
    ├── MalformedRequest   the bytes are not a message of the method
    ├── InvalidField       a field breaks a rule of the contract; names every one
    ├── NotBuilt           the contract has it, this release does not
    ├── UnknownMethod      the contract has no such method
    ├── NoLiveVersion      nothing may answer yet
    ├── Draining           this process is on its way out
    ├── ControlUnavailable the process that follows the registry is away
    ├── ComputeUnavailable the compute process is restarting
    ├── Overloaded         more calls in flight than this worker takes
    ├── QueueFull          no room left in the compute process's queue
    ├── DeadlineExceeded   the caller's time ran out
    ├── NotFound           no such model, version, operation or subject
    ├── WrongState         right request, wrong state
    ├── Conflict           somebody else was faster
    ├── Unauthenticated    the caller did not say who it is
    ├── PermissionDenied   the caller may not
    └── SwitchedOff        a person switched the method off

A message says what, where and what to do, and is written for the caller: whatever is in it leaves the server. What is
unforeseen is no class here: it is caught at the edge and becomes INTERNAL with the request's id and nothing else.
Not here: gRPC codes and details (edge/codes.py). A refusal that is part of normal work (gate, guard) is a value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from types import MappingProxyType
from typing import ClassVar

_NOTHING: Mapping[str, str] = MappingProxyType({})


@unique
class Reason(StrEnum):
    """`ErrorReason` of the contract without its prefix; a test compares the two lists."""

    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    INVALID_FIELD = "INVALID_FIELD"
    NOT_BUILT = "NOT_BUILT"
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    NO_LIVE_VERSION = "NO_LIVE_VERSION"
    DRAINING = "DRAINING"
    CONTROL_UNAVAILABLE = "CONTROL_UNAVAILABLE"
    COMPUTE_UNAVAILABLE = "COMPUTE_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    QUEUE_FULL = "QUEUE_FULL"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    WRONG_STATE = "WRONG_STATE"
    CONFLICT = "CONFLICT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    SWITCHED_OFF = "SWITCHED_OFF"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One rule that one field breaks.

    `field` is its path in the request, e.g. "features.seats" or "horizon_days[2]"; `description` says what is allowed;
    `rule` names the rule in `buf.validate`'s words, e.g. "int32.gte", or is empty when the rule is the server's own.
    """

    field: str
    description: str
    rule: str = ""


class ServingError(Exception):
    """A call that ends without an answer, for a reason that the caller may know.

    Every changing part of `message` stands in `metadata` too: programs never read the text.
    `retry_after_seconds` is set where asking again later may help, and only there.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] = _NOTHING,
        field_violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata)
        self.field_violations = tuple(field_violations)
        self.retry_after_seconds = retry_after_seconds


class _Fixed(ServingError):  # noqa: N818 - names read better without the suffix, as the reasons do
    """An error whose reason is its class's."""

    fixed_reason: ClassVar[Reason]
    default_retry_seconds: ClassVar[float | None] = None

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] = _NOTHING,
        field_violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        wait = self.default_retry_seconds if retry_after_seconds is None else retry_after_seconds
        super().__init__(
            self.fixed_reason, message, metadata=metadata, field_violations=field_violations, retry_after_seconds=wait
        )


class MalformedRequest(_Fixed):
    """The bytes are not a message of the method, or hold text that is not UTF-8."""

    fixed_reason = Reason.MALFORMED_REQUEST


class InvalidField(_Fixed):
    """One or more fields break a rule of the contract, whatever the state of the server.

    Its metadata names the first field that does, besides what is given.
    """

    fixed_reason = Reason.INVALID_FIELD

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] = _NOTHING,
        field_violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        first = field_violations[0] if field_violations else None
        said = {} if first is None else {"field": first.field}
        super().__init__(
            message,
            metadata={**said, **metadata},
            field_violations=field_violations,
            retry_after_seconds=retry_after_seconds,
        )

    @classmethod
    def of(cls, field: str, allowed: str, *, rule: str = "") -> "InvalidField":
        """The error of one field: its path in the request, and what is allowed there."""
        violation = FieldViolation(field=field, description=allowed, rule=rule)
        return cls(f"{field}: {allowed}", field_violations=[violation])


class NotBuilt(_Fixed):
    """The contract has the method, or this form of it; this release does not."""

    fixed_reason = Reason.NOT_BUILT


class UnknownMethod(_Fixed):
    """The contract has no such method."""

    fixed_reason = Reason.UNKNOWN_METHOD


class NoLiveVersion(_Fixed):
    """No version of the model is live, and no documented prior may answer."""

    fixed_reason = Reason.NO_LIVE_VERSION
    default_retry_seconds = 1.0


class Draining(_Fixed):
    """This process is shutting down; another one answers."""

    fixed_reason = Reason.DRAINING
    default_retry_seconds = 0.0


class ControlUnavailable(_Fixed):
    """Control does not answer. Predictions go on."""

    fixed_reason = Reason.CONTROL_UNAVAILABLE
    default_retry_seconds = 2.0


class ComputeUnavailable(_Fixed):
    """The compute process does not answer. Methods of the interactive lane go on."""

    fixed_reason = Reason.COMPUTE_UNAVAILABLE
    default_retry_seconds = 2.0


class Overloaded(_Fixed):
    """More calls are in flight than this worker takes: shed on purpose, before any work."""

    fixed_reason = Reason.OVERLOADED
    default_retry_seconds = 0.1  # a worker answers about 300 calls in that time


class QueueFull(_Fixed):
    """The compute process has no room left in its queue."""

    fixed_reason = Reason.QUEUE_FULL
    default_retry_seconds = 0.5


class DeadlineExceeded(_Fixed):
    """The caller's time ran out before the answer."""

    fixed_reason = Reason.DEADLINE_EXCEEDED


class NotFound(_Fixed):
    """No such model, version, operation or subject; the metadata says what exists."""

    fixed_reason = Reason.NOT_FOUND


class WrongState(_Fixed):
    """The request is right and the state is wrong; the metadata says which state would do."""

    fixed_reason = Reason.WRONG_STATE


class Conflict(_Fixed):
    """Somebody else was faster: read again and decide again."""

    fixed_reason = Reason.CONFLICT


class Unauthenticated(_Fixed):
    """The caller did not say who it is, or could not prove it."""

    fixed_reason = Reason.UNAUTHENTICATED


class PermissionDenied(_Fixed):
    """The caller may not do this."""

    fixed_reason = Reason.PERMISSION_DENIED


class SwitchedOff(_Fixed):
    """A person switched the method off in the registry."""

    fixed_reason = Reason.SWITCHED_OFF
