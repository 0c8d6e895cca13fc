"""A version of upsell fitted to made-up offers on which chance decided; a small simulated platform has too few."""

from __future__ import annotations

import numpy as np

from methods.features import FeatureSchema, Kind, encode_columns
from methods.revenue.upsell_parameters import UpsellParameters
from tests.fakes.offer_rows import offer_rows
from training.revenue.upsell import OfferRows, UpsellOptions, fit_upsell

SCHEMA = FeatureSchema.from_json(
    {
        "message": "paedsresus.ml.v1.RecommendUpsellFeatures",
        "features": [
            {"name": "price", "kind": "money", "unit": "minor units of the currency", "levels": []},
            {"name": "minutes_28d", "kind": "number", "unit": "minutes", "levels": []},
            {"name": "offers_shown_180d", "kind": "count", "unit": "offers", "levels": []},
            {"name": "days_since_last_offer", "kind": "number", "unit": "days", "levels": []},
        ],
    }
)
assert {feature.kind for feature in SCHEMA.features} == {Kind.MONEY, Kind.NUMBER, Kind.COUNT}


def upsell_parameters() -> UpsellParameters:
    """Fitted: the offer works on those with many minutes; a second one works alike for all."""
    parts: dict[str, OfferRows] = {}
    for name, own in (("ANNUAL", 2.5), ("SEATS", 0.0)):
        rng = np.random.default_rng(0)
        made, _ = offer_rows(rng, 3_000, own=own, common=1.0)
        renews = made.matrix[:, 2].astype(np.float64)
        columns = {
            "price": rng.uniform(1_000, 5_000, 3_000),
            "minutes_28d": 100.0 + 400.0 * renews + rng.normal(0, 20, 3_000),
            "offers_shown_180d": rng.integers(0, 4, 3_000).astype(np.float64),
            "days_since_last_offer": rng.uniform(0, 100, 3_000),
        }
        parts[name] = OfferRows(
            matrix=encode_columns(SCHEMA, columns),
            subject=made.subject,
            shown=made.shown,
            accepted=made.accepted,
            propensity=made.propensity,
            price=made.price,
        )
    return fit_upsell(parts, SCHEMA, UpsellOptions(folds=3, draws=40), np.random.default_rng(0)).parameters
