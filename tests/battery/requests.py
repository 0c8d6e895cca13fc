"""Requests to ask with: the golden ones of a version, and the same with fields set, cleared and added at random.

What is drawn keeps to the bounds that the contract states for the field; rules over several fields may still refuse it.
"""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from server.errors import ServingError
from server.serving.contract import Method
from tests.battery.house import House
from tests.contract.descriptors import rules

# Rows, and the learner by id: batches and snapshots have checks of their own. The context is what a request says of
# itself.
LEFT_ALONE = frozenset({"context", "by_id", "columns", "routes", "slots", "ladder", "offers"})
LISTS = 2  # things added to a list, at most
SET_SHARE, CLEARED_SHARE = 0.35, 0.1
DAY = 86_400
NUMBERS = {
    FieldDescriptor.TYPE_DOUBLE: ("double", 0.0, 100.0),
    FieldDescriptor.TYPE_INT32: ("int32", 0, 100),
}


def drawn(house: House, method: Method, seed: int) -> Any:
    """A golden request with some of its fields set, cleared or added to."""
    rng = random.Random(seed)
    golden = house.golden(method)
    request = golden[rng.randrange(len(golden))]
    names = _names(request)
    currency = next(iter(sorted(_currencies(request))), "USD")
    moment = request.context.as_of_time.seconds
    _vary(request, _Draw(rng, names, currency, moment), top=True)
    return request


def answer_or_reason(house: House, method: Method, request: Message) -> Any:
    """The answer, or the reason of a refusal in the closed list; anything else than a refusal in words is raised."""
    try:
        return house.ask(method, request)
    except ServingError as refusal:
        return refusal.reason


def is_event(kind: Descriptor) -> bool:
    """Whether things of this kind happened at some moment; the same may then happen twice."""
    return any(field.name.endswith("_time") and field.name != "last_event_time" for field in kind.fields)


class _Draw:
    """Values for fields."""

    def __init__(self, rng: random.Random, names: list[str], currency: str, moment: int) -> None:
        self.rng, self.names, self.currency, self.moment = rng, names, currency, moment

    def number(self, field: FieldDescriptor) -> Any:
        kind, low, high = NUMBERS[field.type]
        rule: Any = getattr(rules(field), kind)
        step = 1 if kind == "int32" else 1e-3
        least = rule.gte if rule.HasField("gte") else rule.gt + step if rule.HasField("gt") else low
        most = rule.lte if rule.HasField("lte") else rule.lt - step if rule.HasField("lt") else high
        near = min(most, least + 50)
        value = self.rng.choice([least, near, self.rng.uniform(least, near), self.rng.uniform(least, most)])
        return round(value) if kind == "int32" else value

    def text(self, field: FieldDescriptor) -> str:
        if "country" in field.name:
            return self.rng.choice(["KE", "US", "DE"])
        return self.rng.choice([*self.names, "unheard-of"])

    def enum(self, field: FieldDescriptor) -> int:
        return int(self.rng.choice([value.number for value in field.enum_type.values if value.number]))

    def seconds(self, name: str) -> int:
        """Moments of what has happened lie in the past, others on both sides."""
        happened = name in {"event_time", "last_event_time", "decision_time", "transaction_time", "measure_time"}
        days = self.rng.uniform(-400, 0 if happened else 400)
        return self.moment + round(days * DAY)


def _vary(message: Any, draw: _Draw, *, top: bool = False) -> None:
    for field in message.DESCRIPTOR.fields:
        if top and field.name in LEFT_ALONE:
            continue
        if field.is_repeated:
            _extend(message, field, draw)
        elif field.message_type is not None and field.message_type.name not in {"Money", "Timestamp", "Duration"}:
            chosen = field.containing_oneof is None or message.WhichOneof(field.containing_oneof.name) == field.name
            if chosen and message.HasField(field.name):
                _vary(getattr(message, field.name), draw)
        elif field.has_presence and (field.containing_oneof is None or field.containing_oneof.name.startswith("_")):
            if draw.rng.random() < SET_SHARE:
                _set(message, field, draw)
            elif draw.rng.random() < CLEARED_SHARE and not rules(field).required:
                message.ClearField(field.name)


def _extend(message: Any, field: FieldDescriptor, draw: _Draw) -> None:
    found = getattr(message, field.name)
    for _ in range(draw.rng.randint(0, LISTS)):
        if field.message_type is not None:
            _fill(found.add(), draw)
            if not is_event(field.message_type) and _is_named_twice(found):
                del found[-1]
        elif field.type == FieldDescriptor.TYPE_STRING and (name := draw.text(field)) not in found:
            found.append(name)


def _is_named_twice(things: Any) -> bool:
    """Whether the last thing has the id of another one."""
    name = things[-1].DESCRIPTOR.fields_by_number[1].name
    return name.endswith("_id") and any(getattr(each, name) == getattr(things[-1], name) for each in things[:-1])


def _fill(message: Any, draw: _Draw) -> None:
    """Everything that must be there, and some of the rest."""
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is not None and not oneof.name.startswith("_"):
            if message.WhichOneof(oneof.name) is None and draw.rng.random() < 0.6:
                _set(message, field, draw)
        elif field.is_repeated:
            if rules(field).repeated.min_items:
                _extend(message, field, draw)
        elif rules(field).required or rules(field).string.min_len or draw.rng.random() < 0.6:
            _set(message, field, draw)


def _set(message: Any, field: FieldDescriptor, draw: _Draw) -> None:
    inner = field.message_type
    if inner is None:
        makers = {FieldDescriptor.TYPE_BOOL: lambda _: draw.rng.random() < 0.5, FieldDescriptor.TYPE_STRING: draw.text}
        makers |= {FieldDescriptor.TYPE_ENUM: draw.enum, **dict.fromkeys(NUMBERS, draw.number)}
        setattr(message, field.name, makers[field.type](field))
    elif inner.name == "Money":
        getattr(message, field.name).minor_units = draw.rng.choice([1, 100, draw.rng.randint(1, 100_000)])
        getattr(message, field.name).currency_code = draw.currency
    elif inner.name == "Timestamp":
        getattr(message, field.name).seconds = draw.seconds(field.name)
    elif inner.name == "Duration":
        getattr(message, field.name).seconds = draw.rng.randint(60, 7_200)


def _names(message: Message) -> list[str]:
    """Ids that stand anywhere in the request."""
    found: set[str] = set()
    _collect(message, found, lambda field: field.name.endswith(("_id", "_ids")) and field.name != "request_id")
    return sorted(found)


def _currencies(message: Message) -> set[str]:
    found: set[str] = set()
    _collect(message, found, lambda field: field.name == "currency_code")
    return found


def _collect(message: Message, found: set[str], is_wanted: Any) -> None:
    for field, value in message.ListFields():
        values: Any = value if field.is_repeated else [value]
        for each in values:
            if isinstance(each, Message):
                _collect(each, found, is_wanted)
            elif is_wanted(field):
                found.add(each)
