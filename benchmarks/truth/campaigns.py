"""Randomised campaigns for the uplift benchmark: Hillstrom's e-mail test, or any table in the house's own form.

The house's own form is `campaign.csv` (or .csv.gz) beside a `schema.json` (methods.features.FeatureSchema.to_json):
one column a feature, and `arm` (text; `control` was held back, each other arm is a campaign against it), `outcome`
(0 or 1), `propensity` (optional, with one arm beside the control only: chance of the arm that the row got; empty where
chance took no part), `subject_id` (optional: rows of one subject stay together), `test` (optional: 1 is judged and
never fitted on).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from methods.features import Feature, FeatureSchema, Kind, encode_columns
from training.revenue.upsell import OfferRows

CONTROL = "control"
SCHEMA_FILE = "schema.json"
HILLSTROM = FeatureSchema(
    message="hillstrom",
    features=(
        Feature(name="recency", kind=Kind.NUMBER, unit="months"),
        Feature(name="history", kind=Kind.NUMBER, unit="USD"),
        Feature(
            name="history_segment",
            kind=Kind.CATEGORY,
            levels=(
                "1) $0 - $100",
                "2) $100 - $200",
                "3) $200 - $350",
                "4) $350 - $500",
                "5) $500 - $750",
                "6) $750 - $1,000",
                "7) $1,000 +",
            ),
        ),
        *(Feature(name=name, kind=Kind.FLAG) for name in ("mens", "womens", "newbie")),
        Feature(name="zip_code", kind=Kind.CATEGORY, levels=("Urban", "Surburban", "Rural")),
        Feature(name="channel", kind=Kind.CATEGORY, levels=("Phone", "Web", "Multichannel")),
    ),
)
NO_MAIL = "No E-Mail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One arm against those held back.

    Attributes:
        name: for the figures' names.
        rows: who was shown it, who was not.
        schema: of the rows' matrix.
        test: (n,) rows that are judged, where the data say so.
    """

    name: str
    rows: OfferRows
    schema: FeatureSchema
    test: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaigns:
    """One data set; `is_hillstrom` says whether the published figures belong beside it."""

    name: str
    campaigns: Sequence[Campaign]
    is_hillstrom: bool = False


def read_campaigns(folder: Path) -> Campaigns:
    """The folder's campaigns, whichever of the documented forms it has.

    Raises: FileNotFoundError: none of them. ValueError: names a column that is missing or wrong.
    """
    if (own := _find(folder, "campaign")) is not None and (folder / SCHEMA_FILE).exists():
        return _read_described(own, folder / SCHEMA_FILE)
    if (mail := _find(folder, "hillstrom")) is not None:
        return _read_hillstrom(mail)
    raise FileNotFoundError(
        f"{folder} holds neither campaign.csv with schema.json nor hillstrom.csv; docs/benchmarks.md says what each "
        "looks like"
    )


def _find(folder: Path, name: str) -> Path | None:
    return next((path for end in (".csv.gz", ".csv") if (path := folder / f"{name}{end}").exists()), None)


def _read_hillstrom(path: Path) -> Campaigns:
    """Either mail against none; the outcome is a visit within two weeks."""
    table = pd.read_csv(path)
    _require(table, ["segment", "visit", *HILLSTROM.names], path)
    table = table.assign(arm=table["segment"].where(table["segment"] != NO_MAIL, CONTROL), outcome=table["visit"])
    names = {arm: arm.removesuffix(" E-Mail") for arm in table["arm"].unique()}
    return Campaigns(
        name=f"hillstrom, {len(table):,} customers",
        campaigns=_campaigns(table, HILLSTROM, path, names),
        is_hillstrom=True,
    )


def _read_described(path: Path, schema_path: Path) -> Campaigns:
    """The house's own form."""
    table = pd.read_csv(path)
    schema = FeatureSchema.from_json(json.loads(schema_path.read_text(encoding="utf-8")))
    _require(table, ["arm", "outcome", *schema.names], path)
    names = {arm: str(arm) for arm in table["arm"].unique()}
    return Campaigns(name=f"{schema.message}, {len(table):,} rows", campaigns=_campaigns(table, schema, path, names))


def _campaigns(table: pd.DataFrame, schema: FeatureSchema, path: Path, names: Mapping[str, str]) -> list[Campaign]:
    """One campaign for each arm that is not the control."""
    if not table["outcome"].isin([0, 1]).all():
        raise ValueError(f"{path.name}: the outcome holds something other than 0 and 1")
    arms = sorted(str(arm) for arm in table["arm"].dropna().unique() if arm != CONTROL)
    if not arms or not (table["arm"] == CONTROL).any():
        raise ValueError(f"{path.name}: needs rows held back ({CONTROL}) and rows of at least one other arm")
    if len(arms) > 1 and "propensity" in table:
        raise ValueError(f"{path.name}: column propensity with more arms than one; write one table a campaign")
    return [_campaign(table[table["arm"].isin([arm, CONTROL])], arm, schema, names[arm]) for arm in arms]


def _campaign(table: pd.DataFrame, arm: str, schema: FeatureSchema, name: str) -> Campaign:
    """One arm's rows and the control's."""
    shown = (table["arm"] == arm).to_numpy().astype(np.float64)
    columns = {column: table[column].to_numpy() for column in schema.names}
    subject = table["subject_id"].to_numpy() if "subject_id" in table else np.arange(len(table))
    rows = OfferRows(
        matrix=encode_columns(schema, columns),
        subject=subject,
        shown=shown,
        accepted=table["outcome"].to_numpy(dtype=np.float64),
        propensity=_chance_shown(table, shown),
        price=np.zeros(len(table)),
    )
    test = (table["test"] == 1).to_numpy() if "test" in table else None
    return Campaign(name=re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"), rows=rows, schema=schema, test=test)


def _chance_shown(table: pd.DataFrame, shown: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of the arm rather than the control; without a column of chances, equal for all."""
    if "propensity" not in table:
        return np.full(len(table), float(shown.mean()))
    got = table["propensity"].to_numpy(dtype=np.float64)
    return np.where(shown == 1, got, 1.0 - got)


def _require(table: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    """Raises: ValueError: names the first column that is missing."""
    if missing := [name for name in names if name not in table]:
        raise ValueError(f"{path.name} has no column {missing[0]}")
