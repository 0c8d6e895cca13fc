"""Certification exams: booked some weeks ahead, drawn from the certification's skills, sat again by some who failed.

What a candidate reaches follows from what is known and still remembered of those skills on the day (minds.py), from an
exam's items being easier than the bank's, and from which items come.
Not here: when somebody means to sit it (people.py).
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.catalogue import Catalogue
from training.data.simulator.minds import Minds, Practice, chances_at
from training.data.simulator.parameters import Parameters
from training.data.simulator.people import People
from training.data.simulator.tabulate import named, numbered, tabulate, times

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def exams_table(
    people: People,
    begun_at: Floats,
    known: tuple[Minds, Practice],
    catalogue: Catalogue,
    parameters: Parameters,
    rng: np.random.Generator,
) -> pa.Table:
    """Each exam once, and once more for half of those who failed.

    Args:
        people: the chunk.
        begun_at: (n,) day of everybody's first session, infinite without any: who never learns sits no exam.
        known: what they know, and their practice.
        catalogue: skills by certification.
        parameters: of the world.
        rng: chance.
    """
    exam = parameters.exam
    user = np.flatnonzero((people.exam < parameters.days) & (begun_at < people.exam))
    day = people.exam[user]
    booked = np.maximum(day - rng.uniform(*exam.booked_days, user.size), people.joined[user])
    score = _scores(people, user, day, known, catalogue, parameters, rng)
    again = np.flatnonzero((score < parameters.memory.cut_score) & (rng.random(user.size) < exam.sits_again))
    retake_day = day[again] + exam.retake_days
    retake = _scores(people, user[again], retake_day, known, catalogue, parameters, rng)
    user, score = np.concatenate([user, user[again]]), np.concatenate([score, retake])
    booked, day = np.concatenate([booked, day[again] + 1.0]), np.concatenate([day, retake_day])
    passed = score >= parameters.memory.cut_score
    valid = np.where(passed, day + parameters.people.certification_days, np.nan)
    return tabulate(
        tables.EXAMS,
        exam_id=numbered(f"e{people.first}-", np.arange(user.size)),
        user_id=people.ids(user),
        certification=named(tables.CERTIFICATIONS, people.certification[user]),
        booked_at=times(parameters.start, booked),
        taken_at=times(parameters.start, day),
        score=score.round(3),
        cut_score=np.full(user.size, parameters.memory.cut_score),
        passed=passed,
        valid_until=times(parameters.start, valid),
    )


def _scores(
    people: People,
    user: Integers,
    day: Floats,
    known: tuple[Minds, Practice],
    catalogue: Catalogue,
    parameters: Parameters,
    rng: np.random.Generator,
) -> Floats:
    """(k,) share of an exam's items answered right."""
    minds, practice = known
    expected = np.empty(user.size)
    for code in range(len(tables.CERTIFICATIONS)):
        rows = np.flatnonzero(people.certification[user] == code)
        items = np.flatnonzero(catalogue.skill_certification[catalogue.item_skill] == code)  # of all its skills
        group = user[rows, None] * minds.skills + catalogue.item_skill[items]  # (rows, items)
        days = np.broadcast_to(day[rows, None], group.shape).ravel()
        difficulty = np.broadcast_to(catalogue.item_difficulty[items], group.shape).ravel()
        chance = chances_at(minds, practice, (group.ravel(), days), difficulty)
        expected[rows] = chance.reshape(group.shape).mean(axis=1)
    logit = np.log(expected / (1.0 - expected)) + parameters.exam.easier_logit
    chance = 1.0 / (1.0 + np.exp(-logit))
    return np.asarray(rng.binomial(parameters.exam.items, chance) / parameters.exam.items, dtype=np.float64)
