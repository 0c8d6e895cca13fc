"""Signals between processes: sleep until one comes, and make a child die with its parent.

Not here: what a signal leads to (supervisor.py, and each child for itself).
"""

import ctypes
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from typing import Self

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class SignalWaiter:
    """Sleeps until a signal comes, a child ends or the time is over; main thread only.

    A wake-up socket and not signalfd or sigtimedwait: those are missing on macOS.
    """

    def __init__(self, on_stop: Callable[[int], None]) -> None:
        self._on_stop = on_stop
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        self._old_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.getsignal(number) for number in (signal.SIGCHLD, *STOP_SIGNALS)}
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only to wake up
        for number in STOP_SIGNALS:
            if self._old[number] is not signal.SIG_IGN:  # nohup means it
                signal.signal(number, lambda number, _frame: self._on_stop(number))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float) -> None:
        """Sleep at most that long."""
        if self._selector.select(seconds):
            self._reader.recv(4096)


def signal_name(number: int) -> str:
    """A signal's name; most real-time signals have none.

    >>> signal_name(11), signal_name(40)
    ('SIGSEGV', 'signal 40')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def die_with(parent: int) -> Callable[[], None]:
    """Return what a child runs before exec so that the kernel kills it when that parent dies (Linux only).

    The wish survives exec. It is made after the fork, so a parent that died in between is looked for once.
    """

    def arrange() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return arrange
