"""The loop that keeps calls going: sockets, the clock, and which call is sent next.

Bounded in time (warm, counted and drain seconds) and in count (`most_calls`). Loopback only.
Not here: the protocol (connection.py), when a refused call is sent again (retries.py), the counting (tally.py).
"""

import contextlib
import math
import select
import socket
import time
from collections import deque
from heapq import heappop, heappush
from itertools import count, cycle
from random import Random

from benchmarks.load.arrivals import fixed_arrivals, poisson_arrivals
from benchmarks.load.connection import Connection, Ended
from benchmarks.load.http2 import grpc_message
from benchmarks.load.plan import Loop, Plan
from benchmarks.load.retries import Retries
from benchmarks.load.tally import Tally

_HOST = "127.0.0.1"
_CONNECT_SECONDS = 5.0
_CHUNK = 1 << 18


class _Line:
    """A connection and its socket. `socket` is None while the server refuses to be connected."""

    __slots__ = ("connection", "paused", "port", "socket", "unsent")

    def __init__(self, plan: Plan) -> None:
        self.connection = _connection(plan)
        self.socket = socket.create_connection((_HOST, plan.port), timeout=_CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self.unsent = bytearray()
        self.paused = 0  # calls refused here that wait to be sent again

    def flush(self) -> None:
        """Write what the socket takes."""
        out = self.connection.take_outgoing()
        if self.unsent:
            self.unsent += out
            out = self.unsent
        if not out:
            return
        with contextlib.suppress(BlockingIOError, ConnectionError):  # a lost connection shows when it is read
            sent = self.socket.send(out)
            del out[:sent]
        self.unsent = out

    def read(self) -> bytes | None:
        """What has arrived; empty when nothing has, None when the connection is lost."""
        try:
            return self.socket.recv(_CHUNK) or None
        except BlockingIOError:
            return b""
        except ConnectionError:
            return None


class Drive:
    """One run."""

    def __init__(self, plan: Plan, bodies: list[bytes], tally: Tally) -> None:
        self._plan = plan
        self._messages = cycle([grpc_message(body) for body in bodies])
        self._tally = tally
        self._calls = 0
        self._lines = [_Line(plan) for _ in range(plan.connections)]
        self._turn = 0
        self._reconnect_at = 0.0
        self._retries = Retries(Random(plan.seed))
        self._paused: list[tuple[float, int, _Line, Ended]] = []  # a heap: when to send again, order, refused by, call
        self._order = count()

    def greet(self) -> list[int]:
        """Wait until the server has greeted every connection; their local ports.

        Raises: TimeoutError: it has not within five seconds.
        """
        ends = time.monotonic() + _CONNECT_SECONDS
        while not all(line.connection.is_greeted for line in self._lines):
            if time.monotonic() > ends:
                raise TimeoutError(f"port {self._plan.port} does not speak HTTP/2")
            self._move_bytes(0.05)
        return [line.port for line in self._lines]

    def run(self) -> None:
        """Make the calls; the tally knows the rest."""
        plan = self._plan
        opens = time.monotonic() + plan.warm_seconds
        closes = opens + plan.seconds
        self._tally.set_window(opens, closes)
        if plan.loop is Loop.CLOSED:
            self._closed(closes)
        else:
            self._open(opens - plan.warm_seconds, closes)
        self._drain(time.monotonic() + plan.drain_seconds)
        for line in self._lines:
            line.socket.close()

    def _closed(self, closes: float) -> None:
        plan = self._plan
        while (now := time.monotonic()) < closes and self._calls < plan.most_calls:
            self._tally.look(now)
            for line in self._lines:
                while self._may_start(line):
                    self._start(line, time.monotonic())
            self._move_bytes(closes - now)
        self._tally.look(time.monotonic())

    def _may_start(self, line: _Line) -> bool:
        # A caller whose call waits to be sent again makes no other call meanwhile.
        has_place = line.connection.in_flight + line.paused < self._plan.streams
        return has_place and line.connection.has_room and self._calls < self._plan.most_calls

    def _open(self, starts: float, closes: float) -> None:
        plan = self._plan
        rng = Random(plan.seed)
        length = closes - starts
        if plan.loop is Loop.FIXED:
            offsets = fixed_arrivals(plan.rate, length)
        else:
            offsets = poisson_arrivals(plan.rate, length, rng)
        due = deque(starts + offset for offset in offsets[: plan.most_calls])
        while due and (now := time.monotonic()) < closes + plan.drain_seconds:
            self._tally.look(now)
            while due and due[0] <= now:
                line = self._line_with_room()
                if line is None:
                    break  # every connection is full: the calls wait, and their latency counts
                intended = due.popleft()
                self._tally.note_late(now - intended)
                self._start(line, intended)
            self._move_bytes(max(0.0, due[0] - time.monotonic()) if due else 0.0)
        while (now := time.monotonic()) < closes:
            self._move_bytes(closes - now)
        self._tally.look(time.monotonic())
        self._tally.add_unanswered(len(due))

    def _drain(self, ends: float) -> None:
        while self._unended() and (now := time.monotonic()) < ends:
            self._move_bytes(ends - now)
        self._tally.add_unanswered(self._unended())

    def _unended(self) -> int:
        return len(self._paused) + sum(line.connection.in_flight for line in self._lines)

    def _start(self, line: _Line, began: float) -> None:
        self._calls += 1
        every = self._plan.sample_every
        line.connection.start_call(next(self._messages), began, keep_body=every > 0 and self._calls % every == 0)

    def _end(self, line: _Line, ended: Ended, now: float) -> None:
        """Count a call that is over, or let it wait for its next attempt."""
        if ended.status == 0:
            self._retries.note_ok()
        pause = self._retries.pause_after(ended.refusals) if ended.again is not None else None
        if pause is None:
            self._tally.add(ended, now, line.port)
            return
        self._tally.note_refused()
        line.paused += 1
        heappush(self._paused, (now + pause, next(self._order), line, ended))

    def _send_again(self, now: float) -> None:
        """Send the refused calls whose pause is over, as far as there is room; the others wait on."""
        while self._paused and self._paused[0][0] <= now:
            refused_by = self._paused[0][2]
            is_free = refused_by.connection.has_room and refused_by in self._lines
            line = refused_by if is_free else self._line_with_room()
            if line is None:
                return
            _, _, _, ended = heappop(self._paused)
            assert ended.again is not None, "only such calls wait"
            refused_by.paused -= 1
            keep_body = ended.body is not None
            line.connection.start_call(ended.again, ended.began, keep_body=keep_body, refusals=ended.refusals)

    def _next_pause(self) -> float:
        """Seconds until a call can be sent again; infinite when none waits, or none has room."""
        if not self._paused or not any(line.connection.has_room for line in self._lines):
            return math.inf
        return max(0.0, self._paused[0][0] - time.monotonic())

    def _line_with_room(self) -> _Line | None:
        for _ in self._lines:
            self._turn = (self._turn + 1) % len(self._lines)
            line = self._lines[self._turn]
            if line.connection.has_room:
                return line
        return None

    def _move_bytes(self, patience: float) -> None:
        """Write what waits, wait at most `patience` seconds for something to read, and take it."""
        for line in self._lines:
            line.flush()
        full = [line.socket for line in self._lines if line.unsent]
        # select(2) waits in microseconds; epoll through Python's selectors rounds up to a millisecond.
        patience = min(patience, self._next_pause(), 0.25)
        readable, _, _ = select.select([line.socket for line in self._lines], full, [], patience)
        for place, line in enumerate(self._lines):
            if line.socket not in readable:
                continue
            data = line.read()
            now = time.monotonic()
            if data is None:
                for ended in line.connection.end_all():
                    self._tally.add(ended, now, line.port)
                self._lines[place] = self._replacement(line, now)
            elif data:
                for ended in line.connection.receive(data):
                    self._end(line, ended, now)
        self._send_again(time.monotonic())

    def _replacement(self, lost: _Line, now: float) -> _Line:
        """A new connection for a lost one, tried every 20 ms; the lost one again while nobody listens."""
        lost.connection.is_closing = True
        if now < self._reconnect_at:
            time.sleep(0.002)  # a lost socket is always readable: do not spin
            return lost
        self._reconnect_at = now + 0.02
        with contextlib.suppress(OSError):
            line = _Line(self._plan)
            lost.socket.close()
            return line
        return lost


def _connection(plan: Plan) -> Connection:
    return Connection(authority=f"{_HOST}:{plan.port}", path=plan.path, deadline_seconds=plan.deadline_seconds)
