"""Messages by their descriptors: every place a value stands in, and answers in a form that can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict

# What an answer says of itself and not of the question.
_OWN = ("predictionId", "computeTime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One field inside a message, reached by `steps`: names, each with the index into it where it is repeated."""

    steps: tuple[tuple[str, int | None], ...]
    field: FieldDescriptor

    @property
    def path(self) -> str:
        """As error messages name it, e.g. `features.knowledge.history[0].score`."""
        parts = [name if index is None else f"{name}[{index}]" for name, index in self.steps]
        return ".".join([*parts, self.field.name])

    def holder(self, message: Any) -> Any:
        """The message that has the field; raises IndexError where a list on the way is empty."""
        for name, index in self.steps:
            message = getattr(message, name) if index is None else getattr(message, name)[index]
        return message

    def is_reached(self, message: Any) -> bool:
        """Whether the message that would have the field is there."""
        for name, index in self.steps:
            if index is None:
                if not message.HasField(name):
                    return False
                message = getattr(message, name)
            else:
                if len(getattr(message, name)) <= index:
                    return False
                message = getattr(message, name)[index]
        return True


def holder_made(message: Any, place: Place) -> Any:
    """The message that has the field, made where it is not there."""
    for name, index in place.steps:
        inner = getattr(message, name)
        message = inner if index is None else inner[0] if inner else inner.add()
    return message


def places(kind: Descriptor, steps: tuple[tuple[str, int | None], ...] = (), deep: int = 6) -> Iterator[Place]:
    """Every field of a message and of those inside it; of a repeated message, the first one's."""
    for field in kind.fields:
        yield Place(steps=steps, field=field)
        inner = field.message_type
        if inner is not None and inner.file.package == kind.file.package and deep:
            step = (field.name, 0 if field.is_repeated else None)
            yield from places(inner, (*steps, step), deep - 1)


def comparable(answer: Any) -> Any:
    """An answer as JSON without what names this very answer."""
    return _without(MessageToDict(answer, preserving_proto_field_name=False))


def by_name(tree: Any) -> Any:
    """The same with every list of things that have an id in the order of their ids: for requests in another order."""
    if isinstance(tree, dict):
        return {name: by_name(part) for name, part in tree.items()}
    if isinstance(tree, list):
        parts = [by_name(part) for part in tree]
        return sorted(parts, key=_identity) if parts and isinstance(parts[0], dict) else parts
    return tree


def _identity(part: dict[str, Any]) -> str:
    named = {name: value for name, value in part.items() if name.endswith(("Id", "Time")) or name in {"price", "day"}}
    return json.dumps(named or part, sort_keys=True)


def _without(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _without(part) for name, part in tree.items() if name not in _OWN}
    return [_without(part) for part in tree] if isinstance(tree, list) else tree
