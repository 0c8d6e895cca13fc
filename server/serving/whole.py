"""Methods whose version answers a request as a whole: parameters and a message in, a message out.

Prices, paths, schedules: no matrix and no graph, a function of the method's own. `Whole` says what a method is made
of, `answer_here` runs it on the worker's loop, `answer_elsewhere` through the compute process; both choose the version,
record the attempt and fall back as every method does. A method on the loop may send its large requests through the
compute process: nothing holds the loop for more than two milliseconds.
Not here: rows of features through a graph (modules/revenue/churn.py); what a method computes (modules/, methods/).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message

from paedsresus.ml.v1.common_pb2 import EVIDENCE_PERSONAL, AnswerInfo
from server.desired import Load
from server.errors import ServingError
from server.serving.answering import Answering, Drawn, Means, Question, Seat, VersionFailed
from server.serving.answering_rows import Rows, answer_rows, offer_copies, record_rows
from server.serving.by_id import ById, has_id
from server.serving.dispatch import Answer, Call, Reply
from server.serving.info import info_of
from server.serving.load import Artifact, LoadRefused
from server.serving.wire.judge import judge, parse, warm

P = TypeVar("P")
PARAMETERS = "parameters.json"
JUDGED_HERE_BYTES = 8_192
"""A larger request for the compute process is judged there: the rules of 100 kB take 10 milliseconds."""
LIGHT_BYTES = 65_536
"""No larger request is light, whatever its method says of what it counts: judging strings takes time too."""
_BITS = 53  # of a double's fraction


class Moment(NamedTuple):
    """What an answer may depend on beside the request and the version.

    Attributes:
        as_of: seconds since 1970, the moment that the request describes.
        seed: decides what is drawn where a method explores; the same for a retry, whoever answers it.
    """

    as_of: float
    seed: bytes

    def chance(self, index: int = 0) -> float:
        """A number in [0, 1) that stands for draw `index` of this request; always the same for the same request."""
        drawn = blake2b(index.to_bytes(4, "little"), digest_size=8, key=self.seed).digest()
        return (int.from_bytes(drawn, "little") >> (64 - _BITS)) / (1 << _BITS)


Solve = Callable[[Any, Any, Moment], Message]
"""(what the model's `open` gave, request, moment) -> response.

`info` holds only what the method knows better than its version: evidence, observations, warnings, experiment.
Raises ServingError for what is wrong with the request; anything else is a failure of the version.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One method.

    Attributes:
        path: "/package.Service/Method".
        model: the registered model that it asks.
        request, response: its messages.
        solve: what it does.
        is_light: of a method on the worker's loop, whether a request, not yet judged, takes two milliseconds at most;
            others go through the compute process. None: all of them do.
    """

    path: str
    model: str
    request: type[Message]
    response: type[Message]
    solve: Solve
    is_light: Callable[[Any], bool] | None = None


def answers(here: Iterable[Whole], elsewhere: Iterable[Whole], means: Means, solve: ComputeSolve) -> dict[str, Answer]:
    """The answers of a module's methods, by path: on the worker's loop, and through the compute process."""
    return {
        **{method.path: answer_here(method, means, solve) for method in here},
        **{method.path: answer_elsewhere(method, means, solve) for method in elsewhere},
    }


class Job(NamedTuple):
    """What the compute process is asked for a `Whole`: version, method and all that the answer hangs on."""

    digest: str
    path: str
    moment: Moment
    raw: bytes


ComputeSolve = Callable[[Job, float | None], Awaitable[bytes]]
"""(job, seconds left) -> the response without its version's info, from the compute process.

Raises: VersionFailed: the version gave none. ServingError: the request is wrong, or the process is away or busy.
"""


def open_parameters(read: Callable[[Any], P]) -> Callable[[Artifact, Load], P]:
    """How to open an artifact that is one file of parameters; `read` checks them and raises ValueError."""

    def open_(artifact: Artifact, _load: Load) -> P:
        try:
            return read(artifact.read_json(PARAMETERS))
        except ValueError as cause:
            raise LoadRefused(f"{PARAMETERS}: {cause}") from cause

    return open_


def answer_here(method: Whole, means: Means, solve: ComputeSolve) -> Answer:
    """The method on the worker's loop, but for requests that are not light."""

    def work(seat: Seat, question: Question) -> Drawn:
        asked: Asked = asking.filled(seat, question).asked
        response = method.solve(seat.deployment.asked, asked.full, moment_of(seat, question))
        return _finish(response, seat, question, asked.found)

    asking = _Asking(method, means, work)
    warm(method.request)

    def answer(raw: bytes, call: Call) -> Reply:
        request = parse(method.request, raw)
        call.request_id = request.context.request_id
        if has_id(request):
            return answer_by_id(request, raw, call)
        if not _is_light(method, request, len(raw), LIGHT_BYTES):
            return _solve_elsewhere(asking, solve, request, raw, call)
        judge(request)
        question = asking.ask(request, raw, call)
        return asking.answering.answer(asking.answering.choose(question), question, call)

    def answer_by_id(request: Any, raw: bytes, call: Call) -> Reply:
        if len(raw) > JUDGED_HERE_BYTES:
            return _solve_elsewhere(asking, solve, request, raw, call)
        judge(request)
        question = asking.ask(request, raw, call)
        choice = asking.answering.choose(question)
        question = asking.filled(choice.seat, question)  # what is light hangs on what the snapshot holds
        full = question.asked.full
        most = JUDGED_HERE_BYTES if request.by_id.HasField("overrides") else LIGHT_BYTES
        if not _is_light(method, full, full.ByteSize(), most):
            return _send(asking, solve, question, call)
        return asking.answering.answer(choice, question, call)

    return answer


def answer_elsewhere(method: Whole, means: Means, solve: ComputeSolve) -> Answer:
    """The method in the compute process, which has the same versions loaded."""
    asking = _Asking(method, means, _never)
    warm(method.request)

    async def answer(raw: bytes, call: Call) -> bytes:
        request = parse(method.request, raw)
        call.request_id = request.context.request_id
        return await _solve_elsewhere(asking, solve, request, raw, call)

    return answer


def solve_job(methods: Mapping[str, Whole], model: Any, job: Job) -> bytes:
    """What the compute process does with a job: the response's bytes, without the version's part of `info`.

    Raises: VersionFailed: the version gave no answer. ServingError: the request is wrong.
    """
    method = methods[job.path]
    request = method.request.FromString(job.raw)
    if len(job.raw) > JUDGED_HERE_BYTES:
        judge(request)
    try:
        return method.solve(model, request, job.moment).SerializeToString()
    except ServingError:
        raise
    except Exception as cause:
        raise VersionFailed(f"{method.model} failed at {job.path}") from cause


def moment_of(seat: Seat, question: Question) -> Moment:
    """The moment of a question for one version."""
    return Moment(question.as_of, draw_seed(seat.deployment.digest, question.prediction_id))


def draw_seed(digest: str, prediction_id: bytes) -> bytes:
    """The seed of what a version draws for a request: 32 bytes."""
    return blake2b(digest.encode() + prediction_id, digest_size=32).digest()


class Asked(NamedTuple):
    """A request as the module sees it.

    Attributes:
        request: as it came.
        full: by features; of a request by id as the versions with this feature set read it, None before the look-up.
        feature_set: of a request by id.
        found: what an answer by id says of its features.
    """

    request: Any
    full: Any
    feature_set: str = ""
    found: AnswerInfo | None = None


class _Asking:
    """How requests of one method become questions; by id with the features of the version that answers."""

    def __init__(self, method: Whole, means: Means, work: Callable[[Seat, Question], bytes | Drawn]) -> None:
        self.method = method
        self.by_id = ById(means.live, method.path)
        self.answering = Answering(means, model=method.model, method=method.path, work=work, fits=self._fits)

    def ask(self, request: Any, raw: bytes, call: Call) -> Question:
        """The question of a request that keeps the contract."""
        context = request.context
        as_of = context.as_of_time if context.HasField("as_of_time") else None
        key, asked = context.routing_key or context.subject_id, Asked(request, request)
        if has_id(request):
            key, asked = key or request.by_id.subject_id, Asked(request, None)
        return self.answering.question(context.request_id, key, as_of, raw, call, asked=asked)

    def filled(self, seat: Seat, question: Question) -> Question:
        """The question as this version reads it and as it is recorded; the same one where it brought its features, or
        has been filled.

        Raises: ServingError: as `ById.find`. InvalidField: overrides and snapshot together break a rule; what is large
            is judged in the compute process.
        """
        asked: Asked = question.asked
        feature_set = seat.deployment.facts.feature_set
        if asked.full is not None and asked.feature_set in {"", feature_set}:
            return question
        full, found = self.by_id.fill(asked.request, seat, question.as_of)
        is_changed = asked.request.by_id.HasField("overrides") or len(question.raw) > JUDGED_HERE_BYTES
        if is_changed and full.ByteSize() <= JUDGED_HERE_BYTES:
            judge(full)
        return question._replace(raw=full.SerializeToString(), asked=Asked(asked.request, full, feature_set, found))

    def _fits(self, seat: Seat, question: Question) -> bool:
        """By id a version can answer where the snapshot has its features."""
        return not has_id(question.asked.request) or self.by_id.knows(seat)


async def _solve_elsewhere(asking: _Asking, solve: ComputeSolve, request: Any, raw: bytes, call: Call) -> bytes:
    """The answer by way of the compute process, recorded."""
    if len(raw) > JUDGED_HERE_BYTES:
        judge(request.context, within="context")  # what is recorded of it; the rest is judged where there is time
    else:
        judge(request)
    question = asking.ask(request, raw, call)
    if has_id(request):  # once, so that record and copies are of the same features as the answer
        question = asking.filled(asking.answering.choose(question).seat, question)
    return await _send(asking, solve, question, call)


async def _send(asking: _Asking, solve: ComputeSolve, question: Question, call: Call) -> bytes:
    """The same for a question."""
    score = functools.partial(_score, asking, question, solve, call.time_remaining)
    (answered,) = await answer_rows(asking.answering, question, (), 1, score, call)
    reply: Drawn = answered.scores
    record_rows(asking.answering, (answered,), question, call, reply.reply, 1, propensity=reply.propensity)
    offer_copies(
        asking.answering,
        (answered,),
        question,
        functools.partial(_score, asking, question, solve, lambda: None),
        lambda drawn: drawn.reply,
    )
    return reply.reply


async def _score(
    asking: _Asking,
    question: Question,
    solve: ComputeSolve,
    remaining: Callable[[], float | None],
    seat: Seat,
    _rows: Rows,
) -> Drawn:
    method = asking.method
    question = asking.filled(seat, question)
    job = Job(seat.deployment.digest, method.path, moment_of(seat, question), question.raw)
    answered = await solve(job, remaining())
    return _finish(method.response.FromString(answered), seat, question, question.asked.found)


def _is_light(method: Whole, request: Any, size: int, most: int) -> bool:
    return method.is_light is None or (size <= most and method.is_light(request))


def _finish(response: Any, seat: Seat, question: Question, found: AnswerInfo | None) -> Drawn:
    """The response as bytes, with what its version says of itself and, by id, what is said of the features."""
    info = info_of(seat, question)
    info.MergeFrom(response.info)
    if response.info.evidence == EVIDENCE_PERSONAL:
        info.observations = response.info.observations  # the subject's own, also when they are none
    if found is not None:
        info.MergeFrom(found)
    response.info.CopyFrom(info)
    propensity = response.info.experiment.propensity if response.info.HasField("experiment") else 1.0
    return Drawn(response.SerializeToString(), propensity)


def _never(_seat: Seat, _question: Question) -> bytes:
    raise AssertionError("answered in the compute process")
