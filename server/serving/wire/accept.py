"""Quick checks made from the contract: one plain Python function a message type that says "no rule is broken".

A quick check may refuse a good message (it is then judged by protovalidate) and must never accept a bad one; a property
test holds the two against each other. Generated code reads every field once and compares: 1 to 3 microseconds where
protovalidate takes 7 alone and 18 inside a loaded server.
Not here: what the rules are (rules.py); the words of a refusal (judge.py); features as numbers (reader.py).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from paedsresus.ml._validate import validate_pb2
from server.serving.wire import rules
from server.serving.wire.rules import Unsupported

Accept = Callable[[Any], tuple[Any, ...] | None]


def compile_accept(message: type[Message], *, unchecked: Iterable[str] = (), keep: Sequence[str] = ()) -> Accept:
    """The quick check of a message type; what is inside the fields in `unchecked` is for another check to read.

    The check returns the values of the fields in `keep`, paths such as "context.request_id", in that order, so that
    nothing is read twice; None when it refuses. An absent field is its default, an absent message is None.
    A type with a rule that is not understood gets a check that always refuses.
    """
    descriptor: Any = message.DESCRIPTOR
    source = Source("accept", "m", keep)
    for path in keep:
        source.line(f"{source.kept[path]} = {source.constant(_default(descriptor, path))}")
    try:
        write_message(source, descriptor, "m", unchecked=frozenset(unchecked))
    except Unsupported:
        return lambda _message: None
    source.line(f"return ({''.join(f'{source.kept[path]}, ' for path in keep)})")
    return source.function()


def compile_keep(message: type[Message], keep: Sequence[str]) -> Accept:
    """The same values without any check, for messages that the judge has passed."""
    descriptor: Any = message.DESCRIPTOR
    source = Source("keep", "m", keep)
    values = []
    for path in keep:
        owner, _, name = path.rpartition(".")
        place = f"m.{owner}" if owner else "m"
        field = _field_at(descriptor, path)
        is_message = field.message_type is not None and not field.is_repeated
        values.append(f"({place}.{name} if {place}.HasField({name!r}) else None)" if is_message else f"{place}.{name}")
    source.line(f"return ({''.join(f'{value}, ' for value in values)})")
    return source.function()


class Source:
    """Text of one function that is being written, and the constants that it uses."""

    def __init__(self, name: str, arguments: str, keep: Sequence[str] = (), *, refusal: str = "None") -> None:
        self._name = name
        self._refusal = refusal
        self.kept = {path: f"kept{index}" for index, path in enumerate(keep)}
        self._lines = [f"def {name}({arguments}):"]
        self._depth = 1
        self._constants: dict[str, object] = {}
        self._fresh = 0

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self._lines.append("    " * self._depth + text)

    def refuse_unless(self, condition: str) -> None:
        """Add a line that ends the function with a refusal when the condition does not hold."""
        self.line(f"if not ({condition}): return {self._refusal}")

    def indent(self) -> None:
        """Go one level deeper."""
        self._depth += 1

    def dedent(self) -> None:
        """Come back one level."""
        self._depth -= 1

    def name(self, prefix: str) -> str:
        """A variable name that is not in use."""
        self._fresh += 1
        return f"{prefix}{self._fresh}"

    def constant(self, value: object, prefix: str = "k") -> str:
        """Name under which the function will find this value."""
        name = self.name(prefix)
        self._constants[name] = value
        return name

    def function(self) -> Callable[..., Any]:
        """Compile the text. Only descriptors of our own contract ever reach it: names and numbers, no request."""
        space: dict[str, Any] = dict(self._constants)
        exec(compile("\n".join(self._lines), f"<generated {self._name}>", "exec"), space)  # noqa: S102 - see above
        return space[self._name]  # type: ignore[no-any-return]


def write_message(
    source: Source, descriptor: Descriptor, name: str, path: str = "", unchecked: frozenset[str] = frozenset()
) -> None:
    """Lines that return None when the message in variable `name`, found at `path`, breaks a rule.

    Raises: Unsupported: it has a rule that quick checks do not know.
    """
    rules.refuse_unknown_rules(descriptor)
    for group in descriptor.oneofs:
        if group.GetOptions().Extensions[validate_pb2.oneof].required:
            members = [f"{name}.HasField({member.name!r})" for member in group.fields]
            source.refuse_unless(f"{' or '.join(members)}")
    for field in descriptor.fields:
        _write_field(source, field, name, f"{path}{field.name}", is_checked=field.name not in unchecked)


def write_required(source: Source, field: FieldDescriptor, owner: str) -> None:
    """A line that returns None when a required field is absent.

    Raises: Unsupported: the field is required and has no presence, so that absence means its default value.
    """
    if rules.is_required(field):
        if not field.has_presence:
            raise Unsupported(field.full_name)
        source.refuse_unless(f"{owner}.HasField({field.name!r})")


def write_value(source: Source, field: FieldDescriptor, value: str, item_rules: Any = None) -> None:
    """Lines that return None when one value (a field's own, or an item) breaks the field's rule.

    Raises: Unsupported: it has a rule that quick checks do not know.
    """
    if rules.is_number(field):
        bounds = rules.number_bounds(field, item_rules)
        if not bounds.is_free:
            source.refuse_unless(f"{bounds.code(value)}")
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.type == FieldDescriptor.TYPE_STRING:
        _write_text(source, rules.text_rule(field, item_rules), value)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM and item_rules is None:
        if (allowed := rules.allowed_numbers(field)) is not None:
            source.refuse_unless(f"{value} in {source.constant(allowed)}")
    elif field.message_type is not None and field.message_type.full_name == rules.TIMESTAMP and item_rules is None:
        rule = rules.time_rule(field)
        source.refuse_unless(f"{rule.least} <= {value}.seconds < {rule.before}")
        source.refuse_unless(f"0 <= {value}.nanos < 1_000_000_000")
    elif rules.rules_of(field).ByteSize() and not rules.is_required(field):
        raise Unsupported(field.full_name)


def _write_field(source: Source, field: FieldDescriptor, owner: str, path: str, *, is_checked: bool) -> None:
    write_required(source, field, owner)
    place = f"{owner}.{field.name}"
    variable = source.kept.get(path) or source.name("v")
    if not is_checked:
        if path in source.kept:
            source.line(f"if {owner}.HasField({field.name!r}): {variable} = {place}")
    elif field.is_repeated:
        _write_items(source, field, place, variable)
    elif field.message_type is not None:
        source.line(f"if {owner}.HasField({field.name!r}):")
        source.indent()
        source.line(f"{variable} = {place}")
        if field.message_type.full_name == rules.TIMESTAMP:
            write_value(source, field, variable)
        elif rules.rules_of(field).ByteSize() and not rules.is_required(field):
            raise Unsupported(field.full_name)
        else:
            write_message(source, field.message_type, variable, f"{path}.")
        source.dedent()
    else:
        source.line(f"{variable} = {place}")
        if field.has_presence:
            source.line(f"if {variable} or {owner}.HasField({field.name!r}):")
            source.indent()
            source.line("pass")
        write_value(source, field, variable)
        if field.has_presence:
            source.dedent()


def _write_items(source: Source, field: FieldDescriptor, place: str, variable: str) -> None:
    least, most, items = rules.repeated_rules(field)
    if field.message_type is not None:
        raise Unsupported(f"{field.full_name}: repeated message")
    source.line(f"{variable} = {place}")
    if least:
        source.refuse_unless(f"len({variable}) >= {least}")
    source.line(f"if {variable}:")
    source.indent()
    source.line("pass")
    if most is not None:
        source.refuse_unless(f"len({variable}) <= {most}")
    if items is not None:
        item = source.name("v")
        source.line(f"for {item} in {variable}:")
        source.indent()
        source.line("pass")
        write_value(source, field, item, items)
        source.dedent()
    source.dedent()


def _field_at(descriptor: Descriptor, path: str) -> FieldDescriptor:
    *owners, name = path.split(".")
    for owner in owners:
        inner = descriptor.fields_by_name[owner].message_type
        assert inner is not None, "a path leads through messages"
        descriptor = inner
    return descriptor.fields_by_name[name]


def _default(descriptor: Descriptor, path: str) -> object:
    field = _field_at(descriptor, path)
    if field.is_repeated:
        return ()
    return None if field.message_type is not None else field.default_value


def _write_text(source: Source, rule: rules.TextRule, value: str) -> None:
    checks = []
    if rule.least:
        checks.append(f"len({value}) >= {rule.least}")
    if rule.most is not None:
        checks.append(f"len({value}) <= {rule.most}")
    if rule.is_visible_ascii:  # three calls into str are a third of one into re, and lie in warm code
        checks.append(f"{value}.isascii() and {value}.isprintable() and ' ' not in {value}")
    elif rule.matches is not None:
        checks.append(f"{source.constant(rule.matches)}({value}) is not None")
    if not checks:
        return
    allowed = " and ".join(checks)
    if not rule.least and (rule.matches is None or rule.matches("") is not None):
        allowed = f"not {value} or ({allowed})"  # most texts of a request are empty
    source.refuse_unless(f"{allowed}")
