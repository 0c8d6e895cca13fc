"""`python -m benchmarks.training [--users N] [--json FILE]`: how long everything takes to be trained from nothing.

Runs `python -m training.bootstrap` in a temporary folder as a first start does: simulate a platform, fit every model,
publish the snapshots of features. Progress is shown as it comes; a step lasts from its first line to the next step's.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from rich.console import Console

from benchmarks.report import Anchor, Report, describe_environment, print_report, write_json

USERS: Final = 10_000
GOAL_SECONDS: Final = 180.0
ANCHORS: Final = {"training.seconds": Anchor(at_most=GOAL_SECONDS, source="goal, 10,000 users on two cores")}
ROOT: Final = Path(__file__).resolve().parents[1]
_STEP: Final = re.compile(r"((?:fit|snapshot) \w+|collect): ")
_PACKAGES: Final = ("numpy", "scipy", "xgboost-cpu", "mlflow", "pandas", "duckdb")
_BYTES_A_KIB, _BYTES_A_MB = 1_024, 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON when asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--users", type=int, default=USERS, help="size of the simulated platform")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args(arguments)
    console = Console(width=max(110, Console().width))
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        report = measure(Path(folder), chosen.users, console)
    print_report(report, console)
    if chosen.json:
        write_json(report, chosen.json)


def measure(folder: Path, users: int, console: Console) -> Report:
    """Train everything once in a folder.

    Raises: RuntimeError: training ended without a version; its last words are in the message.
    """
    began = time.monotonic()
    with _bootstrap(folder, users) as process:
        assert process.stdout is not None
        seen = list(_shown(process.stdout, console))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    if process.returncode:
        raise RuntimeError(f"training ended with {process.returncode}: {seen[-1][1] if seen else 'without a word'}")
    load = os.getloadavg()[0]
    return Report(
        benchmark="training",
        data=f"{users:,} simulated users",
        metrics={
            "training.seconds": ended - began,
            "training.cpu_seconds": usage.ru_utime + usage.ru_stime,
            "training.peak_mb": usage.ru_maxrss * _BYTES_A_KIB / _BYTES_A_MB,
            **step_seconds(seen, ended),
        },
        anchors=ANCHORS,
        environment=describe_environment(_PACKAGES) | {"load_average": f"{load:.1f}"},
    )


def step_seconds(lines: Iterable[tuple[float, str]], ended: float) -> dict[str, float]:
    """How long each step took: from its first line to the first line of the next one.

    Args:
        lines: (monotonic seconds, line) as they came.
        ended: when the last step was over.
    Returns: metric -> seconds, in the order of the steps.
    """
    begins: dict[str, float] = {}
    for at, line in lines:
        if found := _STEP.match(line):
            begins.setdefault(found[1].replace(" ", "_"), at)
    ends = [*list(begins.values())[1:], ended]
    return {f"training.{name}_seconds": end - begin for (name, begin), end in zip(begins.items(), ends, strict=True)}


@contextmanager
def _bootstrap(folder: Path, users: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", "-m", "training.bootstrap", "--users", str(users), "--mart", str(folder / "mart")]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PAEDSRESUS_REGISTRY_URI": f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _shown(
    lines: IO[str], console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[float, str]]:
    """Lines with the moment at which each came; every step is printed, and when it began."""
    began = clock()
    for line in lines:
        at = clock()
        if _STEP.match(line):
            console.print(f"[dim]{at - began:6.1f} s[/dim]  {line.rstrip()}", highlight=False)
        yield at, line


if __name__ == "__main__":
    main()
