"""Visitors of a price page whose willingness to pay is known: what price experiments are run on.

Richer than the policy's model (a line in log odds with small bends, one curve for all time): visitors are two groups
with log-normal willingness to pay, those who pay themselves and those whose employer does, so the curve bends where one
group leaves; and interest moves from week to week for all prices alike.
Ranges, drawn for each seed: elasticity of the payers at today's price -0.6 to -3.4 (Bijmolt 2005: mean -2.62 for goods
of daily use; Dominick's juice -2.7 to -3.4 by brand; a professional duty less); interest so that 2 to 12 % buy (a few
per cent: Dubé and Misra); 200 to 1,200 visitors a week, JUDGEMENT; a tenth to a half have an employer who pays 1.2 to 2
times as much, JUDGEMENT; refunds 1 to 6 %, JUDGEMENT; weekly interest moves by 0.1 to 0.25 log units, JUDGEMENT.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.closed_loop.comparison import Floats

LADDER_FACTORS: Final = np.array([0.7, 0.85, 1.0, 1.2, 1.4])  # as the platform tries them
ELASTICITY: Final = (-3.4, -0.6)
BUYERS: Final = (0.02, 0.12)
VISITORS: Final = (200.0, 1_200.0)
EMPLOYERS, EMPLOYER_FACTOR = (0.1, 0.5), (1.2, 2.0)
SPREAD: Final = (0.3, 0.8)  # of willingness to pay, log scale. JUDGEMENT
REFUNDS: Final = (0.01, 0.06)
WEEKLY_SD: Final = (0.1, 0.25)
WEEKLY_KEPT: Final = 0.7  # of last week's interest


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One product in one country: who comes, and what they would pay.

    Attributes:
        today: today's price, minor units.
        ladder: prices that may be asked, minor units, rising.
        interest: share of visitors who would buy at some price.
        medians, spreads, shares: (2,) of willingness to pay: log-normal median over today's price and log-sd, and the
            share of each group.
        refunded: share of buyers who take the money back.
        visitors: a week, on average.
        weekly_sd: of the innovation of weekly interest, log scale.
    """

    today: int
    ladder: tuple[int, ...]
    interest: float
    medians: Floats
    spreads: Floats
    shares: Floats
    refunded: float
    visitors: float
    weekly_sd: float

    def conversion(self, prices: Floats) -> Floats:
        """(n,) chance that a visitor of an average week buys."""
        relative = np.log(np.asarray(prices, dtype=np.float64) / self.today)[:, None]
        pays = norm.sf((relative - np.log(self.medians)) / self.spreads)  # (n, 2)
        return np.asarray(self.interest * pays @ self.shares, dtype=np.float64)

    def value(self, prices: Floats) -> Floats:
        """(n,) revenue of a visitor, refunds taken off, minor units."""
        return np.asarray(np.asarray(prices) * self.conversion(prices) * (1.0 - self.refunded), dtype=np.float64)

    def weekly_interest(self, weeks: int, rng: np.random.Generator) -> Floats:
        """(weeks,) factor on the conversion at every price, 1 on average."""
        moved, log = np.empty(weeks), 0.0
        spread = self.weekly_sd / math.sqrt(1.0 - WEEKLY_KEPT**2)
        for week in range(weeks):
            log = WEEKLY_KEPT * log + self.weekly_sd * rng.standard_normal()
            moved[week] = math.exp(log - spread**2 / 2.0)
        return moved


def draw_segments(count: int, rng: np.random.Generator) -> list[Segment]:
    """Segments of one platform: elasticities and interest lie around the platform's own."""
    centre, level = rng.uniform(*ELASTICITY), math.log(rng.uniform(*BUYERS))
    return [
        _segment(
            float(np.clip(centre + 0.4 * rng.standard_normal(), *ELASTICITY)),
            math.exp(level + 0.3 * rng.standard_normal()),
            rng,
        )
        for _ in range(count)
    ]


def _segment(elasticity: float, buyers: float, rng: np.random.Generator) -> Segment:
    today = int(rng.choice([2_900, 5_000, 13_500, 48_000]))
    spreads = rng.uniform(*SPREAD, 2)
    median = _median(elasticity, float(spreads[0]))
    employed = rng.uniform(*EMPLOYERS)
    shape = Segment(
        today=today,
        ladder=tuple(int(price) for price in np.rint(today * LADDER_FACTORS / 50.0).astype(int) * 50),
        interest=1.0,
        medians=np.array([median, median * rng.uniform(*EMPLOYER_FACTOR)]),
        spreads=spreads,
        shares=np.array([1.0 - employed, employed]),
        refunded=rng.uniform(*REFUNDS),
        visitors=math.exp(rng.uniform(*np.log(VISITORS))),
        weekly_sd=rng.uniform(*WEEKLY_SD),
    )
    interest = min(0.6, buyers / float(shape.conversion(np.array([float(today)]))[0]))
    return Segment(**{name: getattr(shape, name) for name in Segment.__slots__} | {"interest": interest})


def _median(elasticity: float, spread: float) -> float:
    """Median willingness to pay over today's price at which the elasticity at today's price is the given one."""

    def off(log_median: float) -> float:
        z = -log_median / spread
        return math.exp(norm.logpdf(z) - norm.logsf(z)) / spread + elasticity

    return math.exp(float(brentq(off, -6.0, 6.0)))
