import pytest

from training.features.churn import expressions_digest
from training.features.digest import digest_code

CODE = '''
def minutes(rows):
    """Minutes of the last 28 days."""
    return rows.minutes.sum(where=rows.days < 28)
'''


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        pytest.param("Minutes of", "All minutes of", True, id="docstring"),
        pytest.param("    return", "    # summed\n    return", True, id="comment"),
        pytest.param("days < 28", "days<28", True, id="layout"),
        pytest.param("days < 28", "days <= 28", False, id="expression"),
        pytest.param("rows.minutes", "rows.lessons", False, id="column"),
    ],
)
def test_a_digest_changes_with_the_meaning_alone(old: str, new: str, *, is_same: bool) -> None:
    assert (digest_code([CODE]) == digest_code([CODE.replace(old, new)])) is is_same


def test_the_churn_features_have_a_digest() -> None:
    assert len(expressions_digest()) == 64
