"""What a learner is believed to have mastered: Bayesian knowledge tracing over draws of the learner.

A skill is known or not. Before anything is seen it is known with a chance that differs between learners (`prior`), each
minute of a lesson makes an unknown one known at a rate that differs between learners (`pace`), and a judged answer
shifts the chance by how seldom the unknowing are right (`guess`) and the knowing wrong (`slip`). Learners are a fixed
set of DRAWS points (head start, pace); what the learner answered in all skills weighs them, and every figure is a
weighted median over them with its 5 and 95 % quantiles.
Sources: Corbett and Anderson 1995, User Model User-Adapt Interact 4:253 (knowledge tracing); Yudelson, Koedinger and
Gordon 2013, AIED (learners differ in prior and in rate of learning); Neal 2001, Stat Comput 11:125 (tempered weights).
Pure. Not here: forgetting (the schedule's business); how the numbers are fitted (training/learning/path.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from methods.statistics.normal import normal

DRAWS: Final = 64
WEIGHTED_DRAWS: Final = 16.0  # least effective number of draws: skills differ too, so answers elsewhere say less
SUMMARY_ANSWERS: Final = 7.0  # a moving average with weight 0.25 on the newest holds (2 - 0.25) / 0.25 answers
SMALLEST: Final = 1e-9  # no belief is certain
_PLASTIC: Final = 1.324717957244746  # root of x^3 = x + 1: the two-dimensional golden ratio

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MasteryParameters:
    """What a version knows about learning. Where no data were seen: JUDGEMENT between the published figures named.

    Attributes:
        prior_logit, prior_sd: log-odds that a skill is known before anything is seen, median learner and spread;
            providers score 36 to 52 % of what is asked before training (Sutton 2011, Swinger 2020).
        pace_log, pace_sd: log of the rate at which a minute of a lesson makes a skill known, median and spread;
            exp(-3) is 0.05: a lesson of 14 minutes teaches a skill to half of those who lack it.
        guess: chance of a right answer without knowing; above 0 and below 1 - slip.
        slip: chance of a wrong answer while knowing; above 0.
        difficulty_slope: log of the rate lost for each logit of a lesson's difficulty; 0 or more.
        level: probability that an interval is meant to hold.
    """

    prior_logit: float = -0.3
    prior_sd: float = 1.0
    pace_log: float = -3.0
    pace_sd: float = 0.4
    guess: float = 0.2
    slip: float = 0.1
    difficulty_slope: float = 0.3
    level: float = 0.9

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {name: getattr(self, name) for name in _BOUNDS}


class Practice(NamedTuple):
    """One thing that a learner did in one skill.

    Attributes:
        skill_id: the skill.
        minutes: time spent learning it, before what was judged; 0 or more.
        outcome: 1 right, 0 wrong, or the share of the points; None when nothing was judged.
    """

    skill_id: str
    minutes: float
    outcome: float | None


class SkillSummary(NamedTuple):
    """Earlier practice in one skill, folded into a few numbers; None is unknown.

    Attributes:
        answers: judged answers; 0 or more.
        correct: right ones among them.
        recent_share: moving average of right answers, the newest with weight 0.25.
        mastery: chance that the skill is known, from another model; takes the place of the others.
    """

    answers: float = 0.0
    correct: float | None = None
    recent_share: float | None = None
    mastery: float | None = None


class Belief(NamedTuple):
    """A chance with its interval, all in [0, 1], lower <= value <= upper; the value is the median."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What is believed of one learner.

    Attributes:
        skills: chance that a skill is known, by skill with evidence; (draws,) each.
        unseen: the same for a skill without evidence; (draws,).
        pace: rate of learning, 1 / minute; (draws,).
        weights: of the draws; (draws,), sum 1.
        answers: judged answers that these weights rest on.
        parameters: the version's.
    """

    skills: Mapping[str, Floats]
    unseen: Floats
    pace: Floats
    weights: Floats
    answers: int
    parameters: MasteryParameters

    def mastery(self, skill_id: str) -> Floats:
        """Chance that the skill is known, for each draw; (draws,)."""
        return self.skills.get(skill_id, self.unseen)

    def beliefs(self, chances: Sequence[Floats] | Floats) -> list[Belief]:
        """Median and interval of each row of (n, draws) chances."""
        tail = (1.0 - self.parameters.level) / 2.0
        rows = weighted_quantiles(np.asarray(chances, dtype=np.float64), self.weights, (0.5, tail, 1.0 - tail))
        return [Belief(*row) for row in rows.tolist()]

    def after_lesson(self, known: Floats, minutes: float, difficulty_logit: float = 0.0) -> Floats:
        """Chance that a skill is known after so many minutes of a lesson on it; (draws,) -> (draws,)."""
        eased = minutes * math.exp(-self.parameters.difficulty_slope * difficulty_logit)
        return 1.0 - (1.0 - known) * np.exp(-self.pace * eased)

    def minutes_to(self, known: float, target: float, difficulty_logit: float = 0.0) -> float:
        """Minutes of a lesson after which a median learner who knows the skill with that chance knows it at target."""
        if known >= target:
            return 0.0
        pace = math.exp(self.parameters.pace_log - self.parameters.difficulty_slope * difficulty_logit)
        return math.log((1.0 - known) / (1.0 - target)) / pace


def infer_learner(
    parameters: MasteryParameters,
    practice: Iterable[Practice] = (),
    summaries: Mapping[str, SkillSummary] | None = None,
) -> Learner:
    """What is believed after all that was seen.

    Args:
        parameters: the version's.
        practice: events, the oldest first; those of a skill with a summary come after what it holds.
        summaries: earlier practice by skill.

    >>> learner = infer_learner(MasteryParameters(), [Practice("bls", 0.0, 1.0), Practice("bls", 0.0, 1.0)])
    >>> seen, unseen = learner.beliefs([learner.mastery("bls"), learner.mastery("nrp")])
    >>> round(seen.value, 3), round(unseen.value, 3), unseen.lower < unseen.value < unseen.upper
    (0.958, 0.532, True)
    """
    head_start, pace_step = learner_points()
    prior = _logistic(parameters.prior_logit + parameters.prior_sd * head_start)
    pace = np.exp(parameters.pace_log + parameters.pace_sd * pace_step)
    known: dict[str, Floats] = {}
    log_weight, answers = np.zeros(DRAWS), 0
    for skill_id, summary in (summaries or {}).items():
        known[skill_id], log_chance = _from_summary(prior, summary, parameters)
        log_weight += log_chance
        answers += round(summary.answers)
    for event in practice:
        now = known.get(event.skill_id, prior)
        if event.minutes > 0.0:
            now = 1.0 - (1.0 - now) * np.exp(-pace * event.minutes)
        if event.outcome is not None:
            now, chance = _judge(now, event.outcome, parameters)
            log_weight += np.log(chance)
            answers += 1
        known[event.skill_id] = now
    return Learner(
        skills=known,
        unseen=prior,
        pace=pace,
        weights=_tempered(log_weight),
        answers=answers,
        parameters=parameters,
    )


def weighted_quantiles(values: Floats, weights: Floats, shares: Sequence[float]) -> Floats:
    """Smallest value of each row at which at least that share of the weight lies; (n, k), (k,) -> (n, shares).

    >>> weighted_quantiles(np.array([[3.0, 1.0, 2.0]]), np.array([0.2, 0.2, 0.6]), (0.5, 0.9)).tolist()
    [[2.0, 3.0]]
    """
    order = np.argsort(values, axis=1)
    sums = np.cumsum(weights[order], axis=1)  # (n, k)
    columns = []
    for share in shares:
        at = np.minimum((sums < share * sums[:, -1:] - 1e-12).sum(axis=1), values.shape[1] - 1)
        columns.append(np.take_along_axis(values, np.take_along_axis(order, at[:, None], axis=1), axis=1)[:, 0])
    return np.stack(columns, axis=1)


def parse_mastery(value: Any) -> MasteryParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or out of range.

    >>> parse_mastery({**MasteryParameters().to_json(), "slip": 0.9})
    Traceback (most recent call last):
    ValueError: slip: guess + slip must be below 1, or a right answer would speak against knowing
    """
    if not isinstance(value, Mapping):
        raise ValueError("mastery: not an object")  # noqa: TRY004 - one kind of error for a bad file
    numbers = {}
    for name, (low, high) in _BOUNDS.items():
        number = value.get(name)
        if not isinstance(number, int | float) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"{name}: must be a number from {low} to {high}")
        numbers[name] = float(number)
    if numbers["guess"] + numbers["slip"] >= 1.0:
        raise ValueError("slip: guess + slip must be below 1, or a right answer would speak against knowing")
    return MasteryParameters(**numbers)


