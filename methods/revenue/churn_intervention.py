"""What an offer changes about staying, as a version of churn knows it: one effect for all, from randomised offers.

Who is likely to leave is not whom an offer keeps (Ascarza 2018, J Mark Res 55:80): nothing here hangs on the score.
Pure. Not here: how the effect is estimated (training/revenue/retention.py); offers by customer (upsell.py).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from methods.statistics.bootstrap import LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionEffect:
    """The offer with the largest effect.

    Attributes:
        offer_id: its name.
        treat: whether the effect is above 0 with the probability that the policy asks for, all offers considered.
        value: chance of staying with the offer shown, less that with it held back; -1 to 1.
        lower: end of the value's interval.
        upper: the same.
        level: probability that the interval is meant to hold.
    """

    offer_id: str
    treat: bool
    value: float
    lower: float
    upper: float
    level: float = LEVEL

    def to_json(self) -> dict[str, Any]:
        """The effect as it stands under `intervention` in an artifact's parameters.json."""
        return asdict(self)


def parse_effect(value: Any) -> RetentionEffect:
    """The effect that `to_json` wrote, checked.

    Raises: ValueError: names the field that is not as it must be.

    >>> parse_effect({"offer_id": "BREAK", "treat": False, "value": 0.2, "lower": 0.3, "upper": 0.4, "level": 0.9})
    Traceback (most recent call last):
    ValueError: intervention: lower <= value <= upper must hold, all within -1 and 1
    """
    if not isinstance(value, Mapping):
        raise ValueError("intervention: not an object")  # noqa: TRY004 - one kind of error for a bad file
    if not isinstance(value.get("offer_id"), str) or not value["offer_id"]:
        raise ValueError("intervention.offer_id: must be a name")
    if not isinstance(value.get("treat"), bool):
        raise ValueError("intervention.treat: must be true or false")  # noqa: TRY004 - as above
    numbers = {}
    for name in ("value", "lower", "upper", "level"):
        number = value.get(name)
        if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
            raise ValueError(f"intervention.{name}: must be a finite number")
        numbers[name] = float(number)
    if not -1 <= numbers["lower"] <= numbers["value"] <= numbers["upper"] <= 1:
        raise ValueError("intervention: lower <= value <= upper must hold, all within -1 and 1")
    if not 0 < numbers["level"] < 1:
        raise ValueError("intervention.level: must lie in (0, 1)")
    return RetentionEffect(offer_id=value["offer_id"], treat=value["treat"], **numbers)
