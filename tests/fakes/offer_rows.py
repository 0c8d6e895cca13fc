"""Made-up offers whose effect on each customer is known, for every test of upsell."""

import numpy as np
from numpy.typing import NDArray

from methods.features import Feature, FeatureSchema, Kind, encode_columns
from training.revenue.upsell import OfferRows

SCHEMA = FeatureSchema(
    message="offers",
    features=(
        Feature(name="minutes", kind=Kind.NUMBER, unit="minutes"),
        Feature(name="tenure", kind=Kind.COUNT, unit="days"),
        Feature(name="auto_renew", kind=Kind.FLAG),
        Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "ANNUAL")),
    ),
)


def offer_rows(
    rng: np.random.Generator, rows: int, *, own: float = 1.0, common: float = 0.5, varied: bool = False
) -> tuple[OfferRows, NDArray[np.float64]]:
    """Rows and the true uplift of each.

    Args:
        rng: the source of chance.
        rows: how many.
        own: how much the effect (log-odds) rises from those without to those with automatic renewal.
        common: effect in the middle, log-odds.
        varied: whether annual customers were shown the offer more often (0.8) than monthly ones (0.2).
    """
    minutes, tenure = rng.gamma(1.0, 60.0, rows), rng.integers(0, 900, rows).astype(np.float64)
    renews, annual = rng.random(rows) < 0.5, rng.random(rows) < 0.4
    propensity = np.where(annual, 0.8, 0.2) if varied else np.full(rows, 0.5)
    shown = (rng.random(rows) < propensity).astype(np.float64)
    level = -2.0 + 0.5 * np.log1p(minutes) / 2 + 0.8 * annual - tenure / 2_000
    effect = common + own * (renews - 0.5)
    chance = [1.0 / (1.0 + np.exp(-(level + t * effect))) for t in (0.0, 1.0)]
    accepted = (rng.random(rows) < np.where(shown == 1, chance[1], chance[0])).astype(np.float64)
    columns = {
        "minutes": np.where(rng.random(rows) < 0.05, np.nan, minutes),
        "tenure": tenure,
        "auto_renew": renews.astype(np.float64),
        "plan": np.where(annual, "ANNUAL", "MONTHLY").astype(object),
    }
    made = OfferRows(
        matrix=encode_columns(SCHEMA, columns),
        subject=np.arange(rows),
        shown=shown,
        accepted=accepted,
        propensity=propensity,
        price=np.full(rows, 4_800.0),
    )
    return made, np.asarray(chance[1] - chance[0], dtype=np.float64)
