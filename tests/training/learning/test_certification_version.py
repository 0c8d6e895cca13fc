"""A version of `certification`: earlier exams fit it, later ones judge it; golden requests as served."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from methods.learning.certification_parameters import ExamKnowledge, parse_knowledge
from server.control.probe import largest_difference
from server.modules.learning.predict_certification_success import METHOD, opened
from server.serving.whole import Moment
from training.data.collect import collect
from training.data.mart import Mart
from training.data.simulator.parameters import Parameters
from training.data.sources import SimulatorSource
from training.features.certification import exam_tables
from training.learning.certification_judging import calibration_facts, enough_exams
from training.learning.certification_version import fit_version
from training.learning.exams import Exams, exams_of, split_at, with_readiness
from training.recipe import Fitted


@pytest.fixture(scope="module")
def mart(tmp_path_factory: pytest.TempPathFactory) -> Mart:
    parameters = Parameters(start=datetime(2024, 1, 1, tzinfo=UTC), users=1_500)
    return collect(SimulatorSource(parameters), tmp_path_factory.mktemp("mart"), parameters.end).mart


@pytest.fixture(scope="module")
def exams(mart: Mart) -> Exams:
    return exams_of(exam_tables(mart))


@pytest.fixture(scope="module")
def fitted(mart: Mart) -> Fitted:
    return fit_version(mart, np.random.default_rng(0), lambda _: None)


@pytest.fixture(scope="module")
def version(fitted: Fitted) -> ExamKnowledge:
    return parse_knowledge(json.loads(json.dumps(fitted.parameters)))


def test_the_platforms_exams_give_a_version_that_passes_its_gates(fitted: Fitted) -> None:
    assert fitted.failures == ()
    assert fitted.figures["version"]["auc"] > fitted.figures["share that passed before"]["auc"] + 0.1
    assert set(fitted.slices) == {"certification", "days before the exam", "skills"}
    assert {name for rows in fitted.slices.values() for row in rows.values() for name in row} >= {"auc", "bias", "rows"}


def test_nothing_that_is_judged_was_known_when_the_version_was_fitted(exams: Exams) -> None:
    cut = pd.Timestamp(exams.frame["taken_at"].iloc[len(exams.frame) // 2])

    early, late = split_at(exams, cut)

    assert early.frame["taken_at"].max() < cut
    assert late.frame["as_of_time"].min() >= cut
    assert len(early.rows) == len(early.frame)
    assert early.rows.outcome.tolist() == early.frame["passed"].astype(float).tolist()


def test_the_data_end_before_the_exams_that_judge(fitted: Fitted, exams: Exams) -> None:
    judged_share = (exams.frame.groupby("exam_id")["taken_at"].first() > fitted.data_time).mean()

    assert judged_share == pytest.approx(0.3, abs=0.01)


def test_readiness_is_known_where_something_was_answered(exams: Exams, version: ExamKnowledge) -> None:
    z = with_readiness(exams, version).rows.readiness

    known = np.array([bool(exams.skills.get(row)) for row in exams.frame["row"]])
    assert (~np.isnan(z) == known).all()
    assert 0.5 < known.mean() < 1.0
    passed = exams.rows.outcome == 1
    assert np.nanmean(z[passed]) > np.nanmean(z[~passed])


def test_skills_weigh_in_and_each_exam_names_its_own(version: ExamKnowledge, mart: Mart) -> None:
    skills = mart.read("skills").to_pandas().groupby("certification")["skill_id"].apply(set).to_dict()

    assert version.outcome.skilled is not None
    assert version.outcome.skilled.readiness > 0.3
    assert {name: set(plan.weights) for name, plan in version.exams.items()} == skills
    assert {plan.cut_score for plan in version.exams.values()} == {0.84}


def test_facts_are_told_by_group_over_the_judged_exams(exams: Exams) -> None:
    chance = np.full(len(exams.rows), 0.5)

    facts = {each.cohort: each for each in calibration_facts(exams, chance, 20_000.0)}

    assert facts["all exams"].observations == exams.frame["exam_id"].nunique()
    assert facts["PALS"].observations == exams.frame[exams.frame["certification"] == "PALS"]["exam_id"].nunique()
    assert facts["PALS, nurse"].observations < facts["PALS"].observations
    assert facts["all exams"].brier_score == pytest.approx(0.25)
    names = list(facts)
    assert names.index("all exams") > names.index("PALS, nurse")


@pytest.mark.parametrize(("fitted_on", "judged", "passes"), [(50, 15, True), (49, 15, False), (50, 14, False)])
def test_few_exams_get_no_alias(fitted_on: int, judged: int, *, passes: bool) -> None:
    assert enough_exams(fitted_on, judged).passed is passes


def test_no_exams_are_refused(exams: Exams, mart: Mart) -> None:
    tables = exam_tables(mart)

    with pytest.raises(ValueError, match="holds none"):
        exams_of(replace(tables, rows=tables.rows.iloc[:0]))


def test_what_is_served_is_what_golden_requests_expect(fitted: Fitted, version: ExamKnowledge) -> None:
    served = opened(version, fitted.files["model.onnx"])

    assert len(fitted.golden) >= 20
    kinds = set()
    for asked, expected in fitted.golden:
        request: Any = METHOD.request()
        ParseDict(dict(asked), request)
        moment = Moment(float(request.context.as_of_time.seconds), bytes(32))
        answer = MessageToDict(METHOD.solve(served, request, moment))
        assert largest_difference(expected, answer) < 1e-6
        kinds.add("weakestSkills" in expected)
    assert kinds == {True, False}
