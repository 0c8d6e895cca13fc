"""Rows of features from a `<Method>Columns` message as numbers, checked by the rules of `<Method>Features`.

Whole columns, never rows, and most steps over all columns at once: what counts is the number of Python steps, not of
values. What breaks the form (a column of another length, an id with a space) refuses the whole request, as
protovalidate would; a value out of its field's range costs only its own row its answer.
Not here: one row (reader.py); numbers as a version's matrix (matrix.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from numpy.typing import NDArray

from methods.features import Kind, schema_of
from server.errors import FieldViolation
from server.serving.wire import rules
from server.serving.wire.judge import invalid, judge
from server.serving.wire.reader import SECONDS_PER_DAY

ID_CHARACTERS_MAX = 128
ROWS_MAX = 10_000
_FARTHEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """Why one row has no answer: the field that is out of range, and what its rule allows."""

    row: int
    field: str
    allowed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A batch as numbers.

    Attributes:
        rows: number of rows, n.
        names: the fields, f of them, in the message's order.
        values: (f, n) float64, NaN where missing; a category as its enum's number, 0 where missing.
        good: (n,) False for rows with a problem; None when there is none.
        problems: the first problem of each such row, by row.
        subject_ids: one a row, or none at all.
        currency: of the amounts; None when there are none.
    """

    rows: int
    names: tuple[str, ...]
    values: NDArray[np.float64]
    good: NDArray[np.bool_] | None
    problems: tuple[RowProblem, ...]
    subject_ids: tuple[str, ...]
    currency: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """How one field stands in the columns message, and what its values may be."""

    name: str
    kind: Kind
    filled: str
    present: str
    code: str | None
    least: float
    most: float
    allowed: str


