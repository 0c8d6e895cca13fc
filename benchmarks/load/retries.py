"""When a call that the server refused untouched is sent again: as our client would, in the same numbers.

The first refusal of a call costs nothing: it is sent again at once (gRFC A6, transparent retry; gRPC's core does it
once when the stream was on the wire). After that a refusal is UNAVAILABLE and the client's policy decides: attempts,
pauses that grow, and tokens that end all retries once half of them are spent, so that a refusing server is not stormed.
An UNAVAILABLE that the server itself says is never retried here: it is what a benchmark is to show.
Not here: the calls that wait (drive.py).
"""

from random import Random
from typing import Final

# The client's own (clients/python, policy.py); a test holds them equal. Not imported: the client's package would bring
# gRPC and protobuf into the process that measures.
ATTEMPTS: Final = 4
FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 1.0
PAUSE_GROWTH: Final = 4.0
TOKENS_MAX: Final = 200.0
TOKENS_BACK: Final = 0.1  # for each call that ended OK

_JITTER = 0.2  # of a pause, less or more: gRPC's core, RetryFilter::BackoffJitter


class Retries:
    """The tokens of one run, and the decision for each refusal. One owner, one thread."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._tokens = TOKENS_MAX

    def note_ok(self) -> None:
        """A call ended OK."""
        self._tokens = min(TOKENS_MAX, self._tokens + TOKENS_BACK)

    def pause_after(self, refusals: int) -> float | None:
        """Seconds until a call is sent again that has just been refused for the n-th time; None: it has failed.

        Args:
            refusals: how often this call has been refused by now, at least 1.
        """
        if refusals == 1:
            return 0.0
        self._tokens = max(0.0, self._tokens - 1.0)
        attempts = refusals - 1
        if attempts >= ATTEMPTS or self._tokens <= TOKENS_MAX / 2:
            return None
        pause = min(FIRST_PAUSE_SECONDS * PAUSE_GROWTH ** (attempts - 1), LONGEST_PAUSE_SECONDS)
        return pause * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
