"""One log line for each failed or slow call and for a sample of the others, with the request's id.

A line costs 13 microseconds and the ledger holds every attempt, so a fast success is only counted. Failures are
limited to a number of lines a second; the next line says how many were left out.
Not here: how a line is written (server/logs.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from server.errors import Reason, ServingError
from server.serving.dispatch import Served

LINES_A_SECOND = 100
ID_MOST = 128  # characters of an id in a line; one that was refused may be of any length
_OUR_FAULT = frozenset({Reason.INTERNAL})


class Ended(Protocol):
    """What a line tells of a call."""

    method: str
    request_id: str
    served: Served | None


class Journal:
    """The log of calls. `sample` is the share of fast successes that get a line."""

    def __init__(
        self,
        log: Any,
        *,
        slow_seconds: float,
        sample: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._log = log
        self._slow = slow_seconds
        self._every = round(1 / sample) if sample > 0 else 0
        self._clock = clock
        self._countdown = self._every
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def answered(self, call: Ended, seconds: float) -> None:
        """Note a success: a line when it was slow or its turn has come."""
        self._countdown -= 1
        if seconds > self._slow:
            self._log.info("call_slow", **_facts(call, seconds), code="OK")
        elif self._countdown == 0:
            self._log.info("call_sampled", **_facts(call, seconds), code="OK")
        if self._countdown <= 0:
            self._countdown = self._every

    def failed(self, call: Ended, seconds: float, error: ServingError, cause: BaseException | None) -> None:
        """Note a failure; `cause` is the unforeseen error behind it, whose trace goes here and nowhere else."""
        if not self._may_write():
            return
        facts = {**_facts(call, seconds), "code": error.reason.value, "text": error.message}
        if self._left_out:
            facts["left_out"], self._left_out = self._left_out, 0
        if cause is not None:
            self._log.error("call_failed", **facts, exc_info=cause)
        elif error.reason in _OUR_FAULT:
            self._log.error("call_failed", **facts)
        else:
            self._log.info("call_refused", **facts)

    def _may_write(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > LINES_A_SECOND:
            self._left_out += 1
            return False
        return True


def _facts(call: Ended, seconds: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"rpc": call.method, "seconds": round(seconds, 6), "request_id": call.request_id[:ID_MOST]}
    if (served := call.served) is not None:
        facts.update(model=served.model, version=served.version, role=served.role_word)
    return facts
