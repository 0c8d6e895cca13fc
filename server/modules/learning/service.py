"""Learning: the servicer methods that this release answers; the rest of the contract is NOT_BUILT.

Not here: the mathematics (methods/learning); which version answers (serving); what a status is made of
(monitor/status.py).
"""

from __future__ import annotations

from collections.abc import Callable

from paedsresus.ml.v1 import learning_pb2
from server.modules.learning import (
    adjust_difficulty,
    generate_path,
    optimize_schedule,
    predict_certification_success,
    recommend_next_lesson,
)
from server.monitor.status import StatusFacts, module_status
from server.serving.answering import Means
from server.serving.dispatch import Answer, Call
from server.serving.load import ModelKind
from server.serving.whole import ComputeSolve, Whole, answers
from server.serving.wire.judge import judge, parse

SERVICE = "paedsresus.ml.v1.LearningService"
WHOLE: tuple[Whole, ...] = (
    adjust_difficulty.METHOD,
    predict_certification_success.METHOD,
    recommend_next_lesson.METHOD,
)
"""Methods that the worker answers on its loop."""
HEAVY: tuple[Whole, ...] = (generate_path.METHOD, optimize_schedule.METHOD)
"""Methods that the compute process answers."""
KINDS: dict[str, ModelKind] = {
    "path": generate_path.KIND,
    "difficulty": adjust_difficulty.KIND,
    "certification": predict_certification_success.KIND,
    "lessons": recommend_next_lesson.KIND,
    "schedule": optimize_schedule.KIND,
}


class LearningService:
    """Learning: what a learner should do next."""

    def __init__(self, means: Means, facts: Callable[[], StatusFacts], solve: ComputeSolve) -> None:
        self._facts = facts
        self._whole = answers(WHOLE, HEAVY, means, solve)

    def methods(self) -> dict[str, Answer]:
        """What this release answers, by full method name."""
        return {**self._whole, f"/{SERVICE}/GetStatus": self.get_status}

    def get_status(self, raw: bytes, call: Call) -> bytes:
        """How the module is."""
        request = parse(learning_pb2.LearningServiceGetStatusRequest, raw)
        call.request_id = request.context.request_id
        judge(request)
        status = module_status("learning", self._facts())
        return learning_pb2.LearningServiceGetStatusResponse(status=status).SerializeToString()
