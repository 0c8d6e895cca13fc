"""The worker's own file of attempts: every record is in it before its answer leaves.

One file a process start, appended to by that process alone, read by whoever ships it. A record is one `write`, so what
the kernel took survives the end of the process; a write that fails or is cut short is truncated back, counted as lost,
and the answer goes out all the same. A reader stops at a torn tail and says where it is.

File: `<slot>-<boot>-<seq>.spool`, all numbers little endian::

    header   8 "PRSPOOL1"   u64 boot   u32 slot
    record   u32 length of payload   u32 crc32 of payload   payload
    payload  u8 kind (1 attempt)  u8 ending  u8 role  u8 flags (bit 0: this attempt's answer went to the caller)
             u16 attempt within the call, from 0 (128: shadow)   u16 bucket (65535: no split)
             u64 time, ns since 1970   u32 microseconds spent   u32 rows   f64 propensity
             16 prediction id   8 first bytes of the version's digest   u32 version
             u8 length of model   u8 of method   u8 of reason   u8 of state version
             u32 length of row bitmap   u32 of request   u32 of answer
             then these seven, in that order, texts in UTF-8

An empty request on attempt 1 or later means: that of attempt 0. The row bitmap says which rows of a batch this version
answered (lowest bit first; empty: all).
Not here: shipping, joining outcomes, what the store keeps (ledger/store, control).
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MAGIC = b"PRSPOOL1"
NO_BUCKET = 65_535
SHADOW_ATTEMPT = 128
FILE_BYTES_MAX = 64 << 20  # a file is shipped as a whole; 150,000 single predictions
FOLDER_BYTES_MAX = 1 << 30  # of one slot: more than that is never kept on a worker's disk
_HEADER = struct.Struct("<8sQI")
_RECORD = struct.Struct("<II")
_PAYLOAD = struct.Struct("<BBBBHHQIId16s8sIBBBBIII")
_COPY_BYTES_MAX = 16 << 10
_ATTEMPT = 1


class Ending(IntEnum):
    """How an attempt ended. CRASH is written by control, never by the process that crashed."""

    OK = 0
    ERROR = 1
    TIMEOUT = 2
    FELL_BACK = 3
    CRASH = 4


class AttemptRole(IntEnum):
    """In which place the version tried."""

    PRIOR = 0
    CHAMPION = 1
    CANARY = 2
    SHADOW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of one version at one request, as a reader sees it. Times are ns since 1970 and microseconds."""

    prediction_id: bytes
    attempt: int
    time_ns: int
    model: str
    version: int
    digest_prefix: bytes
    method: str
    role: AttemptRole
    ending: Ending = Ending.OK
    answered: bool = True
    reason: str = ""
    bucket: int = NO_BUCKET
    propensity: float = 1.0
    spent_us: int = 0
    rows: int = 1
    row_bitmap: bytes = b""
    state_version: str = ""
    request: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolEnd:
    """Where reading ended: at a whole record's end, or before a torn tail."""

    offset: int
    torn: bool


