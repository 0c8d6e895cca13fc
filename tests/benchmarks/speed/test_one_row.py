import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.speed.one_row import check_refusal
from benchmarks.speed.stage import QUICK, Stage
from benchmarks.speed.subjects.echo import echo
from benchmarks.speed.subjects.questions import PREDICT, WrongAnswerError, check_single, single_questions
from paedsresus.ml.v1 import revenue_pb2


def stage_in(folder: Path) -> Stage:
    return Stage(
        folder=folder, server_core=None, load_core=None, lengths=QUICK, console=Console(file=io.StringIO(), width=100)
    )


def test_a_server_that_checks_nothing_is_found_before_it_is_measured(tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    answer.write_bytes(b"")
    stage = stage_in(tmp_path)

    with (
        echo({PREDICT: answer}, same_settings=True, core=None) as server,
        pytest.raises(WrongAnswerError, match="counted as OK"),
    ):
        check_refusal(stage, server)


def test_wrong_answers_with_status_ok_stop_the_measurement(tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    answer.write_bytes(revenue_pb2.PredictChurnResponse().SerializeToString())
    stage = stage_in(tmp_path)

    with (
        echo({PREDICT: answer}, same_settings=False, core=None) as server,
        pytest.raises(WrongAnswerError, match="churn by"),
    ):
        stage.load(
            server.port,
            path=PREDICT,
            bodies=stage.bodies("some", single_questions(20)),
            seconds=0.2,
            warm_seconds=0.0,
            check=check_single,
        )
