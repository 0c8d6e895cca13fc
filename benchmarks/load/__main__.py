"""The generator's process: a plan on standard input, the report on standard output, both JSON.

Prints one line `{"ports": […]}` as soon as every connection stands, so that the starter can see which process holds
which connection, and the report when the run is over.
"""

import gc
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.load.bodies import read_bodies, write_bodies
from benchmarks.load.drive import Drive
from benchmarks.load.plan import plan_of
from benchmarks.load.tally import Tally


def main() -> None:
    """Run one plan."""
    plan = plan_of(sys.stdin.read())
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    gc.disable()  # a run is short, and a pause of the generator would be booked on the server
    tally = Tally(plan)
    drive = Drive(plan, read_bodies(Path(plan.bodies_file)), tally)
    _say({"ports": drive.greet()})
    drive.run()
    if plan.samples_file:
        write_bodies(Path(plan.samples_file), tally.samples)
    if plan.records_file:
        Path(plan.records_file).write_bytes(tally.records.tobytes())
    _say(asdict(tally.report()))


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
