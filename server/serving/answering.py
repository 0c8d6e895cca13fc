"""One request through at most two attempts: choose the version, let it answer, record, and fall back if it must.

A canary that fails is covered by the champion, and both attempts stand in the ledger: the canary's failure is still a
failure. A champion that fails has nothing behind it. What an answer is made of is the module's business (`Work`).
Not here: which keys are the canary's (split.py); when a canary is cut for good (control); the queue of copies for the
version that did not answer (shadow.py); many rows at once (answering_rows.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from server.desired import Switch
from server.errors import InvalidField, NoLiveVersion, NotFound, Reason, ServingError, SwitchedOff
from server.ledger.spool import NO_BUCKET, SHADOW_ATTEMPT, Attempt, AttemptRole, Ending, OkEncoder, ok_encoder
from server.serving.breaker import Breakers
from server.serving.deployments import Deployment, Live, LiveRoute
from server.serving.dispatch import Call
from server.serving.identity import prediction_ids, request_ids
from server.serving.split import bucket_from


class Question(NamedTuple):
    """What is the same for every version that may answer one request. `asked` is the module's own view of it."""

    prediction_id: bytes  # 16 bytes
    key: str  # routing key
    time_ns: int  # since 1970, when the request was read
    as_of: float  # seconds since 1970: the moment whose past the features describe
    raw: bytes  # the request as it came
    asked: Any


class Seat:
    """One version in one place of one method, with all that does not change from request to request.

    `tally` counts its good attempts and their rows. `shapes` is the module's, for what it works out once.
    """

    __slots__ = ("deployment", "encode", "model", "prefix", "role", "role_word", "shapes", "tally", "version")

    def __init__(self, deployment: Deployment[Any], role: AttemptRole, *, method: str, tally: list[int]) -> None:
        self.deployment = deployment
        self.role = role
        self.role_word = role.name.lower()
        self.model = deployment.model
        self.version = deployment.version
        self.prefix = deployment.prefix
        self.tally = tally
        self.shapes: dict[Any, Any] = {}
        self.encode: OkEncoder = ok_encoder(
            deployment.model, deployment.version, bytes.fromhex(deployment.digest[:16]), method, role
        )


class Choice(NamedTuple):
    """The version that a request goes to, its bucket, and who sits beside it."""

    seat: Seat
    bucket: int
    table: Table


class Table:
    """The seats of one route. `copies` are (for the champion's answers, for the canary's), None without challenger."""

    __slots__ = ("canary", "champion", "copies", "default", "route")

    def __init__(
        self, route: LiveRoute[Any], champion: Seat, canary: Seat | None, copies: tuple[Seat, Seat] | None
    ) -> None:
        self.route = route
        self.champion = champion
        self.canary = canary
        self.copies = copies
        self.default = Choice(champion, NO_BUCKET, self)


class VersionFailed(Exception):  # noqa: N818 - a fact about a version, never about the request
    """A version gave no usable answer; the text says what came instead."""


class Drawn(NamedTuple):
    """An answer that may have been drawn, with the probability that it was."""

    reply: bytes
    propensity: float


Work = Callable[[Seat, Question], bytes | Drawn]
"""The answer of one version; plain bytes where nothing is ever drawn."""


Fits = Callable[[Seat, Question], bool]
"""Whether a challenger can answer a question at all; where it cannot, the champion does, and nobody is to blame."""


class Recorder(Protocol):
    """Where attempts are recorded before the answer leaves (ledger/spool.py)."""

    def append_payload(self, payload: bytes) -> bool:
        """Record one encoded attempt."""
        ...

    def append(self, attempt: Attempt) -> bool:
        """Record one attempt."""
        ...


class Attempted(Protocol):
    """Where ends of attempts are counted (monitor/metrics.py)."""

    def tally(self, model: str, role: AttemptRole) -> list[int]:
        """The cell of good attempts and their rows: [attempts, rows], to be added to directly."""
        ...

    def failed_attempt(self, model: str, role: AttemptRole, ending: Ending) -> None:
        """Count one attempt that did not end well."""
        ...


class Shadow(Protocol):
    """Takes copies of answered requests for the version that did not answer (shadow.py)."""

    def offer(self, copy: Callable[[], Awaitable[None] | None], weight: int = 1) -> None:
        """Score that many rows later, off the path of any reply; or not, when there is too much already."""
        ...


