import json

import pytest

from methods.learning.mastery import MasteryParameters
from methods.learning.path_parameters import PathParameters, parse_path
from methods.learning.prerequisites import prerequisite_graph

PARAMETERS = PathParameters(
    mastery=MasteryParameters(slip=0.07),
    graph=prerequisite_graph([("c", "b"), ("b", "a"), ("c", "a")], nodes=["alone"]),
    certifications={"PALS": ("c", "alone")},
)


def test_parameters_come_back_from_json() -> None:
    assert parse_path(json.loads(json.dumps(PARAMETERS.to_json()))).to_json() == PARAMETERS.to_json()
    assert parse_path(PARAMETERS.to_json()).graph.required == PARAMETERS.graph.required


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("mastery", None, "mastery"),
        ("skills", "abc", "skills"),
        ("prerequisites", [["a", "b", "c"]], "prerequisites"),
        ("prerequisites", [["a", 1]], "prerequisites"),
        ("prerequisites", [["a", "b"], ["b", "a"]], "circle"),
        ("certifications", {"PALS": "c"}, "certifications"),
        ("certifications", None, "certifications"),
    ],
)
def test_wrong_parameters_are_refused_by_name(name: str, wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_path({**PARAMETERS.to_json(), name: wrong})
