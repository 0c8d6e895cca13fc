"""Customers of whom is known what an offer changes in each: what upsell is run on.

Richer than the policy's model (log odds linear in features and their squares): who buys anyway and whom an offer moves
are different people; its effect bends and jumps, falls where use is high (those buy anyway), is below 0 for some
long-standing customers, and part of what decides about buying is in no field. In a quarter of the worlds the effect, in
log odds, is the same for all and there is nothing to personalise, as in one of the two public campaigns (Hillstrom,
men's e-mail).
Ranges, drawn for each seed: bought anyway 3 to 12 % (Hillstrom: visits 10.6 %), effect of showing 0.15 to 0.5 log odds
on average (Hillstrom: 4.5 and 7.7 points), its spread 0.3 to 0.8, JUDGEMENT; annoyed 5 to 15 %, JUDGEMENT; margin of
what is offered 1,000 to 10,000 minor units; contact cost a fifth to 1.2 times what the average contact brings,
JUDGEMENT: were it always less, showing it to everybody would be hard to beat.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.closed_loop.comparison import Floats
from methods.features import Feature, FeatureSchema, Kind

SCHEMA: Final = FeatureSchema(
    message="ClosedLoopUpsell",
    features=(
        Feature(name="sessions_28d", kind=Kind.COUNT, unit="sessions"),
        Feature(name="tenure_days", kind=Kind.NUMBER, unit="days"),
        Feature(name="price", kind=Kind.MONEY, unit="minor units"),
        Feature(name="tickets_90d", kind=Kind.COUNT, unit="tickets"),
        Feature(name="auto_renew", kind=Kind.FLAG),
        Feature(name="plan", kind=Kind.CATEGORY, levels=("MONTHLY", "QUARTERLY", "ANNUAL")),
    ),
)
SESSIONS, TENURE, PRICE, TICKETS, AUTO_RENEW = range(5)  # columns; the plan follows
PLAN_PRICES: Final = np.array([5_000.0, 13_500.0, 48_000.0])
MISSING: Final = 0.05  # of the counts of sessions
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """What decides about buying, log odds; slopes are of standardised features.

    Attributes:
        base, level: intercept and slopes of buying without being shown the offer.
        hidden_sd: what no field shows.
        effect: of showing, on average; spread: how far it differs; 0 where there is nothing to personalise.
        slopes: (3,) which way it differs: by use, tenure, price.
        annoyed: share of customers, the longest-standing, whom it puts off, and by how much.
        margin, contact_cost: minor units.
    """

    base: float
    level: Floats
    hidden_sd: float
    effect: float
    spread: float
    slopes: Floats
    annoyed: tuple[float, float]
    margin: float
    contact_cost: float

    @property
    def is_personal(self) -> bool:
        """Whether the effect differs between customers."""
        return self.spread > 0.0


def draw_customers(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, columns) features; some counts are unknown."""
    plan = rng.choice(3, count, p=(0.65, 0.15, 0.2))
    sessions = rng.negative_binomial(1.5, 1.5 / (1.5 + 4.0), count).astype(np.float64)
    columns = [
        np.where(rng.random(count) < MISSING, np.nan, sessions),
        rng.gamma(1.2, 250.0, count).round(),
        np.rint(PLAN_PRICES[plan] * rng.choice([0.7, 0.85, 1.0, 1.2, 1.4], count)),
        rng.poisson(0.3, count).astype(np.float64),
        (rng.random(count) < 0.9).astype(np.float64),
        *(np.eye(3)[plan].T),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def draw_responses(rng: np.random.Generator) -> Responses:
    """One seed's law; the contact cost is set against what the average contact brings."""
    is_personal = rng.random() >= 0.25
    anyway = rng.uniform(0.03, 0.12)
    shape = Responses(
        base=float(np.log(anyway / (1.0 - anyway))),
        level=rng.uniform(0.2, 0.7) * rng.choice([-1.0, 1.0], 4),
        hidden_sd=rng.uniform(0.3, 0.8),
        effect=rng.uniform(0.15, 0.5),
        spread=rng.uniform(0.3, 0.8) if is_personal else 0.0,
        slopes=rng.dirichlet(np.ones(3)) * np.array([-1.0, rng.choice([-1.0, 1.0]), rng.choice([-1.0, 1.0])]),
        annoyed=(rng.uniform(0.05, 0.15), rng.uniform(0.3, 1.0)) if is_personal else (0.0, 0.0),
        margin=float(rng.uniform(1_000.0, 10_000.0)),
        contact_cost=0.0,
    )
    brings = float(uplifts(shape, draw_customers(4_000, rng)).mean()) * shape.margin
    cost = rng.uniform(0.2, 1.2) * max(brings, 1.0)
    return Responses(**{name: getattr(shape, name) for name in Responses.__slots__} | {"contact_cost": float(cost)})


def chances(law: Responses, customers: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """(n,) each: true chance of buying when held back and when shown, over what no field shows."""
    use, tenure, price, tickets = _standardised(customers)
    level = law.base + np.stack([use, tenure, price, tickets], axis=1) @ law.level
    bent = np.stack([np.tanh(use), tenure, np.where(price > 0.0, 1.0, -0.7)], axis=1)
    share, loss = law.annoyed
    effect = law.effect + 2.0 * law.spread * bent @ law.slopes
    effect = effect - loss * (tenure > np.quantile(tenure, 1.0 - share)) if share else effect
    hidden = law.hidden_sd * _NODES
    held, shown = (
        _logistic((level + moved)[:, None] + hidden) @ _WEIGHTS / _WEIGHTS.sum()
        for moved in (np.zeros_like(effect), effect)
    )
    return held, shown


def uplifts(law: Responses, customers: NDArray[np.float32]) -> Floats:
    """(n,) what showing the offer truly changes."""
    held, shown = chances(law, customers)
    return shown - held


def _standardised(customers: NDArray[np.float32]) -> tuple[Floats, Floats, Floats, Floats]:
    """Use, tenure, price and tickets; an unknown use counts as the usual one."""
    rows = customers.astype(np.float64)
    use = np.nan_to_num((np.log1p(rows[:, SESSIONS]) - 1.35) / 0.75)
    tenure = (np.log1p(rows[:, TENURE]) - 5.2) / 1.0
    price = (np.log(rows[:, PRICE]) - 9.1) / 0.95
    return use, tenure, price, (rows[:, TICKETS] - 0.3) / 0.55


def _logistic(logit: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)
