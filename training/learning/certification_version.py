"""A version of the model `certification` from the platform's exams: fitted on earlier ones, judged on later ones.

Trees, calibration and band see exams sat before a cut in time; what is judged are exams after it, from landmarks after
it, so that no judged prediction could have known an outcome that was fitted on too late.
Not here: the fit itself (certification.py, exam_skills.py); what becomes of the version (training/recipe.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import Kind, encode_columns
from methods.learning import certification as outcome_code
from methods.learning import exam_skills as skill_code
from methods.learning.certification import (
    CalibrationFacts,
    Certified,
    cohort_names,
    expect_exam,
    predict_passing,
)
from methods.learning.certification_parameters import ExamKnowledge
from methods.learning.exam_skills import Answered, ExamPlan, masteries
from methods.statistics.scores import brier_score, calibration_error
from training.baseline import fit_logistic
from training.data.mart import Mart
from training.evaluate import Comparison, Scores, compare_log_loss, score_probabilities, strongest_column
from training.features import certification as feature_code
from training.features.certification import LANDMARK_DAYS, ExamTables, certification_schema, exam_tables
from training.features.digest import digest_code
from training.features.practice import read_catalogue
from training.gates import Gate, has_no_leak, has_parity, is_calibrated
from training.learning.certification import CertificationOptions, ExamRows, fit_certification
from training.learning.exam_skills import fit_exam_items, fit_skill_prior
from training.onnx_trees import run_onnx, trees_to_onnx
from training.recipe import Fitted, Recipe, Say
from training.revenue.person_periods import column_values

JUDGED_SHARE = 0.3  # of the exams, the newest
COHORT = pd.Timedelta(days=91)  # exams of one quarter are one cohort
EXAMS_FITTED, EXAMS_JUDGED = 50, 15  # of the rarer outcome: ten a degree of freedom; an AUC to within 0.08
BEHIND_LOGISTIC = 0.005  # nats a row; what reasons field by field and an interval that knows cohorts may cost
SLIP = 0.05  # JUDGEMENT: wrong while knowing; more would put pass marks of 84 % out of reach of those who know
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Exams:
    """Exams at landmarks, as the fit reads them; row i of `frame` is row i of `rows`.

    Attributes:
        frame: as ExamTables.rows.
        skills: what was answered by then, by row and skill.
        rows: without readiness until the skills' prior is known.
    """

    frame: pd.DataFrame
    skills: Mapping[str, Mapping[str, Answered]]
    rows: ExamRows

    def take(self, which: NDArray[np.bool_]) -> "Exams":
        """Some of them."""
        frame = self.frame[which].reset_index(drop=True)
        return replace(self, frame=frame, rows=self.rows.take(which))


def exams_of(tables: ExamTables) -> Exams:
    """The mart's exams.

    Raises: ValueError: there are none.
    """
    frame = tables.rows
    if frame.empty:
        raise ValueError("exams: the mart holds none whose learner had joined two weeks before")
    schema = certification_schema()
    skills: dict[str, dict[str, Answered]] = {}
    for row, skill, answers, correct in tables.answers.itertuples(index=False):
        skills.setdefault(row, {})[skill] = Answered(float(answers), float(correct))
    first = frame["taken_at"].min()
    rows = ExamRows(
        matrix=encode_columns(schema, {name: column_values(frame[name]) for name in schema.names}),
        subject=pd.factorize(frame["subject_id"])[0].astype(np.int64),
        cohort=((frame["taken_at"] - first) // COHORT).to_numpy(dtype=np.int64),
        outcome=frame["passed"].to_numpy(dtype=np.float64),
        readiness=np.full(len(frame), np.nan),
    )
    return Exams(frame=frame, skills=skills, rows=rows)


def split_at(exams: Exams, cut: pd.Timestamp) -> tuple[Exams, Exams]:
    """Exams sat before the cut; and those sat after it, at landmarks after it."""
    taken, seen = exams.frame["taken_at"], exams.frame["as_of_time"]
    return exams.take((taken < cut).to_numpy()), exams.take((seen >= cut).to_numpy())


def with_readiness(exams: Exams, version: ExamKnowledge) -> Exams:
    """The same with the readiness of every row of whose learner some answer is known."""
    z = np.full(len(exams.rows), np.nan)
    for place, (row, name, cut) in enumerate(_names(exams)):
        known, plan = exams.skills.get(row), version.exams.get(name)
        if known and plan is not None:
            z[place] = expect_exam(masteries(known, plan.weights, version.skills), cut, version.outcome).readiness
    return replace(exams, rows=replace(exams.rows, readiness=z))


def predict(exams: Exams, margin: NDArray[np.float64], version: ExamKnowledge) -> list[Certified]:
    """The version's answer for every row."""
    answers = []
    for score, (row, name, cut) in zip(margin.tolist(), _names(exams), strict=True):
        known, plan = exams.skills.get(row), version.exams.get(name)
        skills = masteries(known, plan.weights, version.skills) if known and plan is not None else ()
        answers.append(predict_passing(score, version.outcome, skills, cut_score=cut))
    return answers


