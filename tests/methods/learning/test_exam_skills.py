"""Shares of right answers as masteries: drawn together where little is known, freed of guessing, from 0 to 1."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.features import Feature, FeatureSchema, Kind
from methods.learning.certification import CertificationParameters, Outcome, SkillMastery
from methods.learning.certification_parameters import ExamKnowledge, parse_knowledge
from methods.learning.exam_skills import Answered, ExamPlan, SkillPrior, masteries, parse_plans, parse_prior

PRIOR = SkillPrior(share=0.7, learner_answers=20.0, skill_answers=10.0, guess=0.2, slip=0.1)
WEIGHTS = {"cpr": 1.0, "bmv": 2.0}


@st.composite
def answered(draw: st.DrawFn) -> Answered:
    answers = draw(st.integers(min_value=0, max_value=2_000))
    return Answered(float(answers), float(draw(st.integers(min_value=0, max_value=answers))))


def of_cpr(answers: float, correct: float, **others: Answered) -> SkillMastery:
    return masteries({"cpr": Answered(answers, correct), **others}, WEIGHTS, PRIOR)[0]


@given(answered(), answered())
def test_every_mastery_lies_in_its_interval_and_the_interval_in_0_to_1(one: Answered, other: Answered) -> None:
    for skill in masteries({"cpr": one, "elsewhere": other}, WEIGHTS, PRIOR):
        value, lower, upper = skill.mastery
        assert 0.0 <= lower <= value <= upper <= 1.0


@given(answered())
def test_one_more_right_answer_never_lowers_a_mastery(seen: Answered) -> None:
    more = of_cpr(seen.answers + 1.0, seen.correct + 1.0).mastery.value

    assert more >= of_cpr(*seen).mastery.value - 1e-12


def test_the_exams_skills_stand_in_its_order_with_its_weights() -> None:
    found = masteries({"elsewhere": Answered(5.0, 5.0)}, WEIGHTS, PRIOR)

    assert [(each.skill_id, each.weight) for each in found] == [("cpr", 1.0), ("bmv", 2.0)]


def test_a_share_is_drawn_to_the_learners_own_and_that_to_everybodys() -> None:
    seen = {"cpr": Answered(10.0, 5.0), "elsewhere": Answered(20.0, 20.0)}
    learner = (0.7 * 20 + 25) / (20 + 30)

    (cpr, bmv) = masteries(seen, WEIGHTS, PRIOR)

    assert cpr.mastery.value == pytest.approx(((learner * 10 + 5) / 20 - 0.2) / 0.7)
    assert bmv.mastery.value == pytest.approx((learner - 0.2) / 0.7)


def test_the_more_answers_the_narrower() -> None:
    def width(skill: SkillMastery) -> float:
        return skill.mastery.upper - skill.mastery.lower

    few, many = of_cpr(5.0, 4.0), of_cpr(500.0, 400.0)

    assert width(many) < width(few) / 3


def test_a_mastery_that_the_caller_knows_takes_the_place_of_answers() -> None:
    (cpr, _) = masteries({"cpr": Answered(50.0, 0.0)}, WEIGHTS, PRIOR, given={"cpr": 0.9})

    assert cpr.mastery.value == pytest.approx(0.9)
    assert cpr.mastery.lower < 0.9


def test_answers_elsewhere_count_by_the_total() -> None:
    alone = masteries({}, WEIGHTS, PRIOR)[0].mastery.value
    told = masteries({}, WEIGHTS, PRIOR, total=Answered(200.0, 190.0))[0].mastery.value

    assert told > alone


def test_parameters_can_be_stored_as_json() -> None:
    knowledge = ExamKnowledge(
        schema=FeatureSchema(message="demo", features=(Feature(name="practice", kind=Kind.NUMBER),)),
        outcome=CertificationParameters(plain=Outcome(slope=1.0, offset=0.2)),
        skills=PRIOR,
        exams={"PALS": ExamPlan(cut_score=0.84, weights=WEIGHTS)},
        longest_days=84.0,
    )

    assert parse_knowledge(json.loads(json.dumps(knowledge.to_json()))) == knowledge


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"share": 1.0}, "share"),
        ({"guess": "low"}, "guess"),
        ({"slip": True}, "slip"),
        ({"guess": 0.5, "slip": 0.5}, "slip"),
        ({"skill_answers": 0.0}, "skill_answers"),
    ],
)
def test_a_wrong_prior_is_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_prior({**PRIOR.to_json(), **changed})


@pytest.mark.parametrize(
    "plan", [None, {"cut_score": 2.0, "weights": {"a": 1.0}}, {"cut_score": 0.8, "weights": {"a": 0.0}}]
)
def test_a_wrong_exam_is_named(plan: Any) -> None:
    with pytest.raises(ValueError, match=r"exams\.BLS"):
        parse_plans({"BLS": plan})


@pytest.mark.parametrize("days", [None, -1.0, "far", True])
def test_a_wrong_distance_is_named(days: Any) -> None:
    outcome = CertificationParameters(plain=Outcome(slope=1.0, offset=0.0))
    good = ExamKnowledge(schema=FeatureSchema(message="demo", features=()), outcome=outcome).to_json()

    with pytest.raises(ValueError, match="longest_days"):
        parse_knowledge({**good, "longest_days": days})
