"""Which of the worker's threads goes first: the loop before gRPC's own.

gRPC's poller wakes about five times a call, and each time the kernel lets it push the loop's thread off the core for a
few microseconds: two switches of context for one event. A poller of lower rank waits until the loop has nothing to do
and then brings several events at once. CPU a call on one core with 32 calls in flight, by nice levels between them:
0: 225 us, 4: 205, 6: 192, 8: 178, 10: 169, 15: 159. Linux only; elsewhere nothing changes.
The thread that loads versions is spared: it holds the interpreter for much of its work, and where it has to wait for a
core with the interpreter in its hand, the loop waits too.
Not here: the levels themselves, and how processes rank among one another (server/ranks.py).
"""

import os
import sys
import threading
from pathlib import Path

from server.ranks import POLLER

LOADER = "load"  # how the names of threads begin that are spared
_TASKS = Path("/proc/self/task")


def let_the_loop_go_first(seen: frozenset[int] = frozenset()) -> frozenset[int]:
    """Lower this process's threads but the caller's and loaders; returns those that are settled, for the next call.

    Threads come and go, so it is called again now and then; `seen` threads are left as they are.
    """
    if sys.platform != "linux":
        return seen
    own = threading.get_native_id()
    spared = {thread.native_id for thread in threading.enumerate() if thread.name.startswith(LOADER)}
    present = frozenset(int(task.name) for task in _TASKS.iterdir())
    for thread in present - seen - spared - {own}:
        try:
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, own) + POLLER)
        except OSError:
            continue  # it has just ended
    return present
