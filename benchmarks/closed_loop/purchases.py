"""CalculateLtv of single purchases, beside what customers then bought.

Richer than the policy's model (gamma-distributed rates and lives, independent values): rates and lives are log-normal
and go together, frequent buyers stay longer; values go with rates; demand has seasons.
Ranges, drawn for each seed: median rate 0.03 to 0.12 purchases a week (CDNOW: about 0.05), its log spread 0.8 to 1.3,
median life 20 to 120 weeks, its log spread 0.8 to 1.5, correlations -0.3 to 0.5, seasons of 0 to 30 %, values about 35
with a log spread of 0.3 to 0.8 between customers and as much within (CDNOW: mean 35): JUDGEMENT but for CDNOW.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from benchmarks.closed_loop.comparison import Answered, Floats, Kind, Policy, SeedResult
from methods.revenue.ltv import expected_transactions, prepare_purchases, value_of_purchases
from methods.revenue.purchases import Histories
from training.revenue.ltv import LtvOptions, fit_ltv

CUSTOMERS, WEEKS, AHEAD_MONTHS = 1_500, 39, 9
AHEAD_WEEKS: Final = AHEAD_MONTHS * 365.25 / 12 / 7
WEEKS_A_YEAR: Final = 52.0
VALUE_MINOR: Final = 3_500.0
CORRELATION: Final = (-0.3, 0.5)
SEASON: Final = (0.0, 0.3)


def run(seed: int) -> SeedResult:
    """One shop: fitted on 39 weeks, judged on the nine months after them."""
    rng = np.random.default_rng([seed, 71])
    common = rng.standard_normal(CUSTOMERS)
    scores = [
        rho * common + np.sqrt(1 - rho**2) * rng.standard_normal(CUSTOMERS) for rho in rng.uniform(*CORRELATION, 2)
    ]
    rate = rng.uniform(0.03, 0.12) * np.exp(rng.uniform(0.8, 1.3) * common)
    life = rng.uniform(20.0, 120.0) * np.exp(rng.uniform(0.8, 1.5) * scores[0]) * rng.exponential(1.0, CUSTOMERS)
    worth = VALUE_MINOR * np.exp(rng.uniform(0.3, 0.8) * scores[1])
    within, season, phase = rng.uniform(0.3, 0.8), rng.uniform(*SEASON), rng.uniform(0.0, WEEKS_A_YEAR)
    begun = rng.uniform(0.0, 12.0, CUSTOMERS)  # weeks after the start: newcomers of one quarter
    rows, bought, paid, alive = [], [], [], []
    for customer in range(CUSTOMERS):
        end = begun[customer] + life[customer]
        times = _purchases((rate[customer], season, phase), begun[customer], min(end, WEEKS + AHEAD_WEEKS), rng)
        values = worth[customer] * np.exp(within * rng.standard_normal(times.size + 1) - within**2 / 2.0)
        before = times < WEEKS
        seen, later = times[before], times[~before]
        recency = float(seen[-1] - begun[customer]) if seen.size else 0.0
        rows.append((seen.size, recency, WEEKS - begun[customer], seen.size, _mean(values[1:][before])))
        bought.append(float(later.size))
        paid.append(float(values[1:][~before].sum()))
        alive.append(float(end > WEEKS))
    columns = np.array(rows, dtype=np.float64).T
    histories = Histories(
        frequency=columns[0],
        recency_weeks=columns[1],
        observed_weeks=columns[2],
        valued=columns[3],
        mean_value=columns[4],
    )
    parameters = fit_ltv(histories, None, LtvOptions()).parameters.purchases
    assert parameters is not None
    prepared = prepare_purchases(parameters, LtvOptions().level)
    told = value_of_purchases(prepared, histories, np.ones(CUSTOMERS), months=AHEAD_MONTHS, discount_rate_annual=0.0)
    count = expected_transactions(prepared, histories, AHEAD_WEEKS)
    truths = {
        "alive": (told.alive, alive, Kind.OUTCOMES),
        "purchases": (count, bought, Kind.AMOUNTS),
        "value": (told.ltv, paid, Kind.AMOUNTS),
    }
    return SeedResult(
        answers={
            name: Answered(value=said.value, lower=said.lower, upper=said.upper, truth=np.array(truth), kind=kind)
            for name, (said, truth, kind) in truths.items()
        },
        figures={"foretold_over_bought": float(count.value.sum() / np.sum(bought))},
    )


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """Nothing is compared."""
    raise AssertionError((alternative, figures))


POLICY: Final = Policy(name="ltv", gains={}, run=run, why=why)


def _purchases(stream: tuple[float, float, float], begin: float, end: float, rng: np.random.Generator) -> Floats:
    """Weeks of the purchases after the first, by thinning a steady stream of this rate to its season and phase."""
    rate, season, phase = stream
    count = rng.poisson(rate * (1.0 + season) * max(0.0, end - begin))
    times = np.sort(rng.uniform(begin, max(begin, end), count))
    kept = rng.random(count) * (1.0 + season) < 1.0 + season * np.sin(2.0 * np.pi * (times - phase) / WEEKS_A_YEAR)
    return times[kept]


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else 0.0
