"""A version of the model `certification` from the platform's exams: fitted on earlier ones, judged on later ones.

Trees, calibration and band see exams sat before a cut in time; what is judged are exams after it, from landmarks after
it, so that no judged prediction could have known an outcome that was fitted on too late.
Not here: the fit itself (certification.py, exam_skills.py); figures and verdicts (certification_judging.py); what
becomes of the version (training/recipe.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from methods.features import Kind, encode_columns
from methods.learning import certification as outcome_code
from methods.learning import exam_skills as skill_code
from methods.learning.certification import Certified, predict_passing
from methods.learning.certification_parameters import ExamKnowledge
from methods.learning.exam_skills import Answered, ExamPlan, masteries
from training.data.mart import Mart
from training.features import certification as feature_code
from training.features.certification import LANDMARK_DAYS, certification_schema, exam_tables
from training.features.digest import digest_code
from training.features.practice import read_catalogue
from training.learning import exams as exam_rows
from training.learning.certification import CertificationOptions, fit_certification
from training.learning.certification_judging import calibration_facts, gates_of, judge, slices_of
from training.learning.exam_skills import fit_exam_items, fit_skill_prior
from training.learning.exams import Exams, exam_count, exams_of, expected_scores, split_at, with_readiness
from training.onnx_trees import run_onnx, trees_to_onnx
from training.recipe import Fitted, Recipe, Say

JUDGED_SHARE = 0.3  # of the exams, the newest
SLIP = 0.05  # JUDGEMENT: wrong while knowing; more would put cut scores of 84 % out of reach of those who know
GOLDEN = 24
NAME = "certification"
PURPOSE = (
    "Whether a learner passes an exam, and which skills would change that, for PredictCertificationSuccess.",
    "Boosted trees on what is known weeks before the exam; a second layer weighs them and the learner's skills.",
)
LIMITS = (
    "It is about exams that are sat. Who books none, or stays away, is not in the data.",
    "Nothing measured at the manikin is in the data: the answer is about knowledge alone.",
    "A skill's gain is what the model would say of a learner who knew it, not a measured effect of practice.",
    "Attendance, assessments and scenarios are in no table of the platform: they move no answer of this version.",
    "Not for employment decisions.",
)


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits exams before a cut in time, and foretells those after it.

    Raises: ValueError: too few exams.
    """
    say("reading exams")
    exams = exams_of(exam_tables(mart))
    taken = exams.frame.groupby("exam_id")["taken_at"].first()
    cut = pd.Timestamp(taken.sort_values().iloc[int(len(taken) * (1.0 - JUDGED_SHARE))])
    early, late = split_at(exams, cut)
    if not len(late.rows):
        raise ValueError("exams: none was sat days after the cut, so there is nothing to be judged on")
    version = _before_the_fit(early, read_catalogue(mart).certifications)
    early = with_readiness(early, version)
    options = CertificationOptions(guess=version.outcome.guess, slip=version.outcome.slip)
    model = fit_certification(early.rows, version.schema, options, rng, progress=say)
    graph = trees_to_onnx(model.booster)
    version = replace(version, outcome=replace(model.parameters, score_reach=_score_reach(early, version)))
    say("foretelling later exams")
    judged = judge(early, late, version, graph, rng)
    day = (taken.max() - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    facts = calibration_facts(late, judged.chance, float(day))
    version = replace(version, outcome=replace(version.outcome, facts=facts))
    parity = float(np.abs(run_onnx(graph, late.rows.matrix) - model.margin(late.rows.matrix)).max())
    skilled = version.outcome.skilled
    return Fitted(
        parameters=version.to_json(),
        golden=golden_cases(late, version, graph, rng),
        figures={name: scores.as_metrics() for name, scores in judged.scores.items()},
        gates=gates_of(judged, early, late, parity),
        slices=slices_of(late, judged),
        observations=len(early.rows),
        data_time=early.frame["taken_at"].max().to_pydatetime().astimezone(UTC),
        facts={
            "exams fitted on": f"{exam_count(early):,}, each at up to {len(LANDMARK_DAYS)} landmarks",
            "judged on": f"{exam_count(late):,} exams sat after {cut:%Y-%m-%d}",
            "passed": f"{early.rows.outcome.mean():.1%} of the rows fitted on, {late.rows.outcome.mean():.1%} judged",
            "trees": f"{model.rounds} of depth {model.depth}",
            "weight of readiness": "none: too few learners with known skills"
            if skilled is None
            else f"{skilled.readiness:.2f}",
            "expected score": f"off by {judged.score_error:.3f} on average; its 90 % interval held "
            f"{judged.score_covered:.0%} of the scores",
            "right in the exam without knowing, wrong while knowing": f"{version.outcome.guess:.2f}, "
            f"{version.outcome.slip:.2f}",
            "cohorts differ by": f"{model.cohort_spread:.2f} log-odds",
            "answers for which others count": f"{version.skills.learner_answers:.0f} for all learners' share, "
            f"{version.skills.skill_answers:.0f} for the learner's own",
        },
        purpose=PURPOSE,
        limits=LIMITS,
        files={"model.onnx": graph},
    )


def _score_reach(early: Exams, version: ExamKnowledge) -> float | None:
    """Standard deviations within which the scores fitted on lay as often as an interval promises; None without any."""
    reached, expected, spread = expected_scores(early, version).T
    return float(np.quantile(np.abs(reached - expected) / spread, version.skills.level)) if reached.size else None


def _before_the_fit(early: Exams, certifications: Mapping[str, tuple[str, ...]]) -> ExamKnowledge:
    """What is known before trees are fitted: exams, the prior of skills, and how exams' items are answered."""
    last = early.frame.groupby("exam_id").last()  # landmarks are ordered, the nearest to the exam last
    counts = [
        (place, each.answers, each.correct)
        for place, row in enumerate(last["row"])
        for each in early.skills.get(row, {}).values()
    ]
    table = np.array(counts, dtype=np.float64).reshape(-1, 3)
    cuts = early.frame.groupby("certification")["cut_score"].last().to_dict()  # ordered by time
    prior = fit_skill_prior(table[:, 0].astype(np.int64), table[:, 1], table[:, 2], slip=SLIP)
    plans = {
        str(name): ExamPlan(cut_score=float(cut), weights=dict.fromkeys(certifications[str(name)], 1.0))
        for name, cut in cuts.items()
        if certifications.get(str(name))
    }
    known = [
        (np.mean([each.mastery.value for each in masteries(skills, plans[name].weights, prior)]), score)
        for row, name, score in zip(last["row"], last["certification"], last["score"], strict=True)
        if (skills := early.skills.get(row)) and name in plans
    ]
    means, scores = np.array(known, dtype=np.float64).reshape(-1, 2).T
    guess, slip = fit_exam_items(means, scores)
    return ExamKnowledge(
        schema=certification_schema(),
        outcome=outcome_code.CertificationParameters(
            plain=outcome_code.Outcome(slope=1.0, offset=0.0), guess=guess, slip=slip
        ),
        skills=prior,
        exams=plans,
        longest_days=float(max(LANDMARK_DAYS)),
    )


def golden_cases(
    exams: Exams, version: ExamKnowledge, graph: bytes, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Real rows as requests, with the skills' states where there are any, and what each must be answered.

    Every sixth comes without skills, and the first with nothing at all.
    """
    places = rng.permutation(len(exams.rows))[:GOLDEN]
    places = np.resize(places, GOLDEN)
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for number, place in enumerate(places.tolist()):
        row = exams.frame.iloc[place]
        skills = {} if number % 6 == 0 else dict(exams.skills.get(row["row"], {}))
        values = {} if number == 0 else {name: row[name] for name in version.schema.names if pd.notna(row[name])}
        as_of = row["as_of_time"].to_pydatetime().astimezone(UTC).replace(microsecond=0)
        request: dict[str, Any] = {
            "context": {"requestId": f"golden-{number}", "asOfTime": _text(as_of)},
            "features": _features_json(version, values, skills, as_of),
        }
        columns = {
            name: np.array([values.get(name)], dtype=object)
            if kind is Kind.CATEGORY
            else np.array([values.get(name, np.nan)], dtype=np.float64)
            for name, kind in ((feature.name, feature.kind) for feature in version.schema.features)
        }
        margin = float(run_onnx(graph, encode_columns(version.schema, columns))[0])
        plan = version.exams.get(values.get("certification", ""))
        known = masteries(skills, plan.weights, version.skills) if skills and plan is not None else ()
        cut = values.get("cut_score", None if plan is None else plan.cut_score)
        cases.append((request, _answer(predict_passing(margin, version.outcome, known, cut_score=cut))))
    return cases


def _features_json(
    version: ExamKnowledge, values: Mapping[str, Any], skills: Mapping[str, Answered], as_of: datetime
) -> dict[str, Any]:
    """The features as the contract's JSON has them."""
    features: dict[str, Any] = {}
    for feature in version.schema.features:
        if feature.name not in values:
            continue
        value, name = values[feature.name], _camel(feature.name)
        match feature.kind:
            case Kind.CATEGORY:
                prefix = {"role": "CLINICAL_ROLE"}.get(feature.name, feature.name.upper())
                features[name] = f"{prefix}_{value}"
            case Kind.TIME:
                features[name] = _text(as_of + timedelta(days=float(value)))
            case Kind.COUNT:
                features[name] = int(value)
            case _:
                features[name] = float(value)
    if skills:
        features["knowledge"] = {
            "skillStates": [
                {"skillId": skill, "answers": int(each.answers), "correctAnswers": int(each.correct)}
                for skill, each in skills.items()
            ]
        }
    return features


def _answer(found: Certified) -> Mapping[str, Any]:
    """The parts of the response that must match."""
    answer: dict[str, Any] = {"passProbability": found.passing._asdict()}
    if found.exam is not None:
        answer["expectedScore"] = found.exam.score._asdict()
        answer["weakestSkills"] = [
            {"skillId": weak.skill_id, "passProbabilityGain": weak.gain._asdict()} for weak in found.weakest
        ]
    return answer


def _camel(name: str) -> str:
    """As the contract's JSON writes a field.

    >>> _camel("answers_28d")
    'answers28d'
    """
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _expressions() -> str:
    sources = (__file__, exam_rows.__file__, feature_code.__file__, outcome_code.__file__, skill_code.__file__)
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model=NAME, fit=fit_version, expressions=_expressions)
