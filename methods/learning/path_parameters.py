"""What a version of the model `path` knows: how learners learn, which skill needs which, what a certification takes.

Not here: what is done with it (path.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from methods.learning.mastery import MasteryParameters, parse_mastery
from methods.learning.prerequisites import PrerequisiteGraph, prerequisite_graph


@dataclass(frozen=True, slots=True, kw_only=True)
class PathParameters:
    """The version.

    Attributes:
        mastery: how learners learn and answer.
        graph: prerequisites that experts keep, for requests that bring none.
        certifications: skills of a certification, by the contract's name without its prefix.
    """

    mastery: MasteryParameters = field(default_factory=MasteryParameters)
    graph: PrerequisiteGraph[str] = field(default_factory=lambda: PrerequisiteGraph({}, ()))
    certifications: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {
            "mastery": self.mastery.to_json(),
            "skills": list(self.graph.order),
            "prerequisites": [[skill, one] for skill in self.graph.order for one in self.graph.required[skill]],
            "certifications": {name: list(skills) for name, skills in self.certifications.items()},
        }


def parse_path(value: Any) -> PathParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be; a cycle is one.

    >>> parse_path({"mastery": MasteryParameters().to_json(), "skills": [], "prerequisites": [["a"]]})
    Traceback (most recent call last):
    ValueError: prerequisites: must be a list of pairs of skills
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    mastery = parse_mastery(value.get("mastery"))
    pairs, certifications = value.get("prerequisites"), value.get("certifications")
    if not isinstance(pairs, list) or not all(_is_texts(pair) and len(pair) == 2 for pair in pairs):
        raise ValueError("prerequisites: must be a list of pairs of skills")
    if not _is_texts(value.get("skills")):
        raise ValueError("skills: must be a list of names")
    if not isinstance(certifications, Mapping) or not all(_is_texts(skills) for skills in certifications.values()):
        raise ValueError("certifications: must map names to lists of skills")
    return PathParameters(
        mastery=mastery,
        graph=prerequisite_graph(((skill, one) for skill, one in pairs), nodes=value["skills"]),
        certifications={str(name): tuple(skills) for name, skills in certifications.items()},
    )


def _is_texts(value: Any) -> bool:
    """Whether it is a list of texts that are not empty."""
    return isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value)
