import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.learning.certification import (
    CalibrationFacts,
    CertificationParameters,
    Outcome,
    SkillMastery,
    expect_exam,
    parse_certification,
    predict_passing,
)
from methods.statistics.bands import Band, Interval

PAGE = Path(__file__).parents[3] / "docs/methods/predict_certification_success.md"
BAND = Band(logits=(-1.0, 1.0), lowers=(-0.4, -0.3), uppers=(0.3, 0.4))
PARAMETERS = CertificationParameters(
    plain=Outcome(slope=0.9, offset=0.1, band=BAND),
    skilled=Outcome(slope=0.6, offset=0.0, readiness=0.8, band=BAND),
    facts=(
        CalibrationFacts(
            cohort="PALS", brier_score=0.15, calibration_error=0.02, observations=400, evaluation_day=20_000.0
        ),
        CalibrationFacts(
            cohort="PALS, nurses", brier_score=0.1, calibration_error=0.05, observations=40, evaluation_day=20_000.0
        ),
    ),
)
MARGINS = st.floats(min_value=-30, max_value=30)
CUTS = st.floats(min_value=0, max_value=1)


@st.composite
def masteries(draw: st.DrawFn) -> list[SkillMastery]:
    skills = []
    for at in range(draw(st.integers(min_value=1, max_value=8))):
        lower, value, upper = sorted(draw(st.tuples(*[st.floats(min_value=0, max_value=1)] * 3)))
        weight = draw(st.floats(min_value=0.1, max_value=5))
        skills.append(SkillMastery(f"s{at}", Interval(value, lower, upper), weight))
    return skills


def known(skill_id: str, chance: float) -> SkillMastery:
    return SkillMastery(skill_id, Interval(chance, chance, chance))


@given(MARGINS, masteries(), CUTS)
def test_every_interval_contains_its_value(margin: float, skills: list[SkillMastery], cut: float) -> None:
    answer = predict_passing(margin, PARAMETERS, skills, cut_score=cut)

    assert answer.exam is not None
    for value, lower, upper in (answer.passing, answer.exam.score):
        assert 0 <= lower <= value <= upper <= 1
    for weak in answer.weakest:
        assert weak.gain.lower <= weak.gain.value <= weak.gain.upper
        assert -1e-12 <= weak.gain.value <= 1


@given(MARGINS, masteries(), CUTS)
def test_weak_skills_come_largest_gain_first(margin: float, skills: list[SkillMastery], cut: float) -> None:
    weakest = predict_passing(margin, PARAMETERS, skills, cut_score=cut, weakest_most=50).weakest

    gains = [weak.gain.value for weak in weakest]
    assert gains == sorted(gains, reverse=True)
    assert {weak.skill_id for weak in weakest} == {skill.skill_id for skill in skills}


@given(MARGINS, st.floats(min_value=0, max_value=5), masteries(), CUTS)
def test_a_higher_score_never_means_a_lower_chance(
    margin: float, step: float, skills: list[SkillMastery], cut: float
) -> None:
    for given_skills in (skills, []):
        low = predict_passing(margin, PARAMETERS, given_skills, cut_score=cut)
        high = predict_passing(margin + step, PARAMETERS, given_skills, cut_score=cut)
        assert high.passing.value >= low.passing.value


@given(masteries(), CUTS, st.floats(min_value=0, max_value=0.5))
def test_a_higher_cut_is_harder_to_reach(skills: list[SkillMastery], cut: float, step: float) -> None:
    low, high = expect_exam(skills, cut, PARAMETERS), expect_exam(skills, cut + step, PARAMETERS)

    assert high.readiness <= low.readiness
    assert high.score == low.score


def test_a_known_skill_adds_nothing_and_the_unknown_one_is_named_first() -> None:
    skills = [known("sure", 1.0), known("half", 0.5), known("none", 0.0)]

    weakest = predict_passing(0.0, PARAMETERS, skills, cut_score=0.7).weakest

    assert [weak.skill_id for weak in weakest] == ["none", "half", "sure"]
    assert weakest[-1].gain == (0.0, 0.0, 0.0)


def test_a_skill_that_weighs_more_gains_more() -> None:
    skills = [known("light", 0.4), known("heavy", 0.4)._replace(weight=3.0)]

    weakest = predict_passing(0.0, PARAMETERS, skills, cut_score=0.7, weakest_most=1).weakest

    assert [weak.skill_id for weak in weakest] == ["heavy"]


