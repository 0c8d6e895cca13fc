"""The revenue service with batches as rows: lists in, lists out, columns on the wire.

More rows than one request takes are sent as several. Not here: how rows become columns and back (rows.py).
"""

from collections.abc import Sequence
from datetime import datetime

from paedsresus.ml._services.revenue import AsyncRevenueMethods, RevenueMethods
from paedsresus.ml.method import Fields
from paedsresus.ml.rows import ChurnRow, LtvRow, churn_rows, ltv_rows, row_batches
from paedsresus.ml.v1 import revenue_pb2

ChurnFeatures = revenue_pb2.PredictChurnFeatures | Fields
LtvFeatures = revenue_pb2.CalculateLtvFeatures | Fields


class Revenue(RevenueMethods):
    """Revenue, blocking. It inherits because generated methods are never edited."""

    def predict_churn_rows(
        self,
        rows: Sequence[ChurnFeatures],
        *,
        horizon_days: Sequence[int] = (),
        subject_ids: Sequence[str] = (),
        as_of_time: datetime | None = None,
        timeout_seconds: float | None = None,
    ) -> list[ChurnRow]:
        """Predict churn for many subscribers; answer i belongs to row i.

        Args:
            rows: features of each subscriber; a field that is not set is unknown, never zero.
            horizon_days: days ahead to answer for; empty means 28, 90 and 180.
            subject_ids: pseudonym of each row, which also routes it; empty or as many as rows.
            as_of_time: the moment that the features describe; absent means now.
            timeout_seconds: time for each request of up to 10,000 rows.
        """
        answers: list[ChurnRow] = []
        for batch in row_batches(revenue_pb2.PredictChurnColumns, rows, subject_ids, as_of_time):
            answer = self.batch_predict_churn(
                context=batch.context,
                columns=batch.columns,
                horizon_days=horizon_days,
                timeout_seconds=timeout_seconds,
            )
            answers += churn_rows(answer, batch.columns.rows)
        return answers

    def calculate_ltv_rows(
        self,
        rows: Sequence[LtvFeatures],
        *,
        horizon_months: int | None = None,
        discount_rate_annual: float | None = None,
        subject_ids: Sequence[str] = (),
        as_of_time: datetime | None = None,
        timeout_seconds: float | None = None,
    ) -> list[LtvRow]:
        """Calculate the value of many customers; answer i belongs to row i. Arguments as in `predict_churn_rows`."""
        answers: list[LtvRow] = []
        for batch in row_batches(revenue_pb2.CalculateLtvColumns, rows, subject_ids, as_of_time):
            answer = self.batch_calculate_ltv(
                context=batch.context,
                columns=batch.columns,
                horizon_months=horizon_months,
                discount_rate_annual=discount_rate_annual,
                timeout_seconds=timeout_seconds,
            )
            answers += ltv_rows(answer, batch.columns.rows)
        return answers


class AsyncRevenue(AsyncRevenueMethods):
    """Revenue for asyncio; see `Revenue`."""

    async def predict_churn_rows(
        self,
        rows: Sequence[ChurnFeatures],
        *,
        horizon_days: Sequence[int] = (),
        subject_ids: Sequence[str] = (),
        as_of_time: datetime | None = None,
        timeout_seconds: float | None = None,
    ) -> list[ChurnRow]:
        """Predict churn for many subscribers; answer i belongs to row i. See `Revenue.predict_churn_rows`."""
        answers: list[ChurnRow] = []
        for batch in row_batches(revenue_pb2.PredictChurnColumns, rows, subject_ids, as_of_time):
            answer = await self.batch_predict_churn(
                context=batch.context,
                columns=batch.columns,
                horizon_days=horizon_days,
                timeout_seconds=timeout_seconds,
            )
            answers += churn_rows(answer, batch.columns.rows)
        return answers

    async def calculate_ltv_rows(
        self,
        rows: Sequence[LtvFeatures],
        *,
        horizon_months: int | None = None,
        discount_rate_annual: float | None = None,
        subject_ids: Sequence[str] = (),
        as_of_time: datetime | None = None,
        timeout_seconds: float | None = None,
    ) -> list[LtvRow]:
        """Calculate the value of many customers; answer i belongs to row i. See `Revenue.calculate_ltv_rows`."""
        answers: list[LtvRow] = []
        for batch in row_batches(revenue_pb2.CalculateLtvColumns, rows, subject_ids, as_of_time):
            answer = await self.batch_calculate_ltv(
                context=batch.context,
                columns=batch.columns,
                horizon_months=horizon_months,
                discount_rate_annual=discount_rate_annual,
                timeout_seconds=timeout_seconds,
            )
            answers += ltv_rows(answer, batch.columns.rows)
        return answers
