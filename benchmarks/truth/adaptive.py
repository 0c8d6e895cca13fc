"""AdjustDifficulty on real answers: how many items the adaptive order saves over a random one at equal ability error.

Half of the persons, drawn by the seed, calibrate the items (training.learning.difficulty); the other half are examined
with answers that they really gave, by the functions that the server runs. The error of an order after k items is the
root mean squared distance of its ability estimates from those of the whole exam.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment
from benchmarks.truth.answer_matrix import AnswerMatrix, read_answer_matrix
from methods.learning.item_response import (
    Ability,
    DifficultyParameters,
    Item,
    ItemAnswer,
    estimate_ability,
    item_chance,
    rank_for_assessment,
)
from methods.statistics.scores import auc, calibration_error
from training.learning.difficulty import Answers, fit_difficulty

PACKAGES = ("numpy", "scipy", "pandas")
MOST_EXAMINED = 1_500  # held-out persons; more narrow the interval and nothing else
RANDOM_ORDERS = 5
DRAWS = 500  # of persons, for the interval
LEAST_PERSONS, LEAST_ITEMS = 50, 5
LENGTHS = {"quarter": 0.25, "half": 0.5, "three_quarters": 0.75}  # of the exam, in random order
ANCHORS = {"items_saved": Anchor(at_least=0.32, source="a real exam of 28 items, 2PL: 32-39 % fewer")}
Floats = NDArray[np.float64]


def measure(folder: Path, seed: int = 0) -> Report:
    """Calibrates on one half of the persons and examines the other.

    Raises:
        FileNotFoundError: the folder holds no answer matrix.
        ValueError: too few persons or items, or a cell is not 0, 1 or empty.
    """
    matrix = read_answer_matrix(folder)
    rng = np.random.default_rng(seed)
    length = _exam_length(matrix)
    order = rng.permutation(matrix.answers.shape[0])
    calibration, held_out = order[: order.size // 2], order[order.size // 2 :]
    parameters = fit_difficulty(_answers_of(matrix, calibration), rng=rng).parameters
    items = [parameters.items.get(name, parameters.average) for name in matrix.item_ids]
    can_sit = held_out[np.sum(~np.isnan(matrix.answers[held_out]), axis=1) >= length][:MOST_EXAMINED]
    if can_sit.size < LEAST_PERSONS // 2:
        raise ValueError(
            f"{can_sit.size} held-out persons answered {length} items or more; {LEAST_PERSONS // 2} needed"
        )
    adaptive = np.empty((can_sit.size, length + 1))
    random = np.empty((RANDOM_ORDERS, can_sit.size, length + 1))
    for place, person in enumerate(can_sit):
        asked = np.flatnonzero(~np.isnan(matrix.answers[person]))
        scores = matrix.answers[person]
        whole = _examine(asked, scores, items, parameters).mean
        adaptive[place] = _errors_adaptive(asked, scores, items, parameters, length) - whole
        for draw in range(RANDOM_ORDERS):
            random[draw, place] = _errors_in_order(rng.permutation(asked), scores, items, parameters, length) - whole
    return Report(
        benchmark="truth.adaptive",
        data=f"{matrix.answers.shape[0]:,} persons, {len(items):,} items; {can_sit.size:,} examined, held out",
        metrics={
            **_savings(adaptive**2, (random**2).mean(axis=0), rng),
            **_prediction(matrix, held_out, items, parameters),
            "persons.calibrated": float(calibration.size),
            "persons.examined": float(can_sit.size),
            "items.exam": float(length),
        },
        anchors=ANCHORS,
        environment=describe_environment(PACKAGES),
    )


def items_saved(adaptive: Floats, random: Floats, length: float) -> float:
    """Share of items that the adaptive order saves at the error that `length` items in random order reach.

    Args:
        adaptive: (k + 1,) error after 0, 1, ... k items.
        random: (k + 1,) the same.
        length: items in random order, above 0, at most k; between whole numbers the error is linear.
    Returns: 1 - items needed / length; negative when the adaptive order needs more; NaN when it never gets there.

    >>> float(items_saved(np.array([1.0, 0.5, 0.0]), np.array([1.0, 0.75, 0.5]), 2.0))
    0.5
    """
    target = np.interp(length, np.arange(random.size), random)
    reached = np.flatnonzero(adaptive <= target)
    if not reached.size:
        return float("nan")
    first = int(reached[0])
    if first == 0:
        return 1.0
    before, after = adaptive[first - 1], adaptive[first]
    return float(1.0 - (first - 1 + (before - target) / (before - after)) / length)


def _exam_length(matrix: AnswerMatrix) -> int:
    """Items that an exam can have: as many as half of the persons answered.

    Raises: ValueError: too few persons or items.
    """
    persons, items = matrix.answers.shape
    length = int(np.median(np.sum(~np.isnan(matrix.answers), axis=1))) if persons else 0
    if persons < LEAST_PERSONS or min(items, length) < LEAST_ITEMS:
        raise ValueError(
            f"{persons} persons answered {length} of {items} items (median); "
            f"at least {LEAST_PERSONS} persons and {LEAST_ITEMS} items are needed"
        )
    return length


def _answers_of(matrix: AnswerMatrix, persons: NDArray[np.int64]) -> Answers:
    """The persons' answers as the fit takes them; all in one sitting."""
    part = matrix.answers[persons]
    subject, item = np.nonzero(~np.isnan(part))
    return Answers(
        subject=subject.astype(np.int64),
        item=item.astype(np.int64),
        correct=part[subject, item],
        day=np.zeros(subject.size),
        item_ids=matrix.item_ids,
    )


