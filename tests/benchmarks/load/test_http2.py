import pytest

from benchmarks.load import http2


def test_a_later_block_names_what_the_first_one_left_in_the_table() -> None:
    first, later = http2.request_blocks("127.0.0.1:50051", "/a.B/C", 5)

    assert b"/a.B/C" in first
    assert b"5S" in first
    # POST and http stand in the static table; the six fields are rows 67 down to 62 of the peer's table.
    assert later == bytes((0x83, 0x86, 0xC3, 0xC2, 0xC1, 0xC0, 0xBF, 0xBE))


def test_a_status_is_read_from_literal_trailers() -> None:
    block = b"\x20" + b"\x00\x0bgrpc-status\x013" + b"\x10\x0cgrpc-message\x06bad id"

    assert http2.read_status(block) == (3, "bad id")


def test_headers_without_a_status_have_none() -> None:
    assert http2.read_status(b"\x88\x0f\x10\x10application/grpc") is None


@pytest.mark.parametrize(
    "block",
    [b"\xbe", b"\x00\x0bgrpc-status\x81\x07"],
    ids=["a row of a table that is empty", "a status that is Huffman-coded"],
)
def test_what_cannot_be_read_is_refused_not_guessed(block: bytes) -> None:
    with pytest.raises(http2.ProtocolError):
        http2.read_status(block)


def test_a_frame_head_survives_the_round_trip() -> None:
    frame = http2.frame(http2.DATA, http2.END_STREAM, 7, b"x" * 70_000)

    assert http2.frame_head(frame, 0) == (70_000, http2.DATA, http2.END_STREAM, 7)
