"""What a field may be: types, units, bounds, absence, names of enum values."""

import re

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from paedsresus.ml.v1 import common_pb2
from tests.contract.descriptors import asked, columns, enums, features, fields, rules

NUMBERS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_INT32}
PLAIN = NUMBERS | {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_MESSAGE,
}
COLUMNS = {message.full_name for message in columns()}
ASKED = [field for message in asked() if message.full_name not in COLUMNS for field in message.fields]


def numeric(field: FieldDescriptor) -> bool:
    return field.type in NUMBERS and not field.is_repeated


def bounded(field: FieldDescriptor) -> bool:
    """Whether a number has a lower and an upper bound."""
    of_type = rules(field).double if field.type == FieldDescriptor.TYPE_DOUBLE else rules(field).int32
    return of_type.WhichOneof("greater_than") is not None and of_type.WhichOneof("less_than") is not None


def of_item(field: FieldDescriptor, kind: str) -> object:
    """The rules of a value, those of the items for a repeated field."""
    holder = rules(field).repeated.items if field.is_repeated else rules(field)
    return getattr(holder, kind)


def test_64_bit_numbers_are_money_in_minor_units_and_nothing_else() -> None:
    wide = [field for field in fields() if field.type not in PLAIN]

    assert {field.type for field in wide} == {FieldDescriptor.TYPE_INT64}
    for field in wide:
        is_money = field.full_name == "paedsresus.ml.v1.Money.minor_units"
        is_column = field.is_repeated and field.name.endswith("_minor_units")
        assert is_money or is_column, field.full_name
        assert field.GetOptions().jstype == field.GetOptions().JS_STRING, field.full_name


@pytest.mark.parametrize("enum", [pytest.param(enum, id=enum.name) for enum in enums()])
def test_an_enum_begins_with_unspecified_and_carries_its_name(enum: EnumDescriptor) -> None:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()

    assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"
    assert all(value.name.startswith(f"{prefix}_") for value in enum.values)
    assert [value.number for value in enum.values] == list(range(len(enum.values)))


@pytest.mark.parametrize("message", [pytest.param(message, id=message.name) for message in features()])
def test_a_feature_can_be_unknown_and_a_number_has_unit_and_bounds(message: Descriptor) -> None:
    for field in message.fields:
        assert field.has_presence or field.is_repeated, f"{field.full_name} cannot be absent"
        if numeric(field):
            assert field.GetOptions().Extensions[common_pb2.unit], f"{field.full_name} has no unit"
            assert bounded(field), f"{field.full_name} has no bounds"


def test_no_number_that_is_asked_can_be_infinite_or_nan() -> None:
    loose = [
        field.full_name
        for field in ASKED
        if field.type == FieldDescriptor.TYPE_DOUBLE and not getattr(of_item(field, "double"), "finite", False)
    ]

    assert loose == []


def test_no_whole_number_that_is_asked_is_without_bounds() -> None:
    loose = [
        field.full_name
        for field in ASKED
        if field.type == FieldDescriptor.TYPE_INT32 and not field.is_repeated and not bounded(field)
    ]

    assert loose == []


def test_every_list_that_is_asked_has_a_longest_length() -> None:
    loose = [
        field.full_name
        for message in asked()
        for field in message.fields
        if field.is_repeated and not rules(field).repeated.HasField("max_items")
    ]

    assert loose == []


def test_every_text_and_every_blob_that_is_asked_has_a_longest_length() -> None:
    loose = []
    for field in ASKED:
        if field.type == FieldDescriptor.TYPE_STRING:
            text = of_item(field, "string")
            if not (getattr(text, "max_len", 0) or re.fullmatch(r"\^[^*+]*\$", getattr(text, "pattern", ""))):
                loose.append(field.full_name)
        if field.type == FieldDescriptor.TYPE_BYTES and not rules(field).bytes.max_len:
            loose.append(field.full_name)

    assert loose == []


def test_every_enum_that_is_asked_takes_known_values_only() -> None:
    loose = [
        field.full_name
        for field in ASKED
        if field.type == FieldDescriptor.TYPE_ENUM and not getattr(of_item(field, "enum"), "defined_only", False)
    ]

    assert loose == []


def test_every_time_that_is_asked_lies_within_this_century() -> None:
    loose = [
        field.full_name
        for field in ASKED
        if field.message_type is not None
        and field.message_type.full_name == "google.protobuf.Timestamp"
        and not (rules(field).timestamp.HasField("gte") and rules(field).timestamp.HasField("lt"))
    ]

    assert loose == []


@pytest.mark.parametrize("message", [pytest.param(message, id=message.name) for message in columns()])
def test_columns_hold_every_feature_and_only_features(message: Descriptor) -> None:
    name = message.full_name.removesuffix("Columns") + "Features"
    (source,) = [found for found in features() if found.full_name == name]
    suffixes = ("", "_minor_units", "_currency_code", "_days", "_present")

    made = {
        feature.name: [s for s in suffixes if feature.name + s in message.fields_by_name] for feature in source.fields
    }
    allowed = {f"{feature}{suffix}" for feature, found in made.items() for suffix in found} | {"rows", "subject_ids"}

    assert all("_present" in found and len(found) >= 2 for found in made.values())
    assert {field.name for field in message.fields} == allowed
