"""Older answers of a learner as the memory and the ability they leave in each skill, by the methods' own functions.

What an answer says of memory and ability hangs on a version's parameters (how hard the item is, how fast the skill is
forgotten). A snapshot takes those of the registry's champions, and its version says which (training/snapshot.py). Days
of stability and logits of ability mean the same to every version, so one with other parameters reads them as it reads
what a caller has stored of an earlier answer.
Not here: which answers are older, and the message (learners.py).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from methods.learning.item_response import Ability, DifficultyParameters, ItemAnswer, estimate_ability, known_item
from methods.learning.memory import KINDS, KNOWLEDGE, MemoryParameters, SkillAnswer, fold_history, new_states

Answer = tuple[str, str, bool, float, float]
"""One answer: skill_id, item_id, correct, days since 1970, seconds spent or NaN."""


class Folding(NamedTuple):
    """With what older answers are folded.

    Attributes:
        memory: the parameters of a version of `schedule`.
        difficulty: those of a version of `difficulty`.
    """

    memory: MemoryParameters
    difficulty: DifficultyParameters


PRIOR = Folding(MemoryParameters(), DifficultyParameters())
"""Published figures: what a registry without champions goes by."""


class FoldedSkill(NamedTuple):
    """What is left of the older answers in one skill, as of the last of them.

    Attributes:
        stability_days: median, days.
        memory_difficulty: 1 to 10.
        ability: of all of them at once; its interval is left out.
    """

    stability_days: float
    memory_difficulty: float
    ability: Ability


def fold_older(older: Sequence[Answer], kinds: Mapping[str, str], folding: Folding) -> dict[str, FoldedSkill]:
    """One learner's older answers by skill.

    Args:
        older: all answers from the first one on, oldest first.
        kinds: SkillKind's names without prefix by skill_id; a skill without one counts as knowledge, as in a request.
        folding: the parameters.
    """
    places = {skill_id: place for place, skill_id in enumerate(dict.fromkeys(answer[0] for answer in older))}
    numbers = {name: number for number, name in enumerate(KINDS)}
    kind = np.array([numbers.get(kinds.get(skill_id, ""), KNOWLEDGE) for skill_id in places], dtype=np.int64)
    asked: dict[str, list[tuple[str, bool, float]]] = {}
    history = []
    for skill_id, item_id, correct, days, _ in older:
        asked.setdefault(skill_id, []).append((item_id, correct, days))
        history.append(SkillAnswer(skill=places[skill_id], day=days, score=float(correct), item_id=item_id))
    states = fold_history(new_states(kind, folding.memory, list(places)), history, (0.0, 0.0), folding.memory)
    return {
        skill_id: FoldedSkill(
            stability_days=float(states.stability_days[place]),
            memory_difficulty=float(states.difficulty[place]),
            ability=_ability(asked[skill_id], folding.difficulty),
        )
        for skill_id, place in places.items()
    }


def _ability(answers: Sequence[tuple[str, bool, float]], parameters: DifficultyParameters) -> Ability:
    """Ability as of the last of these answers."""
    last = answers[-1][2]
    return estimate_ability(
        [
            ItemAnswer(item=known_item(parameters, item_id), score=float(correct), age_days=last - days)
            for item_id, correct, days in answers
        ],
        parameters,
    )
