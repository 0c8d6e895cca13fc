"""`python -m server`: exit codes and refusals in words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.preflight import locked


def _run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([".", "clients/python/src"])
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environ},
    )


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"PAEDSRESUS_WORKERS": "many"}, "PAEDSRESUS_WORKERS is 'many'"),
        ({"PAEDSRESUS_WORKER": "2"}, "did you mean PAEDSRESUS_WORKERS?"),
        ({"PAEDSRESUS_LISTEN": "0.0.0.0:0"}, "anybody could call"),
    ],
)
def test_a_start_that_must_not_be_is_refused_in_one_message(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    ended = _run("serve", PAEDSRESUS_STATE_DIR=str(tmp_path), **environ)

    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_server_in_a_state_folder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with locked(tmp_path):
        ended = _run("serve", PAEDSRESUS_STATE_DIR=str(tmp_path))

    assert ended.returncode == 2
    assert f"in use by process {os.getpid()}" in ended.stderr


def test_an_order_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    ended = _run("hold", "churn", "--version", "3", "--for", "2h", PAEDSRESUS_STATE_DIR=str(tmp_path))

    assert ended.returncode == 2
    assert "churn version 3 is not in the cache" in ended.stderr


def test_the_commands_are_those_that_are_built() -> None:
    listed = _run("--help", COLUMNS="200").stdout

    for command in ("serve", "status", "hold", "freeze", "release", "doctor"):
        assert command in listed
    assert "backup" not in listed


def test_serving_loads_no_grpc_and_no_protobuf_in_the_supervising_process() -> None:
    unwanted = "{'grpc', 'google.protobuf', 'numpy', 'onnxruntime', 'mlflow', 'sqlalchemy'}"
    code = f"import sys, server.__main__; sys.exit(sorted({unwanted} & set(sys.modules)) or 0)"

    ended = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": "."})

    assert ended.returncode == 0
