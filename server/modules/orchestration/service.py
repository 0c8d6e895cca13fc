"""Orchestration: the servicer methods that this release answers on a worker. RunAll is control's.

Not here: what a status is made of (monitor/status.py).
"""

from __future__ import annotations

from collections.abc import Callable

from paedsresus.ml.v1 import orchestration_pb2
from server.monitor.status import StatusFacts, system_status
from server.serving.dispatch import Answer, Call
from server.serving.wire.judge import judge, parse

SERVICE = "paedsresus.ml.v1.OrchestrationService"


class OrchestrationService:
    """The system as a whole."""

    def __init__(self, facts: Callable[[], StatusFacts]) -> None:
        self._facts = facts

    def methods(self) -> dict[str, Answer]:
        """What this release answers, by full method name."""
        return {f"/{SERVICE}/GetSystemStatus": self.get_system_status}

    def get_system_status(self, raw: bytes, call: Call) -> bytes:
        """How the whole system is; also while control is away."""
        request = parse(orchestration_pb2.GetSystemStatusRequest, raw)
        call.request_id = request.context.request_id
        judge(request)
        return system_status(self._facts()).SerializeToString()
