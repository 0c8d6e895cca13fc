"""What a version of `certification` is worth on exams that came later: figures, verdicts, slices, calibration facts.

Not here: the fit (certification.py); which exams are fitted on (certification_version.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.learning.certification import CalibrationFacts, cohort_names
from methods.learning.certification_parameters import ExamKnowledge
from methods.statistics.scores import brier_score, calibration_error
from training.baseline import fit_logistic
from training.evaluate import Comparison, Scores, compare_log_loss, score_probabilities, strongest_column
from training.features.certification import certification_schema
from training.gates import Gate, has_no_leak, has_parity, is_calibrated
from training.learning.certification import ExamRows
from training.learning.exams import Exams, exam_count, predict, with_readiness
from training.onnx_trees import run_onnx

EXAMS_FITTED, EXAMS_JUDGED = 50, 15  # of the rarer outcome: ten a degree of freedom; an AUC to within 0.08
BEHIND_LOGISTIC = 0.005  # nats a row; what reasons field by field and an interval that knows cohorts may cost


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
    scores, exams = judged.scores["version"], exam_count(late)
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


def slices_of(late: Exams, judged: Judged) -> dict[str, dict[str, dict[str, float]]]:
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


def _rarer(exams: Exams) -> int:
    """Exams of the rarer outcome."""
    passed = exams.frame.groupby("exam_id")["passed"].first()
    return int(min(passed.sum(), (~passed).sum()))
