"""A policy's value from another policy's log, held against what that policy really earned.

Reads pairs of logs of two policies on the same traffic: `bts_<campaign>` is the one that is read, `random_<campaign>`
the uniform policy's own, which only gives the truth to compare with. Every value is answered or refused by
`methods.statistics.off_policy`; there is nothing to fit. docs/benchmarks.md says what the columns mean.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import Anchor, Report, describe_environment
from methods.statistics.off_policy import (
    PolicyRefused,
    PolicyValue,
    describe_support,
    doubly_robust_value,
    importance_weights,
    ips_value,
    rates_by_action,
    snips_value,
    wilson_interval,
)

LEVEL = 0.95
LOGGED, JUDGED = "bts", "random"
COLUMNS = ("item_id", "click", "propensity_score")
ENDS = (".parquet", ".csv.gz", ".csv")
ANCHORS = {
    "men.covered": Anchor(at_least=1.0, source="goal: the other log's click rate lies in the interval"),
    "men.half_width": Anchor(at_most=0.003, source="goal"),
    "men.snips.value": Anchor(at_least=0.0031, at_most=0.0033, source="SNIPS 0.0032 measured on these files"),
    "men.ips.value": Anchor(at_least=0.0029, at_most=0.0031, source="IPS 0.0030 measured on these files"),
    "women.refused": Anchor(at_least=1.0, source="goal: effective sample size 2 of 10,000"),
}


def measure(folder: Path, seed: int = 0) -> Report:  # noqa: ARG001 - every benchmark takes one; nothing is drawn here
    """Judges the uniform policy from the other log, for every campaign in the folder.

    Raises: FileNotFoundError: no pair of logs there. ValueError: names a column that is missing or wrong.
    """
    pairs = find_logs(folder)
    metrics: dict[str, float] = {}
    said: list[str] = []
    for campaign, (logged, judged) in pairs.items():
        figures, refusal = judge_campaign(read_log(logged), read_log(judged))
        metrics |= {f"{campaign}.{name}": value for name, value in figures.items()}
        if refusal:
            said.append(f"{campaign} refused: {refusal}")
    return Report(
        benchmark="truth.off_policy",
        data="; ".join([f"uniform from the {LOGGED} log, {', '.join(pairs)}", *said]),
        metrics=metrics,
        anchors={name: anchor for name, anchor in ANCHORS.items() if name in metrics},
        environment=describe_environment(("numpy", "pandas")),
    )


def find_logs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """For each campaign the log that is read and the one that holds the truth.

    Raises: FileNotFoundError: there is no such pair.
    """
    pairs = {}
    for path in sorted(folder.glob(f"{LOGGED}_*")):
        end = next((end for end in ENDS if path.name.endswith(end)), None)
        if end is None:
            continue
        name = path.name.removeprefix(f"{LOGGED}_").removesuffix(end)
        other = next((twin for e in ENDS if (twin := folder / f"{JUDGED}_{name}{e}").exists()), None)
        if other is not None:
            pairs[re.sub(r"[^a-z0-9_]", "_", name.lower())] = (path, other)
    if not pairs:
        raise FileNotFoundError(
            f"{folder} holds no {LOGGED}_<campaign> beside {JUDGED}_<campaign> (.parquet, .csv or .csv.gz); "
            "docs/benchmarks.md says what they look like"
        )
    return pairs


def read_log(path: Path) -> pd.DataFrame:
    """The columns that are needed, checked.

    Raises: ValueError: names the column that is missing or holds what it must not.
    """
    table = pd.read_parquet(path) if path.name.endswith(".parquet") else pd.read_csv(path)
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path.name} has no column {missing[0]}")
    table = table[list(COLUMNS)]
    if table.isna().to_numpy().any():
        raise ValueError(f"{path.name}: empty cells in column {table.columns[table.isna().any()][0]}")
    if not table["click"].isin([0, 1]).all():
        raise ValueError(f"{path.name}: column click holds something other than 0 and 1")
    return table


def judge_campaign(logged: pd.DataFrame, judged: pd.DataFrame) -> tuple[dict[str, float], str | None]:
    """Figures of one campaign, and why there is no value if there is none."""
    items, codes = np.unique(np.concatenate([logged["item_id"], judged["item_id"]]), return_inverse=True)
    click = logged["click"].to_numpy(dtype=np.float64)
    weight = importance_weights(np.full(len(click), 1.0 / len(items)), logged["propensity_score"])
    support = describe_support(weight)
    truth = float(judged["click"].mean())
    lower, upper = wilson_interval(truth, len(judged), level=LEVEL)
    figures = {
        "items": float(len(items)),
        "rows": float(len(click)),
        "truth": truth,
        "truth_lower": lower,
        "truth_upper": upper,
        "on_policy": float(click.mean()),
        "effective_sample_size": support.effective_rows,
        "largest_weight": support.largest_weight,
        "mean_weight": support.mean_weight,
    }
    predicted, by_item = rates_by_action(click, weight, codes[: len(click)], len(items))
    uniform = np.full(len(click), float(by_item.mean()))
    answer = doubly_robust_value(click, weight, predicted, uniform, level=LEVEL)
    if isinstance(answer, PolicyRefused):
        return figures | {"refused": 1.0}, answer.reason
    figures |= {"refused": 0.0, **_interval(answer, truth), "clip": answer.clip or float("nan")}
    for name, other in (
        ("snips", snips_value(click, weight, level=LEVEL)),
        ("ips", ips_value(click, weight, level=LEVEL)),
    ):
        if isinstance(other, PolicyValue):
            figures |= {f"{name}.{key}": value for key, value in _interval(other, truth).items()}
    return figures, None


def _interval(answer: PolicyValue, truth: float) -> dict[str, float]:
    """What one estimator says, and whether the truth lies in its interval."""
    return {
        "value": answer.value,
        "lower": answer.lower,
        "upper": answer.upper,
        "half_width": answer.half_width,
        "covered": float(answer.lower <= truth <= answer.upper),
    }
