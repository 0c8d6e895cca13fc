"""Why a subscriber would leave: the share of the leaving ahead that is a decision rather than a failed payment.

The log-odds of "by decision, given gone within the first period" are an offset and one step function for each column:
an additive model, so that a row is answered by a few look-ups. Subscribers of whom the same is known share an answer
and its interval.
Sources: Hastie and Tibshirani 1990, Generalized Additive Models (additive log-odds); Lou, Caruana and Gehrke 2012, KDD
(step functions from boosted trees of one split); Prentice et al. 1978, Biometrics 34:541 (cause given failure).
Pure, plain floats. Not here: the chance of leaving (churn.py); the fit (training/revenue/churn_cause.py).
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from methods.statistics.bands import Band, Interval, parse_band


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What one column of the matrix adds to the log-odds.

    Attributes:
        column: its name in the schema.
        edges: where the function jumps, rising strictly; a value on an edge belongs above it.
        scores: one for each range between edges, from the lowest on: one more than edges.
        missing: what a missing value adds.
    """

    column: str
    edges: tuple[float, ...]
    scores: tuple[float, ...]
    missing: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseParameters:
    """What a version knows of causes: log-odds of a decision, and how sure they are by height."""

    offset: float
    steps: tuple[Steps, ...]
    band: Band

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand under `cause` in an artifact's parameters.json."""
        return {
            "offset": self.offset,
            "steps": [
                {"column": each.column, "edges": list(each.edges), "scores": list(each.scores), "missing": each.missing}
                for each in self.steps
            ],
            "band": self.band.to_json(),
        }


class PlacedCause(NamedTuple):
    """The same for one schema: steps as (place of the column, edges, scores, missing)."""

    offset: float
    steps: tuple[tuple[int, tuple[float, ...], tuple[float, ...], float], ...]
    band: Band


def place_cause(parameters: CauseParameters, columns: Sequence[str]) -> PlacedCause:
    """The parameters for rows of these columns.

    Raises: ValueError: names a column that the rows do not have.
    """
    places = {name: place for place, name in enumerate(columns)}
    if unknown := [each.column for each in parameters.steps if each.column not in places]:
        raise ValueError(f"cause.steps: the schema has no column {unknown[0]!r}")
    steps = tuple((places[each.column], each.edges, each.scores, each.missing) for each in parameters.steps)
    return PlacedCause(parameters.offset, steps, parameters.band)


def voluntary_share(row: Sequence[float], cause: PlacedCause) -> Interval:
    """Share of one subscriber's leaving in the first period that is a decision, with its interval; each in [0, 1].

    Args:
        row: the row of the matrix, NaN where missing.
        cause: the version's, for that matrix.

    >>> overdue = Steps(column="renewal_time", edges=(0.0,), scores=(-3.0, 1.0), missing=0.0)
    >>> cause = place_cause(CauseParameters(offset=0.5, steps=(overdue,), band=Band()), ["tenure_days", "renewal_time"])
    >>> [round(voluntary_share((90.0, days), cause).value, 3) for days in (-2.0, 12.0, float("nan"))]
    [0.076, 0.818, 0.622]
    """
    logit = cause.offset
    for place, edges, scores, missing in cause.steps:
        value = row[place]
        logit += scores[bisect_right(edges, value)] if value == value else missing  # noqa: PLR0124 - NaN
    return cause.band.probability(logit)


def parse_cause(value: Any) -> CauseParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is not as it must be.

    >>> parse_cause({"offset": 0.0, "steps": [{"column": "seats", "edges": [1.0], "scores": [0.1], "missing": 0.0}]})
    Traceback (most recent call last):
    ValueError: cause.steps[0].scores: must be one more than edges
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("steps"), list):
        raise ValueError("cause.steps: must be a list")  # noqa: TRY004 - one kind of error for a bad file
    steps = tuple(_parse_steps(f"cause.steps[{index}]", each) for index, each in enumerate(value["steps"]))
    try:
        band = parse_band(value.get("band"))
    except ValueError as wrong:
        raise ValueError(f"cause.{wrong}") from wrong
    return CauseParameters(offset=_number("cause.offset", value.get("offset")), steps=steps, band=band)


def _parse_steps(name: str, value: Any) -> Steps:
    if not isinstance(value, Mapping) or not isinstance(value.get("column"), str):
        raise ValueError(f"{name}.column: must be a name")  # noqa: TRY004 - as above
    lists = {}
    for part in ("edges", "scores"):
        entries = value.get(part)
        if not isinstance(entries, list):
            raise ValueError(f"{name}.{part}: must be a list")  # noqa: TRY004 - as above
        lists[part] = tuple(_number(f"{name}.{part}", entry) for entry in entries)
    if any(later <= earlier for earlier, later in pairwise(lists["edges"])):
        raise ValueError(f"{name}.edges: must rise strictly")
    if len(lists["scores"]) != len(lists["edges"]) + 1:
        raise ValueError(f"{name}.scores: must be one more than edges")
    return Steps(column=value["column"], **lists, missing=_number(f"{name}.missing", value.get("missing")))


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name}: must be a finite number")
    return float(value)
