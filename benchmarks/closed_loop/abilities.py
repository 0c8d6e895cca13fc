"""AdjustDifficulty examining learners whose ability is known, with items calibrated on others.

Richer than the policy's model (two parameters an item): some right answers are guessed and some wrong ones slips.
Ranges, drawn for each seed: guess 0 to 0.25 (free answer to four options), slip 0 to 0.05, log spread of
discriminations 0.2 to 0.5, spread of difficulties 0.7 to 1.3 logits, JUDGEMENT; abilities are normal.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from benchmarks.closed_loop.comparison import Answered, Floats, Kind, Policy, SeedResult
from methods.learning.item_response import (
    Ability,
    DifficultyParameters,
    Item,
    ItemAnswer,
    estimate_ability,
    item_chance,
    rank_for_assessment,
)
from training.learning.difficulty import Answers, fit_difficulty

CALIBRATED, ITEMS, EXAMINED, LENGTH = 500, 40, 200, 15


def run(seed: int) -> SeedResult:
    """One bank of items: calibrated on some, used on others in adaptive order."""
    rng = np.random.default_rng([seed, 61])
    guess, slip = rng.uniform(0.0, 0.25), rng.uniform(0.0, 0.05)
    slope = np.exp(rng.uniform(0.2, 0.5) * rng.standard_normal(ITEMS))
    place = rng.uniform(0.7, 1.3) * rng.standard_normal(ITEMS)

    def chances(ability: Floats) -> Floats:
        """(n, items) true chance of a right answer."""
        known = 1.0 / (1.0 + np.exp(-slope * (ability[:, None] - place)))
        return np.asarray(guess + (1.0 - slip - guess) * known, dtype=np.float64)

    others = chances(rng.standard_normal(CALIBRATED))
    subject, item = (part.ravel() for part in np.indices(others.shape))
    names = [f"i{number}" for number in range(ITEMS)]
    version = fit_difficulty(
        Answers(
            subject=subject,
            item=item,
            correct=(rng.random(others.shape) < others).astype(np.float64).ravel(),
            day=np.zeros(subject.size),
            item_ids=names,
        ),
        rng=rng,
    ).parameters
    bank = [version.items[name] for name in names]
    ability = rng.standard_normal(EXAMINED)
    truth = chances(ability)
    told: list[Ability] = []
    chance: list[tuple[float, float, float, float]] = []
    for person in range(EXAMINED):
        found, left = _examine(version, bank, truth[person], rng)
        posterior = estimate_ability(found, version)
        told.append(posterior)
        for number in left:
            said = item_chance(posterior, bank[number], version)
            chance.append((said.value, said.lower, said.upper, float(truth[person, number])))
    ends = np.array([each.interval(version.level) for each in told])
    value, lower, upper, true_chance = np.array(chance).T
    return SeedResult(
        answers={
            "ability": Answered(
                value=np.array([each.mean for each in told]), lower=ends[:, 0], upper=ends[:, 1], truth=ability
            ),
            "right_answer": Answered(value=value, lower=lower, upper=upper, truth=true_chance, kind=Kind.TENTHS),
            "right_answer_each": Answered(value=value, lower=lower, upper=upper, truth=true_chance),
        },
        figures={"guess": guess},
    )


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """Nothing is compared."""
    raise AssertionError((alternative, figures))


POLICY: Final = Policy(name="difficulty", gains={}, run=run, why=why)


def _examine(
    version: DifficultyParameters, bank: list[Item], chances: Floats, rng: np.random.Generator
) -> tuple[list[ItemAnswer], list[int]]:
    """Answers to the items that say most, one after the other; and the items that were not asked."""
    left, answers, ability = list(range(len(bank))), [], Ability()
    for _ in range(LENGTH):
        number = left.pop(rank_for_assessment(ability, [bank[one] for one in left])[0])
        answers.append(ItemAnswer(item=bank[number], score=float(rng.random() < chances[number])))
        ability = estimate_ability(answers, version)
    return answers, left
