"""A log line is one JSON object on stderr; what is below the level is not written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import structlog
from server.logs import configure_logs
configure_logs("worker-1", "info")
log = structlog.get_logger()
log.debug("never_seen")
log.warning("version_refused", model="churn", version=7)
try:
    1 / 0
except ZeroDivisionError:
    log.error("call_failed", exc_info=True)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_log_costs_lines_and_nothing_else() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", _PROGRAM + "print('still here')"],
            check=True,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            env={**os.environ, "PYTHONPATH": "."},
        )

    assert ended.stdout == "still here\n"


def test_each_event_is_one_json_line_with_time_level_and_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )

    refused, failed = (json.loads(line) for line in ended.stderr.splitlines())
    assert ended.stdout == ""
    assert refused["at"].endswith("Z")
    assert {key: refused[key] for key in ("event", "level", "process", "model", "version")} == {
        "event": "version_refused",
        "level": "warning",
        "process": "worker-1",
        "model": "churn",
        "version": 7,
    }
    assert "ZeroDivisionError" in failed["exception"]
