"""What is wrong with a request written as keyword fields: which field, what it was, what is allowed. Loads no grpc.

`misfit` is asked only after protobuf has refused the fields, whose own words name neither the place nor the choices;
`naive_time` before, since protobuf takes a time without a zone for UTC.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

_CHOICES_SHOWN = 12


def misfit(message: Any, given: Mapping[str, object], path: str = "") -> str | None:
    """Describe the first field of a message (its descriptor) that does not fit; None when each fits for itself."""
    for name, value in given.items():
        place = f"{path}{name}"
        field = message.fields_by_name.get(name)
        if field is None:
            near = get_close_matches(name, message.fields_by_name, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {_some(message.fields_by_name)}"
            return f"{place}: {message.name} has no such field{hint}"
        for where, item in _items(place, field, value):
            if said := _item_misfit(field, item, where):
                return said
        if refused := _refusal(message, name, value):
            return f"{place}: {value!r} is no {_kind(field)} ({refused})"
    return None


def naive_time(given: object, path: str = "") -> str | None:
    """Describe the first time without a zone, which protobuf would take for UTC; None when there is none."""
    if isinstance(given, datetime) and given.tzinfo is None:
        return f"{path}: {given!r} has no time zone; give an aware datetime, e.g. with tzinfo=datetime.UTC"
    if isinstance(given, Mapping):
        inside = ((f"{path}.{name}" if path else str(name), value) for name, value in given.items())
    elif isinstance(given, list | tuple):
        inside = ((f"{path}[{index}]", value) for index, value in enumerate(given))
    else:
        return None
    return next((said for place, value in inside if (said := naive_time(value, place))), None)


def _items(place: str, field: FieldDescriptor, value: object) -> Iterator[tuple[str, object]]:
    """Yield the values to look into, each with its place."""
    if field.is_repeated and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield f"{place}[{index}]", item
    else:
        yield place, value


def _item_misfit(field: FieldDescriptor, value: object, place: str) -> str | None:
    if field.message_type is not None and isinstance(value, Mapping) and not field.message_type.GetOptions().map_entry:
        return misfit(field.message_type, value, f"{place}.")
    if field.enum_type is not None and isinstance(value, str) and value not in field.enum_type.values_by_name:
        return f"{place}: {value!r} is none of {_some(field.enum_type.values_by_name)}"
    return None


def _refusal(message: Any, name: str, value: object) -> str | None:
    fields: dict[str, Any] = {name: value}
    try:
        GetMessageClass(message)(**fields)
    except (TypeError, ValueError, AttributeError) as refused:
        return str(refused)
    return None


def _kind(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    name = kind.name if kind is not None else _SCALARS.get(field.type, "value of its type")
    return f"list of {name}" if field.is_repeated else str(name)


def _some(names: Any) -> str:
    shown = list(names)[:_CHOICES_SHOWN]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


_SCALARS = {
    number: name.removeprefix("TYPE_").lower() for name, number in vars(FieldDescriptor).items() if name[:5] == "TYPE_"
}
