"""Exams of the simulated platform: what is known on the day decides, and which items come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from training.data.simulator.catalogue import make_catalogue
from training.data.simulator.minds import Minds, chances_at, chances_of_answers, practice_of
from training.data.simulator.parameters import ExamParameters, MemoryParameters, Parameters
from training.data.simulator.world import simulate

World = dict[str, pa.Table]


@pytest.fixture(scope="module")
def exams() -> pd.DataFrame:
    """Exams of the default world of 2,500 people."""
    world = Parameters(start=pd.Timestamp("2024-01-01", tz="UTC").to_pydatetime())
    rows = pa.concat_tables([batch["exams"] for batch in simulate(world) if "exams" in batch])
    frame: pd.DataFrame = rows.to_pandas()
    return frame


def test_about_two_in_three_pass(exams: pd.DataFrame) -> None:
    # 1,000 exams: standard error 0.015.
    assert exams["passed"].mean() == pytest.approx(2 / 3, abs=0.05)


def test_a_score_is_a_number_of_items(exams: pd.DataFrame) -> None:
    points = exams["score"] * ExamParameters().items

    np.testing.assert_allclose(points, points.round(), atol=1e-9)
    assert (exams["passed"] == (exams["score"] >= exams["cut_score"])).all()


def test_an_exam_is_booked_before_it_is_sat_and_a_second_one_after_the_first(exams: pd.DataFrame) -> None:
    ahead = exams["taken_at"] - exams["booked_at"]
    in_order = exams.sort_values("taken_at")
    before = in_order.groupby("user_id")[["taken_at", "passed"]].shift()
    again = before["taken_at"].notna()

    assert (ahead > timedelta(0)).all()
    assert (ahead <= timedelta(days=ExamParameters().booked_days[1])).all()
    assert again.sum() > 50
    assert (in_order.loc[again, "booked_at"] > before.loc[again, "taken_at"]).all()
    assert not before.loc[again, "passed"].astype(bool).any()


def test_who_practised_the_certifications_skills_passes_more_often(world: World) -> None:
    exams, answers = (world[name].to_pandas() for name in ("exams", "answers"))
    skills = world["items"].to_pandas().merge(world["skills"].to_pandas(), on="skill_id")[["item_id", "certification"]]
    pairs = exams[["exam_id", "user_id", "certification", "taken_at"]].merge(answers, on="user_id")
    pairs = pairs[pairs["answered_at"] < pairs["taken_at"]].merge(skills, on="item_id", suffixes=("", "_item"))
    own = pairs[pairs["certification"] == pairs["certification_item"]].groupby("exam_id")["correct"].agg(["sum"])
    joined = exams.set_index("exam_id").join(own, how="inner")
    much = joined["sum"] > joined["sum"].median()

    # About 70 exams in either half, scores spread by 0.08: standard error of the difference 0.013.
    assert joined.loc[much, "score"].mean() > joined.loc[~much, "score"].mean() + 0.02


def test_an_easier_exam_is_passed_by_more(parameters: Parameters) -> None:
    def passed(easier: float) -> float:
        world = simulate(replace(parameters, exam=ExamParameters(easier_logit=easier)))
        return float(pa.concat_tables([b["exams"] for b in world if "exams" in b])["passed"].to_numpy().mean())

    assert passed(0.2) < passed(1.5)


def test_a_question_between_answers_meets_the_same_mind_as_an_answer() -> None:
    memory, rng = MemoryParameters(), np.random.default_rng(0)
    minds = Minds(ability=rng.normal(size=(4, 3)), first_stability_days=rng.uniform(5, 200, (4, 3)), memory=memory)
    user = np.repeat(np.arange(4), 30)
    day = np.tile(np.sort(rng.uniform(0, 300, 30)), 4)
    group, difficulty = user * 3 + rng.integers(0, 3, 120), rng.normal(size=120)
    practice = practice_of(group, day)

    as_answers = chances_of_answers(minds, practice, difficulty)

    np.testing.assert_allclose(chances_at(minds, practice, (group, day), difficulty), as_answers, rtol=0, atol=1e-12)


def test_who_never_practised_has_nothing_to_forget() -> None:
    minds = Minds(ability=np.zeros((1, 1)), first_stability_days=np.ones((1, 1)), memory=MemoryParameters())
    nobody = practice_of(np.empty(0, dtype=np.int64), np.empty(0))

    early, late = chances_at(minds, nobody, (np.zeros(2, dtype=np.int64), np.array([1.0, 900.0])), np.zeros(2))

    assert early == late


def test_every_certification_has_skills() -> None:
    catalogue = make_catalogue(MemoryParameters(), np.random.default_rng(0))

    assert np.bincount(catalogue.skill_certification).tolist() == [10, 15, 5]
