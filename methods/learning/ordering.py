"""Which jobs to do in which order, when some wait for others and time is short: by gain for each minute.

Rows are jobs numbered so that each waits only for rows before it. Pure.
Source: Sidney 1975, Oper Res 23:283 (the set with all it waits for and the highest gain for each minute goes first).
Not here: what a job is (path.py).
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def order_by_gain(
    minutes: Floats, gains: Floats, before: list[list[int]], first: list[int], left: float | None
) -> list[int]:
    """Rows in order: first what must be there, then by gain for each minute of a row with all that it still waits for.

    Once a row with what stands before it does not fit it never will: time shrinks at least as fast as the wait.
    """
    count = len(minutes)
    behind: NDArray[np.bool_] = np.zeros((count, count), dtype=np.bool_)  # [row, what must be done to finish it]
    for row, earlier in enumerate(before):
        behind[row, row] = True
        for one in earlier:
            behind[row] |= behind[one]
    gain_left, minutes_left = behind @ gains, behind @ minutes
    is_open: NDArray[np.bool_] = np.ones(count, dtype=np.bool_)
    is_worth = is_open.copy()
    taken: list[int] = []
    remaining = math.inf if left is None else left

    def take(row: int) -> float:
        rows = np.flatnonzero(behind[row] & is_open)
        taken.extend(rows.tolist())
        is_open[rows] = False
        part = behind[:, rows]
        np.subtract(gain_left, part @ gains[rows], out=gain_left)
        np.subtract(minutes_left, part @ minutes[rows], out=minutes_left)
        return float(minutes[rows].sum())

    for row in sorted(first):
        if is_open[row]:
            remaining -= take(row)
    while True:
        candidates = np.flatnonzero(is_open & is_worth)
        if not candidates.size:
            return taken
        best = int(candidates[np.argmax(gain_left[candidates] / minutes_left[candidates])])
        if minutes_left[best] <= remaining + 1e-9:
            remaining -= take(best)
        else:
            is_worth[best] = False


def order_by_rank(minutes: Floats, before: list[list[int]], first: list[int], left: float | None) -> list[int]:
    """Rows in order of reach, what must be there and all before it first; a row is left out with all that waits."""
    must, waiting = set(), list(first)
    while waiting:
        row = waiting.pop()
        if row not in must:
            must.add(row)
            waiting += before[row]
    remaining = math.inf if left is None else left
    taken: dict[int, None] = {}
    for row in (*sorted(must), *(row for row in range(len(minutes)) if row not in must)):
        if row in must or (minutes[row] <= remaining + 1e-9 and all(one in taken for one in before[row])):
            taken[row] = None
            remaining -= float(minutes[row])
    return list(taken)
