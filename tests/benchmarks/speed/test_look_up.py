from pathlib import Path

from benchmarks.speed.look_up import ANCHORS, measure


def test_look_ups_of_a_small_snapshot_are_measured_whole(tmp_path: Path) -> None:
    report = measure(tmp_path, subjects=3_000)

    assert report.data.startswith("3,000 subjects")
    assert set(ANCHORS) <= set(report.metrics)
    assert all(value > 0.0 for name, value in report.metrics.items() if name != "look_up.touched_share")
