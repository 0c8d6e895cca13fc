"""Batches as columns: `<Method>Features` -> the text of `<Method>Columns`, so that there is one list of features.

Pure: descriptors in, proto source out. Not here: where the text goes (sources.py), how it is read (the server).
Field numbers are a function of the feature's own number, so an added feature never moves another's.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MAX_ROWS = 10_000
_FIRST, _STRIDE = 10, 3  # value at 10 + 3 (n - 1), its companion (currency) behind it, its presence bitmap last
_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
}


def columns_message(features: Descriptor) -> str:
    """Source of the message that carries many rows of `features`.

    Raises: ValueError: names the first field that cannot be a column (repeated, or a message that is no Money and
        no Timestamp).
    """
    method = features.name.removesuffix("Features")
    lines = [
        f"// Rows of {features.name} as columns. Value i of every filled column belongs to row i.",
        "// A `…_present` bitmap has bit i % 8 of byte i / 8 set where row i has the value (lowest bit first); empty",
        "// means every row has it. A column without values means that no row has it.",
        f"message {method}Columns {{",
        "  // Number of rows.",
        f"  int32 rows = 1 [(buf.validate.field).int32 = {{gte: 1, lte: {MAX_ROWS}}}];",
        "  // Pseudonym of each row's subject, which also routes the row. Empty: the request's routing key routes all.",
        "  repeated string subject_ids = 2 [(buf.validate.field).repeated = {",
        f"    max_items: {MAX_ROWS}",
        "    items: {",
        '      string: {max_len: 128, pattern: "^[!-~]*$"}',
        "    }",
        "  }];",
    ]
    for field in features.fields:
        lines += _column(features, field)
    return "\n".join([*lines, "}"])


def _column(features: Descriptor, field: FieldDescriptor) -> list[str]:
    if field.is_repeated:
        raise ValueError(f"{features.full_name}.{field.name} is repeated: only one value a row can be a column")
    number = _FIRST + _STRIDE * (field.number - 1)
    limit = f"(buf.validate.field).repeated.max_items = {MAX_ROWS}"
    see = f"see {features.name}.{field.name}"
    lines: list[str] = []
    message = field.message_type.full_name if field.message_type is not None else None
    if message == "paedsresus.ml.v1.Money":
        code = '(buf.validate.field).string.pattern = "^([A-Z]{3})?$"'
        lines += [
            f"  // One amount a row in minor units; {see}.",
            f"  repeated int64 {field.name}_minor_units = {number} [jstype = JS_STRING, {limit}];",
            "  // Currency of the whole column, ISO 4217; needed when the column is filled.",
            f"  string {field.name}_currency_code = {number + 1} [{code}];",
        ]
    elif message == "google.protobuf.Timestamp":
        rule = f"(buf.validate.field).repeated = {{max_items: {MAX_ROWS}, items: {{double: {{finite: true}}}}}}"
        lines += [
            f"  // One time a row, in days from the request's `as_of_time`; {see}.",
            f"  repeated double {field.name}_days = {number} [{rule}];",
        ]
    elif message is not None:
        raise ValueError(f"{features.full_name}.{field.name} is a {message}: it cannot be a column")
    else:
        kind = field.enum_type.name if field.enum_type is not None else _SCALARS[field.type]
        lines += [f"  // One value a row; {see}.", f"  repeated {kind} {field.name} = {number} [{limit}];"]
    if field.has_presence:
        lines += [
            f"  // Which rows have `{field.name}`.",
            f"  bytes {field.name}_present = {number + 2} [(buf.validate.field).bytes.max_len = {MAX_ROWS // 8}];",
        ]
    return lines
