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

from server.desired import Load
from server.errors import NotBuilt, ServingError
from server.serving.answering import Answering, Drawn, Means, Question, Seat, VersionFailed
from server.serving.answering_rows import Rows, answer_rows, offer_copies, record_rows
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
        response = method.solve(seat.deployment.asked, question.asked, moment_of(seat, question))
        return _finish(response, seat, question)

    answering = Answering(means, model=method.model, method=method.path, work=work)
    warm(method.request)

    def answer(raw: bytes, call: Call) -> Reply:
        request = parse(method.request, raw)
        if method.is_light is not None and not (len(raw) <= LIGHT_BYTES and method.is_light(request)):
            return _solve_elsewhere(method, answering, solve, request, raw, call)
        judge(request)
        question = _ask(answering, request, raw, call)
        return answering.answer(answering.choose(question), question, call)

    return answer


def answer_elsewhere(method: Whole, means: Means, solve: ComputeSolve) -> Answer:
    """The method in the compute process, which has the same versions loaded."""
    answering = Answering(means, model=method.model, method=method.path, work=_never)
    warm(method.request)

    async def answer(raw: bytes, call: Call) -> bytes:
        return await _solve_elsewhere(method, answering, solve, parse(method.request, raw), raw, call)

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


async def _solve_elsewhere(
    method: Whole, answering: Answering, solve: ComputeSolve, request: Any, raw: bytes, call: Call
) -> bytes:
    """The answer by way of the compute process, recorded."""
    if len(raw) > JUDGED_HERE_BYTES:
        judge(request.context, within="context")  # what is recorded of it; the rest is judged where there is time
    else:
        judge(request)
    question = _ask(answering, request, raw, call)
    score = functools.partial(_score, method, question, solve, call.time_remaining)
    (answered,) = await answer_rows(answering, question, (), 1, score, call)
    reply: Drawn = answered.scores
    record_rows(answering, (answered,), question, call, reply.reply, 1, propensity=reply.propensity)
    offer_copies(
        answering,
        (answered,),
        question,
        functools.partial(_score, method, question, solve, lambda: None),
        lambda drawn: drawn.reply,
    )
    return reply.reply


def _ask(answering: Answering, request: Any, raw: bytes, call: Call) -> Question:
    """The question of a request that keeps the contract.

    Raises: NotBuilt: it asks for features by id.
    """
    if "by_id" in request.DESCRIPTOR.fields_by_name and request.HasField("by_id"):
        raise NotBuilt("feature snapshots are not served in this release; send `features`", metadata={"field": "by_id"})
    context = request.context
    as_of = context.as_of_time if context.HasField("as_of_time") else None
    key = context.routing_key or context.subject_id
    return answering.question(context.request_id, key, as_of, raw, call, asked=request)


async def _score(
    method: Whole,
    question: Question,
    solve: ComputeSolve,
    remaining: Callable[[], float | None],
    seat: Seat,
    _rows: Rows,
) -> Drawn:
    job = Job(seat.deployment.digest, method.path, moment_of(seat, question), question.raw)
    raw = await solve(job, remaining())
    return _finish(method.response.FromString(raw), seat, question)


def _finish(response: Any, seat: Seat, question: Question) -> Drawn:
    """The response as bytes, with what its version says of itself."""
    info = info_of(seat, question)
    info.MergeFrom(response.info)
    response.info.CopyFrom(info)
    propensity = response.info.experiment.propensity if response.info.HasField("experiment") else 1.0
    return Drawn(response.SerializeToString(), propensity)


def _never(_seat: Seat, _question: Question) -> bytes:
    raise AssertionError("answered in the compute process")
