"""Who joins: the people of one chunk with what nobody sees of them, and the users table.

Hidden state (skill, thrift, patience, the card's luck) lives in `People` and goes into no table.
Not here: what they do (subscribing.py, studying.py, trading.py).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.parameters import Parameters
from training.data.simulator.tabulate import named, numbered, tabulate, times

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The people of one chunk, ordered by the day they joined; every array is (n,).

    Attributes:
        first: number of the first person in the whole world; ids are u<number>.
        joined: days after the start.
        role, country, certification: codes; -1 is missing.
        referrer: index in the chunk, -1 when nobody.
        due: day when a certification held at joining falls due; NaN when none.
        exam: day when the exam is meant to be sat; infinite when never.
        engagement: log sessions a week against the median person.
        thrift: how much a price counts, 1 on average.
        frailty: inclination to leave that nothing explains, logits.
        patience: log inverse rate of asking for support.
        card: luck of the card, log odds of failing against the average.
        brand: code of the card's brand.
        sociability: rate of inviting, 1 on average.
        ability: logits.
    """

    first: int
    joined: Floats
    role: Integers
    country: Integers
    certification: Integers
    referrer: Integers
    due: Floats
    exam: Floats
    engagement: Floats
    thrift: Floats
    frailty: Floats
    patience: Floats
    card: Floats
    brand: Integers
    sociability: Floats
    ability: Floats

    @property
    def count(self) -> int:
        """How many they are."""
        return int(self.joined.size)

    def ids(self, index: Integers) -> pa.Array:
        """User ids by index in the chunk; negative ones are missing."""
        return numbered("u", np.where(index < 0, -1, index + self.first))


def draw_people(parameters: Parameters, first: int, count: int, rng: np.random.Generator) -> People:
    """The people of one chunk."""
    shape, churn, trade = parameters.people, parameters.churn, parameters.trade
    joined = _joining_days(parameters, count, rng)
    sociability = rng.gamma(0.5, 2.0, count)  # over-dispersed: a few bring most (referral evidence: dispersion 0.5)
    engagement = parameters.engagement.person_sd * rng.standard_normal(count)
    has_due = rng.random(count) < shape.with_due_date
    due = np.where(has_due, joined + rng.uniform(20.0, shape.certification_days, count), np.nan)
    learner_exam = np.where(rng.random(count) < 0.5, joined + rng.uniform(60.0, 180.0, count), np.inf)
    exam = np.where(has_due, due - rng.uniform(0.0, 35.0, count), learner_exam)
    return People(
        first=first,
        joined=joined,
        role=np.where(rng.random(count) < 0.03, -1, draw_codes(tuple(shape.role_shares.values()), count, rng)),
        country=draw_codes(tuple(shape.country_shares.values()), count, rng),
        certification=draw_codes((0.3, 0.45, 0.25), count, rng),
        referrer=_referrers(joined, sociability, shape.referred, rng),
        due=due,
        exam=np.maximum(exam, joined + 7.0),
        engagement=engagement,
        thrift=rng.gamma(4.0, 0.25, count),
        frailty=churn.frailty_sd * rng.standard_normal(count),
        patience=0.7 * rng.standard_normal(count),
        card=trade.card_sd * rng.standard_normal(count),
        brand=draw_codes((0.5, 0.35, 0.07, 0.08), count, rng),
        sociability=sociability,
        ability=parameters.memory.ability_sd * rng.standard_normal(count) + 0.2 * engagement,
    )


def users_table(people: People, parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    """The users table of the chunk."""
    years = np.where(rng.random(people.count) < 0.1, np.nan, rng.gamma(1.6, 4.0, people.count).round(1))
    return tabulate(
        tables.USERS,
        user_id=people.ids(np.arange(people.count)),
        joined_at=times(parameters.start, people.joined),
        role=named(tuple(parameters.people.role_shares), people.role),
        country=named(tuple(parameters.people.country_shares), people.country),
        experience_years=np.minimum(years, 45.0),
        referrer_id=people.ids(people.referrer),
        certification=named(tables.CERTIFICATIONS, people.certification),
        certification_due_at=times(parameters.start, people.due),
    )


def draw_codes(shares: tuple[float, ...], count: int, rng: np.random.Generator) -> Integers:
    """(count,) codes with these shares."""
    edges = np.cumsum(shares) / np.sum(shares)
    return np.minimum(np.searchsorted(edges, rng.random(count), side="right"), len(shares) - 1).astype(np.int64)


def _joining_days(parameters: Parameters, count: int, rng: np.random.Generator) -> Floats:
    """Sorted days; the rate grows straight from 1 to `growth`, inverted from its cumulative curve."""
    slope = parameters.people.growth - 1.0
    total = 1.0 + slope / 2.0
    at = np.sort(rng.random(count)) * total
    share = at if slope == 0 else (np.sqrt(1.0 + 2.0 * slope * at) - 1.0) / slope
    return np.asarray(share * (parameters.days - 1.0), dtype=np.float64)


def _referrers(joined: Floats, sociability: Floats, referred: float, rng: np.random.Generator) -> Integers:
    """(n,) index of who brought each: an earlier person, the more sociable the likelier; -1 when nobody did."""
    reach = np.cumsum(sociability)
    before = np.maximum(np.arange(joined.size) - 1, 0)
    picked = np.searchsorted(reach, rng.random(joined.size) * reach[before], side="left")
    is_referred = (rng.random(joined.size) < referred) & (np.arange(joined.size) > 0)
    return np.where(is_referred, np.minimum(picked, before), -1).astype(np.int64)