@pytest.mark.parametrize(
    ("parameters", "skills", "cut"),
    [
        (PARAMETERS, [], 0.8),
        (PARAMETERS, [known("a", 0.5)], None),
        (CertificationParameters(plain=PARAMETERS.plain), [known("a", 0.5)], 0.8),
    ],
    ids=["no skills", "no cut score", "a version without skills"],
)
def test_without_skills_or_cut_no_exam_and_no_weak_skill_is_made_up(
    parameters: CertificationParameters, skills: list[SkillMastery], cut: float | None
) -> None:
    answer = predict_passing(0.4, parameters, skills, cut_score=cut)

    assert answer.exam is None
    assert answer.weakest == ()
    assert answer.passing == BAND.probability(0.9 * 0.4 + 0.1)


def test_calibration_is_told_of_the_most_special_group_with_enough_outcomes() -> None:
    answer = predict_passing(0.0, PARAMETERS, groups=("PALS, nurses", "PALS"))

    assert answer.facts == PARAMETERS.facts[0]
    assert predict_passing(0.0, PARAMETERS, groups=("NRP",)).facts is None


def test_parameters_survive_json() -> None:
    assert parse_certification(PARAMETERS.to_json()) == PARAMETERS
    plain = CertificationParameters(plain=PARAMETERS.plain)
    assert parse_certification(plain.to_json()) == plain


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"plain": None}, "plain"),
        ({"plain": {**PARAMETERS.to_json()["plain"], "slope": -1.0}}, r"plain\.slope"),
        ({"plain": {**PARAMETERS.to_json()["plain"], "band": 3}}, r"plain\.band"),
        ({"skilled": {**PARAMETERS.to_json()["plain"], "readiness": -0.1}}, r"skilled\.readiness"),
        ({"guess": 0.5, "slip": 0.5}, "slip"),
        ({"guess": None}, "guess"),
        ({"exam_items": 0}, "exam_items"),
        ({"facts": {}}, "facts"),
        ({"facts": [{"brier_score": 0.1}]}, r"facts\.0"),
        ({"facts": [{"cohort": "PALS", "brier_score": 1.5}]}, r"facts\.0\.brier_score"),
    ],
)
def test_parameters_that_are_wrong_are_refused_by_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_certification({**PARAMETERS.to_json(), **change})


def test_parameters_that_are_no_object_are_refused() -> None:
    with pytest.raises(ValueError, match="parameters"):
        parse_certification("x")


def test_the_worked_example_of_the_page_is_what_the_code_gives() -> None:
    skills = [
        known("compressions", 0.9),
        known("bag-mask ventilation", 0.5),
        known("rhythms", 0.6)._replace(weight=2.0),
    ]
    band = Band(logits=(0.0,), lowers=(-0.3,), uppers=(0.3,))
    parameters = CertificationParameters(
        plain=PARAMETERS.plain, skilled=Outcome(slope=0.6, offset=0.2, readiness=0.8, band=band)
    )

    answer = predict_passing(0.5, parameters, skills, cut_score=0.7)

    assert answer.exam is not None
    given = {
        "expected score": answer.exam.score.value,
        "its standard deviation": answer.exam.spread,
        "readiness": answer.exam.readiness,
        "chance of passing": answer.passing.value,
        "lower end": answer.passing.lower,
        "upper end": answer.passing.upper,
        **{f"gain by {weak.skill_id}": weak.gain.value for weak in answer.weakest},
    }
    rows = re.findall(r"^\| ([a-z][a-z -]+) \| (-?[\d.]+) \|$", PAGE.read_text(), re.MULTILINE)
    said = {name: float(number) for name, number in rows}
    assert said == {name: pytest.approx(value, abs=5e-5) for name, value in given.items()}


def test_the_interval_of_a_score_reaches_as_far_as_seen_scores_ask_for() -> None:
    skills = [known("a", 0.5), known("b", 0.6)]
    usual = expect_exam(skills, 0.7, PARAMETERS)
    narrow = expect_exam(skills, 0.7, replace(PARAMETERS, score_reach=0.5))

    assert narrow.score.upper - narrow.score.value == pytest.approx(0.5 * usual.spread)
    assert (narrow.score.value, narrow.readiness) == (usual.score.value, usual.readiness)
    assert parse_certification(replace(PARAMETERS, score_reach=0.5).to_json()).score_reach == 0.5


@pytest.mark.parametrize("reach", [-1.0, "far", float("nan"), True])
def test_a_wrong_reach_is_named(reach: Any) -> None:
    with pytest.raises(ValueError, match="score_reach"):
        parse_certification({**PARAMETERS.to_json(), "score_reach": reach})
