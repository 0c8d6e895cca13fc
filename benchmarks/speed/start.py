"""Start-up and memory: seconds to the first right answer, megabytes of a worker with one model and with many."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.speed.stage import Stage
from benchmarks.speed.subjects.processes import resident_mb
from benchmarks.speed.subjects.questions import PREDICT, check_single, single_questions
from benchmarks.speed.subjects.server import ask_once, ask_until_answered, prepare_state, whole_server, worker


def measure_start(stage: Stage, artifacts: Sequence[Path]) -> Mapping[str, float]:
    """Start a worker some times over a cache with one model, then once with `lengths.models` of them.

    Args:
        stage: where.
        artifacts: as many different artifacts as models are asked for.
    Raises: WrongAnswerError: the first answer is wrong.
    """
    stage.say(f"start-up and memory: {stage.lengths.starts} starts with one model, one with {len(artifacts)}")
    first = next(single_questions(1))
    seconds: list[float] = []
    memory: list[float] = []
    bodies = stage.bodies("start", single_questions(200))
    prepare_state(stage.folder / "state-1", artifacts[:1])
    for _ in range(stage.lengths.starts):
        with worker(stage.folder / "state-1", core=stage.server_core) as process:
            check_single(ask_once(process.port, first))
            seconds.append(time.monotonic() - process.started)
            stage.load(process.port, path=PREDICT, bodies=bodies, seconds=0.5)
            memory.append(resident_mb(process.pid))
    prepare_state(stage.folder / "state-many", artifacts)
    with worker(stage.folder / "state-many", core=stage.server_core) as process:
        check_single(ask_once(process.port, first))
        seconds_many = time.monotonic() - process.started
        stage.load(process.port, path=PREDICT, bodies=bodies, seconds=0.5)
        memory_many = resident_mb(process.pid)
    return {
        "start.seconds": median(seconds),
        "start.seconds_20_models": seconds_many,
        "worker.rss_mb": median(memory),
        "worker.rss_20_models_mb": memory_many,
    }


def measure_server_start(stage: Stage, state: Path, registry_uri: str) -> Mapping[str, float]:
    """Start the whole server twice: first with an empty state folder, then with what the first left.

    Raises: WrongAnswerError: the first answer is wrong.
    """
    stage.say("start-up of the whole server: empty state, then the second start")
    first = next(single_questions(1))
    seconds: list[float] = []
    for _ in range(2):
        with whole_server(state, registry_uri, workers=2) as server:
            check_single(ask_until_answered(server.port, first))
            seconds.append(time.monotonic() - server.started)
    return {"start.server_first_seconds": seconds[0], "start.server_seconds": seconds[1]}
