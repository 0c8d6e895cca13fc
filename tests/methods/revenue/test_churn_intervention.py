"""An offer's effect on staying as a version holds it."""

import json
from typing import Any

import pytest

from methods.revenue.churn import ChurnParameters, parse_parameters
from methods.revenue.churn_intervention import RetentionEffect, parse_effect

EFFECT = RetentionEffect(offer_id="BREAK", treat=False, value=0.02, lower=-0.01, upper=0.05)


def test_an_effect_comes_back_from_its_file_alone_and_within_churns_parameters() -> None:
    churn = ChurnParameters(period_days=28, slopes=(1.0,), offsets=(-3.0,), intervention=EFFECT)

    assert parse_effect(json.loads(json.dumps(EFFECT.to_json()))) == EFFECT
    assert parse_parameters(json.loads(json.dumps(churn.to_json()))) == churn
    assert "intervention" not in ChurnParameters(period_days=28, slopes=(1.0,), offsets=(-3.0,)).to_json()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offer_id": ""}, "intervention.offer_id: must be a name"),
        ({"treat": 1}, "intervention.treat: must be true or false"),
        ({"value": None}, "intervention.value: must be a finite number"),
        ({"upper": 1.5}, "all within -1 and 1"),
        ({"level": 1.0}, r"intervention.level: must lie in \(0, 1\)"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_the_field(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_effect({**EFFECT.to_json(), **change})


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="intervention: not an object"):
        parse_effect([EFFECT.to_json()])
