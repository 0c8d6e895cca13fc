"""Every call's one way through: admission, deadline, the method's own room, the count of how it ended.

`dispatch(method, request bytes, call) -> answer bytes` knows no transport: an edge moves bytes in and out and turns
errors into its codes. What a method does stands in `server/modules`; methods are handed over at start. A method of the
interactive lane begins and ends in one go and answers with bytes; one that waits for others answers with an awaitable.
Not here: codes and details (edge/codes.py); validation (each method, through serving/wire).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

from server.errors import DeadlineExceeded, Overloaded, Reason, UnknownMethod


class Served(Protocol):
    """The version that a call went to, for the log."""

    @property
    def model(self) -> str:
        """Name of the registered model."""
        ...

    @property
    def version(self) -> int:
        """Its version."""
        ...

    @property
    def role_word(self) -> str:
        """Its place: champion or canary."""
        ...


class Call(Protocol):
    """What a method may know of the call beside the request's bytes, and what it says of itself."""

    method: str
    """Full name, "/package.Service/Method"."""
    started: float
    """When the worker accepted it, by `time.perf_counter`, seconds."""
    request_id: str
    """The request's id once the method has read it; empty before."""
    served: Served | None
    """The version that it went to, once that is chosen."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline, 0 when it has passed; None when the caller set none."""
        ...


Reply = bytes | Awaitable[bytes]
Answer = Callable[[bytes, Call], Reply]
StreamAnswer = Callable[[bytes, Call], AsyncIterator[bytes]]


class Meters(Protocol):
    """Where the ends of calls are counted. `reason` is None for an answer."""

    def ended(self, method: str, reason: Reason | None, seconds: float) -> None:
        """Count one call."""
        ...


class Admission:
    """How many calls this worker holds, and how many it takes.

    Counted from the moment a call is accepted, not from the moment a method begins: methods of the interactive lane
    begin and end in one go, so the calls that pile up are those that wait for the loop.
    """

    __slots__ = ("in_flight", "limit")

    def __init__(self, limit: int) -> None:
        self.in_flight = 0
        self.limit = limit


class Dispatcher:
    """The table of methods and what is the same for all of them."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        streams: Mapping[str, StreamAnswer],
        *,
        admission: Admission,
        meters: Meters,
    ) -> None:
        self._answers = dict(answers)
        self._streams = dict(streams)
        self._admission = admission
        self._meters = meters

    def dispatch(self, method: str, request: bytes, call: Call) -> Reply:
        """Answer one call.

        Raises: ServingError: for a reason that the caller may know. Anything else is unforeseen.
        """
        answer = self._answers.get(method)
        if answer is None:
            raise unknown_method(method)
        self._admit(call)
        return answer(request, call)

    def dispatch_stream(self, method: str, request: bytes, call: Call) -> AsyncIterator[bytes]:
        """Answer one call whose answer is a stream; raises as `dispatch` does."""
        stream = self._streams.get(method)
        if stream is None:
            raise unknown_method(method)
        self._admit(call)
        return stream(request, call)

    def ended(self, call: Call, reason: Reason | None, seconds: float) -> None:
        """Count a call that has ended; the edge says so, since it alone sees every end. No reason: answered."""
        self._meters.ended(call.method, reason, seconds)

    def _admit(self, call: Call) -> None:
        admission = self._admission
        if admission.in_flight > admission.limit:
            raise Overloaded(
                f"more than {admission.limit} calls are in flight on this worker; ask again later",
                metadata={"limit": str(admission.limit), "unit": "calls in flight"},
            )
        remaining = call.time_remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded("the caller's deadline passed while the call waited", metadata={"phase": "waiting"})


def unknown_method(method: str) -> UnknownMethod:
    """The error for a name that is in no contract of this server. The name is the caller's own; it is cut short."""
    shown = "".join(c if c.isascii() and (c.isalnum() or c in "/._") else "?" for c in method[:120])
    return UnknownMethod(f"this server has no method {shown}", metadata={"method": shown})
