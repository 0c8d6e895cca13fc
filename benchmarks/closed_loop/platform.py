"""What methods that decide nothing answer on the simulated platform, beside what came: chances and amounts.

A world of the embedded simulator (frozen: training/data/simulator/parameters.py) is collected as the platform's tables
are; versions are fitted on what was known twelve weeks before its end, and asked about everybody who was there then.
The worlds' hidden state stays hidden: what is known is what happened, so chances are judged by tenths, with the
outcomes' own error. Everybody is asked about once.
"""

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.closed_loop.comparison import Answered, Floats, Kind, Policy, SeedResult
from methods.features import schema_of
from methods.learning.certification_parameters import parse_knowledge
from methods.revenue.churn import churn_by_horizon
from methods.revenue.ltv import value_of_subscriptions
from methods.revenue.subscriptions import Subscriptions, cohort_hazards
from paedsresus.ml.v1 import revenue_pb2
from training.data.collect import collect
from training.data.mart import Mart
from training.data.simulator.parameters import Parameters
from training.data.sources import SimulatorSource
from training.features.answers import answers_frame
from training.features.certification import exam_tables
from training.features.churn import churn_frame
from training.learning.certification_version import JUDGED_SHARE, fit_version
from training.learning.exams import exams_of, predict, split_at
from training.learning.knowledge import KnowledgeOptions, fit_knowledge, score_answers
from training.learning.lessons_version import answers_of, thin
from training.onnx_trees import run_onnx
from training.revenue.churn import ChurnOptions, fit_churn
from training.revenue.ltv import LtvOptions, fit_ltv
from training.revenue.ltv_version import read_tables, running_at, spells_known_at
from training.revenue.person_periods import person_periods_of
from training.revenue.rhythm import rhythm_at

USERS, WEEKS = 2_500, 104
AHEAD_DAYS: Final = 84
MONTHS: Final = 2
PERIOD_DAYS: Final = 28
Z: Final = 1.6449
ANSWERS_FITTED, LEARNERS_ASKED = 15_000, 800
CHURN: Final = ChurnOptions(depths=(3,), draws=100)
START: Final = datetime(2024, 1, 1, tzinfo=UTC)


def run(seed: int) -> SeedResult:
    """One world: fits on its past, answers about its last twelve weeks."""
    parameters = Parameters(start=START, users=USERS, weeks=WEEKS, seed=1_000 + seed)
    with tempfile.TemporaryDirectory(prefix="closed-loop-") as folder:
        mart = collect(SimulatorSource(parameters), Path(folder), parameters.end).mart
        rng = np.random.default_rng([seed, 51])
        answers = {**_churn(mart, rng), **_subscriptions(mart), **_lessons(mart, rng), **_certification(mart, rng)}
    return SeedResult(answers=answers)


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """Nothing is compared."""
    raise AssertionError((alternative, figures))


POLICY: Final = Policy(name="platform", gains={}, run=run, why=why)


