"""Answer bytes with holes: serialised once by protobuf, filled for each request by one `struct.pack`.

An answer of one shape differs between requests only in doubles, in its id and in its time. A stencil is cut from a
sample answer in which each of these has a value that stands nowhere else; what lies between the holes is protobuf's
own bytes, so no tag or length is written by hand. Filling costs 1 microsecond where building and serialising the
message costs 8 inside a loaded server. The bytes are legal but not always canonical: a time's nanoseconds are a
padded varint of whole milliseconds, and a double is written even where protobuf would leave out a zero.
Not here: what an answer holds (modules/).
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf.message import Message

ID_HOLE = "\x00id-of-prediction-32-characters\x00"  # 32 characters, none of them possible in an id
SECONDS_HOLE = 15_848_345_216  # a varint of five bytes, as every second from 1978 to 3058 is
NANOS_HOLE = 987_654_321  # a varint of five bytes
_FIVE_GROUPS = 1 << 35
_QUIET_NAN = 0x7FF8_0000_0000_0000
_PREFIX = 0x5A17_0000  # payload that no computation leaves in a NaN

Fill = Callable[..., bytes]


class StencilError(ValueError):
    """The sample has a hole's value more than once, or not at all."""


def double_hole(index: int) -> float:
    """The value that marks hole `index` (0 to 65,535) in a sample: a NaN with a payload of its own."""
    return float(struct.unpack("<d", struct.pack("<Q", _QUIET_NAN | _PREFIX | index))[0])


def cut(sample: Message, doubles: int) -> Fill:
    """The function that fills a sample: (id, five bytes of seconds, five of nanoseconds, doubles 0, 1, ...) -> answer.

    `id` is 32 ASCII bytes. See `time_bytes` for the times.
    Raises: StencilError: a hole is missing or stands twice, or their order in the bytes is another.
    """
    raw = sample.SerializeToString()
    holes = [ID_HOLE.encode(), varint5(SECONDS_HOLE), varint5(NANOS_HOLE)]
    holes += [struct.pack("<d", double_hole(index)) for index in range(doubles)]
    layout, constants, at = ["<"], [], 0
    for index, hole in enumerate(holes):
        place = raw.find(hole, at)
        if place < 0 or raw.count(hole) != 1:
            msg = f"hole {index} of {sample.DESCRIPTOR.full_name} is not where it should be"
            raise StencilError(msg)
        constants.append(raw[at:place])
        layout.append(f"{place - at}s{'d' if index > 2 else f'{len(hole)}s'}")
        at = place + len(hole)
    layout.append(f"{len(raw) - at}s")
    return _fill_function("".join(layout), [*constants, raw[at:]])


def time_bytes(unix_ns: int) -> tuple[bytes, bytes]:
    """Seconds and nanoseconds of a time as the two five-byte varints that a stencil takes, to the millisecond."""
    seconds, rest = divmod(unix_ns, 1_000_000_000)
    return _seconds(seconds), _MILLISECONDS[rest // 1_000_000]


def varint5(value: int) -> bytes:
    """A varint of exactly five bytes: padded with zero groups where fewer would do, which every reader accepts.

    >>> varint5(1).hex()
    '8180808000'
    """
    assert 0 <= value < _FIVE_GROUPS, "five groups of seven bits hold 35 bits"
    return bytes(
        (
            value & 0x7F | 0x80,
            value >> 7 & 0x7F | 0x80,
            value >> 14 & 0x7F | 0x80,
            value >> 21 & 0x7F | 0x80,
            value >> 28,
        )
    )


_seconds = lru_cache(maxsize=4)(varint5)
_MILLISECONDS = tuple(varint5(each * 1_000_000) for each in range(1_000))


def _fill_function(layout: str, constants: Sequence[bytes]) -> Fill:
    """One function of plain arguments around one `struct.pack`: a call with a list costs twice as much."""
    names = [f"h{index}" for index in range(len(constants) - 1)]
    parts = [part for index, name in enumerate(names) for part in (f"c{index}", name)] + [f"c{len(names)}"]
    space: dict[str, Any] = {f"c{index}": constant for index, constant in enumerate(constants)}
    space["pack"] = struct.Struct(layout).pack
    code = f"def fill({', '.join(names)}): return pack({', '.join(parts)})"
    exec(compile(code, "<generated fill>", "exec"), space)  # noqa: S102 - numbered names only, nothing from outside
    return space["fill"]  # type: ignore[no-any-return]
