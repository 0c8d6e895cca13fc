"""Rows to columns and back: a list of feature messages or mappings <-> the packed columns of a batch request.

Works from descriptors: `<Method>Columns` has the features' field names, `…_present` bitmaps (row i is bit i % 8 of byte
i // 8, lowest first), money as minor units with one currency, times as days from `as_of_time`.
An unset field is unknown and stays so. Loads no grpc. Not here: sending (revenue.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeVar, cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from paedsresus.ml.method import Fields
from paedsresus.ml.v1 import common_pb2, revenue_pb2

MAX_ROWS = 10_000  # of one request; the contract's bound on every column
_DAY_SECONDS = 86_400
Columns = TypeVar("Columns", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[Columns]):
    """One request's worth of rows."""

    context: common_pb2.RequestContext
    columns: Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnAt:
    """Chance in [0, 1] of having left by one horizon, and its interval."""

    horizon_days: int
    probability: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnRow:
    """Answer to one row. `churn` is empty where `error` says why there is none."""

    prediction_id: str
    churn: tuple[ChurnAt, ...]
    level: float
    served_by: common_pb2.ServedBy | None
    error: common_pb2.RowError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LtvRow:
    """Answer to one row; amounts in minor units of `currency_code`, None where `error` says why there is none."""

    prediction_id: str
    ltv_minor_units: int | None
    lower_minor_units: int | None
    upper_minor_units: int | None
    currency_code: str
    alive_probability: float | None
    expected_transactions: float | None
    method: "revenue_pb2.LtvMethod.ValueType"
    level: float
    served_by: common_pb2.ServedBy | None
    error: common_pb2.RowError | None = None


def row_batches(
    columns_type: type[Columns], rows: Sequence[Message | Fields], subject_ids: Sequence[str], as_of: datetime | None
) -> Iterator[Batch[Columns]]:
    """Split rows into requests of at most 10,000, each packed.

    Raises: ValueError: a row has a field that does not exist, two currencies meet in one column, or there are not as
        many subject ids as rows.
    """
    if subject_ids and len(subject_ids) != len(rows):
        msg = f"{len(subject_ids)} subject_ids for {len(rows)} rows; give one for each row, or none"
        raise ValueError(msg)
    moment = as_of or datetime.now(UTC)
    for first in range(0, len(rows), MAX_ROWS):
        part = slice(first, first + MAX_ROWS)
        context = common_pb2.RequestContext()
        context.as_of_time.FromDatetime(moment)
        columns = pack_columns(columns_type, rows[part], subject_ids=subject_ids[part], as_of=moment, first=first)
        yield Batch(context=context, columns=columns)


def pack_columns(
    columns_type: type[Columns],
    rows: Sequence[Message | Fields],
    *,
    subject_ids: Sequence[str] = (),
    as_of: datetime,
    first: int = 0,
) -> Columns:
    """Pack rows into one columns message; `first` is the number of row 0 in messages of errors.

    Raises: ValueError: as `row_batches`.
    """
    columns = columns_type()
    target: Any = columns
    target.rows = len(rows)
    target.subject_ids.extend(subject_ids)
    features_type = _features_type(columns_type.DESCRIPTOR)
    messages = [row if isinstance(row, features_type) else _message(features_type, row) for row in rows]
    for field in _fields(features_type):
        present = [message.HasField(field.name) for message in messages]
        if not any(present):
            continue  # an empty column says that no row has it
        found = [getattr(message, field.name) if has else None for message, has in zip(messages, present, strict=True)]
        _fill(target, field, found, as_of, first)
        if not all(present):
            setattr(target, f"{field.name}_present", pack_bits(present))
    return columns


