"""Which rows are fitted on and which judge: the last cohort judges, without subjects who are in an earlier one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def split_last_cohort(cohort: NDArray[Any], subject: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit on and rows to judge, by position.

    Args:
        cohort: (n,) labels that sort in time.
        subject: (n,) any labels.

    >>> train, test = split_last_cohort(np.array(["a", "a", "b", "b"]), np.array([1, 2, 2, 3]))
    >>> train.tolist(), test.tolist()
    ([0, 1], [3])
    """
    train = cohort != np.unique(cohort)[-1]  # max knows no text
    test = ~train & ~np.isin(subject, subject[train])
    return np.flatnonzero(train), np.flatnonzero(test)
