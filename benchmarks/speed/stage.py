"""Where a measurement plays: scratch folder, cores, lengths; and one way to put load on a subject.

Not here: what is measured (one_row.py, batches.py, pool.py, promotion.py, start.py).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.load.bodies import read_bodies, write_bodies
from benchmarks.load.plan import LoadReport, Loop, Plan
from benchmarks.load.run import run_load
from benchmarks.speed.subjects.questions import WrongAnswerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long everything takes. Seconds, and numbers of rounds or questions."""

    capacity_rounds: int
    capacity_seconds: float
    latency_rounds: int
    latency_seconds: float
    batch_rounds: int
    promotions: int
    starts: int
    models: int
    method_rounds: int
    method_seconds: float
    users: int  # of the simulated platform that every model is trained on
    questions: int = 1_500
    batch_questions: int = 64


FULL = Lengths(
    capacity_rounds=10,
    capacity_seconds=1.5,
    latency_rounds=4,
    latency_seconds=3.0,
    batch_rounds=6,
    promotions=6,
    starts=3,
    models=20,
    method_rounds=3,
    method_seconds=0.45,
    users=800,
)
QUICK = Lengths(
    capacity_rounds=3,
    capacity_seconds=0.8,
    latency_rounds=1,
    latency_seconds=1.5,
    batch_rounds=2,
    promotions=1,
    starts=1,
    models=20,
    method_rounds=1,
    method_seconds=0.4,
    users=800,
    batch_questions=24,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One benchmark's place."""

    folder: Path
    server_core: int | None  # None: this machine has one core, nothing is pinned
    load_core: int | None
    lengths: Lengths
    console: Console

    def say(self, text: str) -> None:
        """Tell the reader what is being measured now."""
        self.console.print(f"[dim]{text}[/dim]")

    def bodies(self, name: str, messages: Iterable[bytes]) -> Path:
        """A file of requests for the generator."""
        path = self.folder / f"{name}.bodies"
        write_bodies(path, messages)
        return path

    def load(
        self,
        port: int,
        *,
        path: str,
        bodies: Path,
        loop: Loop = Loop.CLOSED,
        check: Callable[[bytes], object] | None = None,
        during: Callable[[Sequence[int]], None] | None = None,
        **plan: Any,
    ) -> LoadReport:
        """Put load on a port; `check` looks at some hundred of the answers.

        Raises: WrongAnswerError: an answer that came with status OK is wrong, or there was none to check.
        """
        samples = self.folder / "samples"
        samples.unlink(missing_ok=True)
        if check:
            plan |= {"sample_every": 10, "samples_file": str(samples)}
        report = run_load(
            Plan(port=port, path=path, bodies_file=str(bodies), loop=loop, core=self.load_core, **plan), during=during
        )
        for why, calls in report.failures.items():
            self.say(f"  {calls} calls failed: {why}")
        if report.refused_streams:
            self.say(f"  {report.refused_streams} streams were refused untouched and sent again")
        if check:
            answers = read_bodies(samples)
            if report.ok and not answers:
                raise WrongAnswerError("no answer was kept for checking")
            for answer in answers:
                check(answer)
        return report
