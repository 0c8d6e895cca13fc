import numpy as np
import protovalidate
import pytest

from benchmarks.speed.subjects.questions import (
    WrongAnswerError,
    batch_questions,
    check_batch,
    check_single,
    draw_columns,
    single_questions,
)
from paedsresus.ml.v1 import revenue_pb2


def test_questions_are_all_different_and_keep_the_contract() -> None:
    questions = list(single_questions(50))

    assert len(set(questions)) == 50
    for question in questions:
        protovalidate.validate(revenue_pb2.PredictChurnRequest.FromString(question))


def test_a_batch_keeps_the_contract_and_holds_what_was_drawn() -> None:
    (question,) = batch_questions(1, 20, seed=4)

    request = revenue_pb2.BatchPredictChurnRequest.FromString(question)
    protovalidate.validate(request)
    drawn = draw_columns(20, 4)["minutes_28d"]
    is_present = np.unpackbits(np.frombuffer(request.columns.minutes_28d_present, np.uint8), bitorder="little")[:20]
    assert is_present.tolist() == (~np.isnan(drawn)).tolist()
    assert list(request.columns.minutes_28d) == np.nan_to_num(drawn).tolist()


def test_questions_cover_every_feature_of_the_contract() -> None:
    fields = {field.name for field in revenue_pb2.PredictChurnFeatures.DESCRIPTOR.fields}

    assert set(draw_columns(1, 1)) == fields


def answer_of(chances: list[float]) -> revenue_pb2.PredictChurnResponse:
    answer = revenue_pb2.PredictChurnResponse()
    answer.info.prediction_id = "p"
    answer.info.served_by.add(model="churn", version=7)
    for chance in chances:
        answer.churn.add().churn_probability.value = chance
    return answer


def test_a_whole_answer_names_its_version() -> None:
    assert check_single(answer_of([0.1, 0.2, 0.3]).SerializeToString()) == 7


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff",
        answer_of([0.1, 0.2]).SerializeToString(),
        answer_of([0.1, 0.2, 1.3]).SerializeToString(),
        answer_of([0.3, 0.2, 0.1]).SerializeToString(),
        b"",
    ],
    ids=["no message", "a horizon missing", "no probability", "churn that falls", "empty"],
)
def test_a_wrong_answer_is_found_though_its_status_was_ok(answer: bytes) -> None:
    with pytest.raises(WrongAnswerError):
        check_single(answer)


def test_a_batch_with_a_row_too_few_is_found() -> None:
    answer = revenue_pb2.BatchPredictChurnResponse(
        churn_probabilities=[0.1] * 6, lowers=[0.0] * 6, uppers=[0.2] * 6
    ).SerializeToString()

    check_batch(answer, rows=2)
    with pytest.raises(WrongAnswerError):
        check_batch(answer, rows=3)
