"""The worker's two inner lines: to control (forwarded calls, confirmations) and to the compute process.

Both are gRPC over Unix sockets in the state folder (0600), raw bytes. What comes back as an error is rebuilt from its
details; anything without our details says only which process is away, never what it said.
Not here: what control and compute do; which calls go there (serving/contract.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from server.edge.codes import DETAILS_KEY, error_from
from server.errors import ComputeUnavailable, ControlUnavailable, DeadlineExceeded, NotBuilt, ServingError
from server.serving.answering import VersionFailed
from server.serving.contract import Method
from server.serving.dispatch import Answer, Call, StreamAnswer
from server.serving.follow import Confirmation
from server.serving.whole import Job, Moment

CONFIRM = "/paedsresus.ml.internal.v1.Control/Confirm"
CONTRIBUTIONS = "/paedsresus.ml.internal.v1.Heavy/Contributions"
SOLVE = "/paedsresus.ml.internal.v1.Heavy/Solve"
_JOB = struct.Struct(
    "<H32sdH"
)  # bytes of the digest's text, seed, as of, bytes of the path; then digest, path, request
_SOLVED, _FAILED = b"\0", b"\1"  # first byte of a reply: the response follows; the version gave none
CONFIRM_TIMEOUT_SECONDS = 2.0
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    # A restarted control is found again within a second, not after gRPC's default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
)


def open_line(socket: Path) -> grpc.aio.Channel:
    """A channel to one of our processes; it connects when it is first used, and again whenever it must."""
    return grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)


class ControlLine:
    """Calls to control. `reachable` says how the last confirmation went."""

    def __init__(self, channel: grpc.aio.Channel, *, default_seconds: float) -> None:
        self._channel = channel
        self._default = default_seconds
        self._confirm: Any = channel.unary_unary(CONFIRM)
        self.reachable = False

    async def confirm(self, confirmation: Confirmation, *, slot: int, pid: int, boot: str, role: str) -> None:
        """Tell control what this process has carried out; an absent control is told the next time."""
        body = {
            "slot": slot,
            "pid": pid,
            "boot": boot,
            "role": role,
            "generation": max(confirmation.generation, 0),
            "loaded": list(confirmation.loaded),
            "refused": [{"digest": digest, "reason": reason} for digest, reason in confirmation.refused],
        }
        try:
            await self._confirm(json.dumps(body).encode(), timeout=CONFIRM_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            self.reachable = False
        else:
            self.reachable = True

    def forward(self, method: Method) -> Answer:
        """The answer of a unary method that control has."""
        send: Any = self._channel.unary_unary(method.path)

        async def forwarded(request: bytes, call: Call) -> bytes:
            try:
                return await send(request, timeout=self._seconds(call))  # type: ignore[no-any-return]
            except grpc.aio.AioRpcError as failure:
                raise _control_error(failure, method) from failure

        return forwarded

    def forward_stream(self, method: Method) -> StreamAnswer:
        """The same for a method whose answer is a stream, which lasts until the caller's own deadline."""
        send: Any = self._channel.unary_stream(method.path)

        async def forwarded(request: bytes, call: Call) -> AsyncIterator[bytes]:
            try:
                async for reply in send(request, timeout=call.time_remaining()):
                    yield reply
            except grpc.aio.AioRpcError as failure:
                raise _control_error(failure, method) from failure

        return forwarded

    def _seconds(self, call: Call) -> float:
        remaining = call.time_remaining()
        return self._default if remaining is None else remaining


class ComputeLine:
    """Calls to the compute process."""

    def __init__(self, channel: grpc.aio.Channel, *, default_seconds: float) -> None:
        self._contributions: Any = channel.unary_unary(CONTRIBUTIONS)
        self._solve: Any = channel.unary_unary(SOLVE)
        self._default = default_seconds

    async def contributions(
        self, digest: str, row: list[float | None], remaining: float | None
    ) -> tuple[float, list[float]]:
        """Base and contributions by matrix column of one row (None: missing), for the version with that digest.

        Raises: ServingError: QueueFull, ComputeUnavailable, DeadlineExceeded.
        """
        body = json.dumps({"digest": digest, "rows": [row]}).encode()
        try:
            reply = json.loads(
                await self._contributions(body, timeout=self._default if remaining is None else remaining)
            )
        except grpc.aio.AioRpcError as failure:
            raise _compute_error(failure) from failure
        return float(reply["base"]), [float(value) for value in reply["contributions"][0]]

    async def solve(self, job: Job, remaining: float | None) -> bytes:
        """The response to a job.

        Raises: ServingError: as `contributions`, or the request is wrong. VersionFailed: the version gave no response.
        """
        try:
            reply: bytes = await self._solve(pack_job(job), timeout=self._default if remaining is None else remaining)
        except grpc.aio.AioRpcError as failure:
            raise _compute_error(failure) from failure
        if not reply.startswith(_SOLVED):
            raise VersionFailed(f"no response to {job.path}; the compute process's log has the trace")
        return reply[1:]


def pack_job(job: Job) -> bytes:
    """A job as bytes; `unpack_job` reads them back."""
    digest, path = job.digest.encode(), job.path.encode()
    return _JOB.pack(len(digest), job.moment.seed, job.moment.as_of, len(path)) + digest + path + job.raw


def unpack_job(body: bytes) -> Job:
    """The job that `pack_job` wrote.

    Raises: ValueError: the bytes are none.
    """
    if len(body) < _JOB.size:
        raise ValueError("too short for a job")
    digest_size, seed, as_of, path_size = _JOB.unpack_from(body)
    at = _JOB.size + digest_size
    return Job(
        digest=body[_JOB.size : at].decode(),
        path=body[at : at + path_size].decode(),
        moment=Moment(as_of, seed),
        raw=body[at + path_size :],
    )


def pack_solved(reply: bytes | None) -> bytes:
    """A response on its way back; None when the version gave none."""
    return _FAILED if reply is None else _SOLVED + reply


def _control_error(failure: grpc.aio.AioRpcError, method: Method) -> ServingError | RuntimeError:
    if (known := _known(failure)) is not None:
        return known
    match failure.code():
        case grpc.StatusCode.UNAVAILABLE:
            return ControlUnavailable(
                "control, which answers this method, is away; predictions go on", metadata={"method": method.name}
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("the deadline passed before control answered", metadata={"phase": "control"})
        case grpc.StatusCode.UNIMPLEMENTED:
            return NotBuilt(
                f"{method.name} is in the contract and not built in this release",
                metadata={"service": method.service, "method": method.name},
            )
    return RuntimeError(f"control ended {method.path} with {failure.code().name}: {failure.details()}")


def _compute_error(failure: grpc.aio.AioRpcError) -> ServingError | RuntimeError:
    if (known := _known(failure)) is not None:
        return known
    match failure.code():
        case grpc.StatusCode.UNAVAILABLE:
            return ComputeUnavailable("the compute process, which answers this, is restarting; other answers go on")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(
                "the deadline passed before the compute process answered", metadata={"phase": "compute"}
            )
    return RuntimeError(f"compute ended with {failure.code().name}: {failure.details()}")


def _known(failure: grpc.aio.AioRpcError) -> ServingError | None:
    trailers: Any = failure.trailing_metadata() or ()
    for key, value in trailers:
        if key == DETAILS_KEY:
            return error_from(value, failure.details() or "")
    return None
