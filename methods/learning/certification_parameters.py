"""What a certification version knows beside its graph: the fields that it reads, exams, skills, and the chance itself.

Pure. Not here: what is done with it (certification.py, exam_skills.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from methods.features import FeatureSchema
from methods.learning.certification import CertificationParameters, parse_certification
from methods.learning.exam_skills import ExamPlan, SkillPrior, parse_plans, parse_prior


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamKnowledge:
    """One version.

    Attributes:
        schema: of the graph's matrix.
        outcome: how score and readiness become the chance of passing.
        skills: how answers become masteries.
        exams: by the certification's name in the contract, without prefix.
        longest_days: days from a prediction to its exam, the most that was fitted on.
    """

    schema: FeatureSchema
    outcome: CertificationParameters
    skills: SkillPrior = field(default_factory=SkillPrior)
    exams: Mapping[str, ExamPlan] = field(default_factory=dict)
    longest_days: float = 84.0

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {
            "schema": self.schema.to_json(),
            "outcome": self.outcome.to_json(),
            "skills": self.skills.to_json(),
            "exams": {
                name: {"cut_score": plan.cut_score, "weights": dict(plan.weights)} for name, plan in self.exams.items()
            },
            "longest_days": self.longest_days,
        }


def parse_knowledge(value: Any) -> ExamKnowledge:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_knowledge({"schema": {"message": "demo", "features": []}, "outcome": {"plain": 3}})
    Traceback (most recent call last):
    ValueError: plain: not an object
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    schema = FeatureSchema.from_json(value.get("schema"))
    outcome = parse_certification(value.get("outcome"))
    longest = value.get("longest_days")
    if not isinstance(longest, int | float) or isinstance(longest, bool) or not 0.0 <= longest <= 36_500.0:
        raise ValueError("longest_days: must be a number from 0 to 36500")
    return ExamKnowledge(
        schema=schema,
        outcome=outcome,
        skills=parse_prior(value.get("skills")),
        exams=parse_plans(value.get("exams")),
        longest_days=float(longest),
    )
