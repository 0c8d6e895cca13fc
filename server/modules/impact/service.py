"""Impact: the servicer methods that this release answers. So far its status; the rest of the contract is NOT_BUILT.

Not here: what a status is made of (monitor/status.py).
"""

from __future__ import annotations

from collections.abc import Callable

from paedsresus.ml.v1 import impact_pb2
from server.monitor.status import StatusFacts, module_status
from server.serving.dispatch import Answer, Call
from server.serving.wire.judge import judge, parse

SERVICE = "paedsresus.ml.v1.ImpactService"


class ImpactService:
    """Impact: what it means for patients."""

    def __init__(self, facts: Callable[[], StatusFacts]) -> None:
        self._facts = facts

    def methods(self) -> dict[str, Answer]:
        """What this release answers, by full method name."""
        return {f"/{SERVICE}/GetStatus": self.get_status}

    def get_status(self, raw: bytes, call: Call) -> bytes:
        """How the module is."""
        request = parse(impact_pb2.ImpactServiceGetStatusRequest, raw)
        call.request_id = request.context.request_id
        judge(request)
        status = module_status("impact", self._facts())
        return impact_pb2.ImpactServiceGetStatusResponse(status=status).SerializeToString()