class ColumnsReader:
    """Reads the columns message of one method.

    Raises: rules.Unsupported: a feature has a rule that cannot be checked by column.
    """

    def __init__(self, features: Descriptor, columns: Descriptor) -> None:
        self._columns = tuple(
            _column(features.fields_by_name[feature.name], feature.kind, columns)
            for feature in schema_of(features).features
        )
        self._names = tuple(column.name for column in self._columns)
        self._filled = attrgetter(*(column.filled for column in self._columns))
        self._present = attrgetter(*(column.present for column in self._columns))
        self._least = np.array([column.least for column in self._columns])[:, None]
        self._most = np.array([column.most for column in self._columns])[:, None]
        kinds = np.array([column.kind for column in self._columns])
        self._times = np.flatnonzero(kinds == Kind.TIME)
        self._categories = np.flatnonzero(kinds == Kind.CATEGORY)
        self._codes = tuple(
            (index, column.code) for index, column in enumerate(self._columns) if column.code is not None
        )

    def read(self, request: Any, message: Any, as_of: float) -> Columns:
        """The batch in `message`, a field of `request`; `as_of` in seconds since 1970.

        Raises: InvalidField: the form is broken, or a rule that the contract states for the whole message.
        """
        rows, ids = message.rows, message.subject_ids
        read = self._read_values(message, rows) if 1 <= rows <= ROWS_MAX and self._has_good_ids(ids, rows) else None
        if read is None or not self._has_good_codes(message, read[2]) or not self._has_finite_times(read[0]):
            judge(request)
            raise invalid(tuple(self._violations(message, rows)))
        values, missing, filled = read
        good, problems = self._judge_rows(values, missing, as_of)
        if missing is not None:
            np.copyto(values, np.nan, where=missing)
            values[self._categories] = np.nan_to_num(values[self._categories], nan=0.0)
        return Columns(
            rows=rows,
            names=self._names,
            values=values,
            good=good,
            problems=problems,
            subject_ids=tuple(ids),
            currency=next((getattr(message, code) for index, code in self._codes if filled[index]), None),
        )

    def _read_values(
        self, message: Any, rows: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None, list[bool]] | None:
        """(f, n) values as they came, (f, n) where they are missing (None: nowhere), and which columns are filled.

        None when a column has another length than it should.
        """
        values = np.zeros((len(self._columns), rows))
        whole = (rows + 7) // 8
        everywhere, nowhere = b"\xff" * whole, bytes(whole)
        there: list[bytes] = []
        is_filled: list[bool] = []
        for index, (filled, bits) in enumerate(zip(self._filled(message), self._present(message), strict=True)):
            if bits and len(bits) != whole:
                return None
            if not filled:
                there.append(nowhere)
                is_filled.append(False)
                continue
            if len(filled) != rows:
                return None
            values[index] = filled  # through the container's own array: 2 us for 1,000 values
            there.append(bits or everywhere)
            is_filled.append(True)
        if there.count(everywhere) == len(there):
            return values, None, is_filled
        packed = np.frombuffer(b"".join(there), dtype=np.uint8).reshape(len(there), whole)
        missing = np.unpackbits(packed, axis=1, count=rows, bitorder="little") == 0
        return values, missing, is_filled

    def _judge_rows(
        self, values: NDArray[np.float64], missing: NDArray[np.bool_] | None, as_of: float
    ) -> tuple[NDArray[np.bool_] | None, tuple[RowProblem, ...]]:
        """Which rows are good (None: all), and the first problem of each other."""
        least, most = self._least.copy(), self._most.copy()
        least[self._times] = (least[self._times] - as_of) / SECONDS_PER_DAY
        most[self._times] = (most[self._times] - as_of) / SECONDS_PER_DAY
        fits = (values >= least) & (values <= most)  # (f, n); NaN never fits
        if missing is not None:
            fits |= missing
        if fits.all():
            return None, ()
        good: NDArray[np.bool_] = np.logical_and.reduce(fits, axis=0)
        rows = np.flatnonzero(~good)
        first = np.argmin(fits[:, rows], axis=0)  # the first field that does not fit
        problems = tuple(
            RowProblem(row=row, field=self._columns[field].name, allowed=self._columns[field].allowed)
            for row, field in zip(rows.tolist(), first.tolist(), strict=True)
        )
        return good, problems

    def _has_good_ids(self, ids: Any, rows: int) -> bool:
        if not ids:
            return True
        joined = "".join(ids)
        plain = joined.isascii() and (joined.isprintable() or not joined) and " " not in joined
        return len(ids) == rows and plain and max(map(len, ids)) <= ID_CHARACTERS_MAX

    def _has_good_codes(self, message: Any, filled: list[bool]) -> bool:
        for index, name in self._codes:
            code = getattr(message, name)
            if not _is_currency(code) and (code or filled[index]):
                return False
        return True

    def _has_finite_times(self, values: NDArray[np.float64]) -> bool:
        return bool(np.isfinite(values[self._times]).all())

    def _violations(self, message: Any, rows: int) -> Iterator[FieldViolation]:
        """What is wrong with the form, in words; only asked when something is and protovalidate has no word for it."""
        ids = message.subject_ids
        if len(ids) not in {0, rows}:
            yield _broken("subject_ids", f"has {len(ids)} values; {rows} or none are needed")
        whole = (rows + 7) // 8
        for column in self._columns:
            filled, bits = getattr(message, column.filled), getattr(message, column.present)
            if len(filled) not in {0, rows}:
                yield _broken(column.filled, f"has {len(filled)} values; {rows} or none are needed")
            if len(bits) not in {0, whole}:
                yield _broken(column.present, f"has {len(bits)} bytes; {whole} or none are needed")
            if column.code is not None and len(filled) and not getattr(message, column.code):
                yield _broken(column.code, "is needed when the column is filled")


def _column(field: FieldDescriptor, kind: Kind, columns: Descriptor) -> _Column:
    least, most, allowed = -_FARTHEST, _FARTHEST, "a finite number"
    if rules.is_number(field):
        bounds = rules.number_bounds(field)
        least, most = max(least, bounds.least), min(most, bounds.most)
        allowed = f"from {bounds.least:g} to {bounds.most:g}"
    elif kind is Kind.CATEGORY:
        numbers = rules.allowed_numbers(field)
        if numbers is None:
            raise rules.Unsupported(field.full_name)
        least, most, allowed = min(numbers), max(numbers), "one of the defined values"
    elif kind is Kind.TIME:
        rule = rules.time_rule(field)
        least, most, allowed = rule.least, rule.before - 1e-3, "a time of the contract's range"
    suffix = {Kind.MONEY: "_minor_units", Kind.TIME: "_days"}.get(kind, "")
    present = f"{field.name}_present"
    if present not in columns.fields_by_name:
        raise rules.Unsupported(f"{field.full_name} is not optional")
    return _Column(
        name=field.name,
        kind=kind,
        filled=f"{field.name}{suffix}",
        present=present,
        code=f"{field.name}_currency_code" if kind is Kind.MONEY else None,
        least=float(least),
        most=float(most),
        allowed=allowed,
    )


def _is_currency(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()


def _broken(name: str, description: str) -> FieldViolation:
    return FieldViolation(field=f"columns.{name}", description=description)
