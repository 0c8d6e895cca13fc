"""Rows of churn features as columns, written apart from the server's own reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from paedsresus.ml.v1 import revenue_pb2
from tests.fakes.artifacts import AS_OF


def columns_of(rows: Sequence[Any], subject_ids: Sequence[str] = ()) -> revenue_pb2.PredictChurnColumns:
    """PredictChurnFeatures messages as one PredictChurnColumns."""
    columns = revenue_pb2.PredictChurnColumns(rows=len(rows), subject_ids=subject_ids)
    for field in revenue_pb2.PredictChurnFeatures.DESCRIPTOR.fields:
        there = [row.HasField(field.name) for row in rows]
        if not any(there):
            continue
        if not all(there):
            bits = sum(1 << index for index, is_there in enumerate(there) if is_there)
            setattr(columns, f"{field.name}_present", bits.to_bytes((len(rows) + 7) // 8, "little"))
        values = [getattr(row, field.name) for row in rows]
        kind = field.message_type.name if field.message_type is not None else ""
        if kind == "Money":
            columns.price_minor_units.extend(value.minor_units for value in values)
            columns.price_currency_code = next(
                v.currency_code for v, is_there in zip(values, there, strict=True) if is_there
            )
        elif kind == "Timestamp":
            days = [(value.ToDatetime(tzinfo=UTC) - AS_OF).total_seconds() / 86_400 for value in values]
            getattr(columns, f"{field.name}_days").extend(days)
        else:
            getattr(columns, field.name).extend(values)
    return columns


def batch_of(
    rows: Sequence[Any], subject_ids: Sequence[str] = (), **fields: Any
) -> revenue_pb2.BatchPredictChurnRequest:
    """A whole request as of the fakes' date."""
    request = revenue_pb2.BatchPredictChurnRequest(columns=columns_of(rows, subject_ids), **fields)
    request.context.as_of_time.FromDatetime(AS_OF)
    return request
