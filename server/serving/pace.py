"""How many rows of a batch may be scored before the loop gets its turn: learned from what slices really took.

A trial run at load would mislead: a graph that sees the same rows twice has learned its branches by then, and runs
three times faster than it will on rows of callers.
Not here: the slices themselves (modules/).
"""

SLICE_SECONDS = 1.9e-3  # the loop may be held for two milliseconds; each slice more costs a batch 60 microseconds
ROWS_LEAST, ROWS_MOST = 32, 2_048
FIRST_GUESS_SECONDS = 8e-6  # a row of 200 deep trees; a first slice that is too short costs nothing
_WEIGHT = 0.2  # of the newest slice: a pause of the machine is forgotten after a dozen slices


class Pace:
    """The pace of one version in one process."""

    __slots__ = ("_seconds_a_row",)

    def __init__(self) -> None:
        self._seconds_a_row = FIRST_GUESS_SECONDS

    def rows(self) -> int:
        """Rows of the next slice."""
        return min(max(int(SLICE_SECONDS / self._seconds_a_row), ROWS_LEAST), ROWS_MOST)

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a slice; one of a few rows says more about the call than about its rows."""
        if rows >= ROWS_LEAST:
            self._seconds_a_row += _WEIGHT * (seconds / rows - self._seconds_a_row)