_BOUNDS: Final = {
    "prior_logit": (-10.0, 10.0),
    "prior_sd": (0.0, 10.0),
    "pace_log": (-15.0, 5.0),
    "pace_sd": (0.0, 5.0),
    "guess": (0.001, 0.999),
    "slip": (0.001, 0.999),
    "difficulty_slope": (0.0, 5.0),
    "level": (0.5, 0.999),
}


def _from_summary(prior: Floats, summary: SkillSummary, parameters: MasteryParameters) -> tuple[Floats, Floats]:
    """Chance that the skill is known, and log chance of what was answered; both (draws,).

    Order is lost, so what the newest answers say is weighed at once and learning between them is left out.
    """
    if summary.mastery is not None:
        chance = min(max(summary.mastery, SMALLEST), 1.0 - SMALLEST)
        head_start, _ = learner_points()
        spread = parameters.prior_sd / math.sqrt(1.0 + summary.answers)
        return _logistic(math.log(chance / (1.0 - chance)) + spread * head_start), np.zeros(DRAWS)
    count = min(summary.answers, SUMMARY_ANSWERS)
    share = summary.recent_share
    if share is None and summary.correct is not None and summary.answers > 0:
        share = summary.correct / summary.answers
    if share is None or count <= 0:
        return prior, np.zeros(DRAWS)
    right, wrong = share * count, (1.0 - share) * count
    if_known = (1.0 - parameters.slip) ** right * parameters.slip**wrong
    if_not = parameters.guess**right * (1.0 - parameters.guess) ** wrong
    chance_of_it = prior * if_known + (1.0 - prior) * if_not
    return np.clip(prior * if_known / chance_of_it, SMALLEST, 1.0 - SMALLEST), np.log(chance_of_it)


