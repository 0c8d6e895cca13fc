"""A churn model fitted on the past and judged on landmarks that it has never seen, beside what it must beat.

The newest landmarks are held out. What is fitted knows only what was known when the first of them came: later rows fall
away and follow-up ends there. The held-out rows judge the model, the champion and a plain logistic regression alike,
and the judged model is the one that is registered; it is not fitted again on all rows, else the next comparison on the
same rows would be unfair to whoever has not seen them.
Pure. Not here: reading data and the registry, writing anything (training/fitting.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import FeatureSchema
from methods.revenue.churn import churn_by_horizon
from training.baseline import fit_logistic
from training.evaluate import Comparison, Scores, compare_log_loss, score_probabilities, strongest_column
from training.gates import (
    Gate,
    beats_baseline,
    has_enough_events,
    has_no_leak,
    has_parity,
    is_calibrated,
    is_not_worse,
)
from training.onnx_trees import run_onnx, trees_to_onnx
from training.revenue.churn import ChurnModel, ChurnOptions, fit_churn, score_in_time
from training.revenue.churn_cause import CauseFigures, fit_cause, judge_cause, voluntary_of
from training.revenue.churn_files import largest_difference
from training.revenue.person_periods import PersonPeriods, person_periods_of
from training.slices import Slices, foretold_slices, label_tenure, label_texts

HELD_OUT = 0.2  # share of the landmarks, newest first
TIME_FOLDS = 3
FOLD_EVENTS = (30, 10)  # leavers before and in a fold below which its scores say nothing

Answer = Callable[[pd.DataFrame], NDArray[np.float64]]  # rows -> (n,) chance of leaving in the first period


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFold:
    """One fold of the time-ordered cross-validation: fitted on what was known at `start`, judged from there on."""

    start: pd.Timestamp
    rows: int
    events: int
    model: Scores
    logistic: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Somebody's answers for the held-out rows."""

    name: str
    scores: Scores
    probability: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a fit came to.

    Attributes:
        model: the fitted model.
        graph: its ONNX graph, which gave the answers that were judged.
        cut: the first held-out landmark; nothing from then on was fitted on.
        fitted: rows fitted on; `table` are the same rows with their fields.
        outcome: (n,) of the held-out rows.
        slices: parts of those rows, the new version beside the logistic baseline.
        contenders: the new version first, then the champion if there is one, then the logistic baseline.
        cause: how well causes of leaving were foretold on held-out rows; None when the version says none.
        against_champion: None without a champion.
        folds: cross-validation in time, oldest first.
        gates: every verdict.
    """

    model: ChurnModel
    graph: bytes = field(repr=False)
    cut: pd.Timestamp
    fitted: PersonPeriods = field(repr=False)
    table: pd.DataFrame = field(repr=False)
    outcome: NDArray[np.float64] = field(repr=False)
    slices: Slices = field(repr=False)
    contenders: tuple[Contender, ...]
    cause: CauseFigures | None
    against_champion: Comparison | None
    folds: tuple[TimeFold, ...]
    gates: tuple[Gate, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Reasons of the gates that failed."""
        return tuple(f"{gate.name}: {gate.reason}" for gate in self.gates if not gate.passed)


