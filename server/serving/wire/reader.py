"""One row of features from a request into a model's input buffer, checked on the way.

`compile_reader` writes one function for a pair of contract and artifact: it reads each field once, checks its rule,
and packs the columns of the artifact's schema as float32, NaN where the field is absent. Fields that the artifact does
not know are checked all the same. An amount in another currency than the artifact's is unknown to it: NaN, and the
reader says so.
Not here: batches (columns.py); what a column means (methods/features.py).
"""

import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from methods.features import Feature, FeatureSchema, Kind
from server.serving.wire import rules
from server.serving.wire.accept import Source, write_required, write_value
from server.serving.wire.rules import Unsupported

REFUSED = 0  # a rule is broken, or the reader cannot say: ask the judge
READ = 1
READ_FOREIGN_CURRENCY = 3  # read, and an amount was in a currency that the artifact does not know

SECONDS_PER_DAY = 86_400.0


class Reader(NamedTuple):
    """The two functions of one pair of contract and artifact: (features, as_of_seconds, buffer) -> READ, ....

    `checked` refuses what breaks a rule; `unchecked` is for messages that the judge has passed. Both raise
    OverflowError when a number does not fit into float32.
    """

    checked: Callable[[Any, float, Any], int]
    unchecked: Callable[[Any, float, Any], int]


@lru_cache(maxsize=16)  # most versions of a model have one schema, and compiling takes 2 ms that the loop may miss
def compile_reader(descriptor: Descriptor, schema: FeatureSchema, currency: str | None) -> Reader:
    """The reader of a `<Method>Features` message for an artifact's schema.

    Raises: ValueError: the schema names a field that the message has not.
    """
    if unknown := sorted(set(schema.names) - {field.name for field in descriptor.fields}):
        msg = f"{descriptor.full_name} has no field {unknown[0]}"
        raise ValueError(msg)
    unchecked = _compile(descriptor, schema, currency, check=False)
    try:
        checked = _compile(descriptor, schema, currency, check=True)
    except Unsupported:
        return Reader(checked=lambda _features, _as_of, _buffer: REFUSED, unchecked=unchecked)
    return Reader(checked=checked, unchecked=unchecked)


def hot_bytes(levels: int, number: int) -> bytes:
    """One category as float32 columns: 1 at its level's place; NaN in all of them when number is none of 1 to levels.

    >>> struct.unpack("<2f", hot_bytes(2, 1))
    (1.0, 0.0)
    """
    known = 1 <= number <= levels
    return struct.pack(f"<{levels}f", *(float(i == number) if known else math.nan for i in range(1, levels + 1)))


def _compile(
    descriptor: Descriptor, schema: FeatureSchema, currency: str | None, *, check: bool
) -> Callable[[Any, float, Any], int]:
    source = Source("read", "f, as_of, buffer", refusal=str(REFUSED))
    wanted = {feature.name: feature for feature in schema.features}
    values: dict[str, str] = {}
    has_money = any(_is_money(field) for field in descriptor.fields)
    if has_money:
        source.line(f"answer = {READ}")
    nan = source.constant(math.nan)
    for field in descriptor.fields:
        feature = wanted.get(field.name)
        if feature is not None or check:
            if check:
                write_required(source, field, "f")
            values[field.name] = _write_field(source, field, feature, nan=nan, currency=currency, check=check)
    layout = "<" + "".join(f"{4 * len(f.levels)}s" if f.kind is Kind.CATEGORY else "f" for f in schema.features)
    pack = source.constant(struct.Struct(layout).pack_into)
    source.line(f"{pack}(buffer, 0, {', '.join(values[feature.name] for feature in schema.features)})")
    source.line("return answer" if has_money else f"return {READ}")
    return source.function()


def _write_field(
    source: Source, field: FieldDescriptor, feature: Feature | None, *, nan: str, currency: str | None, check: bool
) -> str:
    """Lines that read and check one field; returns the variable that holds its number or its packed columns."""
    value = source.name("v")
    if _is_money(field):
        _write_money(source, field, value, nan=nan, currency=currency, check=check)
    elif field.message_type is not None and field.message_type.full_name == rules.TIMESTAMP:
        _write_time(source, field, value, nan=nan, check=check)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        _write_category(source, field, feature, value, check=check)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL or rules.is_number(field):
        _write_number(source, field, value, nan=nan, check=check)
    else:
        raise Unsupported(field.full_name)
    return value


def _write_number(source: Source, field: FieldDescriptor, value: str, *, nan: str, check: bool) -> None:
    source.line(f"{value} = f.{field.name}")
    # A value that is not zero is certainly there; only zero must be told from absent, which costs a call.
    source.line(f"if not {value} and not f.HasField({field.name!r}): {value} = {nan}")
    if check and rules.is_number(field):
        bounds = rules.number_bounds(field)
        if not bounds.is_free:
            source.line(f"elif not ({bounds.code(value)}): return {REFUSED}")
        elif rules.is_float(field):
            # NaN means absent inside; a field without a rule against it is left to the judge and its reader.
            source.line(f"elif {value} != {value}: return {REFUSED}")


def _write_category(
    source: Source, field: FieldDescriptor, feature: Feature | None, value: str, *, check: bool
) -> None:
    allowed = rules.allowed_numbers(field) if check else None
    numbers = frozenset(item.number for item in rules.enum_of(field).values)
    if allowed is None and check:
        raise Unsupported(f"{field.full_name}: any number")  # such a field is nothing a model can read
    levels = len(feature.levels) if feature is not None else 0
    table = source.constant({number: hot_bytes(levels, number) for number in numbers})
    missing = source.constant(hot_bytes(levels, 0))
    source.line(f"{value} = {table}.get(f.{field.name}{'' if check else f', {missing}'})")
    if check:
        source.line(f"if {value} is None: return {REFUSED}")


def _write_time(source: Source, field: FieldDescriptor, value: str, *, nan: str, check: bool) -> None:
    source.line(f"if f.HasField({field.name!r}):")
    source.indent()
    moment = source.name("t")
    source.line(f"{moment} = f.{field.name}")
    if check:
        write_value(source, field, moment)
    source.line(f"{value} = ({moment}.seconds - as_of + {moment}.nanos * 1e-9) / {SECONDS_PER_DAY}")
    source.dedent()
    source.line(f"else: {value} = {nan}")


def _write_money(
    source: Source, field: FieldDescriptor, value: str, *, nan: str, currency: str | None, check: bool
) -> None:
    if check and rules.rules_of(field).ByteSize():
        raise Unsupported(field.full_name)
    source.line(f"if f.HasField({field.name!r}):")
    source.indent()
    money, code = source.name("m"), source.name("c")
    source.line(f"{money} = f.{field.name}")
    source.line(f"{code} = {money}.currency_code")
    source.line(f"if {code} == {currency!r}: {value} = {money}.minor_units")
    source.line("else:")
    source.indent()
    if check:
        write_value(source, rules.message_of(field).fields_by_name["currency_code"], code)
    source.line(f"{value} = {nan}")
    source.line(f"answer = {READ_FOREIGN_CURRENCY}")
    source.dedent()
    source.dedent()
    source.line(f"else: {value} = {nan}")


def _is_money(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == "paedsresus.ml.v1.Money"
