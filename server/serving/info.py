"""What every answer says of itself: which version gave it, on what data, with what kind of knowledge.

Not here: what the answer is (modules/).
"""

from __future__ import annotations

from paedsresus.ml.v1 import common_pb2
from server.ledger.spool import AttemptRole
from server.serving.answering import Question, Seat

ROLES = {
    AttemptRole.CHAMPION: common_pb2.ROLE_CHAMPION,
    AttemptRole.CANARY: common_pb2.ROLE_CHALLENGER,
    AttemptRole.SHADOW: common_pb2.ROLE_CHALLENGER,
}


def answer_info(seat: Seat) -> common_pb2.AnswerInfo:
    """What every answer of this version says of itself; id and time are the caller's to set."""
    facts = seat.deployment.facts
    info = common_pb2.AnswerInfo(
        served_by=[served_by(seat)],
        data_version=facts.data_version,
        evidence=common_pb2.EVIDENCE_COHORT,
        observations=min(facts.observations, 2**31 - 1),
    )
    info.data_time.FromDatetime(facts.data_time)
    return info


def served_by(seat: Seat) -> common_pb2.ServedBy:
    """The version and its role, as an answer names them."""
    return common_pb2.ServedBy(model=seat.model, version=seat.version, role=ROLES[seat.role])


def info_of(seat: Seat, question: Question) -> common_pb2.AnswerInfo:
    """The whole of it, for one question answered now."""
    info = answer_info(seat)
    info.prediction_id = question.prediction_id.hex()
    info.compute_time.FromNanoseconds(question.time_ns)
    return info
