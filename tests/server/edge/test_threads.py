"""Helper threads rank below the loop's."""

import os
import sys
import threading

import pytest

from server.edge.threads import LOADER, let_the_loop_go_first
from server.ranks import POLLER


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_every_thread_but_the_callers_is_lowered_once() -> None:
    may_end = threading.Event()
    helper = threading.Thread(target=may_end.wait, daemon=True)
    helper.start()
    assert helper.native_id is not None
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    settled = let_the_loop_go_first()
    os.setpriority(os.PRIO_PROCESS, helper.native_id, own + POLLER + 1)
    again = let_the_loop_go_first(settled)
    found = os.getpriority(os.PRIO_PROCESS, helper.native_id)
    may_end.set()

    assert helper.native_id in settled
    assert helper.native_id in again
    assert found == own + POLLER + 1
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_a_loader_keeps_the_loops_rank() -> None:
    may_end = threading.Event()
    loader = threading.Thread(target=may_end.wait, name=f"{LOADER}_0", daemon=True)
    loader.start()
    assert loader.native_id is not None

    let_the_loop_go_first()
    found = os.getpriority(os.PRIO_PROCESS, loader.native_id)
    may_end.set()

    assert found == os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
