"""Which of the worker's threads goes first: the loop before gRPC's own.

gRPC's poller wakes about five times a call, and each time the kernel lets it push the loop's thread off the core for a
few microseconds: two switches of context for one event. A poller of lower rank waits until the loop has nothing to do
and then brings several events at once. CPU a call on one core with 32 calls in flight, by nice levels between them:
0: 225 us, 4: 205, 6: 192, 8: 178, 10: 169, 15: 159. Linux only; elsewhere nothing changes.
Not here: the levels themselves, and how processes rank among one another (server/ranks.py).
"""

import os
import sys
import threading
from pathlib import Path

from server.ranks import POLLER

_TASKS = Path("/proc/self/task")


def lower_this_thread() -> None:
    """For a thread that works beside the loop, as its first act."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + POLLER)


def let_the_loop_go_first(seen: frozenset[int] = frozenset()) -> frozenset[int]:
    """Lower every thread of this process but the caller's; returns the threads that are settled, for the next call.

    Threads come and go, so it is called again now and then; `seen` threads are left as they are.
    """
    if sys.platform != "linux":
        return seen
    own = threading.get_native_id()
    present = frozenset(int(task.name) for task in _TASKS.iterdir())
    for thread in present - seen - {own}:
        try:
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, own) + POLLER)
        except OSError:
            continue  # it has just ended
    return present
