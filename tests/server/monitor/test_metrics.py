"""Counters reach Prometheus's files, named by slot, and go on after a restart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from server.errors import Reason
from server.ledger.spool import AttemptRole, Ending
from server.monitor.metrics import UNKNOWN, Metrics, Reading
from server.serving.contract import read_contract

METHOD = "/s/M"


def scrape(folder: Path) -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return registry


def value(folder: Path, name: str, **labels: str) -> float | None:
    return scrape(folder).get_sample_value(name, labels)


def test_calls_are_counted_by_method_and_reason(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0, methods=[METHOD])
    metrics.ended(METHOD, None, 0.002)
    metrics.ended(METHOD, None, 0.02)
    metrics.ended(METHOD, Reason.INVALID_FIELD, 0.001)
    metrics.ended("/hostile/" + "x" * 500, Reason.UNKNOWN_METHOD, 0.001)

    metrics.close()

    assert value(tmp_path, "paedsresus_calls_total", method=METHOD, reason="OK") == 2
    assert value(tmp_path, "paedsresus_calls_total", method=METHOD, reason="INVALID_FIELD") == 1
    assert value(tmp_path, "paedsresus_calls_total", method=UNKNOWN, reason="UNKNOWN_METHOD") == 1
    assert value(tmp_path, "paedsresus_call_seconds_count", method=METHOD) == 2
    assert value(tmp_path, "paedsresus_call_seconds_sum", method=METHOD) == pytest.approx(0.022)
    assert value(tmp_path, "paedsresus_call_seconds_bucket", method=METHOD, le="0.002") == 1


def test_the_files_have_their_blocks_before_anything_is_counted(tmp_path: Path) -> None:
    """A mapped page without a block, and a disk without another one, is SIGBUS: the worker would die of a count."""
    methods = [method.path for method in read_contract()]
    metrics = Metrics(tmp_path, 0, methods=methods)
    before = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    blocks = {path.name: path.stat().st_blocks * 512 for path in tmp_path.iterdir()}

    for method in methods:
        metrics.ended(method, None, 0.002)
        for reason in Reason:
            metrics.ended(method, reason, 0.002)
    metrics.flush()

    assert blocks == before
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == before
    metrics.close()


def test_a_full_disk_costs_the_numbers_and_nothing_else(tmp_path: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from server.monitor.metrics import Metrics
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
metrics = Metrics(Path({str(tmp_path)!r}), 0, methods=["/s/M"])
metrics.ended("/s/M", None, 0.002)
metrics.close()
print("still here")
"""

    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert ended.stdout.splitlines()[-1] == "still here"
    assert "metrics_not_written" in ended.stdout + ended.stderr
    assert value(tmp_path, "paedsresus_calls_total", method="/s/M", reason="OK") is None


def test_attempts_and_rows_are_counted_by_model_and_role(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0, methods=[])
    cell = metrics.tally("churn", AttemptRole.CHAMPION)
    cell[0] += 1
    cell[1] += 1_000
    metrics.failed_attempt("churn", AttemptRole.CANARY, Ending.FELL_BACK)

    metrics.close()

    labels = {"model": "churn", "role": "champion"}
    assert value(tmp_path, "paedsresus_attempts_total", **labels, ending="OK") == 1
    assert value(tmp_path, "paedsresus_rows_total", **labels) == 1_000
    assert value(tmp_path, "paedsresus_attempts_total", model="churn", role="canary", ending="FELL_BACK") == 1


def test_a_restarted_slot_goes_on_and_other_slots_add_up(tmp_path: Path) -> None:
    for slot in (0, 0, 1):
        metrics = Metrics(tmp_path, slot, methods=[METHOD])
        metrics.ended(METHOD, None, 0.001)
        metrics.close()

    assert value(tmp_path, "paedsresus_calls_total", method=METHOD, reason="OK") == 3
    assert len(list(tmp_path.glob("counter_*.db"))) == 2


def test_flushing_twice_counts_once(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0, methods=[METHOD])
    metrics.ended(METHOD, None, 0.001)

    metrics.flush()
    metrics.close()

    assert value(tmp_path, "paedsresus_calls_total", method=METHOD, reason="OK") == 1


def test_readings_are_gauges_by_slot_and_counters_by_name(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 3, methods=[])
    metrics.add(
        Reading(name="paedsresus_in_flight", about="calls", read=lambda: 5),
        Reading(name="paedsresus_spool_lost_total", about="lost", read=lambda: 2),
    )

    metrics.close()

    assert value(tmp_path, "paedsresus_in_flight", pid="3") == 5
    assert value(tmp_path, "paedsresus_spool_lost_total") == 2


def test_a_torn_file_of_a_crashed_machine_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "counter_0.db").write_bytes(b"\xff" * 100)

    metrics = Metrics(tmp_path, 0, methods=[METHOD])
    metrics.ended(METHOD, None, 0.001)
    metrics.close()

    assert value(tmp_path, "paedsresus_calls_total", method=METHOD, reason="OK") == 1
