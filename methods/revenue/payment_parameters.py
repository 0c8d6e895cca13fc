"""What a version of the payments model knows: the success model, codes, limits, and how it explores and waits.

`hard_codes` hold Visa's category 1 ("issuer will never approve") and Mastercard's two "do not try again" advices beside
names that processors use; a version may add codes, never take one away.
Pure. Not here: what is answered with it (payments.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from methods.revenue.payment_success import Block, Cell, SuccessModel

# Network codes: Visa Core Rules, decline category 1; EXPIRED_CARD is 54, where the same card never works again.
NEVER_RETRIED = frozenset(
    (
        *("04", "07", "12", "14", "15", "41", "43", "46", "54", "57", "R0", "R1", "R3", "MAC03", "MAC21"),
        *("PICKUP_CARD", "LOST_CARD", "STOLEN_CARD", "EXPIRED_CARD"),
        *("CLOSED_ACCOUNT", "INVALID_ACCOUNT", "REVOKED"),
    )
)
NEEDS_PAYER = frozenset(("1A", "AUTHENTICATION_REQUIRED"))  # strong customer authentication


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaymentParameters:
    """A version's parameters.

    Attributes:
        success: chance of a success.
        hard_codes: decline codes after which nothing is tried again; always holds `NEVER_RETRIED`.
        max_attempts: at one payment within `window_days`, the first included. Visa charges from the 16th reattempt in
            30 days on, Mastercard from the 35th: the stricter one, with the first attempt counted.
        window_days: length of the window.
        wait_hours: how long after a decline a retry may come, hours, rising.
        delay_cost_a_day: share of a payment's value lost for each day that it comes later; JUDGEMENT, about the
            chance that a subscriber leaves while access is unpaid.
        new_method_chance: that a payer who is asked brings another way to pay and it works.
        least_propensity: with which each route that may be best is put first while exploring.
        level: probability that intervals are meant to hold.
        observations: attempts that the version was fitted on.
    """

    success: SuccessModel
    hard_codes: frozenset[str] = NEVER_RETRIED
    max_attempts: int = 15
    window_days: float = 30.0
    wait_hours: tuple[float, ...] = (2.0, 12.0, 24.0, 48.0, 72.0, 96.0, 120.0, 168.0, 240.0, 336.0)
    delay_cost_a_day: float = 0.01
    new_method_chance: float = 0.5
    least_propensity: float = 0.01
    level: float = 0.9
    observations: int = 0

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        model = self.success
        return {
            "success": {
                "blocks": {
                    name: {"sd": block.sd, "columns": dict(block.columns)} for name, block in model.blocks.items()
                },
                "mean": model.mean.tolist(),
                "covariance": model.covariance.tolist(),
                "cells": {name: list(cell) for name, cell in model.cells.items()},
                "cell_sd": model.cell_sd,
                "median_amounts": dict(model.median_amounts),
            },
            "hard_codes": sorted(self.hard_codes),
            "max_attempts": self.max_attempts,
            "window_days": self.window_days,
            "wait_hours": list(self.wait_hours),
            "delay_cost_a_day": self.delay_cost_a_day,
            "new_method_chance": self.new_method_chance,
            "least_propensity": self.least_propensity,
            "level": self.level,
            "observations": self.observations,
        }


def parse_parameters(value: Any) -> PaymentParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_parameters({"success": {}})
    Traceback (most recent call last):
    ValueError: success.mean: must be a list of finite numbers
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    success = _success(_part(value, "success"))
    codes = value.get("hard_codes")
    if not isinstance(codes, list) or not NEVER_RETRIED.issubset(codes):
        raise ValueError("hard_codes: must hold every code that is never retried")
    waits = _numbers(value, "wait_hours")
    if not waits or waits[0] < 0 or any(b <= a for a, b in pairwise(waits)):
        raise ValueError("wait_hours: must rise, from 0 or more")
    return PaymentParameters(
        success=success,
        hard_codes=frozenset(map(str, codes)),
        max_attempts=int(_number(value, "max_attempts", 1, 100)),
        window_days=_number(value, "window_days", 1e-6, 365.0),
        wait_hours=waits,
        delay_cost_a_day=_number(value, "delay_cost_a_day", 0.0, 1.0),
        new_method_chance=_number(value, "new_method_chance", 0.0, 1.0),
        least_propensity=_number(value, "least_propensity", 0.0, 0.02),  # 50 routes at most
        level=_number(value, "level", 0.5, 0.999),
        observations=int(_number(value, "observations", 0, 2**53)),
    )


def _success(value: Mapping[str, Any]) -> SuccessModel:
    mean = np.array(_numbers(value, "mean", "success."), dtype=np.float64)
    try:
        covariance = np.array(value.get("covariance"), dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise ValueError("success.covariance: must be rows of numbers") from cause
    if covariance.shape != (mean.size, mean.size) or not np.isfinite(covariance).all():
        raise ValueError(f"success.covariance: must be {mean.size} rows of as many finite numbers")
    if not np.allclose(covariance, covariance.T, atol=1e-8) or np.linalg.eigvalsh(covariance).min() < -1e-8:
        raise ValueError("success.covariance: is no covariance")
    blocks = {}
    for name, block in _part(value, "blocks", "success.").items():
        columns = block.get("columns") if isinstance(block, Mapping) else None
        if not isinstance(columns, Mapping) or not all(
            isinstance(c, int) and not isinstance(c, bool) and 0 < c < mean.size for c in columns.values()
        ):
            raise ValueError(f"success.blocks.{name}.columns: must be columns of the mean, from 1")
        blocks[str(name)] = Block(sd=_number(block, "sd", 0.0, 50.0, f"success.blocks.{name}."), columns=dict(columns))
    cells = {}
    for name, cell in _part(value, "cells", "success.").items():
        if not isinstance(cell, list) or len(cell) != 2 or not all(map(_is_number, cell)) or cell[1] < 0:
            raise ValueError(f"success.cells.{name}: must be a mean and a variance, 0 or more")
        cells[str(name)] = Cell(mean=float(cell[0]), variance=float(cell[1]))
    medians = _part(value, "median_amounts", "success.")
    return SuccessModel(
        blocks=blocks,
        mean=mean,
        covariance=covariance,
        cells=cells,
        cell_sd=_number(value, "cell_sd", 0.0, 50.0, "success."),
        median_amounts={str(name): _number(medians, name, 1e-9, 1e18, "success.median_amounts.") for name in medians},
    )


def _part(value: Mapping[str, Any], name: str, where: str = "") -> Mapping[str, Any]:
    part = value.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"{where}{name}: not an object")  # noqa: TRY004 - as above
    return part


def _number(value: Mapping[str, Any], name: str, low: float, high: float, where: str = "") -> float:
    number = value.get(name)
    if number is None or not _is_number(number) or not low <= float(number) <= high:
        raise ValueError(f"{where}{name}: must be a number from {low} to {high}")
    return float(number)


def _numbers(value: Mapping[str, Any], name: str, where: str = "") -> tuple[float, ...]:
    entries = value.get(name)
    if not isinstance(entries, list) or not entries or not all(map(_is_number, entries)):
        raise ValueError(f"{where}{name}: must be a list of finite numbers")
    return tuple(float(entry) for entry in entries)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
