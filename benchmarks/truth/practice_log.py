"""Reads a log of practice: user, skill, item, correct, time, and the skill's kind where it is known.

`python -m benchmarks.truth.practice_log DIR [--users N]` writes such a log from the simulated platform.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from methods.learning.memory import KINDS, KNOWLEDGE
from training.data.simulator.parameters import Parameters
from training.data.simulator.world import simulate
from training.learning.schedule import PracticeLog

COLUMNS = ("user", "skill", "item", "correct", "time")
ENDINGS = (".csv", ".csv.gz", ".parquet")
SECONDS_A_DAY = 86_400.0
START = datetime(2024, 1, 1, tzinfo=UTC)


def read_practice_log(folder: Path) -> PracticeLog:
    """The folder's log: `answers.csv` (.csv.gz, .parquet), else the only table there.

    Raises:
        FileNotFoundError: no table, or several and none is called answers.
        ValueError: a column is missing or holds what it must not; it is named.
    """
    table = _read_table(_find_log(folder))
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}; there are: {', '.join(map(str, table.columns))}")
    empty = [name for name in COLUMNS if table[name].isna().any()]
    if empty:
        raise ValueError(f"column {empty[0]} has empty cells")
    item, item_ids = pd.factorize(table["item"].astype(str), sort=True)
    skill, skill_ids = pd.factorize(table["skill"].astype(str), sort=True)
    return PracticeLog(
        learner=pd.factorize(table["user"].astype(str), sort=True)[0].astype(np.int64),
        skill=skill.astype(np.int64),
        item=item.astype(np.int64),
        correct=_correct(table["correct"]),
        day=_days(table["time"]),
        kind=_kinds(table),
        item_ids=[str(name) for name in item_ids],
        skill_ids=[str(name) for name in skill_ids],
    )


def simulated_log(users: int, weeks: int = 104, seed: int = 20) -> pd.DataFrame:
    """The simulated platform's answers in the documented format, with kinds; the same for equal arguments."""
    parts: dict[str, list[pd.DataFrame]] = {"answers": [], "items": [], "skills": []}
    for batch in simulate(Parameters(start=START, users=users, weeks=weeks, seed=seed)):
        for name, rows in batch.items():
            if name in parts:
                parts[name].append(rows.to_pandas())
    answers, items, skills = (pd.concat(frames, ignore_index=True) for frames in parts.values())
    merged = answers.merge(items[["item_id", "skill_id"]], on="item_id").merge(
        skills[["skill_id", "kind"]], on="skill_id"
    )
    return pd.DataFrame(
        {
            "user": merged["user_id"].astype(str),
            "skill": merged["skill_id"].astype(str),
            "item": merged["item_id"].astype(str),
            "correct": merged["correct"].astype(int),
            "time": pd.to_datetime(merged["answered_at"], utc=True).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "kind": merged["kind"].astype(str),
        }
    ).sort_values(["user", "time"], kind="stable", ignore_index=True)


def write_simulated(
    folder: Annotated[Path, typer.Argument(help="Where answers.csv.gz is written.")],
    users: Annotated[int, typer.Option(help="Simulated users.", min=1)] = 2_500,
    seed: Annotated[int, typer.Option(help="Seed of the simulated world.")] = 20,
) -> None:
    """Write a simulated log of practice in the documented format."""
    folder.mkdir(parents=True, exist_ok=True)
    log = simulated_log(users, seed=seed)
    log.to_csv(folder / "answers.csv.gz", index=False, compression={"method": "gzip", "mtime": 0})
    typer.echo(f"{len(log):,} answers of {log['user'].nunique():,} users")


def _find_log(folder: Path) -> Path:
    named = [path for ending in ENDINGS if (path := folder / f"answers{ending}").exists()]
    tables = named[:1] or sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS))
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "no table"
        raise FileNotFoundError(
            f"{folder} holds {found}; one log of practice is needed, answers.csv if there is more than one table; "
            "docs/benchmarks.md says what it looks like"
        )
    return tables[0]


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.name.endswith(".parquet") else pd.read_csv(path, low_memory=False)


def _correct(column: "pd.Series[str]") -> NDArray[np.float64]:
    """1.0 and 0.0; also true and false. Raises ValueError for anything else."""
    plain = (
        column.astype(str)
        .str.strip()
        .str.lower()
        .map({"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0})
    )
    if plain.isna().any():
        raise ValueError(f"column correct holds {column[plain.isna()].iloc[0]!r}; it must be 0 or 1")
    return np.asarray(plain, dtype=np.float64)


def _days(column: "pd.Series[str]") -> NDArray[np.float64]:
    """Days from the first answer. Numbers are Unix seconds (or milliseconds, from 10^11 on), text is ISO 8601.

    Raises: ValueError: a time that is neither.
    """
    if pd.api.types.is_numeric_dtype(column):
        seconds = column.to_numpy(dtype=np.float64)
        seconds = seconds / 1_000.0 if np.median(seconds) >= 1e11 else seconds
    else:
        try:
            moments = pd.to_datetime(column, utc=True, format=None if column.dtype.kind == "M" else "ISO8601")
        except ValueError as cause:
            raise ValueError(f"column time is neither Unix seconds nor ISO 8601: {cause}") from cause
        seconds = moments.astype("datetime64[us, UTC]").astype("int64").to_numpy(dtype=np.float64) / 1e6
    if not np.all(np.isfinite(seconds)):
        raise ValueError("column time holds a time that is not finite")
    return np.asarray((seconds - seconds.min()) / SECONDS_A_DAY, dtype=np.float64)


def _kinds(table: pd.DataFrame) -> NDArray[np.int64]:
    """Kinds by number; without the column all is knowledge, the kind forgotten soonest."""
    if "kind" not in table:
        return np.full(len(table), KNOWLEDGE, dtype=np.int64)
    place = table["kind"].astype(str).str.upper().map({name: number for number, name in enumerate(KINDS)})
    if place.isna().any():
        raise ValueError(
            f"column kind holds {table['kind'][place.isna()].iloc[0]!r}; it must be one of {', '.join(KINDS)}"
        )
    return np.asarray(place, dtype=np.int64)


if __name__ == "__main__":
    typer.run(write_simulated)
