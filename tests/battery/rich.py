"""Versions that know what a small simulated platform lacks: single purchases, and offers on which chance decided.

Without them whole branches of a method would never be asked. Each is opened as a worker opens it, and brings requests
of its own beside those that a version of its kind is tried with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from server.modules.revenue.ltv_rows import opened as opened_ltv
from server.modules.revenue.recommend_upsell import opened as opened_upsell
from tests.fakes.ltv_versions import PARAMETERS
from tests.fakes.upsell_versions import upsell_parameters
from training.revenue import ltv_version, upsell_version

CURRENCY = "USD"
AS_OF = "2026-01-01T00:00:00Z"


def _ltv() -> tuple[Any, list[Any]]:
    """Customers who subscribe, who buy now and then, and who do both; some bring the purchases themselves."""
    rng = np.random.default_rng(4)
    subscribed = [dict(request) for request, _ in ltv_version.golden_cases(PARAMETERS, CURRENCY, rng)[::4]]
    bought = []
    for number in range(8):
        weeks, recency = float(rng.integers(20, 100)), float(rng.integers(1, 20))
        history = {"frequency": number, "observedWeeks": weeks, "recencyWeeks": recency if number else 0.0}
        valued = {"meanValue": {"minorUnits": "2000", "currencyCode": CURRENCY}} if number % 2 else {}
        both = subscribed[number % len(subscribed)]["features"] if number % 3 == 0 else {}
        kind = "CONTRACT_KIND_MIXED" if both else "CONTRACT_KIND_ONE_OFF"
        features = {**both, **history, **valued, "contract": kind}
        bought.append({"context": {"requestId": f"rich-{number}", "asOfTime": AS_OF}, "features": features})
    purchases = [
        {"transactionTime": f"2025-{month:02d}-03T00:00:00Z", "amount": {"minorUnits": "900", "currencyCode": CURRENCY}}
        for month in (3, 7, 11)
    ]
    told = {"context": {"asOfTime": AS_OF}, "transactions": {"transactions": purchases}}
    return opened_ltv(PARAMETERS, CURRENCY), [*subscribed, *bought, told]


def _upsell() -> tuple[Any, list[Any]]:
    parameters = upsell_parameters()
    rng = np.random.default_rng(4)
    cases = upsell_version.golden_cases(parameters, [each.offer_id for each in parameters.offers], CURRENCY, rng)
    return opened_upsell(parameters, CURRENCY), [dict(request) for request, _ in cases]


RICH: Mapping[str, Callable[[], tuple[Any, list[Any]]]] = {"ltv": _ltv, "upsell": _upsell}
"""Model -> what a worker has of the version, and requests as JSON."""
