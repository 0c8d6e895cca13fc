"""Purchase histories of any shop: one CSV a set of customers, split into what was known and what came later.

Every `NAME.csv` or `NAME.csv.gz` of the folder is a set, with columns `customer_id`, `date` (YYYY-MM-DD) and `value`
(or `dollar_value`). An optional `split.json` names the last days of both parts; without it the days from the first to
the last purchase of all sets are cut in the middle. Purchases of one day count as one.
"""

import json
import re
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.revenue.purchases import Histories, summarise_purchases

MINOR_UNITS = 100.0  # the product counts money in cents
SPLIT_FILE = "split.json"
_NAME = re.compile(r"([a-z][a-z0-9_]*)\.csv(\.gz)?")
_VALUES = ("value", "dollar_value")


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseSet:
    """One set of n customers who bought before the cut.

    Attributes:
        name: of the file.
        histories: up to the end of the first part; values in minor units.
        purchases: (n,) days with a purchase in the second part.
        spend: (n,) what was paid there, in minor units.
        weeks: length of the second part.
    """

    name: str
    histories: Histories
    purchases: NDArray[np.float64]
    spend: NDArray[np.float64]
    weeks: float


def read_purchase_sets(folder: Path) -> list[PurchaseSet]:
    """Every set of the folder, smallest first.

    Raises: FileNotFoundError: there is none. ValueError: names the file and what is wrong with it.
    """
    tables = {
        match[1]: _read(path) for path in sorted(folder.iterdir()) if (match := _NAME.fullmatch(path.name)) is not None
    }
    if not tables:
        raise FileNotFoundError(
            f"{folder} holds no NAME.csv or NAME.csv.gz of purchases; docs/benchmarks.md says what one looks like"
        )
    cut, end = _split(folder, tables)
    sets = [_cut(name, table, cut, end) for name, table in tables.items()]
    return sorted(sets, key=lambda each: len(each.histories))


def _read(path: Path) -> pd.DataFrame:
    """Columns customer (text), day (days since 1970) and value (minor units)."""
    raw = pd.read_csv(path, dtype={"customer_id": str})
    value = next((name for name in _VALUES if name in raw), None)
    missing = [name for name in ("customer_id", "date") if name not in raw]
    if missing or value is None:
        raise ValueError(f"{path.name} has no column {', '.join([*missing, *([] if value else ['value'])])}")
    day = pd.to_datetime(raw["date"], format="%Y-%m-%d", errors="coerce")
    paid = pd.to_numeric(raw[value], errors="coerce")
    wrong = raw["customer_id"].isna() | day.isna() | ~(paid >= 0)
    if wrong.any():
        raise ValueError(f"{path.name} line {int(np.argmax(wrong)) + 2}: a customer, a date and a value of 0 or more")
    days = (day - pd.Timestamp(1970, 1, 1)).dt.days
    return pd.DataFrame({"customer": raw["customer_id"], "day": days, "value": paid * MINOR_UNITS})


def _split(folder: Path, tables: dict[str, pd.DataFrame]) -> tuple[int, int]:
    """Last day of the first part and of the second, in days since 1970."""
    first = min(int(table["day"].min()) for table in tables.values())
    last = max(int(table["day"].max()) for table in tables.values())
    path = folder / SPLIT_FILE
    if not path.exists():
        return first + (last - first + 1) // 2 - 1, last
    said = json.loads(path.read_text(encoding="utf-8"))
    origin = date(1970, 1, 1)
    try:
        cut, end = (date.fromisoformat(said[name]) - origin for name in ("calibration_end", "holdout_end"))
    except (KeyError, TypeError, ValueError) as cause:
        raise ValueError(f"{SPLIT_FILE} must say calibration_end and holdout_end as YYYY-MM-DD") from cause
    if not timedelta(days=first) <= cut < end:
        raise ValueError(f"{SPLIT_FILE}: calibration_end must lie after the first purchase and before holdout_end")
    return cut.days, end.days


def _cut(name: str, table: pd.DataFrame, cut: int, end: int) -> PurchaseSet:
    """What was known by the cut, and what came after it."""
    code, _ = pd.factorize(table["customer"], sort=True)
    day, value = table["day"].to_numpy(), table["value"].to_numpy(dtype=np.float64)
    customers, histories = summarise_purchases(code, day, value, cut)
    later = (day > cut) & (day <= end)
    days = np.unique(np.stack((code[later], day[later])), axis=1)[0]
    size = int(code.max()) + 1
    return PurchaseSet(
        name=name,
        histories=histories,
        purchases=np.bincount(days, minlength=size)[customers].astype(np.float64),
        spend=np.bincount(code[later], weights=value[later], minlength=size)[customers].astype(np.float64),
        weeks=(end - cut) / 7.0,
    )
