"""Who goes first on a busy machine: the nice levels of the server's processes and threads, in one place.

A worker's loop answers callers and ranks above everything; what only brings it work, then what serves nobody's waiting
request, come after. Levels are added to the rank at which the server was started.
Not here: threads within a worker (edge/threads.py).
"""

import os

POLLER = 10  # gRPC's threads in a worker
CONTROL = 10  # a promotion's work in the registry must not show in anybody's latency
COMPUTE = 12
PROBE = 12  # a child of control

_LOWEST = 19


def take_rank(level: int, *, over: int = 0) -> None:
    """Lower this process to `level`; `over` is the level it has inherited from its parent."""
    here = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, min(here + level - over, _LOWEST))