def _judge(known: Floats, outcome: float, parameters: MasteryParameters) -> tuple[Floats, Floats]:
    """Belief after an answer, and the chance of that answer; a share of points counts as that share of right."""
    guess, slip = parameters.guess, parameters.slip
    if_known = (1.0 - slip) ** outcome * slip ** (1.0 - outcome)
    if_not = guess**outcome * (1.0 - guess) ** (1.0 - outcome)
    chance = known * if_known + (1.0 - known) * if_not
    return np.clip(known * if_known / chance, SMALLEST, 1.0 - SMALLEST), chance


def _tempered(log_weight: Floats) -> Floats:
    """Weights exp(t * log_weight), t the largest in [0, 1] that leaves WEIGHTED_DRAWS effective draws."""

    def weights_at(temper: float) -> Floats:
        weights: Floats = np.exp(temper * (log_weight - log_weight.max()))
        share: Floats = weights / weights.sum()
        return share

    weights = weights_at(1.0)
    if 1.0 / float(weights @ weights) >= WEIGHTED_DRAWS:
        return weights
    low, high = 0.0, 1.0
    for _ in range(20):  # 2^-20 of the exponent
        middle = (low + high) / 2.0
        weights = weights_at(middle)
        low, high = (middle, high) if 1.0 / float(weights @ weights) >= WEIGHTED_DRAWS else (low, middle)
    return weights_at(low)


@lru_cache(maxsize=1)
def learner_points() -> tuple[Floats, Floats]:
    """DRAWS pairs of standard normal scores that fill the plane evenly: Roberts' R2 sequence; (draws,) each."""
    number = np.arange(1, DRAWS + 1)
    even = [(0.5 + number / _PLASTIC ** (axis + 1)) % 1.0 for axis in range(2)]
    scores = [np.array([normal().inv_cdf(float(share)) for share in column]) for column in even]
    centred = [(column - column.mean()) / column.std() for column in scores]
    for column in centred:
        column.setflags(write=False)  # shared by all who ask
    return centred[0], centred[1]


def _logistic(logit: Floats | float) -> Floats:
    """1 / (1 + e^-logit), never 0 or 1."""
    return np.clip(1.0 / (1.0 + np.exp(-np.asarray(logit, dtype=np.float64))), SMALLEST, 1.0 - SMALLEST)
