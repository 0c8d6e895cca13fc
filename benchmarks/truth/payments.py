"""OptimizePaymentFlow on a log of attempts: chance of a success on the later ones, and what each route is worth.

Fitted on the earlier attempts as the product fits, judged on the later ones. Beside it stands the best of all tables of
rates by up to three columns. The value of "always this route" is estimated on the later attempts by the doubly robust
estimator, with the log's propensities where it has them, else with propensities learned from the log.
`python -m benchmarks.truth.payments_log --out DIR` makes a log from the simulator.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment
from benchmarks.truth.price import metric_name
from methods.revenue.payment_success import SuccessModel, believe, mean_chance
from methods.statistics.off_policy import PolicyValue, doubly_robust_value, importance_weights
from methods.statistics.scores import auc, brier_score, calibration_error, log_loss
from training.features.payments import NEEDED, PAYER, PAYMENT, PaymentLog, read_log
from training.revenue.payments import Attempts, chances, fit_payments, route_propensities

Floats = NDArray[np.float64]

PACKAGES = ("numpy", "pandas", "scipy")
ALIASES = {  # also accepted: the names of the platform's own table, and plain ones
    "attempted_at": "time",
    "amount": "amount_minor",
    "success": "succeeded",
    "fee": "fee_minor",
    "fees": "fee_minor",
    "payer": PAYER,
    "user_id": PAYER,
    "payment": PAYMENT,
}
JUDGED_SHARE = 0.3  # of the attempts, the latest ones
CELL_COLUMNS = (
    "route",
    "country",
    "card_brand",
    "attempt",
    "stage",
    "decline",
    "hour",
    "amount",
    "history",
    "failures",
)
CELLS_OF = 3  # columns of a table of rates at most
SMOOTHING = 4.0  # attempts at the overall rate that each cell starts with
SERVED_ROWS = 500  # that are also answered one by one
LEAST_ESTIMATED_PROPENSITY = 0.005  # below it a learned propensity is taken as chance


def measure(folder: Path, seed: int = 0) -> Report:  # noqa: ARG001 - nothing is drawn: the split is by time
    """Fits on the earlier attempts, judges on the later ones.

    Raises: FileNotFoundError: the folder holds no log. ValueError: names a missing column, or there is too little.
    """
    table = read_payments(folder)
    log = read_log(table)
    test = _judged(table, log)
    train, later = log.attempts.take(~test), log.attempts.take(test)
    version = fit_payments(train)
    chance = chances(version.success, later)
    outcome = later.succeeded.astype(np.float64)
    metrics = {
        "auc": auc(outcome, chance),
        "auc_per_cell": _cells_auc(train, later, _best_cells(train)),
        "auc_per_cell_in_hindsight": max(_cells_auc(train, later, names) for names in _tables()),
        "log_loss": log_loss(outcome, chance),
        "constant.log_loss": log_loss(outcome, np.full_like(chance, train.succeeded.mean())),
        "brier": brier_score(outcome, chance),
        "ece": calibration_error(outcome, chance),
        "success_share": float(outcome.mean()),
        "served.largest_difference": _served_difference(version.success, later, chance),
    }
    metrics |= _route_values(table, log, test, version.success)
    metrics |= {"rows.fitted": float(len(train)), "rows.judged": float(len(later))}
    return Report(
        benchmark="truth.payments",
        data=f"{len(log.attempts):,} attempts, the later {len(later):,} judged",
        metrics=metrics,
        anchors={"auc": Anchor(at_least=metrics["auc_per_cell"], source="best table of rates by up to 3 columns")},
        environment=describe_environment(PACKAGES),
    )


def read_payments(folder: Path) -> pd.DataFrame:
    """The folder's log under the names of the documented format.

    Raises: FileNotFoundError: there is none. ValueError: names a missing or wrong column.
    """
    for path in (folder / "payments.csv.gz", folder / "payments.csv"):
        if path.exists():
            break
    else:
        raise FileNotFoundError(
            f"{folder} holds no payments.csv; docs/benchmarks.md says what it looks like, "
            "and python -m benchmarks.truth.payments_log --out DIR makes one from the simulator"
        )
    table = pd.read_csv(path, dtype={"decline_code": str, "country": str}, keep_default_na=False, na_values=[""])
    table = table.rename(columns={old: new for old, new in ALIASES.items() if old in table and new not in table})
    missing = [name for name in (*NEEDED, "fee_minor") if name not in table]
    if missing:
        raise ValueError(f"{path.name}: no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    flags = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    table["succeeded"] = table["succeeded"].astype(str).str.lower().map(flags)
    for name in ("succeeded", "amount_minor", "fee_minor", "attempt"):
        values = pd.to_numeric(table[name], errors="coerce")
        if values.isna().any():
            raise ValueError(f"{path.name}: {name}: row {int(values.isna().argmax())} is not a number")
        table[name] = values
    if (table["amount_minor"] <= 0).any():
        raise ValueError(f"{path.name}: amount_minor: row {int((table['amount_minor'] <= 0).argmax())} is not above 0")
    return table


def _judged(table: pd.DataFrame, log: PaymentLog) -> NDArray[np.bool_]:
    """(n,) which attempts are judged, in the log's order: the column `test`, else the latest ones."""
    if "test" in table:
        return np.asarray(table["test"].to_numpy()[log.rows] == 1)
    return np.asarray(np.arange(len(log.attempts)) >= (1.0 - JUDGED_SHARE) * len(log.attempts))


