"""What an upsell version knows beside its schema: how features are prepared, and one model for each offer.

Pure. Not here: what the numbers mean for a customer (upsell.py); how they are fitted (training/revenue/upsell.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from methods.features import FeatureSchema

EXPLORED = 0.1  # chance that one offer's decision is turned round in order to learn; 0.1 keeps nine tenths of the gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How matrix columns become the numbers z that the model reads; each tuple has one entry a matrix column.

    Attributes:
        logged: whether the column is replaced by sign(x) log(1 + |x|) first.
        fills: what a missing value becomes, after that.
        centres: mean over the rows fitted on.
        scales: standard deviation there, above 0.
        bent: whether the square of the prepared number is a number of its own.
        bend_centres: mean of that square.
        bend_scales: its standard deviation, above 0.
        flagged: whether being missing is a number of its own.
        flag_centres: share of rows missing.
        flag_scales: its standard deviation, above 0.
    """

    logged: tuple[bool, ...]
    fills: tuple[float, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    bent: tuple[bool, ...]
    bend_centres: tuple[float, ...]
    bend_scales: tuple[float, ...]
    flagged: tuple[bool, ...]
    flag_centres: tuple[float, ...]
    flag_scales: tuple[float, ...]

    @property
    def width(self) -> int:
        """How many prepared numbers a row has."""
        return len(self.logged) + sum(self.bent) + sum(self.flagged)

    @property
    def sources(self) -> tuple[int, ...]:
        """For each prepared number the matrix column that it comes from."""
        columns = range(len(self.logged))
        return (*columns, *(c for c in columns if self.bent[c]), *(c for c in columns if self.flagged[c]))


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferModel:
    """What a version knows about one offer.

    Attributes:
        offer_id: the offer.
        shown_share: c, the share of the rows that was shown, in (0, 1).
        level: intercept and slopes of m, 1 + width.
        effect: intercept and slopes of d, 1 + width; slopes are 0 where there is nothing to personalise.
        factor: lower triangle, row by row, of the Cholesky factor of the posterior covariance of (level, effect), or
            of (level, effect's intercept) where the slopes are 0.
        personalised: whether the effect depends on the customer.
        average: mean uplift over the rows fitted on, with the interval's ends.
        qini: Qini coefficient on rows that were not fitted on, with the interval's ends.
        gain: what ranking by the customer's own effect adds to the Qini coefficient of a ranking by who accepts anyway,
            on rows that were not fitted on, with the interval's ends.
        saved: log-likelihood there that the customer's own effect saves over one effect for all, in nats per 1,000
            rows, with the ends of an interval at 99 %.
        rows: offers fitted on.
        lowest_price: smallest price shown in those, minor units.
        highest_price: largest.
    """

    offer_id: str
    shown_share: float
    level: tuple[float, ...]
    effect: tuple[float, ...]
    factor: tuple[float, ...]
    personalised: bool
    average: tuple[float, float, float]
    qini: tuple[float, float, float]
    gain: tuple[float, float, float]
    saved: tuple[float, float, float]
    rows: int
    lowest_price: float
    highest_price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsellParameters:
    """What a version knows.

    Attributes:
        schema: the features that its matrix is made of.
        preparation: of the matrix's columns, the same for all offers.
        offers: one model for each offer with enough randomised evidence; none means no evidence at all.
        level: probability that intervals are meant to hold.
        explored: chance that one decision is turned round, in [0, 1).
    """

    schema: FeatureSchema
    preparation: Preparation
    offers: tuple[OfferModel, ...]
    level: float = 0.9
    explored: float = EXPLORED

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {
            "schema": self.schema.to_json(),
            "preparation": {name: list(getattr(self.preparation, name)) for name in _PREPARED},
            "offers": [
                {
                    name: list(value) if isinstance(value := getattr(offer, name), tuple) else value
                    for name in OfferModel.__slots__
                }
                for offer in self.offers
            ],
            "level": self.level,
            "explored": self.explored,
        }


def parse_parameters(value: Any) -> UpsellParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_parameters({"schema": {"message": "Demo", "features": []}})
    Traceback (most recent call last):
    ValueError: preparation: not an object
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    schema = FeatureSchema.from_json(value.get("schema"))
    preparation = _parse_preparation(value.get("preparation"))
    if len(preparation.logged) != len(schema.columns):
        raise ValueError(f"preparation: has {len(preparation.logged)} columns, the schema has {len(schema.columns)}")
    entries = value.get("offers")
    if not isinstance(entries, list):
        raise ValueError("offers: must be a list")  # noqa: TRY004 - as above
    offers = tuple(_parse_offer(entry, f"offers[{i}]", preparation.width) for i, entry in enumerate(entries))
    if len({offer.offer_id for offer in offers}) != len(offers):
        raise ValueError("offers: names an offer twice")
    level, explored = _number(value, "level", "level"), _number(value, "explored", "explored")
    if not 0 < level < 1:
        raise ValueError("level: must be above 0 and below 1")
    if not 0 <= explored < 1:
        raise ValueError("explored: must be 0 or more and below 1")
    return UpsellParameters(schema=schema, preparation=preparation, offers=offers, level=level, explored=explored)


def covariance_size(coefficients: int, *, personalised: bool) -> int:
    """Rows of the covariance."""
    return 2 * coefficients if personalised else coefficients + 1


_FLAGS = ("logged", "bent", "flagged")
_SCALES = ("scales", "bend_scales", "flag_scales")
_PREPARED = tuple(Preparation.__slots__)


def _parse_preparation(value: Any) -> Preparation:
    """Raises: ValueError: names the field."""
    if not isinstance(value, Mapping):
        raise ValueError("preparation: not an object")  # noqa: TRY004 - as above
    columns: dict[str, tuple[Any, ...]] = {}
    for name in _PREPARED:
        entries = value.get(name)
        kind = bool if name in _FLAGS else (int, float)
        if not isinstance(entries, list) or not all(isinstance(e, kind) and math.isfinite(e) for e in entries):
            raise ValueError(f"preparation.{name}: must be a list of {'flags' if kind is bool else 'finite numbers'}")
        if name in _SCALES and not all(entry > 0 for entry in entries):
            raise ValueError(f"preparation.{name}: must be above 0")
        columns[name] = tuple(entries) if kind is bool else tuple(float(entry) for entry in entries)
    lengths = {name: len(column) for name, column in columns.items()}
    if odd := [name for name, length in lengths.items() if length != lengths["logged"]]:
        raise ValueError(f"preparation.{odd[0]}: has {lengths[odd[0]]} entries, logged has {lengths['logged']}")
    return Preparation(**columns)


def _parse_offer(value: Any, path: str, width: int) -> OfferModel:
    """Raises: ValueError: names the field."""
    if not isinstance(value, Mapping) or not isinstance(value.get("offer_id"), str) or not value["offer_id"]:
        raise ValueError(f"{path}.offer_id: must be a text that is not empty")
    personalised, rows = value.get("personalised"), value.get("rows")
    if not isinstance(personalised, bool):
        raise ValueError(f"{path}.personalised: must be true or false")  # noqa: TRY004 - as above
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise ValueError(f"{path}.rows: must be a whole number, 1 or more")
    size = covariance_size(width + 1, personalised=personalised)
    lengths = {"level": width + 1, "effect": width + 1, "factor": size * (size + 1) // 2}
    numbers = {name: _numbers(value, name, path, length) for name, length in lengths.items()}
    triples = {name: _numbers(value, name, path, 3) for name in ("average", "qini", "gain", "saved")}
    share = _number(value, "shown_share", f"{path}.shown_share")
    if not 0 < share < 1:
        raise ValueError(f"{path}.shown_share: must be above 0 and below 1")
    return OfferModel(
        offer_id=value["offer_id"],
        shown_share=share,
        level=numbers["level"],
        effect=numbers["effect"],
        factor=numbers["factor"],
        personalised=personalised,
        average=_triple(triples["average"]),
        qini=_triple(triples["qini"]),
        gain=_triple(triples["gain"]),
        saved=_triple(triples["saved"]),
        rows=rows,
        lowest_price=_number(value, "lowest_price", f"{path}.lowest_price"),
        highest_price=_number(value, "highest_price", f"{path}.highest_price"),
    )


def _triple(values: tuple[float, ...]) -> tuple[float, float, float]:
    value, lower, upper = values
    return value, lower, upper


def _numbers(value: Mapping[str, Any], name: str, path: str, length: int) -> tuple[float, ...]:
    """A list of so many finite numbers."""
    entries = value.get(name)
    if not isinstance(entries, list) or not all(isinstance(e, int | float) and math.isfinite(e) for e in entries):
        raise ValueError(f"{path}.{name}: must be a list of finite numbers")
    if len(entries) != length:
        raise ValueError(f"{path}.{name}: has {len(entries)} entries, must have {length}")
    return tuple(float(entry) for entry in entries)


def _number(value: Mapping[str, Any], name: str, path: str) -> float:
    """A finite number."""
    entry = value.get(name)
    if not isinstance(entry, int | float) or isinstance(entry, bool) or not math.isfinite(entry):
        raise ValueError(f"{path}: must be a finite number")
    return float(entry)
