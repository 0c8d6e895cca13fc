"""Copies of answered requests for the version that did not answer, scored later, off the path of every reply.

One bounded queue a worker, emptied one copy at a time with the loop in between, so that a copy never delays a reply by
more than its own few microseconds; a batch yields within itself. When too many rows wait, copies are dropped and
counted: the champion's callers come first.
Not here: what a copy does (answering.py, answering_rows.py).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

ROWS_MAX = 20_000  # two of the largest batches, or four seconds of one worker's single requests

Copy = Callable[[], Awaitable[None] | None]


class ShadowQueue:
    """The queue of one worker. `dropped` counts rows that found it full."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._copies: deque[tuple[Copy, int]] = deque()
        self._rows_max = rows_max
        self._rows = 0
        self._filled = asyncio.Event()
        self.dropped = 0

    def offer(self, copy: Copy, weight: int = 1) -> None:
        """Take a copy of that many rows, or drop it when there would be too many."""
        if self._rows + weight > self._rows_max:
            self.dropped += weight
            return
        self._rows += weight
        self._copies.append((copy, weight))
        self._filled.set()

    async def run(self) -> None:
        """Score copies until cancelled."""
        while True:
            await self._filled.wait()
            while self._copies:
                copy, weight = self._copies.popleft()
                self._rows -= weight
                scored = copy()
                if scored is not None:
                    await scored
                await asyncio.sleep(0)
            self._filled.clear()
