"""What a method looks at: the fields of its `<Method>Features` message as a typed schema, and rows as a float32 matrix.

The schema is read from the message's descriptor, so there is no second list of features; an artifact carries its own
as JSON, and a benchmark builds one from documented columns. Pure: no import of ours, no I/O.
Not here: bounds and their refusal (the contract's `buf.validate` rules); where values come from (training/features,
server/serving).
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from numpy.typing import NDArray

UNIT_OPTION = "paedsresus.ml.v1.unit"
PURE = "1"  # the unit of flags, categories and ratios


class Kind(Enum):
    """How a field's value stands in the matrix."""

    NUMBER = "number"  # as it is
    COUNT = "count"  # as it is
    FLAG = "flag"  # 0 or 1
    CATEGORY = "category"  # one column a level, 0 or 1
    MONEY = "money"  # minor units; an artifact knows one currency
    TIME = "time"  # days from `as_of_time`, negative before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One field.

    Attributes:
        name: the field's name in the message.
        kind: how its value is encoded.
        unit: in words, "1" for a pure number.
        levels: of a CATEGORY, the enum's value names without prefix and without UNSPECIFIED; the enum's number of
            levels[i] is i + 1. Empty for every other kind.
    """

    name: str
    kind: Kind
    unit: str = PURE
    levels: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the matrix columns that the field fills."""
        if self.kind is Kind.CATEGORY:
            return tuple(f"{self.name}={level}" for level in self.levels)
        return (self.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSchema:
    """The features of one method, in the order of their field numbers.

    Attributes:
        message: full name of the message, or of the documented table in a benchmark.
        features: the fields.
    """

    message: str
    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(feature.name for feature in self.features)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the matrix columns, in order; a category fills several ("plan=MONTHLY")."""
        return tuple(column for feature in self.features for column in feature.columns)

    @property
    def owners(self) -> tuple[str, ...]:
        """For each matrix column the field that fills it: contributions of columns are added up by it."""
        return tuple(feature.name for feature in self.features for _ in feature.columns)

    def subset(self, names: Iterable[str]) -> "FeatureSchema":
        """The schema with these fields only, in the order they have here.

        Raises: ValueError: names a field that is not here.
        """
        wanted = set(names)
        if unknown := sorted(wanted - set(self.names)):
            raise ValueError(f"{self.message} has no field {unknown[0]}; it has {', '.join(self.names)}")
        return FeatureSchema(message=self.message, features=tuple(f for f in self.features if f.name in wanted))

    def to_json(self) -> dict[str, Any]:
        """The schema as plain JSON values, as it stands in an artifact's manifest."""
        return {
            "message": self.message,
            "features": [
                {"name": f.name, "kind": f.kind.value, "unit": f.unit, "levels": list(f.levels)} for f in self.features
            ],
        }

    @classmethod
    def from_json(cls, value: Any) -> "FeatureSchema":
        """The schema that `to_json` wrote.

        Raises: ValueError: says which part is not as it must be.
        """
        try:
            features = tuple(
                Feature(
                    name=_text(entry["name"]),
                    kind=Kind(entry["kind"]),
                    unit=_text(entry["unit"]),
                    levels=tuple(_text(level) for level in entry["levels"]),
                )
                for entry in value["features"]
            )
            schema = cls(message=_text(value["message"]), features=features)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a feature schema: {error}") from error
        if len(set(schema.names)) != len(schema.names):
            raise ValueError(f"feature schema of {schema.message} names a field twice")
        return schema

    def digest(self) -> str:
        """sha256 of the schema's canonical JSON, as 64 hex digits."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def feature_set(self, expressions: str) -> str:
        """sha256 over these fields and the digest of the expressions that compute them, as 64 hex digits.

        A version answers from a snapshot of features only when both carry the same: equal names are not enough, the
        values must also mean the same.
        """
        return hashlib.sha256(f"{self.digest()}:{expressions}".encode()).hexdigest()


def schema_of(descriptor: Descriptor, only: Collection[str] | None = None) -> FeatureSchema:
    """The schema of a `<Method>Features` message, or of some of its fields.

    Raises: ValueError: names a field whose type is no feature (repeated, text, bytes, other messages), or an enum
        whose numbers do not run 0, 1, 2, ….
    """
    fields = [field for field in descriptor.fields if only is None or field.name in only]
    return FeatureSchema(message=descriptor.full_name, features=tuple(_feature(field) for field in fields))


def encode_columns(schema: FeatureSchema, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Rows as the matrix a model reads.

    Args:
        schema: which fields, in which order.
        columns: field name -> (n,) values. Numbers, counts, money and times as floats with NaN for missing (an integer
            or bool column has no missing). A category either as level names (object or text; anything that is no level,
            such as None, is missing) or as the enum's numbers (0, NaN or an unknown number is missing).
    Returns: (n, len(schema.columns)) float32, C order; missing is NaN, for a category in each of its columns.
    Raises: ValueError: names a field without a column, or one whose length differs.

    >>> flag = Feature(name="auto_renew", kind=Kind.FLAG)
    >>> plan = Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "ANNUAL"))
    >>> schema = FeatureSchema(message="Demo", features=(flag, plan))
    >>> rows = {"auto_renew": np.array([1.0, np.nan]), "plan": np.array(["ANNUAL", None], dtype=object)}
    >>> encode_columns(schema, rows).tolist()
    [[1.0, 0.0, 1.0], [nan, nan, nan]]
    """
    if missing := [name for name in schema.names if name not in columns]:
        raise ValueError(f"no column for field {missing[0]} of {schema.message}")
    rows = len(columns[schema.names[0]]) if schema.features else 0
    matrix = np.empty((rows, len(schema.columns)), dtype=np.float32)
    at = 0
    for feature in schema.features:
        values = np.asarray(columns[feature.name])
        if values.shape != (rows,):
            raise ValueError(f"field {feature.name} has shape {values.shape}, expected ({rows},)")
        width = len(feature.columns)
        if feature.kind is Kind.CATEGORY:
            matrix[:, at : at + width] = _one_hot(values, feature.levels)
        else:
            matrix[:, at] = values.astype(np.float32)
        at += width
    return matrix


def _one_hot(values: NDArray[Any], levels: tuple[str, ...]) -> NDArray[np.float32]:
    """(n,) level names or enum numbers -> (n, levels)."""
    if values.dtype.kind in "iuf":
        numbers = np.nan_to_num(values.astype(np.float64), nan=0.0)
    else:
        number_of = {level: float(i) for i, level in enumerate(levels, start=1)}
        numbers = np.array([number_of.get(v, 0.0) if isinstance(v, str) else 0.0 for v in values], dtype=np.float64)
    hot: NDArray[np.float32] = (numbers[:, None] == np.arange(1, len(levels) + 1)).astype(np.float32)  # -> (n, levels)
    hot[~hot.any(axis=1)] = np.nan
    return hot


def _feature(field: FieldDescriptor) -> Feature:
    """One field of a descriptor as a feature."""
    unit = next((str(v) for option, v in field.GetOptions().ListFields() if option.full_name == UNIT_OPTION), PURE)
    kind = _kind(field)
    return Feature(name=field.name, kind=kind, unit=unit, levels=_levels(field.enum_type) if field.enum_type else ())


def _kind(field: FieldDescriptor) -> Kind:
    """What a field of this type is."""
    messages = {"paedsresus.ml.v1.Money": Kind.MONEY, "google.protobuf.Timestamp": Kind.TIME}
    numbers = {
        FieldDescriptor.CPPTYPE_DOUBLE: Kind.NUMBER,
        FieldDescriptor.CPPTYPE_FLOAT: Kind.NUMBER,
        FieldDescriptor.CPPTYPE_INT32: Kind.COUNT,
        FieldDescriptor.CPPTYPE_BOOL: Kind.FLAG,
        FieldDescriptor.CPPTYPE_ENUM: Kind.CATEGORY,
    }
    kind = messages.get(field.message_type.full_name) if field.message_type else numbers.get(field.cpp_type)
    if kind is None or field.is_repeated:
        raise ValueError(f"{field.full_name} is no feature: only single numbers, flags, enums, Money and Timestamp are")
    return kind


def _levels(enum: EnumDescriptor) -> tuple[str, ...]:
    """SUBSCRIPTION_PLAN_MONTHLY, … -> MONTHLY, …; the first value is UNSPECIFIED and gives the prefix."""
    names = [value.name for value in enum.values]
    prefix = names[0].removesuffix("UNSPECIFIED")
    if [value.number for value in enum.values] != list(range(len(names))) or prefix == names[0]:
        raise ValueError(f"{enum.full_name} must begin with UNSPECIFIED = 0 and count on by one")
    return tuple(name.removeprefix(prefix) for name in names[1:])


def _text(value: Any) -> str:
    """The value, which must be text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
