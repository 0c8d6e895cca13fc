"""Ability and difficulty: the two-parameter logistic model, what is known of a learner, which item to show next.

P(right) = 1 / (1 + exp(-a (ability - b))), ability in logits with mean 0 and standard deviation 1 among learners, b the
item's difficulty, a its discrimination. An item that few have answered is itself uncertain: its slope is damped where
it tells of the learner, and the interval of its chance is wider.
Sources: Birnbaum 1968 (2PL, information); Bock and Mislevy 1982, Appl Psychol Meas 6:431 (posterior mean by
quadrature); MacKay 1992, Neural Comput 4:720 (damped slope); Pelánek 2016, Comput Educ 98:169 (Elo for new items).
Pure. Not here: how items are fitted (training/learning/difficulty.py); what a learner forgets (memory.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.statistics.normal import normal

CALIBRATED_ANSWERS = 200  # the contract: below it each answer still moves an item
TARGET_SUCCESS = 0.75  # the contract's defaults from here on
BAND_BELOW, BAND_ABOVE = 0.05, 0.10  # practice between 0.70 and 0.85 for a target of 0.75
STOP_STANDARD_ERROR = 0.3
MAX_ASSESSMENT_ITEMS = 30
SAME_LOGITS = 0.25  # a next item within this of the last one is no change of direction
STANDARD_PRIOR_ERROR = 1.0  # of the ability of a learner of whom nothing is known: the scale's own definition
LARGEST_LOGIT = 10.0  # the contract's range of abilities and difficulties
ELO_FIRST_STEP, ELO_SLOWING = 1.0, 0.05  # Pelánek 2016, uncertainty function 1 / (1 + 0.05 n)
ANSWER_INFORMATION = 0.18  # mean of P (1 - P) over abilities N(0, 1) at a = 1, b = 0 is 0.207; less off the centre
_NODES = np.linspace(-6.0, 6.0, 97)  # standard deviations of the prior; 161 nodes change no mean by 1e-6
_LOG_WEIGHTS = -0.5 * _NODES**2
_HERMITE, _HERMITE_WEIGHTS = (tuple(part.tolist()) for part in np.polynomial.hermite_e.hermegauss(15))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item's parameters.

    Attributes:
        difficulty_logit: b, -10 to 10.
        discrimination: a, above 0.
        calibration_answers: answers behind the two.
    """

    difficulty_logit: float = 0.0
    discrimination: float = 1.0
    calibration_answers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What is known of a learner's ability in one skill; without arguments, of a learner who answered nothing.

    Attributes:
        mean: posterior mean, logits.
        standard_error: posterior standard deviation, logits.
        lower: lower end of the central interval, logits; of a normal posterior at 90 % unless it was worked out.
        upper: its upper end.
    """

    mean: float = 0.0
    standard_error: float = STANDARD_PRIOR_ERROR
    lower: float | None = None
    upper: float | None = None

    def interval(self, level: float) -> tuple[float, float]:
        """The central interval: as worked out, else that of a normal posterior."""
        if self.lower is not None and self.upper is not None:
            return self.lower, self.upper
        reach = normal_reach(level) * self.standard_error
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemAnswer:
    """One judged answer: the item, how right it was (0 to 1) and how many days ago (0 or more)."""

    item: Item
    score: float
    age_days: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DifficultyParameters:
    """What a version knows.

    Attributes:
        items: parameters by item id.
        average: an item of which nothing is known; its `calibration_answers` is 0.
        difficulty_sd: standard deviation of difficulties among items, logits.
        half_life_days: an answer counts half after so many days; None: answers never age.
        level: probability that intervals are meant to hold.
        observations: answers the version was fitted on; 0 for published figures alone.
    """

    items: Mapping[str, Item] = field(default_factory=dict)
    average: Item = field(default_factory=Item)
    difficulty_sd: float = 1.0
    half_life_days: float | None = None
    level: float = 0.9
    observations: int = 0

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {
            "items": {name: _item_row(item) for name, item in self.items.items()},
            "average": _item_row(self.average),
            "difficulty_sd": self.difficulty_sd,
            "half_life_days": self.half_life_days,
            "level": self.level,
            "observations": self.observations,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemChance:
    """Chance of a right answer to one item: posterior median and interval in [0, 1]; information in 1 / logit^2."""

    value: float
    lower: float
    upper: float
    information: float


class Stop(Enum):
    """Whether an assessment goes on, in the contract's words."""

    CONTINUE = "CONTINUE"
    PRECISE = "PRECISE"
    MAX_ITEMS = "MAX_ITEMS"
    NO_ITEMS = "NO_ITEMS"


