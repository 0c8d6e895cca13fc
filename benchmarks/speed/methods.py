"""A row for every method that this release answers from a model: one worker beside a bare echo of the same messages.

Methods are found in the catalogue, versions are trained once by the product, requests are the golden ones of each
version. The server has one core for all its processes, worker and compute process alike; the echo has the same core.
Not here: churn of a realistic size (one_row.py, batches.py); PredictChurn while others are busy (beside_heavy.py).
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from benchmarks.load.plan import LoadReport, Loop
from benchmarks.report import Anchor
from benchmarks.speed.rounds import interleave, ratio_by_round
from benchmarks.speed.rows import Row, row_of
from benchmarks.speed.stage import Stage
from benchmarks.speed.subjects.largest import LARGEST
from benchmarks.speed.subjects.processes import Running, children_of
from benchmarks.speed.subjects.questions import WrongAnswerError
from benchmarks.speed.subjects.trained import Trained
from server.serving.contract import Lane, Method

INTERACTIVE_US: Final = 1_000.0
GOAL: Final = "goal: a typical request, server time"
DEADLINE_MS: Final = 10_000.0
LIMIT: Final = "the largest request of the contract, within the default deadline"
WARM_SECONDS: Final = 0.15  # each round; the first call of a method was made long before
LOW_SECONDS: Final = 2.0  # a dozen methods: the whole of them should not take longer than everything else
LOW_SHARE: Final = 0.25  # of capacity: an answer rarely waits for another
ANSWERED_SECONDS: Final = 120.0
LARGEST_SECONDS: Final = 60.0  # a slow machine is told, not failed
_WORKER, _COMPUTE = "server.edge", "server.edge.compute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """What was found."""

    rows: tuple[Row, ...]
    metrics: Mapping[str, float]
    anchors: Mapping[str, Anchor]


def snake(name: str) -> str:
    """A method's name as metrics begin."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def answering_pids(server: Running) -> tuple[int, ...]:
    """The processes of a whole server that answer predictions: workers and the compute process."""
    children = children_of(server.pid).items()
    return tuple(pid for pid, command in children if command.endswith((_WORKER, _COMPUTE)))


def ask_until_answered(port: int, path: str, question: bytes, *, seconds: float = ANSWERED_SECONDS) -> bytes:
    """The first answer to a request of a server that is still finding its versions.

    Raises: grpc.RpcError: the last refusal, when the time is over.
    """
    ends = time.monotonic() + seconds
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary(path)
        while True:
            try:
                answer: bytes = ask(question, timeout=10.0)
            except grpc.RpcError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.1)
            else:
                return answer


def response_of(method: Method) -> type[Message]:
    """The message that a method answers with."""
    described = descriptor_pool.Default().FindMethodByName(method.path.strip("/").replace("/", "."))
    kind: type[Message] = message_factory.GetMessageClass(described.output_type)
    return kind


def check_answer(kind: type[Message], answer: bytes) -> None:
    """Make sure that an answer is one.

    Raises: WrongAnswerError: it is not a message of the method, or does not say who gave it.
    """
    try:
        response: Any = kind.FromString(answer)
    except DecodeError as error:
        raise WrongAnswerError(f"the bytes are no {kind.DESCRIPTOR.name}") from error
    if not response.info.prediction_id or not response.info.served_by:
        raise WrongAnswerError(f"a {kind.DESCRIPTOR.name} does not say who gave it")


def measure_methods(
    stage: Stage, methods: Sequence[Method], trained: Trained, server: Running, echo: Running
) -> Methods:
    """Every method on the server, beside the echo.

    Raises: WrongAnswerError: an answer of the server is none.
    """
    rows: list[Row] = []
    metrics: dict[str, float] = {}
    anchors: dict[str, Anchor] = {}
    for method in methods:
        stage.say(f"{method.name}: {stage.lengths.method_rounds} rounds of server and echo, then low load")
        bodies = stage.bodies(method.name, trained.questions(method, stage.lengths.questions // 3))
        row, low, figures = _measure(stage, method, bodies, server, echo)
        name = snake(method.name)
        rows += [row, low]
        metrics |= {f"{name}.{figure}": value for figure, value in figures.items()}
        if method.lane is Lane.HEAVY:
            metrics[f"{name}.largest_ms"] = _largest_ms(stage, method, server)
            anchors[f"{name}.largest_ms"] = Anchor(at_most=DEADLINE_MS, source=LIMIT)
        elif not method.name.startswith("Batch"):
            anchors[f"{name}.cpu_us"] = Anchor(at_most=INTERACTIVE_US, source=GOAL)
    return Methods(rows=tuple(rows), metrics=metrics, anchors=anchors)


def _measure(
    stage: Stage, method: Method, bodies: Path, server: Running, echo: Running
) -> tuple[Row, Row, dict[str, float]]:
    pids = answering_pids(server)
    streams = 8 if method.lane is Lane.INTERACTIVE else 2  # of the compute process's queue
    lengths = stage.lengths

    def closed(running: Running, watched: tuple[int, ...]) -> LoadReport:
        return stage.load(
            running.port,
            path=method.path,
            bodies=bodies,
            streams=streams,
            warm_seconds=WARM_SECONDS,
            seconds=lengths.method_seconds,
            watched_pids=watched,
        )

    check = partial(check_answer, response_of(method))
    stage.load(server.port, path=method.path, bodies=bodies, streams=streams, seconds=0.2, check=check)
    runs = interleave(
        {"server": partial(closed, server, pids), "echo": partial(closed, echo, (echo.pid,))}, lengths.method_rounds
    )
    mine, theirs = ([run.calls_per_second for run in runs[name]] for name in ("server", "echo"))
    ratio = ratio_by_round(mine, theirs)
    row = _on_one_core(row_of(method.name, "closed", runs["server"], ratio), len(pids))
    echo_row = row_of("echo", "closed", runs["echo"])
    low = row_of(
        method.name,
        f"open {LOW_SHARE:.0%}",
        [
            stage.load(
                server.port,
                path=method.path,
                bodies=bodies,
                loop=Loop.POISSON,
                rate=max(1.0, row.calls_per_second * LOW_SHARE),
                seconds=min(LOW_SECONDS, lengths.latency_seconds),
                watched_pids=pids,
            )
        ],
    )
    figures = {
        "calls_per_second": row.calls_per_second,
        "cpu_us": row.cpu_us,
        "p50_ms": low.p50_ms,
        "p99_ms": low.p99_ms,
        "ratio_to_echo": ratio.middle,
        "ratio_to_echo_least": ratio.least,
        "ratio_to_echo_most": ratio.most,
        "cpu_ratio_to_echo": row.cpu_us / echo_row.cpu_us,
        "failed_calls": row.failed + low.failed,
    }
    return row, low, figures


def _largest_ms(stage: Stage, method: Method, server: Running) -> float:
    """How long the largest request takes that the contract lets a caller send, once, on a server with nothing else."""
    question = LARGEST[method.name]()
    stage.say(f"{method.name}: its largest request, {len(question):,} bytes")
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        ask: Any = channel.unary_unary(method.path)
        begins = time.perf_counter()
        ask(question, timeout=LARGEST_SECONDS)
        return (time.perf_counter() - begins) * 1e3


def _on_one_core(row: Row, processes: int) -> Row:
    """The share of its core that the server got: its processes have one core together."""
    return row if row.core_share is None else replace(row, core_share=row.core_share * processes)
