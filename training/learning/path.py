"""The numbers of `methods.learning.mastery.MasteryParameters`, fitted to what learners did and how they were judged.

Marginal likelihood: a learner's answers in all skills are traced for every draw of the learner (head start, pace), and
the learner counts with the mean over draws. The prior is the published figure of each parameter's docstring, with the
weight that PRIOR_SD gives it, so that few learners move little. What is traced is what methods/learning/mastery.py
traces; a test holds the two equal.
Not here: the prerequisite graph and the skills of a certification, which experts keep and nobody fits.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from methods.learning.mastery import SMALLEST, Floats, MasteryParameters, learner_points

EVENTS_MAX: Final = 30  # of one learner in one skill; later ones find the skill known and say little about learning
PRIOR_SD: Final = 1.0  # on the logit or log scale of each parameter
LEAST_LEARNERS: Final = 10
_START: Final = MasteryParameters()
_LOW: Final = np.array([-6.0, np.log(0.05), -8.0, np.log(0.05), -5.0, -5.0])
_HIGH: Final = np.array([6.0, np.log(4.0), 2.0, np.log(2.0), 0.0, -0.4])  # guess <= 0.5, slip <= 0.4: Corbett 1995


@dataclass(frozen=True, slots=True, kw_only=True)
class PracticeRows:
    """What learners did, oldest first; every array is (n,).

    Attributes:
        learner, skill: numbers from 0.
        minutes: time spent learning the skill before the answer, since the last answer in it; 0 or more.
        outcome: 1 right, 0 wrong, or the share of the points; NaN when nothing was judged.
    """

    learner: NDArray[np.int64]
    skill: NDArray[np.int64]
    minutes: Floats
    outcome: Floats


def fit_mastery(rows: PracticeRows) -> MasteryParameters:
    """Prior, pace, guess and slip with their spreads; the slope of difficulty stays at its prior.

    Raises: ValueError: fewer than LEAST_LEARNERS learners with an answer, or answers that are all right or all wrong.
    """
    judged = rows.outcome[~np.isnan(rows.outcome)]
    learners = np.unique(rows.learner[~np.isnan(rows.outcome)]).size
    if learners < LEAST_LEARNERS:
        raise ValueError(f"{learners} learners with answers; at least {LEAST_LEARNERS} are needed to fit mastery")
    if not 0.0 < judged.mean() < 1.0:
        raise ValueError("every answer is the same; mastery cannot be told from its absence")
    sequences = _sequences(rows)
    start = _to_vector(_START)

    def loss(vector: Floats) -> float:
        pull = float((((vector - start) / PRIOR_SD) ** 2).sum()) / 2.0
        return pull - float(_by_learner(sequences, _from_vector(vector)).sum())

    found = minimize(loss, start, method="L-BFGS-B", bounds=list(zip(_LOW, _HIGH, strict=True)), options={"ftol": 1e-7})
    return _from_vector(found.x)


def practice_log_likelihood(rows: PracticeRows, parameters: MasteryParameters) -> Floats:
    """Log chance of all outcomes of each learner, in nats, each foretold from those before it; (learners,) by number.

    The first EVENTS_MAX events of a learner in a skill count (`first_events`).
    """
    return _by_learner(_sequences(rows), parameters)


def first_events(rows: PracticeRows) -> NDArray[np.bool_]:
    """Which rows count; (n,)."""
    order, _, place = _places(rows)
    counts = np.empty(order.size, dtype=np.bool_)
    counts[order] = place < EVENTS_MAX
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequences:
    """One row for each learner and skill, in the order of learners; a turn is the k-th event of every row that has one.

    Attributes:
        starts: first row of each learner.
        count: rows.
        turns: (rows, minutes, outcome) of each turn, (rows that have it,) each.
    """

    starts: NDArray[np.int64]
    count: int
    turns: tuple[tuple[NDArray[np.int64], Floats, Floats], ...]


def _places(rows: PracticeRows) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Rows ordered by learner, skill and time; in that order, whether each is the first of both, and its place."""
    order = np.lexsort((np.arange(rows.learner.size), rows.skill, rows.learner))
    is_first = (np.diff(rows.learner[order], prepend=-1) != 0) | (np.diff(rows.skill[order], prepend=-1) != 0)
    place = np.arange(order.size) - np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    return order, is_first, place


def _sequences(rows: PracticeRows) -> _Sequences:
    order, is_first, place = _places(rows)
    learner, row = rows.learner[order], np.cumsum(is_first) - 1
    minutes, outcome = rows.minutes[order], rows.outcome[order]
    turns = []
    for turn in range(min(EVENTS_MAX, int(place.max()) + 1)):
        at = np.flatnonzero(place == turn)
        turns.append((row[at], minutes[at], outcome[at]))
    starts = np.flatnonzero(np.diff(learner[is_first], prepend=-1) != 0)
    return _Sequences(starts=starts, count=int(row[-1]) + 1, turns=tuple(turns))


def _by_learner(sequences: _Sequences, parameters: MasteryParameters) -> Floats:
    head_start, pace_step = learner_points()
    prior = 1.0 / (1.0 + np.exp(-(parameters.prior_logit + parameters.prior_sd * head_start)))
    pace = np.exp(parameters.pace_log + parameters.pace_sd * pace_step)
    known = np.repeat(prior[None, :], sequences.count, axis=0)  # -> (rows, draws)
    total = np.zeros_like(known)
    for rows, minutes, outcome in sequences.turns:
        now = 1.0 - (1.0 - known[rows]) * np.exp(-np.outer(minutes, pace))
        judged = np.flatnonzero(~np.isnan(outcome))
        share = outcome[judged, None]
        if_known = (1.0 - parameters.slip) ** share * parameters.slip ** (1.0 - share)
        if_not = parameters.guess**share * (1.0 - parameters.guess) ** (1.0 - share)
        chance = now[judged] * if_known + (1.0 - now[judged]) * if_not
        total[rows[judged]] += np.log(chance)
        now[judged] = np.clip(now[judged] * if_known / chance, SMALLEST, 1.0 - SMALLEST)
        known[rows] = now
    by_learner = np.add.reduceat(total, sequences.starts, axis=0)  # -> (learners, draws)
    top = by_learner.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(by_learner - top).mean(axis=1)), dtype=np.float64)


def _to_vector(p: MasteryParameters) -> Floats:
    odds = [np.log(share / (1.0 - share)) for share in (p.guess, p.slip)]
    return np.array([p.prior_logit, np.log(p.prior_sd), p.pace_log, np.log(p.pace_sd), *odds])


def _from_vector(vector: Floats) -> MasteryParameters:
    guess, slip = (1.0 / (1.0 + np.exp(-vector[4:]))).tolist()
    return replace(
        _START,
        prior_logit=float(vector[0]),
        prior_sd=float(np.exp(vector[1])),
        pace_log=float(vector[2]),
        pace_sd=float(np.exp(vector[3])),
        guess=guess,
        slip=slip,
    )
