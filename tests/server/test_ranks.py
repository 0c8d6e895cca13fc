"""The ranks of processes, taken in processes of their own."""

import os
import subprocess
import sys

import pytest

from server.ranks import COMPUTE, CONTROL, PROBE

_SAY = "import os; from server.ranks import take_rank; take_rank({level}, over={over}); print(os.getpriority(0, 0))"


def _rank(level: int, over: int = 0, started_at: int = 0) -> int:
    def lower() -> None:
        os.nice(started_at)

    code = _SAY.format(level=level, over=over)
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, preexec_fn=lower).stdout)


@pytest.mark.parametrize("level", [CONTROL, COMPUTE, PROBE])
def test_a_process_ranks_below_the_loop_by_its_level(level: int) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert _rank(level) == min(own + level, 19)


def test_a_child_of_a_lowered_process_counts_from_the_server() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert _rank(PROBE, over=CONTROL, started_at=CONTROL) == min(own + PROBE, 19)
