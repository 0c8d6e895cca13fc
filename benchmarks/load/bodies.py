"""Messages in a file, each behind its length as u32 little-endian: requests to send, and sampled answers to check."""

import struct
from collections.abc import Iterable
from pathlib import Path


def write_bodies(path: Path, bodies: Iterable[bytes]) -> None:
    """Write messages, replacing the file."""
    with path.open("wb") as file:
        for body in bodies:
            file.write(struct.pack("<L", len(body)) + body)


def read_bodies(path: Path) -> list[bytes]:
    """Messages in the order they were written.

    Raises: ValueError: the file ends inside a message.
    """
    data = path.read_bytes()
    bodies: list[bytes] = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<L", data, at)
        if at + 4 + size > len(data):
            raise ValueError(f"{path.name} ends inside message {len(bodies)}")
        bodies.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return bodies