class Spool:
    """The file that this process appends to. `records` and `lost` count what was written and what could not be."""

    def __init__(
        self,
        folder: Path,
        *,
        slot: int,
        boot: int,
        file_bytes: int = FILE_BYTES_MAX,
        folder_bytes: int = FOLDER_BYTES_MAX,
    ) -> None:
        self._folder, self._slot, self._boot = folder, slot, boot
        self._file_bytes, self._folder_bytes = file_bytes, folder_bytes
        self._seq = 0
        self._handle = -1
        self._at = 0
        self.records = 0
        self.lost = 0
        self.bytes = 0
        self._open_next()

    def append(self, attempt: Attempt) -> bool:
        """Write one record; False when it was lost."""
        return self.append_payload(encode_attempt(attempt))

    def append_payload(self, payload: bytes) -> bool:
        """Write one encoded record (`encode_attempt`, or what `ok_encoder` made); False when it was lost."""
        head = _RECORD.pack(len(payload), zlib.crc32(payload))
        size = len(head) + len(payload)
        try:
            # One write either way: a large record is not copied once more to stand beside its head.
            large = size > _COPY_BYTES_MAX
            written = os.writev(self._handle, (head, payload)) if large else os.write(self._handle, head + payload)
        except OSError:
            written = -1
        if written != size:
            self._undo(written)
            return False
        self.records += 1
        self.bytes += size
        self._at += size
        if self._at >= self._file_bytes:
            self._open_next()
        return True

    def close(self) -> None:
        """Close the file. Records are safe without it; they are not synced to the disk here."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1

    def _undo(self, written: int) -> None:
        """Count the record as lost; what was written of it is truncated away, so that the next one can be read."""
        self.lost += 1
        if written > 0:
            try:
                os.ftruncate(self._handle, self._at)
                os.lseek(self._handle, self._at, os.SEEK_SET)
            except OSError:
                self._open_next()  # the torn file ends here; a reader stops at its tail
        elif self._handle < 0 and self.lost % 1000 == 1:
            self._open_next()  # the disk may have room again

    def _open_next(self) -> None:
        self.close()
        self._at = 0
        if sum(path.stat().st_size for path in self._folder.glob(f"{self._slot}-*.spool")) >= self._folder_bytes:
            return  # predictions go on; every record from here is counted as lost
        path = self._folder / f"{self._slot}-{self._boot:016x}-{self._seq:06d}.spool"
        self._seq += 1
        header = _HEADER.pack(MAGIC, self._boot, self._slot)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if os.write(self._handle, header) == len(header):
                self._at = len(header)
                return
        except OSError:
            pass  # nothing is raised on the path of an answer: `lost` says it
        self.close()


def encode_attempt(attempt: Attempt) -> bytes:
    """The payload of one record."""
    texts = [text.encode() for text in (attempt.model, attempt.method, attempt.reason, attempt.state_version)]
    fixed = _PAYLOAD.pack(
        _ATTEMPT,
        attempt.ending,
        attempt.role,
        int(attempt.answered),
        attempt.attempt,
        attempt.bucket,
        attempt.time_ns,
        min(attempt.spent_us, 0xFFFF_FFFF),
        attempt.rows,
        attempt.propensity,
        attempt.prediction_id,
        attempt.digest_prefix,
        attempt.version,
        *(len(text) for text in texts),
        len(attempt.row_bitmap),
        len(attempt.request),
        len(attempt.answer),
    )
    return b"".join((fixed, *texts, attempt.row_bitmap, attempt.request, attempt.answer))


OkEncoder = Callable[[int, int, int, bytes, bytes, bytes], bytes]


def ok_encoder(model: str, version: int, digest_prefix: bytes, method: str, role: AttemptRole) -> OkEncoder:
    """`encode_attempt` for the common case, with all that does not change worked out once.

    The case: attempt 0, answered, one row, nothing drawn. The function takes (bucket, time_ns, spent_us,
    prediction id, request, answer) and gives the same bytes as `encode_attempt`.
    """
    name, rpc = model.encode(), method.encode()
    texts = name + rpc
    pack, lengths = _PAYLOAD.pack, (len(name), len(rpc))

    def encode(bucket: int, time_ns: int, spent_us: int, prediction_id: bytes, request: bytes, answer: bytes) -> bytes:
        fixed = pack(
            _ATTEMPT, 0, role, 1, 0, bucket, time_ns, spent_us, 1, 1.0, prediction_id, digest_prefix, version,
            lengths[0], lengths[1], 0, 0, 0, len(request), len(answer),
        )  # fmt: skip
        return b"".join((fixed, texts, request, answer))

    return encode


def read_records(path: Path) -> Iterator[Attempt | SpoolEnd]:
    """Every whole record of a file, then one SpoolEnd that says whether a torn tail follows.

    Raises: ValueError: the file has no spool's header.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            yield SpoolEnd(offset=0, torn=True)
            return
        if header[: len(MAGIC)] != MAGIC:
            msg = f"{path.name} is no spool file"
            raise ValueError(msg)
        at = len(header)
        while prefix := file.read(_RECORD.size):
            payload = b""
            if len(prefix) == _RECORD.size:
                length, crc = _RECORD.unpack(prefix)
                payload = file.read(length)
                if len(payload) == length and zlib.crc32(payload) == crc:
                    at += _RECORD.size + length
                    yield _decode(payload)
                    continue
            yield SpoolEnd(offset=at, torn=True)
            return
        yield SpoolEnd(offset=at, torn=False)


def _decode(payload: bytes) -> Attempt:
    (
        kind, ending, role, flags, attempt, bucket, time_ns, spent_us, rows, propensity, prediction_id, prefix, version,
        *lengths,
    ) = _PAYLOAD.unpack_from(payload)  # fmt: skip
    assert kind == _ATTEMPT, "format 1 has one kind of record"
    parts, at = [], _PAYLOAD.size
    for length in lengths:
        parts.append(payload[at : at + length])
        at += length
    model, method, reason, state_version, row_bitmap, request, answer = parts
    return Attempt(
        prediction_id=prediction_id,
        attempt=attempt,
        time_ns=time_ns,
        model=model.decode(),
        version=version,
        digest_prefix=prefix,
        method=method.decode(),
        role=AttemptRole(role),
        ending=Ending(ending),
        answered=bool(flags & 1),
        reason=reason.decode(),
        bucket=bucket,
        propensity=propensity,
        spent_us=spent_us,
        rows=rows,
        row_bitmap=row_bitmap,
        state_version=state_version.decode(),
        request=request,
        answer=answer,
    )