def _examine(asked: NDArray[np.int64], scores: Floats, items: list[Item], parameters: DifficultyParameters) -> Ability:
    return estimate_ability([ItemAnswer(item=items[j], score=float(scores[j])) for j in asked], parameters)


def _errors_adaptive(
    asked: NDArray[np.int64], scores: Floats, items: list[Item], parameters: DifficultyParameters, length: int
) -> Floats:
    """(length + 1,) ability estimates when each item is the one that says most."""
    left, answers, ability = [int(j) for j in asked], [], Ability()
    means = [ability.mean]
    for _ in range(length):
        chosen = left.pop(rank_for_assessment(ability, [items[j] for j in left])[0])
        answers.append(ItemAnswer(item=items[chosen], score=float(scores[chosen])))
        ability = estimate_ability(answers, parameters)
        means.append(ability.mean)
    return np.array(means)


def _errors_in_order(
    order: NDArray[np.int64], scores: Floats, items: list[Item], parameters: DifficultyParameters, length: int
) -> Floats:
    """(length + 1,) ability estimates when the items come in a given order."""
    return np.array([_examine(order[:k], scores, items, parameters).mean for k in range(length + 1)])


def _savings(adaptive: Floats, random: Floats, rng: np.random.Generator) -> dict[str, float]:
    """Items saved at each length and their mean, with a 90 % interval over persons; squared errors (persons, k + 1)."""
    last = adaptive.shape[1] - 1

    def saved(rows: NDArray[np.int64]) -> list[float]:
        curves = np.sqrt(adaptive[rows].mean(axis=0)), np.sqrt(random[rows].mean(axis=0))
        return [items_saved(*curves, share * last) for share in LENGTHS.values()]

    people = adaptive.shape[0]
    everybody = np.arange(people)
    values = saved(everybody)
    draws = np.array([np.mean(saved(rng.choice(everybody, size=people))) for _ in range(DRAWS)])
    low, high = np.quantile(draws, [0.05, 0.95])
    half = round(last / 2)
    return {
        "items_saved": float(np.mean(values)),
        "items_saved_lower": float(low),
        "items_saved_upper": float(high),
        **{f"items_saved.{name}": value for name, value in zip(LENGTHS, values, strict=True)},
        "error.random_half": float(np.sqrt(random[:, half].mean())),
        "error.adaptive_half": float(np.sqrt(adaptive[:, half].mean())),
    }


def _prediction(
    matrix: AnswerMatrix, persons: NDArray[np.int64], items: list[Item], parameters: DifficultyParameters
) -> dict[str, float]:
    """How well the ability from the other answers foretells the last third of a held-out person's answers."""
    outcome, chance = [], []
    for person in persons[:MOST_EXAMINED]:
        asked = np.flatnonzero(~np.isnan(matrix.answers[person]))
        known, hidden = asked[asked % 3 != 0], asked[asked % 3 == 0]
        ability = _examine(known, matrix.answers[person], items, parameters)
        chance += [item_chance(ability, items[j], parameters).value for j in hidden]
        outcome += [float(matrix.answers[person, j]) for j in hidden]
    return {"prediction.auc": auc(outcome, chance), "prediction.ece": calibration_error(outcome, chance)}
