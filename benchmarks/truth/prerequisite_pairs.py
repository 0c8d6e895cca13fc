"""Any prerequisite graph in the documented form: `prerequisites.csv`, one pair a line, and `skills.csv`.

Not here: learners to walk it (path_world.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.learning.mastery import Floats
from methods.learning.prerequisites import PrerequisiteGraph, prerequisite_graph

DEFAULT_MINUTES: Final = 15.0
REQUIRED_COLUMNS: Final = ("prerequisite_id", "required_skill_id")  # the table's name and the contract's


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A graph with its lessons, one a skill.

    Attributes:
        graph: skills by id, in the order of the files.
        minutes: of each skill's lesson, in the graph's order; (n,).
        is_target: whether the skill belongs to the goal; (n,).
        pairs: as they came in.
    """

    graph: PrerequisiteGraph[str]
    minutes: Floats
    is_target: NDArray[np.bool_]
    pairs: tuple[tuple[str, str], ...]


def read_course(folder: Path) -> Course:
    """The folder's graph.

    Raises:
        FileNotFoundError: there is no prerequisites.csv.
        ValueError: a column is missing, a cell is empty, minutes are not above 0, or the pairs hold a cycle.
    """
    path = _find(folder, "prerequisites")
    if path is None:
        raise FileNotFoundError(f"{folder} holds no prerequisites.csv; docs/benchmarks.md says what it looks like")
    table = pd.read_csv(path, dtype=str)
    required = next((name for name in REQUIRED_COLUMNS if name in table), None)
    if "skill_id" not in table or required is None:
        raise ValueError(f"{path.name} needs the columns skill_id and {REQUIRED_COLUMNS[0]}; it has {list(table)}")
    pairs = _ids(table["skill_id"], path), _ids(table[required], path)
    skills = _find(folder, "skills")
    about = pd.DataFrame({"skill_id": []}) if skills is None else pd.read_csv(skills, dtype={"skill_id": str})
    if "skill_id" not in about:
        raise ValueError(f"{skills.name if skills else ''} needs the column skill_id; it has {list(about)}")
    graph = prerequisite_graph(zip(*pairs, strict=True), nodes=about["skill_id"].astype(str).tolist())
    if not graph.order:
        raise ValueError(f"{path.name} holds no pair")
    about = about.drop_duplicates("skill_id").set_index("skill_id").reindex(list(graph.order))
    return Course(
        graph=graph,
        minutes=_minutes(about),
        is_target=_targets(about),
        pairs=tuple(zip(*pairs, strict=True)),
    )


def _find(folder: Path, stem: str) -> Path | None:
    return next((path for name in (f"{stem}.csv.gz", f"{stem}.csv") if (path := folder / name).exists()), None)


def _ids(column: "pd.Series[str]", path: Path) -> list[str]:
    if column.isna().any():
        raise ValueError(f"{path.name}: {column.name} is empty in line {int(np.argmax(column.isna())) + 2}")
    return column.str.strip().tolist()


def _minutes(about: pd.DataFrame) -> Floats:
    if "minutes" not in about:
        return np.full(len(about), DEFAULT_MINUTES)
    minutes = pd.to_numeric(about["minutes"], errors="coerce").fillna(DEFAULT_MINUTES).to_numpy(dtype=np.float64)
    if not (minutes > 0).all():
        raise ValueError(f"skills.csv: minutes of {about.index[int(np.argmin(minutes))]} are not above 0")
    return minutes


def _targets(about: pd.DataFrame) -> NDArray[np.bool_]:
    if "target" not in about:
        return np.ones(len(about), dtype=np.bool_)
    targets = (pd.to_numeric(about["target"], errors="coerce") == 1).to_numpy(dtype=np.bool_)
    if not targets.any():
        raise ValueError("skills.csv: no skill has target = 1")
    return targets
