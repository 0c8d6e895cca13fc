"""The spool: what was acknowledged can be read, whatever happened after it."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.ledger.spool import Attempt, AttemptRole, Ending, Spool, SpoolEnd, encode_attempt, ok_encoder, read_records

ATTEMPTS = st.builds(
    Attempt,
    prediction_id=st.binary(min_size=16, max_size=16),
    attempt=st.integers(0, 128),
    time_ns=st.integers(0, 2**63),
    model=st.just("churn"),
    version=st.integers(1, 2**31),
    digest_prefix=st.binary(min_size=8, max_size=8),
    method=st.just("/s/M"),
    role=st.sampled_from(AttemptRole),
    ending=st.sampled_from(Ending),
    answered=st.booleans(),
    reason=st.sampled_from(["", "INTERNAL"]),
    bucket=st.integers(0, 9_999) | st.just(65_535),
    propensity=st.floats(0, 1),
    spent_us=st.integers(0, 10**6),
    rows=st.integers(1, 10_000),
    row_bitmap=st.binary(max_size=20),
    state_version=st.sampled_from(["", "s1"]),
    request=st.binary(max_size=200),
    answer=st.binary(max_size=200),
)


def attempt(number: int = 0, size: int = 50) -> Attempt:
    return Attempt(
        prediction_id=number.to_bytes(16),
        attempt=0,
        time_ns=number,
        model="churn",
        version=7,
        digest_prefix=b"12345678",
        method="/s/M",
        role=AttemptRole.CHAMPION,
        request=b"r" * size,
        answer=b"a" * size,
    )


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def read(path: Path) -> tuple[list[Attempt], SpoolEnd]:
    *attempts, end = read_records(path)
    assert isinstance(end, SpoolEnd)
    return [each for each in attempts if isinstance(each, Attempt)], end


@settings(max_examples=30)
@given(attempts=st.lists(ATTEMPTS, max_size=5))
def test_records_come_back_as_they_were_written(
    attempts: list[Attempt], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, slot=1, boot=2)

    assert all(spool.append(each) for each in attempts)

    found, end = read(only_file(folder))
    assert found == attempts
    assert not end.torn


@given(attempts=ATTEMPTS)
def test_the_quick_encoder_writes_the_same_bytes(attempts: Attempt) -> None:
    common = Attempt(
        prediction_id=attempts.prediction_id,
        attempt=0,
        time_ns=attempts.time_ns,
        model="churn",
        version=attempts.version,
        digest_prefix=attempts.digest_prefix,
        method="/s/M",
        role=attempts.role,
        bucket=attempts.bucket,
        spent_us=attempts.spent_us,
        request=attempts.request,
        answer=attempts.answer,
    )
    encode = ok_encoder("churn", common.version, common.digest_prefix, "/s/M", common.role)

    quick = encode(common.bucket, common.time_ns, common.spent_us, common.prediction_id, common.request, common.answer)

    assert quick == encode_attempt(common)


@pytest.mark.parametrize("cut", [1, 7, 60, 250])
def test_a_torn_tail_ends_the_reading_and_costs_nothing_before_it(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, slot=0, boot=1)
    for number in range(3):
        spool.append(attempt(number))
    path = only_file(tmp_path)
    os.truncate(path, path.stat().st_size - cut)

    found, end = read(path)

    assert [each.time_ns for each in found] == ([0, 1] if cut < 230 else [0])
    assert end.torn


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    spool = Spool(tmp_path, slot=0, boot=1)
    spool.append(attempt(0))
    spool.append(attempt(1))
    path = only_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)

    found, end = read(path)

    assert len(found) == 1
    assert end.torn


def test_a_short_write_is_truncated_back_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, slot=0, boot=1)
    spool.append(attempt(0))
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: whole(handle, content[:20]))  # a disk that fills up

    assert not spool.append(attempt(1))
    monkeypatch.setattr(os, "write", whole)
    assert spool.append(attempt(2))

    found, end = read(only_file(tmp_path))
    assert [each.time_ns for each in found] == [0, 2]
    assert not end.torn
    assert (spool.records, spool.lost) == (2, 1)


def test_a_full_disk_loses_records_and_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, slot=0, boot=1)

    def full(_handle: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "write", full)

    assert not spool.append(attempt(0))
    assert spool.lost == 1


def test_a_file_that_is_long_enough_is_followed_by_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path, slot=3, boot=1, file_bytes=1_000)

    for number in range(12):
        spool.append(attempt(number))

    paths = sorted(tmp_path.iterdir())
    assert len(paths) > 1
    assert [each.time_ns for path in paths for each in read(path)[0]] == list(range(12))


def test_beyond_its_budget_records_are_lost_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, slot=3, boot=1, file_bytes=500, folder_bytes=1_000)

    written = sum(spool.append(attempt(number)) for number in range(20))

    assert 2 <= written < 20
    assert spool.lost == 20 - written
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_000


def test_another_boot_never_continues_a_file(tmp_path: Path) -> None:
    Spool(tmp_path, slot=0, boot=1).append(attempt(0))
    Spool(tmp_path, slot=0, boot=2).append(attempt(1))

    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.spool"
    path.write_bytes(b"not a spool file at all, really")

    with pytest.raises(ValueError, match="no spool file"):
        list(read_records(path))
