"""PredictChurn's answer from one version: features to score to chances by horizon, as answer bytes.

Not here: which version, and the record of it (serving/answering.py); the mathematics (methods/revenue/churn.py);
many rows at once (churn_batch.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError

from methods.features import FeatureSchema, Kind, schema_of
from methods.revenue.churn import DEFAULT_HORIZONS, ChurnParameters, churn_at, parse_parameters, survival_curve
from methods.revenue.churn_cause import PlacedCause, place_cause, voluntary_share
from methods.revenue.churn_intervention import RetentionEffect
from paedsresus.ml.v1 import common_pb2, revenue_pb2
from server.desired import Load
from server.errors import InvalidField, WrongState
from server.serving.answering import Question, Seat, VersionFailed
from server.serving.by_id import ById
from server.serving.info import answer_info
from server.serving.load import Artifact, LoadRefused, ModelKind
from server.serving.many_rows import ManyRows
from server.serving.pace import Pace
from server.serving.predictor import Predictor, PredictorError, open_predictor
from server.serving.reasons import top_reasons
from server.serving.wire.judge import judge
from server.serving.wire.matrix import Encode, compile_encoder
from server.serving.wire.reader import READ_FOREIGN_CURRENCY, Reader, compile_reader
from server.serving.wire.stencil import ID_HOLE, NANOS_HOLE, SECONDS_HOLE, Fill, cut, double_hole, time_bytes

FARTHEST_DAYS = 364  # the contract's largest horizon; a version that cannot answer it is refused at load
WARM_REQUESTS = 6  # golden ones, at load; all of them were tried before the version came here
STENCILS_MAX = 256  # shapes of answers kept; callers ask for few different lists of horizons
FEATURES = revenue_pb2.PredictChurnFeatures.DESCRIPTOR


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChurnModel:
    """An opened churn artifact. `cause` is None when the version says nothing about why somebody would leave.

    `many` scores batches and `pace` knows how many of their rows fit into a slice; `encode` makes their matrix of the
    contract's columns, of which `money` are amounts.
    """

    schema: FeatureSchema
    predictor: Predictor
    reader: Reader
    parameters: ChurnParameters
    cause: PlacedCause | None
    many: ManyRows
    pace: Pace
    encode: Encode
    money: tuple[int, ...]


def open_churn(artifact: Artifact, load: Load) -> ChurnModel:
    """Open and warm a churn artifact.

    Raises: LoadRefused: says what is wrong with it.
    """
    schema = artifact.schema
    try:
        parameters = parse_parameters(artifact.read_json("parameters.json"))
        placed = None if parameters.cause is None else place_cause(parameters.cause, schema.columns)
        predictor = open_predictor(artifact.read("model.onnx"), width=len(schema.columns))
        reader = compile_reader(FEATURES, schema, artifact.manifest.currency)
    except (PredictorError, ValueError) as cause:
        raise LoadRefused(str(cause)) from cause
    if parameters.period_days * len(parameters.slopes) < FARTHEST_DAYS:
        raise LoadRefused(f"parameters.json reaches {parameters.period_days * len(parameters.slopes)} days, not 364")
    model = ChurnModel(
        schema=schema,
        predictor=predictor,
        reader=reader,
        parameters=parameters,
        cause=placed,
        many=ManyRows(predictor, lambda: artifact.read("model.onnx")),
        pace=Pace(),
        encode=compile_encoder(schema, schema_of(FEATURES).names),
        money=tuple(index for index, each in enumerate(schema_of(FEATURES).features) if each.kind is Kind.MONEY),
    )
    _warm(model, artifact, load)
    return model


CHURN = ModelKind(features=FEATURES, open=open_churn)


class SubjectAsked(NamedTuple):
    """A subscriber asked for by id."""

    snapshots: ById
    request: Any  # PredictChurnRequest as it came
    feature_set: str = ""  # of the versions that the features in hand are for; empty before the look-up
    said: bytes = b""  # what the answer says of them, to append to it


class ChurnAsked(NamedTuple):
    """What PredictChurn asks, read once from its message, and what was found out about it before the answer."""

    request: Any  # PredictChurnRequest
    features: Any  # its PredictChurnFeatures; None by id before the look-up
    horizons: tuple[int, ...]
    wants_curve: bool
    by_id: SubjectAsked | None = None
    explained: tuple[Seat, bytes] | None = None  # the version that was explained, and bytes of its reasons


def answer_churn(seat: Seat, question: Question) -> bytes:
    """Bytes of a PredictChurnResponse without reasons.

    Raises: InvalidField: a feature breaks a rule of the contract. VersionFailed: the score is not a finite number.
    """
    model: ChurnModel = seat.deployment.asked
    if question.asked.by_id is not None:
        question = look_up(seat, question)
    _, _, horizons, wants_curve, by_id, explained = question.asked
    read = read_features(model, question)
    margin = model.predictor.margin()
    if margin - margin != 0.0:
        raise VersionFailed(f"{seat.model} v{seat.version} scored {margin}")
    fill = seat.shapes.get((horizons, read)) or _stencil(seat, horizons, read)
    seconds, millis = time_bytes(question.time_ns)
    estimates = chain.from_iterable(churn_at(margin, model.parameters, horizons))
    share = () if model.cause is None else voluntary_share(model.predictor.row[0].tolist(), model.cause)
    reply: bytes = fill(question.prediction_id.hex().encode(), seconds, millis, *estimates, *share)
    if wants_curve:
        reply += _survival(margin, model.parameters)
    if explained is not None and explained[0] is seat:  # reasons of a version that fell back are not the champion's
        reply += explained[1]
    return reply if by_id is None else reply + by_id.said


def look_up(seat: Seat, question: Question) -> Question:
    """A question by id as the one by features that this version reads and that is recorded; others stay as they are.

    Raises: ServingError: as `ById.find`.
    """
    asked: ChurnAsked = question.asked
    by_id, feature_set = asked.by_id, seat.deployment.facts.feature_set
    if by_id is None or by_id.feature_set == feature_set:
        return question
    full, info = by_id.snapshots.fill(by_id.request, seat, question.as_of)
    said = revenue_pb2.PredictChurnResponse(info=info).SerializeToString()
    found = by_id._replace(feature_set=feature_set, said=said)
    return question._replace(
        raw=full.SerializeToString(), asked=asked._replace(request=full, features=full.features, by_id=found)
    )


def reasons_of(seat: Seat, question: Question, contributions: Sequence[float]) -> bytes:
    """Reasons as bytes to append to an answer, from contributions by matrix column."""
    model: ChurnModel = seat.deployment.asked
    asked: ChurnAsked = question.asked
    reasons = top_reasons(model.schema, contributions, asked.features, question.as_of, event="leaving")
    return revenue_pb2.PredictChurnResponse(reasons=reasons).SerializeToString()


def feature_row(seat: Seat, question: Question) -> list[float | None]:
    """The version's row for a request as plain numbers, None where missing.

    Raises: InvalidField: a feature breaks a rule of the contract.
    """
    model: ChurnModel = seat.deployment.asked
    read_features(model, question)
    return [None if value != value else value for value in model.predictor.row[0].tolist()]  # noqa: PLR0124 - NaN


def read_features(model: ChurnModel, question: Question) -> int:
    """Fill the version's row from the request's features; says whether an amount was in a foreign currency.

    Raises: InvalidField: a feature breaks a rule of the contract.
    """
    asked: ChurnAsked = question.asked
    row = model.predictor.row
    read = model.reader.checked(asked.features, question.as_of, row)
    if not read:
        _judge(asked)
        read = model.reader.unchecked(asked.features, question.as_of, row)
    return read


def _judge(asked: ChurnAsked) -> None:
    """Raises InvalidField for what the caller sent, WrongState for what the snapshot holds."""
    try:
        judge(asked.request)
    except InvalidField as wrong:
        if asked.by_id is None or asked.by_id.request.by_id.HasField("overrides"):
            raise
        raise WrongState(
            f"by_id: the feature snapshot holds what the contract refuses: {wrong.message}; send `features`",
            metadata=wrong.metadata,
        ) from wrong


def _stencil(seat: Seat, horizons: tuple[int, ...], read: int) -> Fill:
    model: ChurnModel = seat.deployment.asked
    sample = revenue_pb2.PredictChurnResponse(info=answer_info(seat))
    sample.info.prediction_id = ID_HOLE
    sample.info.compute_time.seconds, sample.info.compute_time.nanos = SECONDS_HOLE, NANOS_HOLE
    if read == READ_FOREIGN_CURRENCY:
        sample.info.warnings.append(common_pb2.WARNING_OUT_OF_RANGE)
    bootstrap, posterior = common_pb2.ESTIMATE_METHOD_BOOTSTRAP, common_pb2.ESTIMATE_METHOD_POSTERIOR
    level = model.parameters.level
    estimates = [(sample.churn.add(horizon_days=days).churn_probability, level, bootstrap) for days in horizons]
    if model.cause is not None:
        estimates.append((sample.voluntary_share, model.cause.band.level, posterior))
    for index, (estimate, level_of, method) in enumerate(estimates):
        estimate.value, estimate.lower, estimate.upper = (double_hole(3 * index + hole) for hole in range(3))
        estimate.level, estimate.method = level_of, method
    if model.parameters.intervention is not None:
        _fill_intervention(sample.intervention, model.parameters.intervention)
    fill = cut(sample, 3 * len(estimates))
    if len(seat.shapes) >= STENCILS_MAX:
        seat.shapes.clear()
    seat.shapes[horizons, read] = fill
    return fill


def _fill_intervention(said: Any, effect: RetentionEffect) -> None:
    """The same for everybody: randomised offers told one effect, and not whom it is larger for."""
    said.treat, said.offer_id = effect.treat, effect.offer_id
    said.uplift.value, said.uplift.lower, said.uplift.upper = effect.value, effect.lower, effect.upper
    said.uplift.level, said.uplift.method = effect.level, common_pb2.ESTIMATE_METHOD_BOOTSTRAP


def _survival(margin: float, parameters: ChurnParameters) -> bytes:
    """The curve as bytes to append: a message's bytes joined to another's merge into one."""
    days, values, lowers, uppers = survival_curve(margin, parameters)
    curve = revenue_pb2.SurvivalCurve(days=days, values=values, lowers=lowers, uppers=uppers, level=parameters.level)
    return revenue_pb2.PredictChurnResponse(survival_curve=curve).SerializeToString()


def _warm(model: ChurnModel, artifact: Artifact, load: Load) -> None:
    """Answer some golden requests, so that the first caller meets a warm graph.

    Raises: LoadRefused: one of them gives no finite score.
    """
    for index, case in enumerate(artifact.read_json("golden.json")["cases"][:WARM_REQUESTS]):
        request = revenue_pb2.PredictChurnRequest()
        try:
            ParseDict(case["request"], request)
        except ParseError as cause:
            raise LoadRefused(f"golden request {index} is not a PredictChurnRequest") from cause
        as_of = request.context.as_of_time.seconds
        model.reader.unchecked(request.features, as_of, model.predictor.row)
        margin = model.predictor.margin()
        if margin - margin != 0.0:
            raise LoadRefused(f"golden request {index} of {load.model} v{load.version} scores {margin}")
        churn_at(margin, model.parameters, DEFAULT_HORIZONS)