def _best_cells(train: Attempts) -> tuple[str, ...]:
    """The table of rates with the highest AUC on the latest of the training attempts: chosen as a fit is, unseen."""
    recent = np.arange(len(train)) >= (1.0 - JUDGED_SHARE) * len(train)
    seen, asked = train.take(~recent), train.take(recent)
    return max(_tables(), key=lambda names: _cells_auc(seen, asked, names))


def _tables() -> list[tuple[str, ...]]:
    return [names for size in range(1, CELLS_OF + 1) for names in combinations(CELL_COLUMNS, size)]


def _cells_auc(train: Attempts, later: Attempts, names: Sequence[str]) -> float:
    """AUC on the later attempts of smoothed rates by those columns."""
    base = float(train.succeeded.mean())
    seen, asked = _cell_columns(train), _cell_columns(later)
    keys = ["|".join(key) for key in zip(*(seen[name] for name in names), strict=True)]
    sums = pd.DataFrame({"key": keys, "y": train.succeeded.astype(float)}).groupby("key")["y"].agg(["sum", "size"])
    rates = (sums["sum"] + SMOOTHING * base) / (sums["size"] + SMOOTHING)
    of = pd.Series(["|".join(key) for key in zip(*(asked[name] for name in names), strict=True)])
    value = auc(later.succeeded.astype(float), of.map(rates).fillna(base).to_numpy())
    return 0.5 if np.isnan(value) else value


@lru_cache(maxsize=8)
def _cell_columns(attempts: Attempts) -> dict[str, list[str]]:
    payments = attempts.payments
    return {
        "route": list(attempts.route),
        "country": [str(p.country) for p in payments],
        "card_brand": [str(p.card_brand) for p in payments],
        "attempt": [str(p.attempt_number) for p in payments],
        "stage": [str(p.stage) for p in payments],
        "decline": [str(p.last_decline_code) for p in payments],
        "hour": [str((p.local_hour or 0) // 6) for p in payments],
        "amount": [str(p.amount_minor) for p in payments],
        "failures": ["None" if p.failures_365d is None else str(min(p.failures_365d, 5)) for p in payments],
        "history": ["None" if p.payments_365d is None else str(min(p.payments_365d, 13)) for p in payments],
    }


def _route_values(
    table: pd.DataFrame, log: PaymentLog, test: NDArray[np.bool_], model: SuccessModel
) -> dict[str, float]:
    """Mean net value of a later attempt, had every one gone to one route; and of the log itself.

    As a share of the amount: 1 is all of it and no fee. So currencies can be mixed, and one failed payment of
    a hospital does not decide over thousands of small ones.
    """
    later = log.attempts.take(test)
    rows = log.rows[test]
    amount, fee = (table[name].to_numpy(dtype=np.float64)[rows] for name in ("amount_minor", "fee_minor"))
    y = later.succeeded.astype(np.float64)
    reward = y - fee / amount
    routes = sorted(set(log.attempts.route))
    taken = np.array([routes.index(route) for route in later.route])
    if "propensity" in table:
        propensity = table["propensity"].to_numpy(dtype=np.float64)[rows]
    else:
        learned = route_propensities(log.attempts.take(~test), routes, later)
        propensity = np.maximum(learned[np.arange(len(later)), taken], LEAST_ESTIMATED_PROPENSITY)
    fees = _fees(table.iloc[log.rows[~test]])
    nets = []
    for route in routes:
        fixed, share, failed = fees[str(route)]
        chance = chances(model, later, [route] * len(later))
        nets.append(chance * (1.0 - share - fixed / amount) - (1.0 - chance) * failed / amount)
    expected = np.stack(nets, axis=1)  # (n, routes)
    metrics = {"value_logged": float(reward.mean())}
    own = expected[np.arange(len(later)), taken]
    policies = {f"value.{metric_name(str(route))}": np.full(len(later), i) for i, route in enumerate(routes)}
    policies["value_best_route_each"] = expected.argmax(axis=1)
    for name, choice in policies.items():
        weight = importance_weights((taken == choice).astype(float), propensity)
        answer = doubly_robust_value(reward, weight, own, expected[np.arange(len(later)), choice])
        if isinstance(answer, PolicyValue):
            metrics |= {name: answer.value, f"{name}.lower": answer.lower, f"{name}.upper": answer.upper}
        metrics[f"{name}.effective_rows"] = answer.support.effective_rows
    return metrics


def _fees(table: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """By route: fixed fee and share of the amount on success by least squares, mean fee of a failure; minor units."""
    fees = {}
    for route, rows in table.groupby(table["route"].astype(str)):
        good, bad = rows[rows["succeeded"] == 1], rows[rows["succeeded"] != 1]
        fixed = share = 0.0
        if good["amount_minor"].min() < good["amount_minor"].max():
            design = np.stack((np.ones(len(good)), good["amount_minor"].to_numpy(dtype=np.float64)), axis=1)
            fixed, share = np.linalg.lstsq(design, good["fee_minor"].to_numpy(dtype=np.float64), rcond=None)[0]
        elif len(good):
            fixed = float(good["fee_minor"].mean())
        fees[str(route)] = (float(fixed), float(share), float(bad["fee_minor"].mean()) if len(bad) else 0.0)
    return fees


def _served_difference(model: SuccessModel, later: Attempts, chance: Floats) -> float:
    """Largest difference between what was judged and what serving computes one by one, on the first attempts."""
    some = min(SERVED_ROWS, len(later))
    beliefs = [
        believe(model, payment, [route]) for payment, route in zip(later.payments[:some], later.route, strict=False)
    ]
    served = [mean_chance(float(belief.mean[0]), float(belief.variance[0])) for belief in beliefs]
    return float(np.abs(np.array(served) - chance[:some]).max())
