"""The contract's rules, judged by protovalidate, as errors with field paths.

Called only after a quick check has refused or could not say: 5 to 20 microseconds a message, and several milliseconds
the first time for each type, so `warm` is called before the port is opened.
Not here: the quick checks (accept.py, reader.py).
"""

from typing import Any

import protovalidate
from google.protobuf.message import DecodeError, Message

from server.errors import FieldViolation, InvalidField, MalformedRequest
from server.serving.wire.accept import Accept

VIOLATIONS_MAX = 20  # a hostile batch could break a rule in each of 10,000 rows; the caller needs the first few
ALL_BYTES_MAX = 2_048  # of a message judged to its end; 20 microseconds a violation would hold the loop for seconds

PATTERNS = dict.fromkeys(("^[!-~]*$", "^[!-~]+$"), "may hold letters, digits and signs of ASCII, no spaces")
"""What the contract's commonest patterns allow, in words."""


def parse(kind: type[Message], raw: bytes) -> Any:
    """The message in these bytes.

    Raises: MalformedRequest: they are not one, or hold text that is not UTF-8.
    """
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise MalformedRequest(
            f"the request's {len(raw)} bytes are not a {kind.DESCRIPTOR.full_name}",
            metadata={"message": kind.DESCRIPTOR.full_name, "bytes": str(len(raw))},
        ) from None  # the cause names classes and offsets of our runtime


def judge(message: Message, *, within: str = "") -> None:
    """Refuse a message that breaks a rule of the contract; return when it breaks none.

    Raises: InvalidField: names each field by its path, at most VIOLATIONS_MAX of them; of a large message the first.
    """
    found = protovalidate.collect_violations(message, fail_fast=message.ByteSize() > ALL_BYTES_MAX)
    violations = tuple(_violation(each, message, within) for each in found)
    if violations:
        raise invalid(violations[:VIOLATIONS_MAX])


def judged(message: Message, keep: Accept) -> tuple[Any, ...]:
    """What a quick check would have kept of a message that it refused, if the judge finds nothing wrong with it.

    Raises: InvalidField: as `judge`.
    """
    judge(message)
    kept = keep(message)
    assert kept is not None, "keeping refuses nothing"
    return kept


def invalid(violations: tuple[FieldViolation, ...]) -> InvalidField:
    """The error for these violations; its text tells the first, its metadata the field."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return InvalidField(
        f"{first.field}: {first.description}{more}", metadata={"field": first.field}, field_violations=violations
    )


def warm(kind: type[Message]) -> None:
    """Compile the rules of a message type, which takes milliseconds the first time."""
    protovalidate.collect_violations(kind())


def _violation(found: Any, message: Message, within: str) -> FieldViolation:
    path = _path(found.proto.field)
    choice = message.DESCRIPTOR.oneofs_by_name.get(path)  # "exactly one field is required in oneof" names none of them
    if choice:
        description = f"set exactly one of {', '.join(field.name for field in choice.fields)}"
    else:
        description = _in_words(found, message.DESCRIPTOR)
    return FieldViolation(
        field=".".join(filter(None, [within, path])) or "request", description=description, rule=found.proto.rule_id
    )


def _in_words(found: Any, owner: Any) -> str:
    """The rule's own words, but where these are an enum's numbers or a pattern."""
    broken = found.proto
    if broken.rule_id == "string.pattern" and found.rule_value in PATTERNS:
        return PATTERNS[found.rule_value]
    if broken.rule_id not in {"enum.not_in", "enum.defined_only"}:
        return str(broken.message)
    field: Any = None
    for element in broken.field.elements:
        field = owner.fields_by_name[element.field_name]
        owner = field.message_type
    banned = found.rule_value if broken.rule_id == "enum.not_in" else ()
    return f"must be one of {', '.join(value.name for value in field.enum_type.values if value.number not in banned)}"


def _path(path: Any) -> str:
    """A field path as `features.seats` or `horizon_days[2]`."""
    parts = []
    for element in path.elements:
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None and subscript.field == "index" else ""
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts)
