"""The contract's `buf.validate` rules as plain bounds, for the generated quick checks.

Only the kinds of rule that the quick checks understand are read here; any other makes `Unsupported`, and the message
is then judged by protovalidate alone: slower, never wrong. So this file cannot loosen a rule by not knowing it.
Not here: the judgement itself and its words (judge.py); the code that is generated (reader.py, accept.py).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from paedsresus.ml._validate import validate_pb2

_SIMPLE_PATTERN = re.compile(r"\^(?P<inner>[^\\^$]*)\$")
_INTEGERS = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})
_FLOATS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
_RULES_OF = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_ENUM: "enum",
}
TIMESTAMP = "google.protobuf.Timestamp"


class Unsupported(Exception):  # noqa: N818 - a fact about a rule, caught where readers are made
    """The quick checks do not know this rule: leave the message to the judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Range of a number, both ends allowed; `finite` also where there is no end."""

    least: float = -math.inf
    most: float = math.inf
    finite: bool = False

    @property
    def is_free(self) -> bool:
        """Whether every number, NaN too, is allowed."""
        return self.least == -math.inf and self.most == math.inf and not self.finite

    def code(self, name: str) -> str:
        """A Python expression that is true when the number `name` is allowed; NaN never is where a bound stands."""
        if self.least > -math.inf or self.most < math.inf:
            low = f"{self.least!r} <= " if self.least > -math.inf else ""
            high = f" <= {self.most!r}" if self.most < math.inf else ""
            open_end = not (low and high) and self.finite
            return f"{low}{name}{high}" + (f" and {name} - {name} == 0" if open_end else "")
        return f"{name} - {name} == 0" if self.finite else "True"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRule:
    """What a text must be: its length in characters, and a whole match of a pattern.

    `is_visible_ascii` says that the pattern is the one of ids: any number of the characters from ! to ~.
    """

    least: int = 0
    most: int | None = None
    matches: Callable[[str], Any] | None = None
    is_visible_ascii: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRule:
    """Seconds since 1970 of a Timestamp: from `least`, before `before`."""

    least: int = -62135596800  # 0001-01-01, the first Timestamp there is
    before: int = 253402300800  # 10000-01-01


def rules_of(field: FieldDescriptor) -> Any:
    """The field's `buf.validate` options, empty when it has none."""
    return field.GetOptions().Extensions[validate_pb2.field]


def is_required(field: FieldDescriptor) -> bool:
    """Whether the field must be there."""
    return bool(rules_of(field).required)


def number_bounds(field: FieldDescriptor, rules: Any = None) -> Bounds:
    """Bounds of an int32, int64, double or float field, or of the items of a repeated one given their rules.

    Raises: Unsupported: a rule other than gte, lte, gt, lt (whole numbers), finite.
    """
    options = rules_of(field) if rules is None else rules
    typed = _typed(options, _RULES_OF[field.type])
    least, most, finite = -math.inf, math.inf, False
    whole = field.cpp_type in _INTEGERS
    for rule, value in typed:
        match rule:
            case "gte":
                least = max(least, value)
            case "lte":
                most = min(most, value)
            case "gt" if whole:
                least = max(least, value + 1)
            case "lt" if whole:
                most = min(most, value - 1)
            case "finite":
                finite = bool(value)
            case _:
                raise Unsupported(f"{field.full_name}: {rule}")
    if least > most:  # protovalidate reads such a pair as an excluded range
        raise Unsupported(f"{field.full_name}: excluded range")
    return Bounds(least=least, most=most, finite=finite)


def text_rule(field: FieldDescriptor, rules: Any = None) -> TextRule:
    """Rule of a string field, or of the items of a repeated one given their rules.

    Raises: Unsupported: a rule other than min_len, max_len and a pattern ^...$ without escapes and anchors inside.
    """
    rule = TextRule()
    least, most, matches, visible = rule.least, rule.most, rule.matches, False
    for name, value in _typed(rules_of(field) if rules is None else rules, "string"):
        match name:
            case "min_len":
                least = value
            case "max_len":
                most = value
            case "pattern":
                # Python's $ also matches before a last newline, RE2's does not: match the inside as a whole.
                simple = _SIMPLE_PATTERN.fullmatch(value)
                if simple is None:
                    raise Unsupported(f"{field.full_name}: pattern")
                matches = re.compile(simple["inner"], re.ASCII).fullmatch
                visible = simple["inner"] == "[!-~]*"
            case _:
                raise Unsupported(f"{field.full_name}: {name}")
    return TextRule(least=least, most=most, matches=matches, is_visible_ascii=visible)


def time_rule(field: FieldDescriptor) -> TimeRule:
    """Rule of a Timestamp field.

    Raises: Unsupported: a rule other than gte and lt in whole seconds.
    """
    rule = TimeRule()
    least, before = rule.least, rule.before
    for name, value in _typed(rules_of(field), "timestamp"):
        if name not in {"gte", "lt"} or value.nanos:
            raise Unsupported(f"{field.full_name}: {name}")
        if name == "gte":
            least = max(least, value.seconds)
        else:
            before = min(before, value.seconds)
    return TimeRule(least=least, before=before)


def allowed_numbers(field: FieldDescriptor) -> frozenset[int] | None:
    """Numbers that an enum field may have; None when any number may stand there.

    Raises: Unsupported: a rule other than defined_only.
    """
    names = dict(_typed(rules_of(field), "enum"))
    if set(names) - {"defined_only"}:
        raise Unsupported(f"{field.full_name}: {sorted(names)}")
    return frozenset(value.number for value in enum_of(field).values) if names.get("defined_only") else None


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """The enum of an enum field."""
    assert field.enum_type is not None, "asked of enum fields only"
    return field.enum_type


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message of a message field."""
    assert field.message_type is not None, "asked of message fields only"
    return field.message_type


def repeated_rules(field: FieldDescriptor) -> tuple[int, int | None, Any]:
    """Fewest items, most items (None: no limit) and the rules of each item (None: none).

    Raises: Unsupported: any other rule.
    """
    least, most, items = 0, None, None
    for name, value in _typed(rules_of(field), "repeated"):
        match name:
            case "min_items":
                least = value
            case "max_items":
                most = value
            case "items":
                items = value
            case _:
                raise Unsupported(f"{field.full_name}: {name}")
    return least, most, items


def refuse_unknown_rules(message: Descriptor) -> None:
    """Check that a message has no rule of its own beyond required oneofs.

    Raises: Unsupported: it has.
    """
    if message.GetOptions().HasExtension(validate_pb2.message):
        raise Unsupported(message.full_name)


def is_number(field: FieldDescriptor) -> bool:
    """Whether the field holds a whole or a real number."""
    return field.cpp_type in _INTEGERS | _FLOATS


def is_float(field: FieldDescriptor) -> bool:
    """Whether the field holds a real number."""
    return field.cpp_type in _FLOATS


def _typed(options: Any, kind: str) -> list[tuple[str, Any]]:
    """The rules under `kind` ("int32", "string", ...), by name.

    Raises: Unsupported: the field has rules of another kind, CEL, or says when to ignore them.
    """
    found: list[tuple[str, Any]] = []
    for option, value in options.ListFields():
        if option.name == "required":
            continue
        if option.name != kind:
            raise Unsupported(f"{option.full_name} where {kind} is expected")
        found = [(rule.name, item) for rule, item in value.ListFields()]
    return found
