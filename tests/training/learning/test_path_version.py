"""A version of `path`: learners whose truth is known, foretold by a version fitted on others."""

from datetime import UTC

import numpy as np
import pandas as pd
import pytest
from google.protobuf import json_format

from methods.learning.mastery import MasteryParameters
from methods.learning.path_parameters import PathParameters, parse_path
from methods.learning.prerequisites import prerequisite_graph
from paedsresus.ml.v1 import learning_pb2
from server.modules.learning.generate_path import solve
from server.serving.whole import Moment
from tests.training.learning.test_path import draw_rows
from training.learning.path import fit_mastery
from training.learning.path_version import Foretold, foretell, foretells_better, golden_cases, practice_of, take

PARAMETERS = PathParameters(
    graph=prerequisite_graph([("c", "b"), ("b", "a"), ("d", "a")]), certifications={"PALS": ("c", "d")}
)


def test_learners_who_differ_are_foretold_better_than_by_their_skills_alone() -> None:
    rows = draw_rows(np.random.default_rng(3), learners=120)
    early, late = take(rows, rows.learner < 60), take(rows, rows.learner >= 60)

    found = foretell(late, early, fit_mastery(early))

    assert found.rows == late.outcome.size
    assert found.model < found.baseline
    assert foretells_better(found).passed


def test_a_version_that_foretells_no_better_is_refused_with_its_figure() -> None:
    gate = foretells_better(Foretold(model=0.5, baseline=0.501, standard_error=0.01, rows=100))

    assert not gate.passed
    assert "0.0010 nats" in gate.reason


def test_practice_becomes_rows_in_the_order_of_time() -> None:
    frame = pd.DataFrame(
        {
            "user_id": ["u", "u", "v"],
            "skill_id": ["a", "b", "a"],
            "begun_at": pd.to_datetime(["2026-01-01", "2026-01-03", "2026-01-02"], utc=True),
            "minutes": [5.0, 0.0, 1.0],
            "outcome": [np.nan, 1.0, 0.0],
        }
    )

    rows, data_time = practice_of(frame)

    assert rows.learner.tolist() == [0, 0, 1]
    assert rows.skill.tolist() == [0, 1, 0]
    assert data_time == frame["begun_at"].max().to_pydatetime().astimezone(UTC)


def test_no_practice_is_refused() -> None:
    with pytest.raises(ValueError, match="holds none"):
        practice_of(pd.DataFrame({"user_id": []}))


def test_every_golden_request_is_answered_by_the_server_as_the_version_says() -> None:
    parameters = parse_path(PARAMETERS.to_json())
    cases = golden_cases(PARAMETERS, np.random.default_rng(0))

    assert len(cases) >= 20
    assert any("steps" in answer for _, answer in cases)
    for request, answer in cases:
        asked = json_format.ParseDict(dict(request), learning_pb2.GeneratePathRequest())
        response = solve(parameters, asked, Moment(float(asked.context.as_of_time.seconds), bytes(32)))
        assert response.ready_probability.value == pytest.approx(answer["readyProbability"]["value"], abs=1e-12)
        assert [{"lessonId": step.lesson_id, "week": step.week} for step in response.steps] == answer.get("steps", [])


def test_parameters_of_a_version_are_those_that_were_fitted() -> None:
    assert parse_path(PARAMETERS.to_json()).mastery == MasteryParameters()
