"""Starts the generator as its own process and reads its report.

A process of its own, so that it can have a core of its own and so that nothing of the benchmark's other parts
(protobuf, numpy, garbage) runs in the loop that measures.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer

from benchmarks.load.plan import LoadReport, Plan, report_of

_ROOT = Path(__file__).resolve().parents[2]


def run_load(plan: Plan, *, during: Callable[[Sequence[int]], None] | None = None) -> LoadReport:
    """Run a plan to its end.

    Args:
        plan: what to do.
        during: called once the connections stand, with their local ports, while the load runs.
    Raises: RuntimeError: the generator ended without a report; its last words are in the message.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    # The generator bounds its own time; the watch is for a generator that does not.
    watch = Timer(plan.warm_seconds + plan.seconds + 2 * plan.drain_seconds + 30, process.kill)
    watch.start()
    try:
        with process:
            process.stdin.write(plan.to_json())
            process.stdin.close()
            greeting = process.stdout.readline()
            if greeting and during is not None:
                during(json.loads(greeting)["ports"])
            report = process.stdout.readline()
            last_words = process.stderr.read().strip().splitlines()
    finally:
        watch.cancel()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with {process.returncode}: {(last_words or ['no word'])[-1]}")
    return report_of(report)
