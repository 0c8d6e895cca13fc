"""The share of leaving that is a decision: look-ups, missing values, and files that are not what they should be."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.revenue.churn import ChurnParameters, parse_parameters
from methods.revenue.churn_cause import CauseParameters, Steps, parse_cause, place_cause, voluntary_share
from methods.statistics.bands import Band

PAGE = Path(__file__).parents[3] / "docs/methods/predict_churn.md"
COLUMNS = ("tenure_days", "renewal_time")
STEPS = Steps(column="renewal_time", edges=(0.0, 10.0), scores=(-3.0, 0.5, 1.0), missing=0.25)
CAUSE = CauseParameters(
    offset=0.5, steps=(STEPS,), band=Band(logits=(-1.0, 1.0), lowers=(-0.5, -0.25), uppers=(0.25, 0.5))
)


@pytest.mark.parametrize(
    ("days", "logit"), [(-0.5, -2.5), (0.0, 1.0), (9.99, 1.0), (10.0, 1.5), (400.0, 1.5), (math.nan, 0.75)]
)
def test_a_value_on_an_edge_belongs_above_it(days: float, logit: float) -> None:
    share = voluntary_share((1.0, days), place_cause(CAUSE, COLUMNS))

    assert share.value == pytest.approx(1 / (1 + math.exp(-logit)))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=False, width=32), min_size=2, max_size=2))
def test_the_interval_holds_the_value_whatever_the_row(row: list[float]) -> None:
    share = voluntary_share(row, place_cause(CAUSE, COLUMNS))

    assert 0 <= share.lower <= share.value <= share.upper <= 1


def test_without_steps_everybody_has_the_same_share() -> None:
    cause = place_cause(CauseParameters(offset=0.0, steps=(), band=Band()), COLUMNS)

    assert {voluntary_share((days, days), cause) for days in (-1.0, 3.0, 99.0)} == {(0.5, 0.5, 0.5)}


def test_parameters_come_back_from_their_file_alone_and_within_those_of_churn() -> None:
    written = json.loads(json.dumps(CAUSE.to_json()))
    churn = ChurnParameters(period_days=28, slopes=(1.0,), offsets=(-3.0,), cause=CAUSE)

    assert parse_cause(written) == CAUSE
    assert parse_parameters(json.loads(json.dumps(churn.to_json()))) == churn
    assert "cause" not in ChurnParameters(period_days=28, slopes=(1.0,), offsets=(-3.0,)).to_json()


def test_a_column_that_the_rows_do_not_have_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'renewal_time'"):
        place_cause(CAUSE, ["tenure_days"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": math.inf}, "cause.offset: must be a finite number"),
        ({"steps": None}, "cause.steps: must be a list"),
        ({"band": None}, "cause.band: not an object"),
        ({"steps": [{"column": 3}]}, r"cause.steps\[0\].column: must be a name"),
        ({"steps": [{**STEPS_JSON, "edges": [1.0, 1.0]} for STEPS_JSON in CAUSE.to_json()["steps"]]}, "rise strictly"),
        ({"steps": [{**STEPS_JSON, "edges": [1.0]} for STEPS_JSON in CAUSE.to_json()["steps"]]}, "one more than edges"),
        ({"steps": [{**STEPS_JSON, "missing": True} for STEPS_JSON in CAUSE.to_json()["steps"]]}, "missing: must be"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_the_field(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_cause({**CAUSE.to_json(), **change})


def test_the_worked_example_of_the_page_is_what_the_code_gives() -> None:
    renewal = Steps(column="renewal_time", edges=(0.0,), scores=(-3.0, 1.0), missing=0.0)
    failures = Steps(column="payment_failures_90d", edges=(0.5,), scores=(0.5, -0.7), missing=0.0)
    columns = ("renewal_time", "payment_failures_90d")
    cause = place_cause(CauseParameters(offset=0.4, steps=(renewal, failures), band=Band()), columns)

    rows = re.findall(r"^\| (paid for 12|two days overdue) [^|]*\|[^|]*\| ([\d.]+) \|$", PAGE.read_text(), re.MULTILINE)

    assert [start for start, _ in rows] == ["paid for 12", "two days overdue"]
    for (_, said), row in zip(rows, ((12.0, 0.0), (-2.0, 1.0)), strict=True):
        assert float(said) == pytest.approx(voluntary_share(row, cause).value, abs=5e-5)
