"""One HTTP/2 connection of a gRPC caller: calls in, bytes out; bytes in, ended calls out.

No socket and no clock: the loop (drive.py) moves the bytes and says what time it is, so that the protocol can be tested
without either. A call ends with the `grpc-status` of its trailers; HTTP's own 200 says nothing.
Answers may be of any size: the windows granted to the server are the largest there are, and are renewed.
"""

import struct
from collections import deque
from typing import Final, NamedTuple

from benchmarks.load import http2

NO_STATUS: Final = -1  # the stream ended without a grpc-status
RESET: Final = -2  # the server reset the stream
LOST: Final = -3  # the connection ended under the call
_RENEW_AFTER: Final = 2**30  # bytes received before the connection's window is renewed; half of the largest


_REFUSED_STREAM: Final = 7  # RFC 9113, 7: the server has not touched the call, so it is safe to send again


class Ended(NamedTuple):
    """A call that is over."""

    began: float  # the moment its latency counts from, as given to `start_call`
    status: int  # grpc-status, or one of the negative values above
    message: str  # grpc-message, still percent-encoded
    body: bytes | None  # the serialised answer, when it was asked for
    again: bytes | None = None  # the request, when the server refused the stream untouched
    refusals: int = 0  # how often the call has been refused by now, when it was refused


class _Blocked:
    """The rest of a request that waits for the server to open its window."""

    __slots__ = ("rest", "stream", "window")

    def __init__(self, stream: int, rest: memoryview, window: int) -> None:
        self.stream = stream
        self.rest = rest
        self.window = window


