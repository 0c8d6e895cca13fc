"""IBM's telco customers: one period, churned or not. A fictional company: it checks code and calibration, no more.

Reads `telco.csv` or `telco.csv.gz` with IBM's columns. Five folds in file order, stratified, shuffled with seed 42; no
resampling anywhere (figures of 0.91 and above resample before they split).
Source: IBM, Telco customer churn sample, Apache-2.0.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from benchmarks.report import Anchor
from benchmarks.truth.churn_data import ChurnData
from methods.features import Feature, FeatureSchema, Kind

FLAGS = ("SeniorCitizen", "Partner", "Dependents", "PhoneService", "PaperlessBilling")
NUMBERS = {"tenure": "months", "MonthlyCharges": "USD", "TotalCharges": "USD"}
_SERVICE = ("No", "Yes", "No internet service")
CATEGORIES = {
    "gender": ("Female", "Male"),
    "MultipleLines": ("No", "Yes", "No phone service"),
    "InternetService": ("DSL", "Fiber optic", "No"),
    "OnlineSecurity": _SERVICE,
    "OnlineBackup": _SERVICE,
    "DeviceProtection": _SERVICE,
    "TechSupport": _SERVICE,
    "StreamingTV": _SERVICE,
    "StreamingMovies": _SERVICE,
    "Contract": ("Month-to-month", "One year", "Two year"),
    "PaymentMethod": ("Electronic check", "Mailed check", "Bank transfer (automatic)", "Credit card (automatic)"),
}
SCHEMA = FeatureSchema(
    message="telco",
    features=(
        *(Feature(name=name, kind=Kind.NUMBER, unit=unit) for name, unit in NUMBERS.items()),
        *(Feature(name=name, kind=Kind.FLAG) for name in FLAGS),
        *(Feature(name=name, kind=Kind.CATEGORY, levels=levels) for name, levels in CATEGORIES.items()),
    ),
)
ANCHORS = {
    "auc": Anchor(at_least=0.848, source="LightGBM 0.8484 ± 0.011, same folds"),
    "log_loss": Anchor(at_most=0.4120, source="LightGBM"),
    "brier": Anchor(at_most=0.1339, source="LightGBM"),
    "ece_10_bins": Anchor(at_most=0.012, source="LightGBM 0.008, logistic 0.012"),
    "logistic.auc": Anchor(at_least=0.8451, source="logistic regression, C = 1, one-hot, scaled"),
}


def find_telco(folder: Path) -> Path | None:
    """The file, if the folder holds it."""
    return next((path for name in ("telco.csv.gz", "telco.csv") if (path := folder / name).exists()), None)


def read_telco(path: Path) -> ChurnData:
    """The customers with their five folds."""
    raw = pd.read_csv(path)
    table = raw[[*NUMBERS, *FLAGS, *CATEGORIES]].copy()
    table["TotalCharges"] = pd.to_numeric(table["TotalCharges"], errors="coerce").fillna(0.0)  # blank with tenure 0
    for name in FLAGS[1:]:
        table[name] = (table[name] == "Yes").astype(float)
    churned = (raw["Churn"] == "Yes").to_numpy()
    table = table.assign(
        subject_id=raw["customerID"], as_of_time=0.0, periods_observed=1, left_in_period=churned.astype(int)
    )
    folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=42).split(np.zeros(len(table)), churned)
    return ChurnData(
        name=f"telco, {len(table):,} customers, 5 folds",
        table=table,
        schema=SCHEMA,
        splits=[(train.astype(np.int64), test.astype(np.int64)) for train, test in folds],
        anchors=ANCHORS,
    )
