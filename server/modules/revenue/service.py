"""Revenue: the servicer methods that this release answers.

Not here: the mathematics (methods/revenue); which version answers (serving).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from methods.revenue.churn import DEFAULT_HORIZONS
from paedsresus.ml.v1 import revenue_pb2
from server.modules.revenue import (
    calculate_ltv,
    calculate_ltv_batch,
    calculate_optimal_price,
    optimize_payment_flow,
    recommend_upsell,
)
from server.modules.revenue.churn import (
    CHURN,
    FEATURES,
    ChurnAsked,
    SubjectAsked,
    answer_churn,
    feature_row,
    look_up,
    reasons_of,
)
from server.modules.revenue.churn_batch import BatchAsked, answer_batch
from server.modules.revenue.explain import explain_refused
from server.monitor.status import StatusFacts, module_status
from server.serving.answering import Answering, Choice, Means, Question
from server.serving.by_id import ById
from server.serving.dispatch import Answer, Call, Reply
from server.serving.load import ModelKind
from server.serving.whole import ComputeSolve, Whole, answers
from server.serving.wire.accept import Accept, compile_accept, compile_keep
from server.serving.wire.columns import ColumnsReader
from server.serving.wire.judge import judge, judged, parse, warm

SERVICE = "paedsresus.ml.v1.RevenueService"
PREDICT_CHURN = f"/{SERVICE}/PredictChurn"
BATCH_PREDICT_CHURN = f"/{SERVICE}/BatchPredictChurn"
CONTEXT_FIELDS = (
    "context.request_id",
    "context.subject_id",
    "context.routing_key",
    "context.as_of_time",
    "context.explain",
)
CHURN_FIELDS = (*CONTEXT_FIELDS, "features", "by_id", "horizon_days", "include_survival_curve")
BATCH_FIELDS = (*CONTEXT_FIELDS, "columns", "horizon_days")
WHOLE: tuple[Whole, ...] = (
    calculate_ltv.METHOD,
    calculate_ltv_batch.METHOD,
    optimize_payment_flow.METHOD,
    recommend_upsell.METHOD,
)
"""Methods that the worker answers on its loop, message by message."""
HEAVY: tuple[Whole, ...] = (calculate_optimal_price.METHOD,)
"""Methods that the compute process answers."""
KINDS: dict[str, ModelKind] = {
    "churn": CHURN,
    "ltv": calculate_ltv.KIND,
    "price": calculate_optimal_price.KIND,
    "payments": optimize_payment_flow.KIND,
    "upsell": recommend_upsell.KIND,
}

Explain = Callable[[str, list[float | None], float | None], Awaitable[tuple[float, list[float]]]]
"""(digest, row, seconds left) -> base and contributions by matrix column, from the compute process."""


class RevenueService:
    """Predictions and decisions about subscriptions, prices, offers and payments."""

    def __init__(self, means: Means, facts: Callable[[], StatusFacts], explain: Explain, solve: ComputeSolve) -> None:
        self._facts = facts
        self._whole = answers(WHOLE, HEAVY, means, solve)
        self._explain = explain
        self._by_id = ById(means.live, PREDICT_CHURN)
        self._churn = Answering(
            means,
            model="churn",
            method=PREDICT_CHURN,
            work=answer_churn,
            fits=lambda seat, question: question.asked.by_id is None or self._by_id.knows(seat),
        )
        self._batch = Answering(means, model="churn", method=BATCH_PREDICT_CHURN, work=answer_churn)
        self._columns = ColumnsReader(FEATURES, revenue_pb2.PredictChurnColumns.DESCRIPTOR)
        self._accept_batch = compile_accept(
            revenue_pb2.BatchPredictChurnRequest, keep=BATCH_FIELDS, unchecked=["columns"]
        )
        self._keep_batch = compile_keep(revenue_pb2.BatchPredictChurnRequest, BATCH_FIELDS)
        self._accept_churn = compile_accept(revenue_pb2.PredictChurnRequest, keep=CHURN_FIELDS, unchecked=["features"])
        self._keep_churn = compile_keep(revenue_pb2.PredictChurnRequest, CHURN_FIELDS)
        warm(revenue_pb2.PredictChurnRequest)
        warm(revenue_pb2.BatchPredictChurnRequest)

    def methods(self) -> dict[str, Answer]:
        """What this release answers, by full method name."""
        return {
            **self._whole,
            PREDICT_CHURN: self.predict_churn,
            BATCH_PREDICT_CHURN: self.batch_predict_churn,
            f"/{SERVICE}/GetStatus": self.get_status,
        }

    def predict_churn(self, raw: bytes, call: Call) -> Reply:
        """When one subscriber is likely to leave."""
        request = parse(revenue_pb2.PredictChurnRequest, raw)
        read = self._accept_churn(request) or _judged(request, self._keep_churn, call)
        request_id, subject_id, routing_key, as_of_time, explain, features, by_id, horizons, wants_curve = read
        key, subject = routing_key or subject_id, None
        if by_id is not None:
            key, subject = key or by_id.subject_id, SubjectAsked(self._by_id, request)
        asked = ChurnAsked(request, features, tuple(horizons) or DEFAULT_HORIZONS, wants_curve, subject)
        question = self._churn.question(request_id, key, as_of_time, raw, call, asked=asked)
        choice = self._churn.choose(question)
        if by_id is not None:  # once, so that reasons and copies are of the same features as the answer
            question = look_up(choice.seat, question)
        return self._explained(choice, question, call) if explain else self._churn.answer(choice, question, call)

    async def _explained(self, choice: Choice, question: Question, call: Call) -> bytes:
        """The answer with its reasons, which come from the compute process."""
        seat = choice.seat
        row = feature_row(seat, question)
        _, contributions = await self._explain(seat.deployment.digest, row, call.time_remaining())
        explained = (seat, reasons_of(seat, question, contributions))
        return self._churn.answer(choice, question._replace(asked=question.asked._replace(explained=explained)), call)

    async def batch_predict_churn(self, raw: bytes, call: Call) -> bytes:
        """The same for many subscribers at once."""
        request = parse(revenue_pb2.BatchPredictChurnRequest, raw)
        read = self._accept_batch(request) or _judged(request, self._keep_batch, call)
        request_id, subject_id, routing_key, as_of_time, explain, columns, horizons = read
        if explain:
            raise explain_refused("PredictChurn")
        as_of = time.time() if as_of_time is None else as_of_time.seconds + as_of_time.nanos * 1e-9
        asked = BatchAsked(self._columns.read(request, columns, as_of), tuple(horizons) or DEFAULT_HORIZONS)
        question = self._batch.question(request_id, routing_key or subject_id, as_of_time, raw, call, asked=asked)
        return await answer_batch(self._batch, question, call)

    def get_status(self, raw: bytes, call: Call) -> bytes:
        """How the module is."""
        request = parse(revenue_pb2.RevenueServiceGetStatusRequest, raw)
        call.request_id = request.context.request_id
        judge(request)
        status = module_status("revenue", self._facts())
        return revenue_pb2.RevenueServiceGetStatusResponse(status=status).SerializeToString()


def _judged(request: Any, keep: Accept, call: Call) -> tuple[Any, ...]:
    """As `judged`; a refusal is known by its id."""
    call.request_id = request.context.request_id
    return judged(request, keep)
