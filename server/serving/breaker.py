"""The worker's own cut of a canary that keeps failing: at once, without asking anybody.

After `threshold` failures in a row a version gets nothing for `rest_seconds`, then one request; its success closes the
breaker, its failure begins the rest anew. Control decides what becomes of the version for good.
Not here: guards over all workers (control/rollout.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

THRESHOLD = 3
REST_SECONDS = 30.0


@dataclass(slots=True)
class _State:
    failures: int = 0
    open_until: float = 0.0


class Breakers:
    """One breaker a version, by digest. `clock` gives seconds that never go back."""

    def __init__(
        self, clock: Callable[[], float], *, threshold: int = THRESHOLD, rest_seconds: float = REST_SECONDS
    ) -> None:
        self._clock = clock
        self._threshold = threshold
        self._rest = rest_seconds
        self._states: dict[str, _State] = {}

    def allows(self, digest: str) -> bool:
        """Whether the version may try now. After a rest one try is let through at a time."""
        state = self._states.get(digest)
        if state is None or state.failures < self._threshold:
            return True
        now = self._clock()
        if now < state.open_until:
            return False
        state.open_until = now + self._rest  # the one try; nobody else goes before it has ended well
        return True

    def succeeded(self, digest: str) -> None:
        """Forget the version's failures."""
        if digest in self._states:
            del self._states[digest]

    def failed(self, digest: str) -> None:
        """Count one failure in a row."""
        state = self._states.setdefault(digest, _State())
        state.failures += 1
        if state.failures >= self._threshold:
            state.open_until = self._clock() + self._rest

    def is_open(self, digest: str) -> bool:
        """Whether the version gets nothing now, for status pages: unlike `allows`, asking changes nothing."""
        state = self._states.get(digest)
        return state is not None and state.failures >= self._threshold and self._clock() < state.open_until
