from array import array
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load.bodies import write_bodies
from benchmarks.load.connection import LOST
from benchmarks.speed.promotion import Calls, read_calls, swap_figures
from benchmarks.speed.subjects.registry import Move
from paedsresus.ml.v1 import revenue_pb2


def calls_at(times: np.ndarray, version: np.ndarray, latency: np.ndarray) -> Calls:
    return Calls(intended=times, latency=latency, version=version.astype(np.int64))


def test_a_swap_is_timed_from_the_move_to_the_last_old_answer() -> None:
    times = np.arange(0.0, 10.0, 0.01)
    # The alias moves at 4.0; one worker swaps at 5.0, the other at 5.2: between, both versions answer.
    version = np.where(times < 5.0, 1, np.where(times > 5.2, 2, 1 + (np.arange(times.size) % 2)))
    calls = calls_at(times, version, np.full(times.size, 0.001))

    figures = swap_figures(calls, [Move(at=4.0, version=2)], ends=10.0)

    assert figures["promotion.seconds_to_first"] == pytest.approx(1.011, abs=0.011)
    assert figures["promotion.seconds_to_served"] == pytest.approx(1.191, abs=0.011)
    assert figures["promotion.p99_ratio"] == pytest.approx(1.0)


def test_a_slow_second_around_the_swap_shows_in_the_ratio() -> None:
    times = np.arange(0.0, 10.0, 0.01)
    version = np.where(times < 5.0, 1, 2)
    latency = np.where((times > 4.9) & (times < 5.1), 0.02, 0.002)

    figures = swap_figures(calls_at(times, version, latency), [Move(at=4.0, version=2)], ends=10.0)

    assert figures["promotion.p99_before_ms"] == pytest.approx(2.0)
    assert figures["promotion.p99_ratio"] == pytest.approx(10.0)
    assert figures["promotion.worst_ms"] == pytest.approx(20.0)


def test_a_promotion_that_was_never_served_is_counted_and_has_no_other_figure() -> None:
    times = np.arange(0.0, 20.0, 0.01)
    version = np.where((times > 5.0) & (times < 10.0), 2, 1)
    calls = calls_at(times, version, np.full(times.size, 0.001))
    served, missed = Move(at=4.0, version=2), Move(at=10.0, version=3)

    assert swap_figures(calls, [missed], ends=20.0) == {"promotion.not_served": 1.0}
    figures = swap_figures(calls, [served, missed], ends=20.0)
    assert figures["promotion.not_served"] == 1.0
    assert figures["promotion.seconds_to_first"] == pytest.approx(1.011, abs=0.011)


def test_records_and_answers_are_matched_and_lost_calls_have_no_answer(tmp_path: Path) -> None:
    answer = revenue_pb2.PredictChurnResponse()
    answer.info.prediction_id = "p"
    answer.info.served_by.add(model="churn", version=3)
    for chance in (0.1, 0.2, 0.3):
        answer.churn.add().churn_probability.value = chance
    records = array("d", [1.0, 0.1, 0.0, 2.0, 0.1, LOST, 3.0, 0.1, 14.0])
    (tmp_path / "records").write_bytes(records.tobytes())
    write_bodies(tmp_path / "answers", [answer.SerializeToString(), b""])

    calls = read_calls(tmp_path / "records", tmp_path / "answers")

    assert calls.version.tolist() == [3, 0]
    assert calls.intended.tolist() == [1.0, 3.0]