class Direction(Enum):
    """Where the difficulty should go, in the contract's words."""

    EASIER = "EASIER"
    SAME = "SAME"
    HARDER = "HARDER"


def parse_parameters(value: Any) -> DifficultyParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_parameters({"items": {"i1": [0.2, -1.0, 50]}})
    Traceback (most recent call last):
    ValueError: items.i1: must be [difficulty, discrimination above 0, answers 0 or more]
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    items = value.get("items", {})
    if not isinstance(items, Mapping):
        raise ValueError("items: not an object")  # noqa: TRY004 - as above
    half_life = value.get("half_life_days")
    return DifficultyParameters(
        items={str(name): _parse_item(f"items.{name}", row) for name, row in items.items()},
        average=_parse_item("average", value.get("average", [0.0, 1.0, 0])),
        difficulty_sd=_positive(value, "difficulty_sd", 1.0),
        half_life_days=None if half_life is None else _positive(value, "half_life_days", 1.0),
        level=_positive(value, "level", 0.9, below=1.0),
        observations=int(_positive(value, "observations", 0.0, or_zero=True)),
    )


def known_item(
    parameters: DifficultyParameters,
    item_id: str,
    *,
    difficulty_logit: float | None = None,
    discrimination: float | None = None,
    calibration_answers: int | None = None,
) -> Item:
    """An item as a request gives it; what it leaves out is the version's own, else that of an average item.

    >>> version = DifficultyParameters(items={"i1": Item(difficulty_logit=0.5, calibration_answers=300)})
    >>> known_item(version, "i1", discrimination=1.2)
    Item(difficulty_logit=0.5, discrimination=1.2, calibration_answers=300)
    >>> known_item(version, "new").calibration_answers
    0
    """
    own = parameters.items.get(item_id, parameters.average)
    return Item(
        difficulty_logit=own.difficulty_logit if difficulty_logit is None else difficulty_logit,
        discrimination=own.discrimination if discrimination is None else discrimination,
        calibration_answers=own.calibration_answers if calibration_answers is None else calibration_answers,
    )


def difficulty_error(item: Item, difficulty_sd: float) -> float:
    """Standard error of an item's difficulty, in logits: the spread among items, narrowed by its answers.

    >>> difficulty_error(Item(), 0.8), round(difficulty_error(Item(calibration_answers=200), 0.8), 3)
    (0.8, 0.163)
    """
    learned = ANSWER_INFORMATION * item.discrimination**2 * item.calibration_answers
    return 1.0 / math.sqrt(1.0 / difficulty_sd**2 + learned)


def estimate_ability(
    answers: Sequence[ItemAnswer], parameters: DifficultyParameters, prior: Ability | None = None
) -> Ability:
    """Ability after answers: posterior mean, standard deviation and central interval, by quadrature.

    Args:
        answers: judged answers in the skill, in any order; an answer of age t counts 2^(-t / half life).
        parameters: the version's.
        prior: what was known before these answers; None means a learner of whom nothing is known.
    Returns: the posterior; the prior itself, with its interval, without answers.
    Source: Bock and Mislevy 1982.

    >>> item = Item(difficulty_logit=0.0, discrimination=1.0, calibration_answers=10_000)
    >>> right = estimate_ability([ItemAnswer(item=item, score=1.0)], DifficultyParameters())
    >>> round(right.mean, 3), round(right.standard_error, 3)
    (0.413, 0.911)
    """
    prior = prior or Ability()
    if not answers:
        low, high = prior.interval(parameters.level)
        return Ability(mean=prior.mean, standard_error=prior.standard_error, lower=low, upper=high)
    nodes, told = _told(answers, parameters, prior)
    return _summary(nodes, _LOG_WEIGHTS + told.sum(axis=0), parameters.level)


