"""CalculateOptimalPrice's demand model on public data: error of held-out volumes (or chances), elasticities, coverage.

Fitted by training.revenue.price, which also makes the served version's population; the price ladder is judged in
closed loop, where the truth is known. Prices here were not assigned by chance: elasticities are associations.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import Anchor, Report, describe_environment
from methods.revenue.demand import expit
from methods.statistics.scores import log_loss
from training.revenue.price import DemandModel, DemandRows, fit_demand

PACKAGES = ("numpy", "pandas")
LEVEL, NORMAL = 0.9, 1.6448536269514722  # of the intervals; the normal's 95 % quantile
OJ_ROWS = 28_947  # of the file that the anchors are for
OJ_ANCHORS = {
    "log_mae": Anchor(at_most=0.5325, source="least squares, brand x feature x log price, same split"),
    "by_group.log_mae": Anchor(at_most=0.6155, source="published beside the data: 0.615"),
    "elasticity.dominicks": Anchor(at_least=-3.43, at_most=-3.33, source="least squares by brand: -3.38"),
    "elasticity.minute.maid": Anchor(at_least=-3.37, at_most=-3.27, source="least squares by brand: -3.32"),
    "elasticity.tropicana": Anchor(at_least=-2.76, at_most=-2.66, source="least squares by brand: -2.71"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceData:
    """One data set.

    Attributes:
        name: for the table's head.
        rows: what was seen; its group is the product or brand, whose elasticity is reported.
        condition: (n,) what else a line may depend on, e.g. advertised or not; "" where there is none.
        test: (n,) rows that are judged and never fitted on for `log_mae` and its like.
        anchors: figures to stand beside.
    """

    name: str
    rows: DemandRows
    condition: NDArray[np.str_]
    test: NDArray[np.bool_]
    anchors: dict[str, Anchor] = field(default_factory=dict)


def measure(folder: Path, seed: int = 42) -> Report:  # noqa: ARG001 - nothing is drawn: the split is documented
    """Fits on the training rows, judges on the test rows, and reports elasticities from all.

    Raises: FileNotFoundError: the folder holds no data that is known here. ValueError: names a missing or wrong column.
    """
    data = read_price_data(folder)
    cells = np.char.add(np.char.add(data.rows.group, "|"), data.condition)
    by_cell = replace(data.rows, group=cells)
    model = fit_demand(by_cell.take(~data.test))
    metrics = _judge(model, by_cell.take(data.test))
    if data.rows.volume is not None:
        metrics |= _least_squares(data, cells)
    lines = fit_demand(data.rows, knots=0)
    for group in lines.groups:
        value, sd = lines.elasticity(group)
        name = metric_name(group)
        metrics |= {
            f"elasticity.{name}": value,
            f"elasticity.{name}.lower": value - NORMAL * sd,
            f"elasticity.{name}.upper": value + NORMAL * sd,
        }
    metrics |= {"rows.fitted": float((~data.test).sum()), "rows.judged": float(data.test.sum())}
    return Report(
        benchmark="truth.price",
        data=data.name,
        metrics=metrics,
        anchors=data.anchors,
        environment=describe_environment(PACKAGES),
    )


def metric_name(group: str) -> str:
    """A group's name as part of a metric's: itself where it can be, else in snake_case.

    >>> metric_name("minute.maid"), metric_name("Pals Monthly"), metric_name("7up")
    ('minute.maid', 'pals_monthly', 'n7up')
    """
    if re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*", group):
        return group
    snake = re.sub(r"[^a-z0-9]+", "_", group.lower()).strip("_") or "empty"
    return snake if snake[0].isalpha() else f"n{snake}"


def read_price_data(folder: Path) -> PriceData:
    """The folder's data, whichever of the documented forms it has.

    Raises: FileNotFoundError: none of them. ValueError: names a missing or wrong column.
    """
    for name, read in (("demand", _read_described), ("oj", _read_oj)):
        for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv"):
            if path.exists():
                return read(path)
    raise FileNotFoundError(
        f"{folder} holds neither demand.csv nor oj.csv; docs/benchmarks.md says what each looks like"
    )


def _read_described(path: Path) -> PriceData:
    table = pd.read_csv(path)
    counted = "volume" not in table
    needed = ["group", "price", *(["exposures", "conversions"] if counted else ["volume"])]
    _need(table, path, needed, hint=" (or volume instead of exposures and conversions)" if counted else "")
    rows = DemandRows(
        group=table["group"].astype(str).to_numpy(dtype=np.str_),
        price=_numbers(table, "price"),
        volume=None if counted else _numbers(table, "volume"),
        trials=_numbers(table, "exposures") if counted else None,
        buyers=_numbers(table, "conversions") if counted else None,
        randomised=_numbers(table, "randomised") == 1 if "randomised" in table else None,
    )
    condition = table["condition"].astype(str).to_numpy(dtype=np.str_) if "condition" in table else _nothing(table)
    test = _numbers(table, "test") == 1 if "test" in table else _random_test(len(table))
    return PriceData(name=f"{path.name}, {len(table):,} rows", rows=rows, condition=condition, test=test)


def _read_oj(path: Path) -> PriceData:
    table = pd.read_csv(path)
    _need(table, path, ["sales", "price", "brand", "feat"])
    rows = DemandRows(
        group=table["brand"].astype(str).to_numpy(dtype=np.str_),
        price=_numbers(table, "price"),
        volume=_numbers(table, "sales"),
    )
    return PriceData(
        name=f"orange juice, {len(table):,} rows",
        rows=rows,
        condition=table["feat"].astype(str).to_numpy(dtype=np.str_),
        test=_random_test(len(table)),
        anchors=OJ_ANCHORS if len(table) == OJ_ROWS else {},
    )


def _judge(model: DemandModel, rows: DemandRows) -> dict[str, float]:
    """Scores of held-out rows."""
    mean, sd = np.empty(rows.price.size), np.empty(rows.price.size)
    for group in np.unique(rows.group):
        of = rows.group == group
        mean[of], sd[of] = model.predict(str(group), rows.price[of])
    if rows.volume is not None:
        error = np.log(rows.volume) - mean
        half = NORMAL * np.sqrt(sd**2 + model.noise_variance)
        return {
            "log_mae": float(np.abs(error).mean()),
            "log_rmse": float(np.sqrt((error**2).mean())),
            "coverage_90": float((np.abs(error) <= half).mean()),
            "bend_sd": model.bend_sd,
            "noise_sd": model.noise_variance**0.5,
        }
    assert rows.trials is not None
    assert rows.buyers is not None
    share = rows.buyers.sum() / rows.trials.sum()
    chance = expit(mean)
    return {
        "log_loss": _loss(chance, rows.trials, rows.buyers),
        "constant.log_loss": _loss(np.full_like(chance, share), rows.trials, rows.buyers),
        "bend_sd": model.bend_sd,
        "dispersion": model.dispersion,
    }


def _loss(chance: NDArray[np.float64], trials: NDArray[np.float64], buyers: NDArray[np.float64]) -> float:
    """Log loss a visitor."""
    ones = np.array([log_loss([1], [p]) for p in chance])
    zeros = np.array([log_loss([0], [p]) for p in chance])
    return float((buyers * ones + (trials - buyers) * zeros).sum() / trials.sum())


def _least_squares(data: PriceData, cells: NDArray[np.str_]) -> dict[str, float]:
    """The plain models that stand beside, on the same split; a group without training rows gets the pooled line."""
    assert data.rows.volume is not None
    y, x = np.log(data.rows.volume), np.log(data.rows.price)
    design = np.stack((np.ones_like(x), x), axis=1)
    everyone = np.full(y.size, "everyone")
    errors = {"mean_only": (design[:, :1], everyone), "pooled": (design, everyone)}
    errors |= {"by_group": (design, data.rows.group), "by_cell": (design, cells)}
    return {
        f"{name}.log_mae": float(np.abs(y - _fitted(part, y, of, data.test))[data.test].mean())
        for name, (part, of) in errors.items()
    }


def _fitted(
    design: NDArray[np.float64], y: NDArray[np.float64], of: NDArray[np.str_], test: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(n,) fitted values of one least-squares line a group, training rows only."""
    fitted = design @ np.linalg.lstsq(design[~test], y[~test], rcond=None)[0]
    for group in np.unique(of[~test]):
        inside = of == group
        fitted[inside] = design[inside] @ np.linalg.lstsq(design[inside & ~test], y[inside & ~test], rcond=None)[0]
    return np.asarray(fitted, dtype=np.float64)


def _random_test(rows: int) -> NDArray[np.bool_]:
    """The documented split: a random 30 % in file order."""
    return np.asarray(np.random.default_rng(42).random(rows) < 0.3)


def _need(table: pd.DataFrame, path: Path, columns: list[str], hint: str = "") -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{path.name}: no column {', '.join(missing)}{hint}; it has {', '.join(table.columns)}")


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name}: row {int(np.argmin(np.isfinite(values)))} is not a number")
    return values


def _nothing(table: pd.DataFrame) -> NDArray[np.str_]:
    return np.full(len(table), "", dtype=np.str_)