def _names(exams: Exams) -> Iterator[tuple[str, str, float]]:
    """Row, certification and cut score of each row."""
    frame = exams.frame
    return zip(frame["row"], frame["certification"], frame["cut_score"].astype(float), strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A version on exams after the cut, beside what it is held to.

    A plain logistic regression on the same columns and readiness, and the certification's share that passed before.

    Attributes:
        chance, logistic, share: (n,) each one's chance of passing.
        scores: of each, by name; the version's first.
        against_share, against_logistic: nats a row that the version saves.
        score_error, score_covered: mean absolute error of the expected score, and the share of its intervals that held
            the score, of rows with known skills; NaN without any.
    """

    chance: NDArray[np.float64]
    logistic: NDArray[np.float64]
    share: NDArray[np.float64]
    scores: Mapping[str, Scores]
    against_share: Comparison
    against_logistic: Comparison
    score_error: float
    score_covered: float


def judge(early: Exams, late: Exams, version: ExamKnowledge, graph: bytes, rng: np.random.Generator) -> Judged:
    """Judges the graph and the parameters as they are served."""
    answers = predict(late, run_onnx(graph, late.rows.matrix), version)
    chance = np.array([answer.passing.value for answer in answers])
    logistic = fit_logistic(_with_column(early.rows), early.rows.outcome)(
        _with_column(with_readiness(late, version).rows)
    )
    shares = early.frame.groupby("certification")["passed"].mean()
    share = late.frame["certification"].map(shares).fillna(early.frame["passed"].mean()).to_numpy(dtype=np.float64)
    outcome, subject = late.rows.outcome, late.rows.subject
    told = [(*each.exam.score, got) for each, got in zip(answers, late.frame["score"], strict=True) if each.exam]
    value, lower, upper, got = np.array(told, dtype=np.float64).reshape(-1, 4).T
    named = {"version": chance, "plain logistic": logistic, "share that passed before": share}
    return Judged(
        chance=chance,
        logistic=logistic,
        share=share,
        scores={name: score_probabilities(outcome, each) for name, each in named.items()},
        against_share=compare_log_loss(outcome, chance, share, subject, rng),
        against_logistic=compare_log_loss(outcome, chance, logistic, subject, rng),
        score_error=float(np.abs(got - value).mean()) if got.size else float("nan"),
        score_covered=float(((got >= lower) & (got <= upper)).mean()) if got.size else float("nan"),
    )


def _with_column(rows: ExamRows) -> NDArray[np.float32]:
    """The matrix with readiness as one more column."""
    return np.column_stack([rows.matrix, rows.readiness]).astype(np.float32)


def gates_of(judged: Judged, early: Exams, late: Exams, parity: float) -> list[Gate]:
    """Every verdict. Rows of one exam tell the same outcome, so calibration is forgiven as much as exams ask for."""
    scores, exams = judged.scores["version"], _distinct(late)
    gain, behind = judged.against_share, judged.against_logistic
    return [
        enough_exams(_rarer(early), _rarer(late)),
        Gate(
            name="foretells_better_than_the_pass_rate",
            passed=gain.lower > 0,
            reason=f"{gain.value:.4f} nats a row saved (at least {gain.lower:.4f}; above 0 is needed)",
        ),
        Gate(
            name="not_worse_than_plain_logistic",
            passed=behind.upper >= -BEHIND_LOGISTIC,
            reason=f"{behind.value:+.4f} nats a row saved, 90 % interval {behind.lower:+.4f} to {behind.upper:+.4f} "
            f"(must reach {-BEHIND_LOGISTIC:g})",
        ),
        is_calibrated(scores.ece, exams, float(late.rows.outcome.mean())),
        has_parity(parity),
        has_no_leak(scores, *strongest_column(late.rows.matrix, certification_schema().columns, late.rows.outcome)),
    ]


def enough_exams(fitted: int, judged: int) -> Gate:
    """Exams of the rarer outcome, passed or failed, in what was fitted on and in what is judged."""
    return Gate(
        name="enough_exams",
        passed=fitted >= EXAMS_FITTED and judged >= EXAMS_JUDGED,
        reason=f"{fitted} exams of the rarer outcome fitted on ({EXAMS_FITTED} needed), {judged} judged on "
        f"({EXAMS_JUDGED} needed)",
    )


def calibration_facts(late: Exams, chance: NDArray[np.float64], day: float) -> tuple[CalibrationFacts, ...]:
    """How the judged predictions came true, by group, the most special groups first."""
    roles = late.frame["role"].astype(object).where(late.frame["role"].notna(), None)
    groups = [cohort_names(name, role) for name, role in zip(late.frame["certification"], roles, strict=True)]
    found = []
    for name in dict.fromkeys(sorted((each for names in groups for each in names), key=lambda name: -name.count(","))):
        inside = np.array([name in names for names in groups])
        outcome = late.rows.outcome[inside]
        found.append(
            CalibrationFacts(
                cohort=name,
                brier_score=brier_score(outcome, chance[inside]),
                calibration_error=calibration_error(outcome, chance[inside]),
                observations=int(late.frame["exam_id"][inside].nunique()),
                evaluation_day=day,
            )
        )
    return tuple(found)


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
        raise ValueError("exams: none was sat two weeks after the cut, so there is nothing to be judged on")
    version = _before_the_fit(early, read_catalogue(mart).certifications)
    early = with_readiness(early, version)
    options = CertificationOptions(guess=version.outcome.guess, slip=version.outcome.slip)
    model = fit_certification(early.rows, version.schema, options, rng, progress=say)
    graph = trees_to_onnx(model.booster)
    version = replace(version, outcome=model.parameters)
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
        slices=_slices(late, judged),
        observations=len(early.rows),
        data_time=early.frame["taken_at"].max().to_pydatetime().astimezone(UTC),
        facts={
            "exams fitted on": f"{_distinct(early):,}, each at up to {len(LANDMARK_DAYS)} landmarks",
            "judged on": f"{_distinct(late):,} exams sat after {cut:%Y-%m-%d}",
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


def _slices(late: Exams, judged: Judged) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by certification, by distance of the exam, and by whether anything was answered."""
    keys: dict[str, pd.Series[str]] = {
        "certification": late.frame["certification"].astype(str),
        "days before the exam": late.frame["days_before"].astype(str),
        "skills": late.frame["row"].map(lambda row: "answers known" if late.skills.get(row) else "nothing answered"),
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for what, key in keys.items():
        found[what] = {}
        for name in sorted(key.unique()):
            inside = (key == name).to_numpy()
            outcome = late.rows.outcome[inside]
            if np.ptp(outcome) == 0:
                continue
            scores = score_probabilities(outcome, judged.chance[inside])
            found[what][str(name)] = {
                "rows": float(inside.sum()),
                "passed": float(outcome.mean()),
                "auc": scores.auc,
                "brier": scores.brier,
                "bias": float((judged.chance[inside] - outcome).mean()),
            }
    return found


def _distinct(exams: Exams) -> int:
    return int(exams.frame["exam_id"].nunique())


def _rarer(exams: Exams) -> int:
    """Exams of the rarer outcome."""
    passed = exams.frame.groupby("exam_id")["passed"].first()
    return int(min(passed.sum(), (~passed).sum()))


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
    sources = (__file__, feature_code.__file__, outcome_code.__file__, skill_code.__file__)
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model=NAME, fit=fit_version, expressions=_expressions)