def answer_effects(
    answers: Sequence[ItemAnswer], parameters: DifficultyParameters, prior: Ability | None = None, *, newest: int
) -> list[float]:
    """How much each of the last `newest` answers moved the ability: its mean with all answers less that without it.

    Args:
        answers: as for `estimate_ability`, the newest last.
        parameters: the version's.
        prior: what was known before these answers.
        newest: how many of the last to look at.
    Returns: logits, one for each of them, in their order; all posteriors come from one pass over the answers.
    """
    prior = prior or Ability()
    if not answers:
        return []
    nodes, told = _told(answers, parameters, prior)
    whole = _LOG_WEIGHTS + told.sum(axis=0)
    mean = _summary(nodes, whole, parameters.level).mean
    return [mean - _summary(nodes, whole - part, parameters.level).mean for part in told[-newest:]]


def fold_ability(
    ability: Ability, answer: ItemAnswer, elapsed_days: float, parameters: DifficultyParameters
) -> Ability:
    """One answer folded into a stored state: the same posterior as a mean and a standard error alone.

    What was known ages over `elapsed_days`, then the answer is added. States built answer by answer are equal however
    the answers were cut into parts. `estimate_ability` on all answers at once is exact; a test bounds the difference.
    Source: Minka 2001 (assumed-density filtering).
    """
    aged = age_ability(ability, elapsed_days, parameters)
    mean, error = aged.mean, aged.standard_error
    slope, difficulty, score, _ = _evidence(answer, parameters)
    total = first = second = 0.0
    for node, weight in zip(_HERMITE, _HERMITE_WEIGHTS, strict=True):
        logit = slope * (mean + error * node - difficulty)
        log_right = -_softplus(-logit)
        mass = weight * math.exp(log_right - (1.0 - score) * logit)
        total += mass
        first += mass * node
        second += mass * node * node
    shift = first / total
    return Ability(
        mean=min(LARGEST_LOGIT, max(-LARGEST_LOGIT, mean + error * shift)),
        standard_error=error * math.sqrt(max(second / total - shift * shift, 1e-6)),
    )


def age_ability(ability: Ability, elapsed_days: float, parameters: DifficultyParameters) -> Ability:
    """A stored state so many days later: what answers added to its precision fades with the version's half-life.

    A state less certain than that of a learner of whom nothing is known (another service's figure) is left as it is.

    >>> old = age_ability(Ability(mean=1.0, standard_error=0.5), 90.0, DifficultyParameters(half_life_days=90.0))
    >>> round(old.mean, 3), round(old.standard_error, 3)
    (0.8, 0.632)
    """
    half_life = parameters.half_life_days
    precision, base = ability.standard_error**-2, STANDARD_PRIOR_ERROR**-2
    if half_life is None or elapsed_days <= 0 or precision <= base:
        return ability
    kept = 0.5 ** (elapsed_days / half_life)
    aged = base + (precision - base) * kept
    return Ability(mean=ability.mean * precision * kept / aged, standard_error=1.0 / math.sqrt(aged))


def item_chance(ability: Ability, item: Item, parameters: DifficultyParameters) -> ItemChance:
    """Chance of a right answer with its interval, and the Fisher information at the present ability.

    The interval holds what is not known of the learner and of the item.

    >>> chance = item_chance(Ability(), Item(difficulty_logit=-1.0, calibration_answers=5_000), DifficultyParameters())
    >>> round(chance.value, 3), round(chance.information, 3)
    (0.731, 0.197)
    """
    a, b = item.discrimination, item.difficulty_logit
    reach = normal_reach(parameters.level) * math.hypot(
        ability.standard_error, difficulty_error(item, parameters.difficulty_sd)
    )
    value = logistic(a * (ability.mean - b))
    return ItemChance(
        value=value,
        lower=logistic(a * (ability.mean - reach - b)),
        upper=logistic(a * (ability.mean + reach - b)),
        information=a * a * value * (1.0 - value),
    )


