"""The ONNX session alone, in process: what a batch costs when nothing is around it.

`python -m benchmarks.speed.subjects.session --artifact FOLDER --rows 1000 --seconds 1.5` prints rows a second and CPU
microseconds a row: one thread, no spinning, matrices drawn from the same rows that the server is asked.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.speed.subjects.processes import ROOT
from benchmarks.speed.subjects.questions import draw_columns
from methods.features import FeatureSchema, encode_columns

_MATRICES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpeed:
    """What the session did alone."""

    rows_per_second: float
    cpu_us_per_row: float


def measure_session(artifact: Path, *, rows: int, seconds: float, core: int | None) -> SessionSpeed:
    """Speed of an artifact's session alone, in a process of its own.

    Raises: RuntimeError: the process ended without a figure.
    """
    command = [sys.executable, "-m", "benchmarks.speed.subjects.session", "--artifact", str(artifact)]
    command += ["--rows", str(rows), "--seconds", str(seconds)]
    if core is not None:
        command += ["--core", str(core)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60 + 3 * seconds, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the session alone ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return SessionSpeed(**json.loads(done.stdout))


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(arguments.artifact / "model.onnx"), options, providers=["CPUExecutionProvider"])
    schema = FeatureSchema.from_json(json.loads((arguments.artifact / "manifest.json").read_bytes())["features"])
    matrices = [encode_columns(schema, draw_columns(arguments.rows, 1 + number)) for number in range(_MATRICES)]
    print(json.dumps(asdict(_measure(session, matrices, arguments.seconds))))


def _measure(session: ort.InferenceSession, matrices: list[NDArray[np.float32]], seconds: float) -> SessionSpeed:
    for matrix in matrices:  # warm
        session.run(["margin"], {"features": matrix})
    rows = 0
    begins, cpu_begins = time.perf_counter(), time.process_time()
    for matrix in cycle(matrices):
        session.run(["margin"], {"features": matrix})
        rows += len(matrix)
        if (spent := time.perf_counter() - begins) >= seconds:
            break
    return SessionSpeed(rows_per_second=rows / spent, cpu_us_per_row=(time.process_time() - cpu_begins) / rows * 1e6)


if __name__ == "__main__":
    main()