class Means(NamedTuple):
    """What every module's service works with.

    `mark` writes the number of the version that computes from now on into this process's slot, 0 for none; `failed`
    logs a version's failure with its trace: (deployment, request id).
    """

    live: Live
    recorder: Recorder
    mark: Callable[[int], None]
    meters: Attempted
    shadow: Shadow
    breakers: Breakers
    boot: str
    failed: Callable[[Deployment[Any], str], None]


class Answering:
    """The attempts of one method at one model."""

    def __init__(self, means: Means, *, model: str, method: str, work: Work, fits: Fits | None = None) -> None:
        self.means = means
        self.model = model
        self.method = method
        self._work = work
        self.fits = fits or _fits_always
        self._id_of = prediction_ids("local", method)
        self._new_request_id = request_ids(means.boot)
        self._table: Table | None = None

    def question(self, request_id: str, key: str, as_of_time: Any, raw: bytes, call: Call, *, asked: Any) -> Question:
        """The question of a request. `key` is its routing key, may be empty; `as_of_time` a Timestamp or None."""
        request_id = request_id or self._new_request_id()
        call.request_id = request_id
        now = time.time_ns()
        as_of = now * 1e-9 if as_of_time is None else as_of_time.seconds + as_of_time.nanos * 1e-9
        return Question(self._id_of(request_id), key or request_id, now, as_of, raw, asked)

    def table(self) -> Table:
        """Who sits at the table now.

        Raises: NoLiveVersion, SwitchedOff: nobody.
        """
        route = self.means.live.routes.by_model.get(self.model)
        table = self._table
        if table is not None and table.route is route:
            return table
        return self._set_table(route)

    def choose(self, question: Question) -> Choice:
        """The version for this request; raises as `table` does."""
        table = self.table()
        canary = table.canary
        if canary is None:
            return table.default
        route = table.route
        assert route.base is not None, "a challenger has a hash for its split"
        bucket = bucket_from(route.base, question.key)
        is_open = bucket < route.share_bp and self.means.breakers.allows(canary.deployment.digest)
        if is_open and self.fits(canary, question):
            return Choice(canary, bucket, table)
        return Choice(table.champion, bucket, table)

    def answer(self, choice: Choice, question: Question, call: Call) -> bytes:
        """The answer's bytes, recorded.

        Raises: ServingError: the request is wrong. Anything else: the champion failed.
        """
        seat, bucket, table = choice
        means = self.means
        call.served = seat
        means.mark(seat.prefix)
        try:
            reply = self._work(seat, question)
        except ServingError:
            raise
        except Exception:  # noqa: BLE001 - whatever a graph makes a library raise is a failure of the version
            return self._fall_back(choice, question, call)
        finally:
            means.mark(0)
        spent_us = int((time.perf_counter() - call.started) * 1e6)
        if isinstance(reply, bytes):
            means.recorder.append_payload(
                seat.encode(bucket, question.time_ns, spent_us, question.prediction_id, question.raw, reply)
            )
            tally = seat.tally
            tally[0] += 1
            tally[1] += 1
        else:
            drawn, reply = reply, reply.reply
            self.record(
                seat,
                question,
                answered=True,
                attempt=0,
                bucket=bucket,
                propensity=drawn.propensity,
                spent_us=spent_us,
                request=question.raw,
                answer=reply,
            )
        if table.copies is not None:
            self._offer_copy(choice, question)
        return reply

    def record(self, seat: Seat, question: Question, **facts: Any) -> None:
        """Count and record one attempt that is not the common case; `facts` are fields of Attempt."""
        ending = facts.get("ending", Ending.OK)
        if ending is Ending.OK:
            seat.tally[0] += 1
            seat.tally[1] += facts.get("rows", 1)
        else:
            self.means.meters.failed_attempt(self.model, seat.role, ending)
        self.means.recorder.append(
            Attempt(
                prediction_id=question.prediction_id,
                time_ns=question.time_ns,
                model=self.model,
                version=seat.version,
                digest_prefix=bytes.fromhex(seat.deployment.digest[:16]),
                method=self.method,
                role=seat.role,
                **facts,
            )
        )

    def _offer_copy(self, choice: Choice, question: Question) -> None:
        """With a challenger beside: note a canary's success, and give the version that did not answer a copy."""
        seat, _, table = choice
        assert table.copies is not None, "called only with a challenger"
        for_champion, for_canary = table.copies
        if seat is table.canary:
            self.means.breakers.succeeded(seat.deployment.digest)
            self.means.shadow.offer(lambda: self._score_copy(for_canary, question))
        elif self.fits(for_champion, question):
            self.means.shadow.offer(lambda: self._score_copy(for_champion, question))

    def _score_copy(self, seat: Seat, question: Question) -> None:
        """Score a copy; whatever comes of it, only the ledger and the counters learn of it."""
        started = time.perf_counter()
        reply, propensity, ending, reason = b"", 1.0, Ending.OK, ""
        self.means.mark(seat.prefix)
        try:
            reply, propensity = _drawn(self._work(seat, question))
        except (InvalidField, NotFound):
            # The version that answered reads less of the request, or a snapshot came between; neither is a fault.
            return
        except Exception:  # noqa: BLE001 - a version's failure, of whatever kind, ends here
            ending, reason = Ending.ERROR, Reason.INTERNAL
            self.means.failed(seat.deployment, "")
        finally:
            self.means.mark(0)
        spent_us = int((time.perf_counter() - started) * 1e6)
        self.record(
            seat,
            question,
            ending=ending,
            reason=reason,
            attempt=SHADOW_ATTEMPT,
            answered=False,
            propensity=propensity,
            spent_us=spent_us,
            answer=reply,
        )

    def _fall_back(self, choice: Choice, question: Question, call: Call) -> bytes:
        """The chosen version has failed (we are in its except clause): record it, and let the champion answer."""
        seat, bucket, table = choice
        self.means.failed(seat.deployment, call.request_id)
        is_canary = seat is table.canary
        self.record(
            seat,
            question,
            ending=Ending.FELL_BACK if is_canary else Ending.ERROR,
            reason=Reason.INTERNAL,
            attempt=0,
            answered=False,
            bucket=bucket,
            spent_us=_spent_us(call),
            request=question.raw,
        )
        if not is_canary:
            raise VersionFailed(f"{seat.model} v{seat.version} gave no answer")
        self.means.breakers.failed(seat.deployment.digest)
        champion = table.champion
        call.served = champion
        self.means.mark(champion.prefix)
        try:
            reply, propensity = _drawn(self._work(champion, question))
        finally:
            self.means.mark(0)
        self.record(
            champion,
            question,
            attempt=1,
            answered=True,
            bucket=bucket,
            propensity=propensity,
            spent_us=_spent_us(call),
            answer=reply,
        )
        return reply

    def _set_table(self, route: LiveRoute[Any] | None) -> Table:
        if route is None or route.champion is None or route.switch is not Switch.ENABLED:
            raise self._nobody(route)
        champion = self._seat(route.champion, AttemptRole.CHAMPION)
        canary = copies = None
        if route.challenger is not None:
            copies = (
                self._seat(route.challenger, AttemptRole.SHADOW),
                self._seat(route.champion, AttemptRole.SHADOW),
            )
            canary = self._seat(route.challenger, AttemptRole.CANARY) if route.has_canary else None
        self._table = Table(route, champion, canary, copies)
        return self._table

    def _seat(self, deployment: Deployment[Any], role: AttemptRole) -> Seat:
        return Seat(deployment, role, method=self.method, tally=self.means.meters.tally(self.model, role))

    def _nobody(self, route: LiveRoute[Any] | None) -> ServingError:
        if route is not None and route.switch is Switch.OFF:
            return SwitchedOff(
                f"model {self.model} is switched off in the registry (tag traffic.switch)",
                metadata={"model": self.model, "switch": route.switch.value},
            )
        if route is not None and route.switch is Switch.FALLBACK_ONLY:
            return NoLiveVersion(
                f"model {self.model} is switched to its prior, and this release has none for it",
                metadata={"model": self.model, "switch": route.switch.value},
            )
        return NoLiveVersion(f"no version of model {self.model} is live yet", metadata={"model": self.model})


def _drawn(reply: bytes | Drawn) -> Drawn:
    return reply if isinstance(reply, Drawn) else Drawn(reply, 1.0)


def _fits_always(_seat: Seat, _question: Question) -> bool:
    return True


def _spent_us(call: Call) -> int:
    return int((time.perf_counter() - call.started) * 1e6)