class Connection:
    """State of one connection. Mutable by nature; one owner, one thread."""

    def __init__(self, *, authority: str, path: str, deadline_seconds: int) -> None:
        self.is_greeted = False  # the server's settings have arrived
        self.is_closing = False  # the server said GOAWAY: no new call here
        self._first_block, self._later_block = http2.request_blocks(authority, path, deadline_seconds)
        self._block = self._first_block
        self._out = bytearray(
            http2.PREFACE
            + http2.settings(
                [
                    (http2.SETTING_HEADER_TABLE_SIZE, 0),
                    (http2.SETTING_ENABLE_PUSH, 0),
                    (http2.SETTING_INITIAL_WINDOW_SIZE, http2.LARGEST_WINDOW),
                ]
            )
            + http2.window_update(0, http2.LARGEST_WINDOW - http2.DEFAULT_WINDOW)
        )
        self._in = bytearray()
        self._received = 0
        self._next_stream = 1
        self._limit = 100  # until the server names its own
        self._window = http2.DEFAULT_WINDOW
        self._stream_window = http2.DEFAULT_WINDOW
        self._blocked: deque[_Blocked] = deque()
        self._began: dict[int, float] = {}
        self._bodies: dict[int, bytearray] = {}
        self._requests: dict[int, bytes] = {}
        self._refusals: dict[int, int] = {}  # of the calls that have been refused before
        self._statuses: dict[bytes, tuple[int, str] | None] = {}
        self._headers: tuple[int, int, bytearray] | None = None  # (stream, flags, block) until END_HEADERS

    @property
    def in_flight(self) -> int:
        """Calls begun and not ended."""
        return len(self._began)

    @property
    def has_room(self) -> bool:
        """True when the server takes another call on this connection."""
        return self.is_greeted and not self.is_closing and len(self._began) < self._limit

    def start_call(self, message: bytes, began: float, *, keep_body: bool = False, refusals: int = 0) -> None:
        """Queue a call of one message (with its gRPC prefix); its latency counts from `began`.

        `refusals` is how often the call has been refused before.
        """
        stream = self._next_stream
        self._next_stream = stream + 2
        self._began[stream] = began
        if keep_body:
            self._bodies[stream] = bytearray()
        self._requests[stream] = message
        if refusals:
            self._refusals[stream] = refusals
        self._out += http2.frame(http2.HEADERS, http2.END_HEADERS, stream, self._block)
        self._block = self._later_block
        size = len(message)
        if size <= http2.LARGEST_FRAME and size <= self._window and size <= self._stream_window and not self._blocked:
            self._window -= size
            self._out += http2.frame(http2.DATA, http2.END_STREAM, stream, message)
        else:
            self._blocked.append(_Blocked(stream, memoryview(message), self._stream_window))
            self._send_blocked()

    def take_outgoing(self) -> bytearray:
        """Bytes to write to the socket; the caller owns them from now on."""
        out, self._out = self._out, bytearray()
        return out

    def receive(self, data: bytes) -> list[Ended]:
        """Calls that the server's bytes ended.

        Raises: http2.ProtocolError: the bytes are not what a gRPC server may send here.
        """
        self._in += data
        ended: list[Ended] = []
        buffer, at, size = self._in, 0, len(self._in)
        while size - at >= http2.FRAME_HEAD:
            length, kind, flags, stream = http2.frame_head(buffer, at)
            end = at + http2.FRAME_HEAD + length
            if end > size:
                break
            self._take_frame(kind, flags, stream, bytes(buffer[at + http2.FRAME_HEAD : end]), ended)
            at = end
        del buffer[:at]
        if self._received >= _RENEW_AFTER:
            self._out += http2.window_update(0, self._received)
            self._received = 0
        return ended

    def end_all(self) -> list[Ended]:
        """End every call that is still in flight: the connection is lost."""
        ended = [Ended(began, LOST, "connection lost", None) for began in self._began.values()]
        self._began.clear()
        self._bodies.clear()
        self._requests.clear()
        self._refusals.clear()
        self._blocked.clear()
        return ended

    def _take_frame(self, kind: int, flags: int, stream: int, payload: bytes, ended: list[Ended]) -> None:
        if kind == http2.HEADERS:
            self._take_headers(flags, stream, payload, ended)
        elif kind == http2.DATA:
            self._take_data(flags, stream, payload, ended)
        elif kind == http2.CONTINUATION:
            self._take_continuation(flags, stream, payload, ended)
        elif kind == http2.RST_STREAM:
            code = int.from_bytes(payload, "big")
            self._end(stream, (RESET, f"reset with code {code}"), ended, is_refused=code == _REFUSED_STREAM)
        elif kind == http2.WINDOW_UPDATE:
            self._take_window(stream, int.from_bytes(payload, "big"))
        else:
            self._take_housekeeping(kind, flags, payload)

    def _take_housekeeping(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == http2.PING and not flags & http2.ACK:
            self._out += http2.frame(http2.PING, http2.ACK, 0, payload)
        elif kind == http2.SETTINGS and not flags & http2.ACK:
            self._take_settings(payload)
        elif kind == http2.GOAWAY:
            self.is_closing = True
        elif kind == http2.PUSH_PROMISE:
            raise http2.ProtocolError("a pushed stream, which was declined")

    def _take_data(self, flags: int, stream: int, payload: bytes, ended: list[Ended]) -> None:
        if flags & http2.PADDED:
            raise http2.ProtocolError("a padded DATA frame")
        self._received += len(payload)
        if stream in self._bodies:
            self._bodies[stream] += payload
        if flags & http2.END_STREAM:
            self._end(stream, (NO_STATUS, "the answer has no trailers"), ended)

    def _take_headers(self, flags: int, stream: int, payload: bytes, ended: list[Ended]) -> None:
        if flags & (http2.PADDED | http2.PRIORITY):
            raise http2.ProtocolError("a HEADERS frame with padding or priority")
        if not flags & http2.END_HEADERS:
            self._headers = (stream, flags, bytearray(payload))
        elif flags & http2.END_STREAM:
            self._end(stream, self._status_of(payload), ended)
        # Else these are the headers before the answer: they hold nothing that a caller of ours needs.

    def _take_continuation(self, flags: int, stream: int, payload: bytes, ended: list[Ended]) -> None:
        if self._headers is None or self._headers[0] != stream:
            raise http2.ProtocolError("a CONTINUATION of nothing")
        _, first_flags, block = self._headers
        block += payload
        if flags & http2.END_HEADERS:
            self._headers = None
            self._take_headers(first_flags | http2.END_HEADERS, stream, bytes(block), ended)

    def _status_of(self, block: bytes) -> tuple[int, str]:
        # Nearly all trailers are the same few bytes: read each form once. Bounded, since messages may carry ids.
        if block in self._statuses:
            status = self._statuses[block]
        else:
            status = http2.read_status(block)
            if len(self._statuses) < 64:
                self._statuses[block] = status
        return (NO_STATUS, "the trailers carry no grpc-status") if status is None else status

    def _end(self, stream: int, status: tuple[int, str], ended: list[Ended], *, is_refused: bool = False) -> None:
        began = self._began.pop(stream, None)
        if began is None:
            return  # a reset after the trailers: the call has been counted
        request = self._requests.pop(stream)
        refusals = self._refusals.pop(stream, 0)
        kept = self._bodies.pop(stream, None)
        body = None if kept is None else bytes(kept[5:])
        if self._blocked:
            self._blocked = deque(waiting for waiting in self._blocked if waiting.stream != stream)
        if is_refused:
            ended.append(Ended(began, *status, body, again=request, refusals=refusals + 1))
        else:
            ended.append(Ended(began, *status, body))

    def _take_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HL", payload):
            if name == http2.SETTING_INITIAL_WINDOW_SIZE:
                change = value - self._stream_window
                self._stream_window = value
                for waiting in self._blocked:
                    waiting.window += change
            elif name == http2.SETTING_MAX_CONCURRENT_STREAMS:
                self._limit = max(1, value)  # all of it, as gRPC's clients do: a server that then refuses is seen
        self.is_greeted = True
        self._out += http2.frame(http2.SETTINGS, http2.ACK, 0, b"")
        self._send_blocked()

    def _take_window(self, stream: int, grant: int) -> None:
        if stream == 0:
            self._window += grant
        else:
            for waiting in self._blocked:
                if waiting.stream == stream:
                    waiting.window += grant
        if self._blocked:
            self._send_blocked()

    def _send_blocked(self) -> None:
        """Send what the windows allow, oldest request first."""
        still: deque[_Blocked] = deque()
        for waiting in self._blocked:
            while len(waiting.rest):
                room = min(self._window, waiting.window, http2.LARGEST_FRAME, len(waiting.rest))
                if room <= 0:
                    break
                flags = http2.END_STREAM if room == len(waiting.rest) else 0
                self._out += http2.frame(http2.DATA, flags, waiting.stream, bytes(waiting.rest[:room]))
                waiting.rest = waiting.rest[room:]
                waiting.window -= room
                self._window -= room
            if len(waiting.rest):
                still.append(waiting)
        self._blocked = still
