"""The whole contract by reflection over the generated modules: services, methods, messages, fields, enums.

Nothing is listed by hand, so that a file or method that is added later is checked without touching a test.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor

import paedsresus.ml.v1
from paedsresus.ml._validate import validate_pb2

PACKAGE = "paedsresus.ml.v1"


def message_modules() -> list[str]:
    """Names of the generated modules that hold messages."""
    found = pkgutil.iter_modules(paedsresus.ml.v1.__path__, f"{PACKAGE}.")
    return sorted(module.name for module in found if module.name.endswith("_pb2"))


def files() -> list[FileDescriptor]:
    return [importlib.import_module(name).DESCRIPTOR for name in message_modules()]


def methods() -> list[MethodDescriptor]:
    return [method for file in files() for service in file.services_by_name.values() for method in service.methods]


def messages() -> list[Descriptor]:
    return [message for file in files() for message in _with_nested(file.message_types_by_name.values())]


def fields() -> list[FieldDescriptor]:
    return [field for message in messages() for field in message.fields]


def enums() -> list[EnumDescriptor]:
    top = [enum for file in files() for enum in file.enum_types_by_name.values()]
    return top + [enum for message in messages() for enum in message.enum_types]


def features() -> list[Descriptor]:
    """Messages that list what a method looks at."""
    return [message for message in messages() if message.name.endswith("Features")]


def columns() -> list[Descriptor]:
    """Messages generated from features, with many rows."""
    return [message for message in messages() if message.name.endswith("Columns")]


def asked() -> list[Descriptor]:
    """Messages of ours that a caller can send: the requests and everything inside them."""
    known: dict[str, Descriptor] = {}
    waiting = [method.input_type for method in methods()]
    while waiting:
        message = waiting.pop()
        if message.full_name not in known and message.file.package == PACKAGE:
            known[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type]
    return [known[name] for name in sorted(known)]


def rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """What buf.validate says of a field; empty when it says nothing."""
    return field.GetOptions().Extensions[validate_pb2.field]


def message_of(field: FieldDescriptor) -> Descriptor:
    """Type of a field that holds a message."""
    assert field.message_type is not None, f"{field.full_name} holds no message"
    return field.message_type


def oneof_rules_required(message: Descriptor, name: str) -> bool:
    """Whether one field of the oneof must be set."""
    oneof = message.oneofs_by_name[name]
    return bool(oneof.GetOptions().Extensions[validate_pb2.oneof].required)


def _with_nested(top: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in top:
        yield message
        yield from _with_nested(message.nested_types)
