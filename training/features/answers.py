"""The platform's answers with the skill of their item, oldest first: what models of learners are fitted on.

A platform too large to read is read in part: whole users, chosen by a hash of their id, so that every run and every
model sees the same ones.
Not here: what is made of them (training/learning).
"""

from math import ceil

import ibis
import pandas as pd

from training.data.mart import Mart
from training.features.landmarks import as_frame

ROWS_MOST = 5_000_000
_PARTS = 10_000


def answers_frame(mart: Mart, rows_most: int = ROWS_MOST) -> pd.DataFrame:
    """Answers of all users, or of a fixed part of them.

    Args:
        mart: the data.
        rows_most: about so many rows at most.
    Returns: user_id, skill_id, item_id (text), correct (bool), answered_at (UTC), by user and time.
    """
    total = mart.tables["answers"].rows
    connection = mart.connect()
    try:
        answers, items = connection.tables["answers"], connection.tables["items"]
        if total > rows_most:
            share = ceil(_PARTS * rows_most / total)
            answers = answers.filter(answers.user_id.hash().abs() % _PARTS < share)
        rows = answers.join(items.select("item_id", "skill_id"), "item_id").select(
            "user_id", "skill_id", "item_id", "correct", "answered_at"
        )
        return as_frame(rows.order_by(ibis._.user_id, ibis._.answered_at, ibis._.item_id))
    finally:
        connection.backend.disconnect()
