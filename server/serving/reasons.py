"""Contributions of a matrix's columns as the contract's reasons: by the request's own fields, in a reader's words.

Columns of one category are added up to their field. Values are told as they came in the request.
Pure. Not here: how contributions are computed (heavy.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from methods.features import Feature, FeatureSchema, Kind
from paedsresus.ml.v1 import common_pb2

REASONS_MOST = 5
UNIT = "log-odds before calibration"
_WINDOW = re.compile(r"_(\d+)d$")
# Minor units a unit, as powers of ten, where it is not two (ISO 4217).
_DECIMALS = {
    **dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "UGX", "VND", "XAF", "XOF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def top_reasons(
    schema: FeatureSchema, contributions: Sequence[float], features: Any, as_of: float, *, event: str
) -> list[common_pb2.Reason]:
    """The fields that moved the score most, largest first.

    Args:
        schema: of the version's matrix.
        contributions: one a matrix column.
        features: the request's features message, for the values.
        as_of: seconds since 1970.
        event: what a higher score makes more likely, e.g. "leaving".
    """
    by_field = dict.fromkeys(schema.names, 0.0)
    for owner, contribution in zip(schema.owners, contributions, strict=True):
        by_field[owner] += contribution
    ranked = sorted(schema.features, key=lambda feature: abs(by_field[feature.name]), reverse=True)
    return [
        common_pb2.Reason(
            feature=feature.name,
            contribution=by_field[feature.name],
            unit=UNIT,
            text=_sentence(feature, features, as_of, by_field[feature.name], event),
        )
        for feature in ranked[:REASONS_MOST]
        if by_field[feature.name] != 0.0
    ]


def _sentence(feature: Feature, features: Any, as_of: float, contribution: float, event: str) -> str:
    direction = "raises" if contribution > 0 else "lowers"
    return f"{_name(feature.name)}: {_value(feature, features, as_of)}. This {direction} the chance of {event}."


def _name(field: str) -> str:
    """A field's name as words.

    >>> _name("minutes_28d")
    'Minutes in the last 28 days'
    """
    words = _WINDOW.sub(r" in the last \1 days", field).removesuffix("_time").replace("_", " ")
    return words[:1].upper() + words[1:]


def _value(feature: Feature, features: Any, as_of: float) -> str:
    if not features.HasField(feature.name):
        return "unknown"
    value = getattr(features, feature.name)
    match feature.kind:
        case Kind.CATEGORY:
            known = 1 <= value <= len(feature.levels)
            return feature.levels[value - 1].replace("_", " ").lower() if known else "unknown"
        case Kind.FLAG:
            return "yes" if value else "no"
        case Kind.MONEY:
            decimals = _DECIMALS.get(value.currency_code, 2)
            return f"{value.minor_units / 10**decimals:.{decimals}f} {value.currency_code}"
        case Kind.TIME:
            days = round((value.seconds - as_of) / 86_400)
            return f"in {days} days" if days >= 0 else f"{-days} days ago"
        case Kind.NUMBER | Kind.COUNT:
            return f"{value:g}"
