"""What there is to learn: skills in topics, prerequisites, lessons and items, the same for every user.

The items' true difficulty is hidden state: tables carry only their author's guess.
Not here: who learns it (studying.py).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.parameters import MemoryParameters
from training.data.simulator.tabulate import tabulate

TOPICS = (
    # topic, kind, certification, skills, criticality: the chapters of the pediatric and newborn courses. JUDGEMENT
    ("compressions", "PSYCHOMOTOR", "BLS", 3, 1.0),
    ("ventilation", "PSYCHOMOTOR", "BLS", 3, 1.0),
    ("defibrillation", "PSYCHOMOTOR", "BLS", 2, 0.8),
    ("airway", "PSYCHOMOTOR", "PALS", 3, 0.9),
    ("vascular_access", "PSYCHOMOTOR", "PALS", 2, 0.7),
    ("rhythms", "KNOWLEDGE", "PALS", 3, 0.7),
    ("drugs", "KNOWLEDGE", "PALS", 3, 0.8),
    ("shock", "KNOWLEDGE", "PALS", 2, 0.7),
    ("newborn_first_minute", "PSYCHOMOTOR", "NRP", 3, 1.0),
    ("newborn_assessment", "KNOWLEDGE", "NRP", 2, 0.8),
    ("leadership", "TEAM", "PALS", 2, 0.6),
    ("handover", "TEAM", "BLS", 2, 0.5),
)
ITEMS_A_SKILL = 20
LESSONS_A_SKILL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The catalogue with its hidden side.

    Attributes:
        tables: skills, prerequisites, lessons, items.
        skill_stability_days: (skills,), median stability of the skill's kind.
        skill_log_sd: (skills,), its spread between persons.
        skill_certification: (skills,), code of the certification that tests it.
        item_skill: (items,), index of the skill an item tests; items of skill s are s * 20 to s * 20 + 19.
        item_difficulty: (items,), logits.
    """

    tables: dict[str, pa.Table]
    skill_stability_days: NDArray[np.float64]
    skill_log_sd: NDArray[np.float64]
    skill_certification: NDArray[np.int64]
    item_skill: NDArray[np.int64]
    item_difficulty: NDArray[np.float64]


def make_catalogue(memory: MemoryParameters, rng: np.random.Generator) -> Catalogue:
    """The catalogue; the same for equal parameters and generator state."""
    topics = [topic for topic in TOPICS for _ in range(topic[3])]
    names = [f"{name}-{number + 1}" for name, _, _, count, _ in TOPICS for number in range(count)]
    is_knowledge = np.array([kind == "KNOWLEDGE" for _, kind, _, _, _ in topics])
    item_skill = np.repeat(np.arange(len(names)), ITEMS_A_SKILL)
    difficulty = rng.normal(0.0, 0.8, item_skill.size)
    guessed = np.clip(np.rint(3.0 + difficulty + rng.normal(0.0, 0.7, item_skill.size)), 1, 5).astype(np.int64)
    lesson_skill = np.repeat(np.arange(len(names)), LESSONS_A_SKILL)
    edges = [(names[i], names[i - 1]) for i in range(1, len(names)) if topics[i] == topics[i - 1]]
    edges += [
        ("airway-1", "ventilation-1"),
        ("newborn_first_minute-1", "ventilation-1"),
        ("shock-1", "vascular_access-1"),
    ]
    frames = {
        "skills": tabulate(
            tables.SKILLS,
            skill_id=names,
            topic=[topic[0] for topic in topics],
            kind=[topic[1] for topic in topics],
            certification=[topic[2] for topic in topics],
            criticality=[topic[4] for topic in topics],
        ),
        "prerequisites": tabulate(
            tables.PREREQUISITES, skill_id=[a for a, _ in edges], prerequisite_id=[b for _, b in edges]
        ),
        "lessons": tabulate(
            tables.LESSONS,
            lesson_id=lesson_ids(lesson_skill.size),
            skill_id=[names[skill] for skill in lesson_skill],
            modality=[tables.MODALITIES[i % len(tables.MODALITIES)] for i in range(lesson_skill.size)],
            minutes=np.clip(rng.lognormal(np.log(14.0), 0.4, lesson_skill.size).round(), 3, 60),
        ),
        "items": tabulate(
            tables.ITEMS,
            item_id=item_ids(item_skill.size),
            skill_id=[names[skill] for skill in item_skill],
            author_level=guessed,
        ),
    }
    return Catalogue(
        tables=frames,
        skill_stability_days=np.where(is_knowledge, memory.knowledge_stability_days, memory.skill_stability_days),
        skill_log_sd=np.where(is_knowledge, memory.knowledge_log_sd, memory.skill_log_sd),
        skill_certification=np.array([tables.CERTIFICATIONS.index(topic[2]) for topic in topics], dtype=np.int64),
        item_skill=item_skill,
        item_difficulty=difficulty,
    )


def item_ids(count: int) -> list[str]:
    """Ids of the items, by index."""
    return [f"i{number:04d}" for number in range(count)]


def lesson_ids(count: int) -> list[str]:
    """Ids of the lessons, by index."""
    return [f"l{number:04d}" for number in range(count)]
