"""What a model must beat: a plain logistic regression on the same columns, and knowing nothing.

Missing numbers become the median with a column that says so; columns are scaled; L2 with C = 1.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Predict = Callable[[NDArray[np.float32]], NDArray[np.float64]]  # (n, columns) -> (n,) probabilities


def fit_logistic(matrix: NDArray[np.float32], outcome: NDArray[np.float64]) -> Predict:
    """Fits the baseline.

    Args:
        matrix: (n, columns), missing is NaN.
        outcome: (n,) 0 or 1; both must occur.
    Returns: the fitted model as a function.
    """
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=1.0, max_iter=1000),
    )
    model.fit(matrix.astype(np.float64), outcome)

    def predict(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        chance: NDArray[np.float64] = model.predict_proba(rows.astype(np.float64))[:, 1]
        return chance

    return predict