def rank_for_assessment(ability: Ability, items: Sequence[Item]) -> list[int]:
    """Places of the items, most information at the present ability first; ties in the given order.

    Source: Lord 1980 (maximum information). Minimum expected variance and posterior-weighted information saved no item
    more on simulated exams of 28.
    """
    a, b = _columns(items)
    chance = _logistic_column(a * (ability.mean - b))
    return [int(place) for place in np.argsort(-(a * a * chance * (1.0 - chance)), kind="stable")]


def rank_for_practice(ability: Ability, items: Sequence[Item], target: float = TARGET_SUCCESS) -> list[int]:
    """Places of the items: those within the band around the target first, each part by distance from the target.

    >>> items = [Item(difficulty_logit=b) for b in (-3.0, 0.0, -1.2, -1.0)]
    >>> rank_for_practice(Ability(), items)
    [2, 3, 0, 1]
    """
    a, b = _columns(items)
    chance = _logistic_column(a * (ability.mean - b))
    outside = (chance < target - BAND_BELOW) | (chance > target + BAND_ABOVE)
    return [int(place) for place in np.lexsort((np.abs(chance - target), outside))]


def practice_difficulty(ability: Ability, discrimination: float = 1.0, target: float = TARGET_SUCCESS) -> float:
    """Difficulty at which an item is answered right with the target chance, in logits, kept to -10 to 10.

    >>> round(practice_difficulty(Ability(mean=0.5)), 3)
    -0.599
    """
    difficulty = ability.mean - math.log(target / (1.0 - target)) / discrimination
    return min(LARGEST_LOGIT, max(-LARGEST_LOGIT, difficulty))


def direction(next_difficulty_logit: float, last_difficulty_logit: float) -> Direction:
    """Where to go from the item shown last.

    >>> direction(0.5, 0.0), direction(0.25, 0.0)
    (<Direction.HARDER: 'HARDER'>, <Direction.SAME: 'SAME'>)
    """
    step = next_difficulty_logit - last_difficulty_logit
    if abs(step) <= SAME_LOGITS:
        return Direction.SAME
    return Direction.HARDER if step > 0 else Direction.EASIER


def decide_stop(
    standard_error: float,
    asked: int,
    left: int,
    *,
    stop_standard_error: float = STOP_STANDARD_ERROR,
    max_items: int = MAX_ASSESSMENT_ITEMS,
) -> Stop:
    """Whether an assessment goes on, after `asked` items and with `left` that may still be shown."""
    if standard_error <= stop_standard_error:
        return Stop.PRECISE
    if asked >= max_items:
        return Stop.MAX_ITEMS
    return Stop.CONTINUE if left else Stop.NO_ITEMS


def move_item(item: Item, score: float, ability: Ability) -> Item:
    """An item after one answer: its difficulty falls when it was right, less the more answers it has had.

    Calibrated items stay. The expected chance is averaged over what is not known of the learner, so that answers of
    strangers do not drag the difficulty to the middle.
    Source: Pelánek 2016.

    >>> move_item(Item(), 1.0, Ability(standard_error=0.1)).difficulty_logit < -0.49
    True
    >>> move_item(Item(calibration_answers=200), 1.0, Ability()) == Item(calibration_answers=200)
    True
    """
    if item.calibration_answers >= CALIBRATED_ANSWERS:
        return item
    slope = damped_slope(item.discrimination, ability.standard_error)
    surprise = score - logistic(slope * (ability.mean - item.difficulty_logit))
    step = ELO_FIRST_STEP / (1.0 + ELO_SLOWING * item.calibration_answers)
    moved = item.difficulty_logit - step * surprise
    return Item(
        difficulty_logit=min(LARGEST_LOGIT, max(-LARGEST_LOGIT, moved)),
        discrimination=item.discrimination,
        calibration_answers=item.calibration_answers + 1,
    )


