"""The few HTTP/2 frames and header blocks that a gRPC caller writes and reads.

Only what a unary call needs: request headers that the server may keep in its table, answers' headers as literals
(the caller announces a table of size 0, so there is nothing to remember). Whatever else arrives is a ProtocolError:
a benchmark must not guess.
Pure: bytes in, bytes out. Not here: which call is where (connection.py).
Source: RFC 9113 (frames), RFC 7541 (header blocks), the gRPC-over-HTTP/2 protocol page of grpc/grpc.
"""

import struct
from collections.abc import Sequence
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

SETTING_HEADER_TABLE_SIZE: Final = 0x1
SETTING_ENABLE_PUSH: Final = 0x2
SETTING_MAX_CONCURRENT_STREAMS: Final = 0x3
SETTING_INITIAL_WINDOW_SIZE: Final = 0x4

LARGEST_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535
LARGEST_FRAME: Final = 16_384  # what every receiver takes without being asked (RFC 9113, 4.2)
FRAME_HEAD: Final = 9

# Rows of the static table (RFC 7541, appendix A) that a gRPC request names.
_AUTHORITY: Final = 1
_METHOD_POST: Final = 3
_PATH: Final = 4
_SCHEME_HTTP: Final = 6
_CONTENT_TYPE: Final = 31
_USER_AGENT: Final = 58
_STATIC_ROWS: Final = 61

_HEAD: Final = struct.Struct(">BHBBL")  # length in 8 + 16 bits, type, flags, stream


class ProtocolError(Exception):
    """The server sent what this caller does not understand; the measurement is void."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame, head and payload.

    >>> frame(PING, ACK, 0, bytes(8)).hex()
    '0000080601000000000000000000000000'
    """
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def frame_head(data: bytes | bytearray, offset: int) -> tuple[int, int, int, int]:
    """(payload length, type, flags, stream) of the frame whose nine-byte head begins at `offset`."""
    high, low, kind, flags, stream = _HEAD.unpack_from(data, offset)
    return high << 16 | low, kind, flags, stream & LARGEST_WINDOW


def settings(values: Sequence[tuple[int, int]]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", name, value) for name, value in values))


def window_update(stream: int, grant: int) -> bytes:
    """A WINDOW_UPDATE frame that lets the other side send `grant` more bytes."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", grant))


def grpc_message(body: bytes) -> bytes:
    """A serialised message behind gRPC's five-byte prefix, uncompressed."""
    return struct.pack(">BL", 0, len(body)) + body


def request_blocks(authority: str, path: str, deadline_seconds: int) -> tuple[bytes, bytes]:
    """Header blocks of a unary call: (the first on a connection, every later one).

    The first puts its fields into the server's table, later ones name them by number, as every gRPC client does;
    sending literals each time would charge the server for work that real callers spare it.
    """
    fields: list[tuple[int | bytes, bytes]] = [
        (_PATH, path.encode()),
        (_AUTHORITY, authority.encode()),
        (b"te", b"trailers"),
        (_CONTENT_TYPE, b"application/grpc"),
        (_USER_AGENT, b"paedsresus-load"),
        (b"grpc-timeout", b"%dS" % deadline_seconds),
    ]
    fixed = bytes((0x80 | _METHOD_POST, 0x80 | _SCHEME_HTTP))
    first = b"".join(_kept_literal(name, value) for name, value in fields)
    newest = _STATIC_ROWS + len(fields)
    later = bytes(0x80 | (newest - place) for place in range(len(fields)))
    return fixed + first, fixed + later


def read_status(block: bytes) -> tuple[int, str] | None:
    """(code, message) of a block of trailers, or None when the block carries no `grpc-status`.

    Raises: ProtocolError: the block leans on a table, which was announced as empty, or hides the status.
    """
    code: int | None = None
    message = ""
    for name, value in _fields(block):
        if name == b"grpc-status":
            if value is None or not value.isdigit():
                raise ProtocolError(f"grpc-status is not readable: {block.hex()}")
            code = int(value)
        elif name == b"grpc-message" and value is not None:
            message = value.decode("ascii", "replace")
    return None if code is None else (code, message)


def _kept_literal(name: int | bytes, value: bytes) -> bytes:
    """A literal field that the receiver is to keep (RFC 7541, 6.2.1); name by static row or spelled out."""
    head = bytes((0x40 | name,)) if isinstance(name, int) else b"\x40" + _plain_string(name)
    return head + _plain_string(value)


def _plain_string(value: bytes) -> bytes:
    if len(value) >= 127 + 128:
        raise ValueError(f"header value of {len(value)} bytes; at most 254 are written here")
    length = bytes((len(value),)) if len(value) < 127 else bytes((127, len(value) - 127))
    return length + value


def _fields(block: bytes) -> list[tuple[bytes | None, bytes | None]]:
    """Name and value of each field; None where it stands in the static table or is Huffman-coded."""
    found: list[tuple[bytes | None, bytes | None]] = []
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            row, at = _integer(block, at, 7)
            if row > _STATIC_ROWS:
                raise ProtocolError(f"field {row} of a table that was announced as empty")
            found.append((None, None))
        elif first & 0xE0 == 0x20:
            _, at = _integer(block, at, 5)  # the sender changes the size of its table: to 0, as it was told
        else:
            row, at = _integer(block, at, 6 if first & 0x40 else 4)
            name: bytes | None = None
            if row == 0:
                name, at = _string(block, at)
            value, at = _string(block, at)
            found.append((name, value))
    return found


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer with a prefix of `bits` bits (RFC 7541, 5.1), and where the next thing begins."""
    limit = (1 << bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    for shift in range(0, 29, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ProtocolError("an integer of more than five bytes")


def _string(block: bytes, at: int) -> tuple[bytes | None, int]:
    is_huffman = block[at] & 0x80
    length, at = _integer(block, at, 7)
    return (None if is_huffman else block[at : at + length]), at + length