def _churn(mart: Mart, rng: np.random.Generator) -> dict[str, Answered]:
    """PredictChurn after one and after three periods."""
    table = churn_frame(mart, as_of=mart.data_time)
    schema = schema_of(revenue_pb2.PredictChurnFeatures.DESCRIPTOR)
    frame = person_periods_of(table, schema)
    watched = frame.time[(frame.observed >= AHEAD_DAYS // PERIOD_DAYS)]
    now = float(watched.max())  # the last landmark that was watched for twelve weeks
    model = fit_churn(frame.as_known_at(now, CHURN.period_days), schema, CHURN, rng)
    asked = frame.take((frame.time == now) & (frame.observed > 0))
    horizons = (PERIOD_DAYS, AHEAD_DAYS)
    told = churn_by_horizon(model.margin(asked.matrix), model.parameters, horizons)
    found = {}
    for place, days in enumerate(horizons):
        left = (asked.left > 0) & (asked.left <= days // PERIOD_DAYS)
        seen = left | (asked.observed >= days // PERIOD_DAYS)
        found[f"churn_{days}_days"] = Answered(
            value=told.value[seen, place],
            lower=told.lower[seen, place],
            upper=told.upper[seen, place],
            truth=left[seen].astype(np.float64),
            kind=Kind.OUTCOMES,
        )
    return found


def _subscriptions(mart: Mart) -> dict[str, Answered]:
    """CalculateLtv of running subscriptions: what is paid in two months, in payments of the subscription's price."""
    spells, payments, _ = read_tables(mart)
    now = pd.Timestamp(mart.data_time) - pd.Timedelta(days=AHEAD_DAYS)
    version = fit_ltv(None, spells_known_at(spells, now), LtvOptions()).parameters
    running = running_at(spells, payments, now, MONTHS, rhythm=rhythm_at(spells, payments, now))
    ends: list[Floats] = []
    for table in version.cohorts:
        rows = np.flatnonzero((running.plan == table.plan) & (running.asked.price > 0))
        if not rows.size:
            continue
        asked = Subscriptions(**{name: getattr(running.asked, name)[rows] for name in Subscriptions.__slots__})
        value = value_of_subscriptions(
            asked,
            cohort_hazards(table, running.tenure_days[rows], Z),
            np.ones(rows.size),
            months=MONTHS,
            discount_rate_annual=0.0,
        ).ltv
        scale = running.asked.price[rows]
        ends.append(np.stack([value.value, value.lower, value.upper, running.paid[rows]]) / scale)
    value, lower, upper, truth = np.concatenate(ends, axis=1)
    return {"ltv_of_subscriptions": Answered(value=value, lower=lower, upper=upper, truth=truth, kind=Kind.AMOUNTS)}


def _lessons(mart: Mart, rng: np.random.Generator) -> dict[str, Answered]:
    """The chance of a right answer in RecommendNextLesson: each learner's first answer of the last twelve weeks."""
    answers = answers_of(answers_frame(mart))
    cut = float(answers.days.max()) - AHEAD_DAYS
    early = thin(answers.take(answers.days < cut), ANSWERS_FITTED, rng)
    model = fit_knowledge(early, KnowledgeOptions(), rng)
    asked_of = rng.permutation(np.unique(answers.learner[answers.days >= cut]))[:LEARNERS_ASKED]
    answers = answers.take(np.isin(answers.learner, asked_of))
    logit = score_answers(answers, model.parameters)
    late = np.flatnonzero(answers.days >= cut)
    _, first = np.unique(answers.learner[late], return_index=True)
    asked = late[first]
    ends = np.array([model.band.probability(score) for score in logit[asked].tolist()])
    return {
        "lessons_right_answer": Answered(
            value=ends[:, 0],
            lower=ends[:, 1],
            upper=ends[:, 2],
            truth=answers.outcome[asked],
            kind=Kind.OUTCOMES,
        )
    }


def _certification(mart: Mart, rng: np.random.Generator) -> dict[str, Answered]:
    """PredictCertificationSuccess: each later exam from the nearest landmark, passed or not, and its score."""
    fitted = fit_version(mart, rng, lambda _: None)
    version = parse_knowledge(fitted.parameters)
    exams = exams_of(exam_tables(mart))
    taken = exams.frame.groupby("exam_id")["taken_at"].first()
    _, late = split_at(exams, pd.Timestamp(taken.sort_values().iloc[int(len(taken) * (1.0 - JUDGED_SHARE))]))
    late = late.take(~late.frame["exam_id"].duplicated(keep="last").to_numpy())
    told = predict(late, run_onnx(fitted.files["model.onnx"], late.rows.matrix), version)
    passing = np.array([each.passing for each in told])
    scored = [(*each.exam.score, got) for each, got in zip(told, late.frame["score"], strict=True) if each.exam]
    value, lower, upper, got = np.array(scored, dtype=np.float64).T
    return {
        "certification_passing": Answered(
            value=passing[:, 0],
            lower=passing[:, 1],
            upper=passing[:, 2],
            truth=late.rows.outcome,
            kind=Kind.OUTCOMES,
        ),
        "certification_score": Answered(value=value, lower=lower, upper=upper, truth=got),
    }
