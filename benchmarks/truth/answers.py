"""RecommendNextLesson's chance of a right answer on public data: the product's own fold, fit and weights.

Learners of `test` are none of `train`. Each answer of theirs is predicted from their earlier ones, by the fold and the
weights that serve. The shares of items and skills come from `train` alone.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment
from benchmarks.truth.coverage import covered_tenths
from methods.statistics.scores import auc, brier_score, calibration_error, log_loss
from training.bands import chance_of
from training.learning.knowledge import Answers, KnowledgeOptions, fit_knowledge, score_answers

PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy")
COLUMNS = ("user_id", "item_id", "skill_id", "correct")
DAY_SECONDS = 86_400.0
ANCHORS = {
    "auc": Anchor(at_least=0.785, source="goal on assist2009; Best-LR with decay 0.7776, StableKT 0.777"),
    "log_loss": Anchor(at_most=0.5245, source="assist2009: Best-LR with decay"),
    "brier": Anchor(at_most=0.1750, source="assist2009: Best-LR with decay"),
    "ece": Anchor(at_most=0.011, source="assist2009: Best-LR with decay"),
    "seconds": Anchor(at_most=120.0, source="goal, two cores"),
    "item_only.auc": Anchor(at_least=0.6856, source="assist2009: logistic regression on items"),
    "repeats": Anchor(at_most=0.01, source="0.159 in copies with a row for each skill, whose figures are leaks"),
}


def measure(folder: Path, seed: int = 0, options: KnowledgeOptions | None = None) -> Report:
    """Fits on train, judges on test.

    Raises: FileNotFoundError: one of the two files is missing. ValueError: a column is missing or not as documented, or
        a learner is in both files.
    """
    begin = time.perf_counter()
    train, test = read_answers(folder, "train"), read_answers(folder, "test")
    if shared := set(train.learner.tolist()) & set(test.learner.tolist()):
        raise ValueError(f"{len(shared)} learners are in train and in test, such as {min(shared)}")
    model = fit_knowledge(train, options or KnowledgeOptions(), np.random.default_rng(seed))
    logit = score_answers(test, model.parameters)
    chance = chance_of(logit)
    seconds = time.perf_counter() - begin
    bank = model.parameters.bank
    item_only = [bank.expect(skill, item) for skill, item in zip(test.skill, test.item, strict=True)]
    known = [item in model.parameters.items for item in test.item]
    seen = (test.outcome >= 0.5).astype(float)  # a share of the points counts as right from one half on
    ends = [model.band.probability(value) for value in logit.tolist()]
    return Report(
        benchmark="truth.answers",
        data=f"{len(train):,} answers of {model.learners:,} learners to fit, {len(test):,} to judge",
        metrics={
            "auc": auc(seen, chance),
            "log_loss": log_loss(seen, chance),
            "brier": brier_score(seen, chance),
            "ece": calibration_error(seen, chance),
            "seconds": seconds,
            "item_only.auc": auc(seen, item_only),
            "item_only.log_loss": log_loss(seen, item_only),
            "constant.log_loss": log_loss(seen, np.full(len(seen), bank.base)),
            "held_out.log_loss": model.held_out_log_loss,
            "interval.width": float(np.mean([each.upper - each.lower for each in ends])),
            "interval.covered": covered_tenths(seen, np.array(ends)),
            "prior.item": model.prior.item,
            "prior.slope": model.prior.slope,
            "repeats": _repeats(test),
            "rows.judged": float(len(test)),
            "rows.unknown_item": float(len(test) - sum(known)),
        },
        anchors=ANCHORS,
        environment=describe_environment(PACKAGES),
    )


def read_answers(folder: Path, part: str) -> Answers:
    """One of the two files, each learner's answers together and in order.

    Raises: FileNotFoundError, ValueError: as `measure`.
    """
    path = next((p for end in (".csv.gz", ".csv") if (p := folder / f"{part}{end}").exists()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} holds no {part}.csv or {part}.csv.gz; docs/benchmarks.md says what it is")
    table = pd.read_csv(path, dtype={"item_id": str, "skill_id": str})
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path.name} has no column {missing[0]}; it needs {', '.join(COLUMNS)}")
    if empty := [name for name in ("user_id", "skill_id", "correct") if table[name].isna().any()]:
        raise ValueError(f"{path.name}: column {empty[0]} has an empty cell")
    correct = pd.to_numeric(table["correct"], errors="coerce")
    if not correct.between(0, 1).all():
        raise ValueError(f"{path.name}: column correct must be from 0 to 1")
    stamps = (
        pd.to_numeric(table["timestamp"], errors="coerce") if "timestamp" in table else pd.Series(np.nan, table.index)
    )
    if stamps.nunique() < 2 or stamps.isna().any():  # one value everywhere: only the order is known
        stamps = pd.Series(np.nan, table.index)
    table = table.assign(correct=correct, days=stamps / DAY_SECONDS)
    table = table.sort_values(["user_id", "days"], kind="stable")
    return Answers(
        learner=_numbers(table["user_id"]),
        item=table["item_id"].fillna("").to_numpy(dtype=object),
        skill=table["skill_id"].to_numpy(dtype=object),
        outcome=table["correct"].to_numpy(dtype=np.float64),
        days=table["days"].to_numpy(dtype=np.float64),
    )


def _numbers(labels: "pd.Series[int]") -> NDArray[np.int64]:
    """Learners as whole numbers, the same in both files.

    Raises: ValueError: they are none.
    """
    if not pd.api.types.is_integer_dtype(labels):
        raise ValueError("column user_id must hold whole numbers")
    return labels.to_numpy().astype(np.int64)


def _repeats(answers: Answers) -> float:
    """Share of rows that ask the same item as the learner's row before."""
    if len(answers) < 2:
        return 0.0
    same = (answers.item[1:] == answers.item[:-1]) & (answers.learner[1:] == answers.learner[:-1])
    return float(np.sum(same & (answers.item[1:] != "")) / len(answers))
