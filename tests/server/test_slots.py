"""A slot says who computes with which version, also after the process is gone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.slots import SLOT_BYTES, Role, Slots, State, control_slot, digest_prefix, heavy_slot, slot_count

_U64 = st.integers(min_value=1, max_value=2**64 - 1)


def test_an_unclaimed_slot_reads_as_none(tmp_path: Path) -> None:
    with Slots.open(tmp_path / "slots", 4) as slots:
        assert [slots.read(i) for i in range(4)] == [None] * 4


def test_claiming_says_who_and_starts_the_heart(tmp_path: Path) -> None:
    before = time.monotonic_ns()
    with Slots.open(tmp_path / "slots", 4) as slots:
        slots.claim(2, Role.HEAVY, 4711, 0xABCD)
        seen = slots.read(2)

    assert seen is not None
    assert (seen.role, seen.pid, seen.state, seen.boot) == (Role.HEAVY, 4711, State.STARTING, 0xABCD)
    assert seen.inflight is None
    assert before <= seen.heartbeat_ns <= time.monotonic_ns()


@given(inflight=_U64, boot=_U64, state=st.sampled_from(State))
def test_what_one_mapping_writes_another_reads(
    tmp_path_factory: pytest.TempPathFactory, inflight: int, boot: int, state: State
) -> None:
    path = tmp_path_factory.mktemp("slots") / "slots"
    with Slots.open(path, 3) as writer, Slots.open(path, 3) as reader:
        writer.claim(1, Role.WORKER, 1, boot)
        writer.set_state(1, state)
        writer.set_inflight(1, inflight)
        seen = reader.read(1)

        assert seen is not None
        assert (seen.inflight, seen.boot, seen.state) == (inflight, boot, state)
        assert reader.read(0) is None
        assert reader.read(2) is None


def test_the_version_in_flight_survives_the_process_that_computed_with_it(tmp_path: Path) -> None:
    path = tmp_path / "slots"
    child = (
        "import os, sys\nfrom pathlib import Path\nfrom server.slots import Role, Slots\n"
        "slots = Slots.open(Path(sys.argv[1]), 3)\nslots.claim(0, Role.WORKER, os.getpid(), 7)\n"
        "slots.set_inflight(0, 0xFEED)\nos.kill(os.getpid(), 9)\n"
    )

    ended = subprocess.run([sys.executable, "-c", child, str(path)], check=False, env={**os.environ, "PYTHONPATH": "."})

    with Slots.open(path, 3) as slots:
        seen = slots.read(0)
    assert ended.returncode == -9
    assert seen is not None
    assert seen.inflight == 0xFEED


def test_a_new_file_has_its_blocks_so_that_a_full_disk_kills_nobody_later(tmp_path: Path) -> None:
    with Slots.open(tmp_path / "slots", 66):
        status = (tmp_path / "slots").stat()

    assert status.st_size == 66 * SLOT_BYTES
    assert status.st_blocks * 512 >= status.st_size


def test_opening_never_shrinks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "slots"
    Slots.open(path, 6).close()
    Slots.open(path, 3).close()

    assert path.stat().st_size == 6 * SLOT_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


def test_clearing_makes_a_slot_unclaimed_again(tmp_path: Path) -> None:
    with Slots.open(tmp_path / "slots", 2) as slots:
        slots.claim(0, Role.WORKER, 1, 1)
        slots.claim(1, Role.CONTROL, 2, 1)
        slots.clear(0)

        assert slots.read(0) is None
        assert slots.read(1) is not None


@pytest.mark.parametrize("at", [4, 12], ids=["role", "state"])
def test_a_slot_that_holds_rubbish_reads_as_unclaimed(tmp_path: Path, at: int) -> None:
    path = tmp_path / "slots"
    with Slots.open(path, 3) as slots:
        slots.claim(1, Role.WORKER, 4711, 7)
        with path.open("r+b") as file:
            file.seek(SLOT_BYTES + at)
            file.write((99).to_bytes(4, "little"))

        assert slots.read(1) is None


def test_a_slot_outside_the_file_is_refused(tmp_path: Path) -> None:
    with Slots.open(tmp_path / "slots", 2) as slots, pytest.raises(IndexError, match="slots 0 to 1"):
        slots.claim(2, Role.WORKER, 1, 1)


def test_slot_numbers_are_workers_then_heavy_then_control() -> None:
    assert (heavy_slot(2), control_slot(2), slot_count(2)) == (2, 3, 4)


def test_a_digest_never_stands_for_no_version() -> None:
    assert digest_prefix("0" * 64) != 0
    assert digest_prefix("0123456789abcdef" + "f" * 48) == 0x0123456789ABCDEF