def damped_slope(discrimination: float, error: float) -> float:
    """Slope of the chance averaged over a normal error in ability or difficulty. Source: MacKay 1992, eq. 11."""
    return discrimination / math.sqrt(1.0 + math.pi / 8.0 * (discrimination * error) ** 2)


def normal_reach(level: float) -> float:
    """Standard errors from the centre to the ends of a normal's central interval."""
    return 1.6448536269514722 if level == 0.9 else normal().inv_cdf(0.5 + level / 2.0)


def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit)), at any size."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    power = math.exp(logit)
    return power / (1.0 + power)


def _evidence(answer: ItemAnswer, parameters: DifficultyParameters) -> tuple[float, float, float, float]:
    """Slope, difficulty, score and weight with which an answer tells of the ability."""
    item = answer.item
    slope = damped_slope(item.discrimination, difficulty_error(item, parameters.difficulty_sd))
    half_life = parameters.half_life_days
    weight = 1.0 if half_life is None else 0.5 ** (answer.age_days / half_life)
    return slope, item.difficulty_logit, answer.score, weight


def _told(
    answers: Sequence[ItemAnswer], parameters: DifficultyParameters, prior: Ability
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Abilities in logits, (nodes,), and the log-likelihood that each answer adds there, (answers, nodes)."""
    slope, difficulty, score, weight = np.array([_evidence(answer, parameters) for answer in answers]).T
    nodes = prior.mean + prior.standard_error * _NODES
    logit = slope[:, None] * (nodes - difficulty[:, None])  # (answers, nodes)
    log_right = -np.logaddexp(0.0, -logit)
    return nodes, weight[:, None] * (log_right - (1.0 - score)[:, None] * logit)


def _summary(nodes: NDArray[np.float64], log_posterior: NDArray[np.float64], level: float) -> Ability:
    """Mean, standard deviation and central interval of a posterior on equally spaced nodes, (nodes,) each."""
    mass = np.exp(log_posterior - log_posterior.max())
    mass /= mass.sum()
    mean = float(mass @ nodes)
    error = math.sqrt(max(float(mass @ (nodes - mean) ** 2), 1e-12))
    edges = np.cumsum(mass) - 0.5 * mass  # distribution function at the nodes
    low, high = np.interp([0.5 - level / 2.0, 0.5 + level / 2.0], edges, nodes)
    return Ability(mean=mean, standard_error=error, lower=min(float(low), mean), upper=max(float(high), mean))


def _columns(items: Sequence[Item]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Discriminations and difficulties, (n,) each."""
    n = len(items)
    return (
        np.fromiter((item.discrimination for item in items), np.float64, n),
        np.fromiter((item.difficulty_logit for item in items), np.float64, n),
    )


def _logistic_column(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) -> (n,); halves of tanh never overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logit)


def _softplus(logit: float) -> float:
    """log(1 + exp(logit)), at any size."""
    return max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))


def _item_row(item: Item) -> list[float | int]:
    return [item.difficulty_logit, item.discrimination, item.calibration_answers]


def _parse_item(name: str, row: Any) -> Item:
    """An item from [difficulty, discrimination, answers]."""
    is_row = isinstance(row, list) and len(row) == 3 and all(_is_number(entry) for entry in row)
    if not is_row or abs(row[0]) > LARGEST_LOGIT or row[1] <= 0 or row[2] < 0 or row[2] != int(row[2]):
        raise ValueError(f"{name}: must be [difficulty, discrimination above 0, answers 0 or more]")
    return Item(difficulty_logit=float(row[0]), discrimination=float(row[1]), calibration_answers=int(row[2]))


def _positive(
    value: Mapping[str, Any], name: str, default: float, *, below: float = math.inf, or_zero: bool = False
) -> float:
    """A finite number above 0 (or 0)."""
    number = value.get(name, default)
    if not _is_number(number) or not (0 < number < below or (or_zero and number == 0)):
        raise ValueError(f"{name}: must be a finite number above 0" + (f" and below {below:g}" * (below < math.inf)))
    return float(number)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