def unpack_columns(columns: Message, *, as_of: datetime) -> list[Message]:
    """Return the feature messages that the columns say; the inverse of `pack_columns`, for tests and other servers."""
    source: Any = columns
    rows: list[Any] = [_features_type(columns.DESCRIPTOR)() for _ in range(source.rows)]
    for field in _fields(_features_type(columns.DESCRIPTOR)):
        values = getattr(source, _column_name(field))
        bits = getattr(source, f"{field.name}_present")
        if not values:
            continue
        for row, (message, value) in enumerate(zip(rows, values, strict=True)):
            if not bits or bits[row // 8] >> (row % 8) & 1:
                _set(message, field, value, source, as_of)
    return rows


def pack_bits(present: Sequence[bool]) -> bytes:
    """Bitmap of rows, lowest bit first.

    >>> pack_bits([True, False, True]).hex()
    '05'
    """
    bits = sum(1 << row for row, has in enumerate(present) if has)
    return bits.to_bytes((len(present) + 7) // 8, "little")


def churn_rows(answer: revenue_pb2.BatchPredictChurnResponse, rows: int) -> list[ChurnRow]:
    """Answers of a batch, one a row."""
    errors = {error.row: error for error in answer.row_errors}
    return [
        ChurnRow(
            prediction_id=f"{answer.info.prediction_id}.{row}",
            churn=() if row in errors else tuple(_churn_of(answer, row)),
            level=answer.level,
            served_by=_served_by(answer.info, answer.served_by_indices, row),
            error=errors.get(row),
        )
        for row in range(rows)
    ]


def ltv_rows(answer: revenue_pb2.BatchCalculateLtvResponse, rows: int) -> list[LtvRow]:
    """Answers of a batch, one a row."""
    errors = {error.row: error for error in answer.row_errors}

    def at(column: Sequence[Any], row: int) -> Any:
        return None if row in errors or not column else column[row]

    return [
        LtvRow(
            prediction_id=f"{answer.info.prediction_id}.{row}",
            ltv_minor_units=at(answer.ltv_minor_units, row),
            lower_minor_units=at(answer.ltv_lower_minor_units, row),
            upper_minor_units=at(answer.ltv_upper_minor_units, row),
            currency_code=answer.ltv_currency_code,
            alive_probability=at(answer.alive_probabilities, row),
            expected_transactions=at(answer.expected_transactions, row),
            method=at(answer.methods, row) or revenue_pb2.LTV_METHOD_UNSPECIFIED,
            level=answer.level,
            served_by=_served_by(answer.info, answer.served_by_indices, row),
            error=errors.get(row),
        )
        for row in range(rows)
    ]


def _churn_of(answer: revenue_pb2.BatchPredictChurnResponse, row: int) -> Iterator[ChurnAt]:
    first = row * len(answer.horizon_days)  # matrices are row-major
    for cell, days in enumerate(answer.horizon_days, start=first):
        yield ChurnAt(
            horizon_days=days,
            probability=answer.churn_probabilities[cell],
            lower=answer.lowers[cell],
            upper=answer.uppers[cell],
        )


def _served_by(info: common_pb2.AnswerInfo, indices: Sequence[int], row: int) -> common_pb2.ServedBy | None:
    index = indices[row] if indices else 0
    return info.served_by[index] if index < len(info.served_by) else None


@cache
def _features_type(columns: Descriptor) -> type[Message]:
    name = columns.full_name.removesuffix("Columns") + "Features"
    return message_factory.GetMessageClass(columns.file.pool.FindMessageTypeByName(name))


def _fields(message: type[Message]) -> Sequence[FieldDescriptor]:
    return cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)  # the stubs add upb's own twin of the class


def _message(features_type: type[Message], row: Message | Fields) -> Message:
    if not isinstance(row, Mapping):
        msg = f"a row is a {features_type.DESCRIPTOR.name} or a mapping of its fields, not {type(row).__name__}"
        raise TypeError(msg)
    return features_type(**{name: value for name, value in row.items() if value is not None})


def _column_name(field: FieldDescriptor) -> str:
    suffix = {"Money": "_minor_units", "Timestamp": "_days"}
    return field.name + suffix.get(field.message_type.name if field.message_type else "", "")


def _fill(target: Any, field: FieldDescriptor, found: Sequence[Any], as_of: datetime, first: int) -> None:
    column = getattr(target, _column_name(field))
    kind = field.message_type.name if field.message_type else ""
    if kind == "Money":
        currency = next(money.currency_code for money in found if money is not None)
        for row, money in enumerate(found):
            if money is not None and money.currency_code != currency:
                msg = f"row {first + row}: {field.name} is in {money.currency_code}, rows before it in {currency}"
                raise ValueError(msg)
        setattr(target, f"{field.name}_currency_code", currency)
        column.extend(0 if money is None else money.minor_units for money in found)
    elif kind == "Timestamp":
        column.extend(0.0 if time is None else _days(time.ToDatetime(tzinfo=UTC), as_of) for time in found)
    else:
        empty: Any = "" if field.type == FieldDescriptor.TYPE_STRING else 0
        column.extend(empty if value is None else value for value in found)


def _set(message: Any, field: FieldDescriptor, value: Any, columns: Any, as_of: datetime) -> None:
    kind = field.message_type.name if field.message_type else ""
    if kind == "Money":
        money = getattr(message, field.name)
        money.minor_units = value
        money.currency_code = getattr(columns, f"{field.name}_currency_code")
    elif kind == "Timestamp":
        getattr(message, field.name).FromMicroseconds(round(as_of.timestamp() * 1e6 + value * _DAY_SECONDS * 1e6))
    else:
        setattr(message, field.name, value)


def _days(moment: datetime, as_of: datetime) -> float:
    return (moment - as_of).total_seconds() / _DAY_SECONDS