def judge_churn(
    table: pd.DataFrame,
    schema: FeatureSchema,
    options: ChurnOptions,
    rng: np.random.Generator,
    *,
    champion: tuple[str, Answer] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """Holds out, fits, judges.

    Args:
        table: as training.features.churn.churn_frame gives it.
        schema: the fields to use.
        options: how to fit.
        rng: chance of everything; equal seeds and rows give equal models.
        champion: name and answers of the version to compare with.
        progress: is told each step in words.
    Raises: ValueError: fewer than five landmarks, or nobody left (or stayed) before or after the cut.
    """
    times = table["as_of_time"].drop_duplicates().sort_values()
    if len(times) < 5:
        raise ValueError(f"{len(times)} landmarks are too few to hold some out; collect data of five periods or more")
    cut = times.iloc[-max(2, round(HELD_OUT * len(times)))]
    frame = person_periods_of(table, schema)
    later = (table["as_of_time"] >= cut).to_numpy()
    fitted = frame.as_known_at(float(frame.time[later].min()), options.period_days)
    held = later & (frame.observed > 0)
    test, outcome = frame.take(held), frame.take(held).first_outcome
    for name, events, rows in (("before", fitted.events, len(fitted)), ("after", int(outcome.sum()), len(outcome))):
        if not 0 < events < rows:
            raise ValueError(f"{events} of {rows} rows {name} {cut:%Y-%m-%d} left; a fit needs both kinds")
    voluntary, known = voluntary_of(table), frame.time < frame.time[later].min()
    cause = fit_cause(fitted, voluntary[known], schema.columns, rng.spawn(1)[0])
    model = fit_churn(fitted, schema, options, rng, progress=progress)
    model = replace(model, parameters=replace(model.parameters, cause=cause))
    told = None if cause is None else judge_cause(cause, voluntary[known], test, voluntary[held], schema.columns)
    graph = trees_to_onnx(model.booster)
    progress("judging on the newest landmarks")
    answers = churn_by_horizon(run_onnx(graph, test.matrix), model.parameters, (options.period_days,)).value[:, 0]
    watched = fitted.observed > 0
    logistic = fit_logistic(fitted.matrix[watched], fitted.first_outcome)(test.matrix)
    others = [] if champion is None else [(champion[0], champion[1](table[held]))]
    contenders = tuple(
        Contender(name=name, scores=score_probabilities(outcome, p), probability=p)
        for name, p in [("new version", answers), *others, ("plain logistic", logistic)]
    )
    own = rng.spawn(1)[0]  # so that a champion to compare with changes no draw that follows
    against = compare_log_loss(outcome, answers, others[0][1], test.subject, own) if others else None
    progress("cross-validating in time")
    folds = _time_folds(fitted, model, options, rng, table["as_of_time"].min())
    new, plain = contenders[0].scores, contenders[-1].scores
    gates = (
        has_enough_events(fitted.events, int(outcome.sum())),
        beats_baseline(new, plain),
        is_not_worse(against, champion[0] if champion else "champion"),
        is_calibrated(new.ece, len(outcome), float(outcome.mean())),
        has_parity(largest_difference(model, graph, fitted, rng)),
        has_no_leak(new, *strongest_column(test.matrix, schema.columns, outcome)),
    )
    return Judgement(
        model=model,
        graph=graph,
        cut=cut,
        fitted=fitted,
        table=table[~later],
        outcome=outcome,
        slices=foretold_slices(_labels(table[held]), outcome, answers, ("plain logistic", logistic)),
        contenders=contenders,
        cause=told,
        against_champion=against,
        folds=folds,
        gates=gates,
    )


def _labels(table: pd.DataFrame) -> dict[str, NDArray[np.str_]]:
    """Plan, role and tenure of each row, those of them that the table has."""
    labels = {name: label_texts(table[name]) for name in ("plan", "role") if name in table}
    if "tenure_days" in table:
        labels["tenure"] = label_tenure(table["tenure_days"].to_numpy(dtype=np.float64, na_value=np.nan))
    return labels


def _time_folds(
    frame: PersonPeriods, model: ChurnModel, options: ChurnOptions, rng: np.random.Generator, origin: pd.Timestamp
) -> tuple[TimeFold, ...]:
    """Fitted on the past of each start, judged on the landmarks up to the next; depth and trees as chosen.

    The newest two thirds of the landmarks make the folds: the first third is the least past a fold has.
    """
    times = np.unique(frame.time)  # days since `origin`
    blocks = np.array_split(times[len(times) // 3 :], TIME_FOLDS)
    folds = []
    for block in blocks:
        if not block.size:
            continue
        past = frame.as_known_at(float(block[0]), options.period_days)
        ahead = frame.take((frame.time >= block[0]) & (frame.time <= block[-1]) & (frame.observed > 0))
        outcome = ahead.first_outcome
        if past.events < FOLD_EVENTS[0] or outcome.sum() < FOLD_EVENTS[1]:
            continue
        watched = past.observed > 0
        plain = fit_logistic(past.matrix[watched], past.first_outcome)(ahead.matrix)
        chance = score_in_time(past.take(watched), ahead, model.chosen, options, rng)
        folds.append(
            TimeFold(
                start=origin + pd.Timedelta(days=float(block[0])),
                rows=len(outcome),
                events=int(outcome.sum()),
                model=score_probabilities(outcome, chance),
                logistic=score_probabilities(outcome, plain),
            )
        )
    return tuple(folds)
