"""`python -m benchmarks.speed.look_up [--subjects N] [--json FILE]`: a subject's features by id, one of a million.

Writes a snapshot of PredictChurn's features with ids like the platform's, opens it as a worker does, and times look-ups
of random ids: first from the disk, then each page touched for the first time by this process, then in rounds beside the
plain way on the same files (numpy's memory map, binary search, one row).
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment, print_report, write_json
from methods.features import Kind, schema_of
from methods.manifest import MANIFEST_NAME, parse_manifest
from methods.snapshot import HASHES, subject_hash
from paedsresus.ml.v1 import revenue_pb2
from server.errors import NotFound
from server.serving.subjects import Snapshot, SubjectTable, open_snapshot
from training.artifact import Provenance
from training.data.snapshots import NumbersTable, write_snapshot

SUBJECTS: Final = 1_000_000
LOOK_UPS, ROUNDS, FIRST_LOOK_UPS = 2_000, 15, 1_000
ANCHORS: Final = {
    "look_up.us": Anchor(at_most=50.0, source="goal, a million subjects"),
    "look_up.first_touch_us": Anchor(at_most=50.0, source="the same, by a process that has just opened it"),
    "look_up.touched_share": Anchor(at_most=0.5, source="not loaded: what 1,000 look-ups from the disk left mapped"),
}
_SCHEMA = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)
_EXPRESSIONS = "0" * 64
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON when asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.look_up", description=__doc__)
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help="how many are known")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="look-up-") as folder:
        report = measure(Path(folder), chosen.subjects)
    print_report(report)
    if chosen.json:
        write_json(report, chosen.json)


def measure(folder: Path, subjects: int) -> Report:
    """Write, open, look up: from the disk, for the first time, warm, missing, as a message, and the plain way."""
    began = time.monotonic()
    _write(folder, subjects)
    written = time.monotonic()
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    megabytes = sum((folder / name).stat().st_size for name in manifest.files) / 1e6
    began_open = time.monotonic()
    snapshot = open_snapshot(folder, manifest, "revenue")
    opened = time.monotonic()
    table = snapshot.table(_SCHEMA.feature_set(_EXPRESSIONS))
    rng = np.random.default_rng(0)
    before = _mapped_mb()
    _forget(folder)
    from_disk = _look_up_once(snapshot, table, _names(rng.integers(subjects, size=FIRST_LOOK_UPS)))
    touched = _mapped_mb() - before
    again = open_snapshot(
        folder, manifest, "revenue"
    )  # reads every file to sum it, so that none lies on the disk alone
    first_touch = _look_up_once(
        again, again.table(table.description.feature_set), _names(rng.integers(subjects, size=FIRST_LOOK_UPS))
    )
    rounds = [_names(rng.integers(subjects, size=LOOK_UPS)) for _ in range(ROUNDS)]
    plain = _plain(folder)
    ways: dict[str, Callable[[str], object]] = {
        "us": lambda subject: snapshot.find(table, subject),
        "message_us": lambda subject: snapshot.message(table, subject, revenue_pb2.PredictChurnFeatures()),
        "missing_us": lambda subject: _miss(snapshot, table, "?" + subject),
        "plain_us": plain,
    }
    for way in ways.values():
        _seconds(way, rounds[0])
    seconds = {name: [_seconds(way, names) for names in rounds] for name, way in ways.items()}
    figures = {f"look_up.{name}": median(times) / LOOK_UPS * 1e6 for name, times in seconds.items()}
    ratios = [mine / theirs for mine, theirs in zip(seconds["us"], seconds["plain_us"], strict=True)]
    return Report(
        benchmark="speed.look_up",
        data=f"{subjects:,} subjects with {len(_SCHEMA.names)} features, {megabytes:.0f} MB",
        metrics={
            **figures,
            "look_up.p99_us": _p99(ways["us"], rounds[0]),
            "look_up.first_touch_us": first_touch,
            "look_up.from_disk_us": from_disk,
            "look_up.ratio_to_plain": median(ratios),
            "look_up.touched_share": touched / megabytes,
            "look_up.files_mb": megabytes,
            "look_up.open_seconds": opened - began_open,
            "look_up.write_seconds": written - began,
        },
        anchors=ANCHORS,
        environment=describe_environment(("numpy", "protobuf")),
    )


def _write(folder: Path, subjects: int) -> None:
    rng = np.random.default_rng(1)
    columns = {}
    for feature in _SCHEMA.features:
        top = {Kind.CATEGORY: len(feature.levels) + 1, Kind.FLAG: 2}.get(feature.kind, 1_000)
        values = rng.integers(1 if feature.kind is Kind.CATEGORY else 0, top, size=subjects).astype(np.float64)
        values[rng.random(subjects) < 0.1] = np.nan
        columns[feature.name] = values
    table = NumbersTable(
        name="churn",
        schema=_SCHEMA,
        expressions=_EXPRESSIONS,
        subject_ids=_names(np.arange(subjects)),
        columns=columns,
    )
    provenance = Provenance(
        data_version="drawn",
        data_time=_MOMENT,
        observations=subjects,
        created_at=_MOMENT,
        currency="USD",
        expressions=_EXPRESSIONS,
    )
    write_snapshot(folder, "revenue", [table], provenance)


def _names(numbers: NDArray[np.int64]) -> list[str]:
    return [f"user-{number:08d}" for number in numbers.tolist()]


def _miss(snapshot: Snapshot, table: SubjectTable, subject: str) -> None:
    try:
        snapshot.find(table, subject)
    except NotFound:
        return
    raise AssertionError(f"{subject} was found and was never written")


def _plain(folder: Path) -> Callable[[str], object]:
    """Numpy's own memory maps and binary search; the id is not compared."""
    hashes = np.load(folder / HASHES, mmap_mode="r")
    numbers = np.load(folder / "churn.numbers.npy", mmap_mode="r")

    def look_up(subject: str) -> object:
        return numbers[np.searchsorted(hashes, np.uint64(subject_hash(subject)))].tolist()

    return look_up


def _forget(folder: Path) -> None:
    """Ask the system to forget the files' pages. It may keep some, and a disk has a memory of its own."""
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)  # a page that was never written out cannot be forgotten
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _look_up_once(snapshot: Snapshot, table: SubjectTable, names: list[str]) -> float:
    """Mean microseconds of look-ups, each of another subject."""
    return _seconds(lambda subject: snapshot.find(table, subject), names) / len(names) * 1e6


def _seconds(way: Callable[[str], object], names: list[str]) -> float:
    began = time.perf_counter()
    for subject in names:
        way(subject)
    return time.perf_counter() - began


def _p99(way: Callable[[str], object], names: list[str]) -> float:
    return float(np.quantile([_seconds(way, [subject]) for subject in names], 0.99)) * 1e6


def _mapped_mb() -> float:
    """Megabytes of files that this process has touched through mappings."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(status.partition("RssFile:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
