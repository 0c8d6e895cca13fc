"""Reads a 0/1 answer matrix: one row a person, one column an item, an empty cell where nobody answered."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NAMES = ("answers", "matrix")
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".parquet")
WORDS = {"true": "1", "false": "0", "nan": "", "na": "", "null": "", "none": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerMatrix:
    """(persons, items) answers: 1 right, 0 wrong, NaN not asked; and the items' ids."""

    answers: NDArray[np.float64]
    item_ids: tuple[str, ...]


def read_answer_matrix(folder: Path) -> AnswerMatrix:
    """The folder's matrix: `answers.csv` (or another known ending), else the only table there.

    A first column that is not 0/1 is taken for the persons' ids, a first line that is not 0/1 for the items' ids.

    Raises:
        FileNotFoundError: no table, or several and none is called answers or matrix.
        ValueError: a column holds something else than 0, 1 and empty cells; it is named.
    """
    table = _read_table(find_matrix(folder))
    header, rows = _split_header(table)
    if rows.shape[1] and not _is_binary(rows[:, 0]):
        header, rows = header[1:], rows[:, 1:]
    wrong = [header[place] for place in range(rows.shape[1]) if not _is_binary(rows[:, place])]
    if wrong:
        raise ValueError(f"not an answer matrix: column {wrong[0]!r} holds other values than 0, 1 and empty cells")
    answers = np.where(rows == "", "nan", rows).astype(np.float64)
    asked = np.flatnonzero(np.any(~np.isnan(answers), axis=0))
    return AnswerMatrix(answers=answers[:, asked], item_ids=tuple(header[place] for place in asked))


def find_matrix(folder: Path) -> Path:
    """The matrix' file.

    Raises: FileNotFoundError: none, or several.
    """
    named = [path for name in NAMES for ending in ENDINGS if (path := folder / f"{name}{ending}").exists()]
    if named:
        return named[0]
    tables = sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS))
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "no table"
        raise FileNotFoundError(
            f"{folder} holds {found}; one 0/1 answer matrix is needed, answers.csv if there is more than one table; "
            "docs/benchmarks.md says what it looks like"
        )
    return tables[0]


def _read_table(path: Path) -> NDArray[np.str_]:
    """All cells as text, the first line too."""
    if path.name.endswith(".parquet"):
        frame = pd.read_parquet(path)
        cells = np.vstack([np.array(frame.columns, dtype=object), frame.astype(object).to_numpy()])
    else:
        separator = "," if ".csv" in path.name else r"\s+" if ".txt" in path.name else "\t"
        frame = pd.read_csv(path, header=None, dtype=str, sep=_separator(path, separator), keep_default_na=False)
        cells = frame.to_numpy(dtype=object)
    return np.array([[_plain(cell) for cell in row] for row in cells], dtype=np.str_)


def _separator(path: Path, usual: str) -> str:
    """A CSV whose first line has semicolons and no comma is read with semicolons."""
    if usual != ",":
        return usual
    first = pd.read_csv(path, header=None, dtype=str, sep="\x00", nrows=1, keep_default_na=False, engine="python")
    line = str(first.iloc[0, 0]) if first.size else ""
    return ";" if ";" in line and "," not in line else ","


def _plain(cell: object) -> str:
    """A cell without case, spaces and decimals: 1.0, TRUE and 1 are one thing."""
    text = "" if cell is None else str(cell).strip()
    word = WORDS.get(text.lower(), text)
    return word[0] if word in ("0.0", "1.0") else word


def _split_header(table: NDArray[np.str_]) -> tuple[list[str], NDArray[np.str_]]:
    """Item ids and the rows below; ids are numbered when the first line already holds answers."""
    first = table[0]
    # Items called 0 and 1 do not occur alone: a line of nothing but 0, 1 and gaps is a person's.
    is_header = not _is_binary(first[1:])
    names = [str(name) for name in first] if is_header else [f"item-{place + 1}" for place in range(first.size)]
    return names, table[1:] if is_header else table


def _is_binary(cells: NDArray[np.str_]) -> bool:
    return bool(np.isin(cells, ["0", "1", ""]).all())
