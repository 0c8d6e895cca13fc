"""Whether a learner passes an exam: a score of what is known, calibrated, and the exam itself, skill by skill.

Two layers. The exam: each item asks one skill, weighted as in the blueprint, and is answered by those who know it but
for slips and by the others but for guesses; that gives the expected score and, against the cut score, readiness z.
The outcome: log-odds of passing are `offset + slope * margin + readiness * z`, with `margin` the artifact's score of
all else; without skills there is no z and another slope and offset stand. A skill's gain is what the answer would be,
were it known, less what it is.
Sources: Corbett and Anderson 1995, User Model User-Adapt Interact 4:253 (guess and slip); Lord 1980, Applications of
Item Response Theory, ch. 4 (number-right score); Platt 1999 (slope and offset); Wolpert 1992 (a second layer on
held-out scores); Vovk, Gammerman and Shafer 2005 (an interval from errors that were seen).
Pure, plain floats. Not here: how the margin is computed (the artifact's ONNX graph); the fit (training/learning).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from methods.statistics.bands import Band, Interval, parse_band, sigmoid
from methods.statistics.normal import normal

FACTS_LEAST: Final = 100  # outcomes below which a calibration error is mostly chance: 15 bins of seven
EVERYBODY: Final = "all exams"  # name of the group that everybody belongs to
READINESS_MOST: Final = 4.0  # z beyond which nothing is added: a hundred skills known or unknown say no more


class SkillMastery(NamedTuple):
    """Chance that a skill is known, with its interval, and its weight in the exam."""

    skill_id: str
    mastery: Interval
    weight: float = 1.0


class WeakSkill(NamedTuple):
    """A skill that holds a learner back: what knowing it would add to the chance of passing."""

    skill_id: str
    mastery: Interval
    gain: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFacts:
    """How predictions of a group have come true."""

    cohort: str
    brier_score: float
    calibration_error: float
    observations: int
    evaluation_day: float  # days since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Log-odds of passing: `offset + slope * margin + readiness * z`, with a band around them."""

    slope: float
    offset: float
    readiness: float = 0.0
    band: Band = field(default_factory=Band)

    def logit(self, margin: float, z: float = 0.0) -> float:
        """Log-odds at a score and a readiness."""
        return self.offset + self.slope * margin + self.readiness * min(max(z, -READINESS_MOST), READINESS_MOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationParameters:
    """What a version knows beside its ONNX graph.

    Attributes:
        plain: for learners of whose skills nothing is known.
        skilled: for the others; None when the version was fitted without skills, and then names no weak ones.
        guess, slip: chance of a right answer without knowing, of a wrong one while knowing.
        exam_items: items in an exam; the fewer, the more chance decides.
        score_reach: standard deviations from an expected score to the ends of its interval, as scores that were seen
            ask for; None: as a normal distribution would.
        facts: calibration by group, the most special first.
    """

    plain: Outcome
    skilled: Outcome | None = None
    guess: float = 0.2
    slip: float = 0.1
    exam_items: int = 50
    score_reach: float | None = None
    facts: tuple[CalibrationFacts, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The parameters as they stand in an artifact's parameters.json."""
        return {
            "plain": _outcome_json(self.plain),
            "skilled": None if self.skilled is None else _outcome_json(self.skilled),
            "guess": self.guess,
            "slip": self.slip,
            "exam_items": self.exam_items,
            "score_reach": self.score_reach,
            "facts": [{name: getattr(facts, name) for name in CalibrationFacts.__slots__} for facts in self.facts],
        }


class Exam(NamedTuple):
    """What is expected of an exam: share of the points with its interval, their spread, and readiness (z)."""

    score: Interval
    spread: float
    readiness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """One answer. `exam` is None without skills or cut score, `weakest` is then empty."""

    passing: Interval
    exam: Exam | None
    weakest: tuple[WeakSkill, ...]
    facts: CalibrationFacts | None


def predict_passing(
    margin: float,
    parameters: CertificationParameters,
    skills: Sequence[SkillMastery] = (),
    *,
    cut_score: float | None = None,
    weakest_most: int = 5,
    groups: Sequence[str] = (),
) -> Certified:
    """Chance of passing, the expected score, and which skills would raise it most.

    Args:
        margin: the artifact's score of the learner, finite.
        parameters: the version's.
        skills: what is known of the exam's skills; empty for nothing.
        cut_score: share of the points that passes; None when unknown.
        weakest_most: skills to name.
        groups: names of the groups whose calibration may be told, the most special first.
    Returns: gains are differences of two chances, so that a skill which is surely known adds nothing. The interval of a
        gain goes from the mastery's upper to its lower end: the less it is known, the more there is to gain.

    >>> flat = CertificationParameters(plain=Outcome(slope=1.0, offset=0.0))
    >>> predict_passing(0.0, flat).passing.value
    0.5
    """
    model = parameters.skilled
    facts = _facts(parameters, groups)
    if model is None or cut_score is None or not skills:
        passing = parameters.plain.band.probability(parameters.plain.logit(margin))
        return Certified(passing=passing, exam=None, weakest=(), facts=facts)
    exam = expect_exam(skills, cut_score, parameters)
    logit = model.logit(margin, exam.readiness)
    return Certified(
        passing=model.band.probability(logit),
        exam=exam,
        weakest=_weakest(margin, model, skills, exam, parameters, weakest_most),
        facts=facts,
    )


def expect_exam(skills: Sequence[SkillMastery], cut_score: float, parameters: CertificationParameters) -> Exam:
    """Expected share of the points, and its distance from the cut in standard deviations.

    The variance has two parts: which skills turn out to be known, and which items are asked.

    >>> sure = [SkillMastery("a", Interval(1.0, 1.0, 1.0)), SkillMastery("b", Interval(0.0, 0.0, 0.0))]
    >>> exam = expect_exam(sure, 0.45, CertificationParameters(plain=Outcome(slope=1.0, offset=0.0)))
    >>> round(exam.score.value, 3), round(exam.readiness, 2)
    (0.55, 1.42)
    """
    span = 1.0 - parameters.slip - parameters.guess
    total = sum(skill.weight for skill in skills)
    score = variance = 0.0
    for skill in skills:
        share = skill.weight / total
        known = skill.mastery.value
        score += share * (parameters.guess + span * known)
        variance += (share * span) ** 2 * known * (1.0 - known)
    spread = math.sqrt(variance + score * (1.0 - score) / parameters.exam_items)
    band = parameters.plain.band if parameters.skilled is None else parameters.skilled.band
    known_reach = parameters.score_reach
    reach = (normal().inv_cdf((1.0 + band.level) / 2.0) if known_reach is None else known_reach) * spread
    return Exam(
        score=Interval(score, max(score - reach, 0.0), min(score + reach, 1.0)),
        spread=spread,
        readiness=(score - cut_score) / spread,
    )


def cohort_names(certification: str | None, role: str | None) -> tuple[str, ...]:
    """Groups that a learner belongs to, in words, the most special first; the contract's names without prefix.

    >>> cohort_names("PALS", "RESPIRATORY_THERAPIST")
    ('PALS, respiratory therapist', 'PALS', 'all exams')
    """
    if certification is None:
        return (EVERYBODY,)
    named = (certification,) if role is None else (f"{certification}, {role.replace('_', ' ').lower()}", certification)
    return (*named, EVERYBODY)


def _weakest(
    margin: float,
    model: Outcome,
    skills: Sequence[SkillMastery],
    exam: Exam,
    parameters: CertificationParameters,
    most: int,
) -> tuple[WeakSkill, ...]:
    """The skills with the largest gains, largest first; ties in the order given.

    The spread of the score stays as it is: a gain is about what is known, not about what is known of it.
    """
    unit = (1.0 - parameters.slip - parameters.guess) / exam.spread / sum(skill.weight for skill in skills)
    now = sigmoid(model.logit(margin, exam.readiness))

    def gain(skill: SkillMastery, known: float) -> float:
        return sigmoid(model.logit(margin, exam.readiness + unit * skill.weight * (1.0 - known))) - now

    found = [
        WeakSkill(
            skill.skill_id,
            skill.mastery,
            Interval(
                *(gain(skill, known) for known in (skill.mastery.value, skill.mastery.upper, skill.mastery.lower))
            ),
        )
        for skill in skills
    ]
    return tuple(sorted(found, key=lambda weak: -weak.gain.value)[:most])


def _facts(parameters: CertificationParameters, groups: Sequence[str]) -> CalibrationFacts | None:
    """Those of the most special group with enough outcomes."""
    for group in groups:
        for facts in parameters.facts:
            if facts.cohort == group and facts.observations >= FACTS_LEAST:
                return facts
    return None


def parse_certification(value: Any) -> CertificationParameters:
    """The parameters that `to_json` wrote, checked.

    Raises: ValueError: names the field that is missing or not as it must be.

    >>> parse_certification({"plain": {"slope": "steep"}})
    Traceback (most recent call last):
    ValueError: plain.slope: must be a finite number
    """
    if not isinstance(value, Mapping):
        raise ValueError("parameters: not an object")  # noqa: TRY004 - one kind of error for a bad file
    plain = _parse_outcome(value.get("plain"), "plain")
    skilled = value.get("skilled")
    guess, slip = (_number(value.get(name), name, low=0.0, high=0.999) for name in ("guess", "slip"))
    if guess + slip >= 1.0:
        raise ValueError("slip: guess + slip must be below 1")
    items = value.get("exam_items")
    if not isinstance(items, int) or isinstance(items, bool) or items < 1:
        raise ValueError("exam_items: must be a whole number, 1 or more")
    reach = value.get("score_reach")
    facts = value.get("facts")
    if not isinstance(facts, list):
        raise ValueError("facts: must be a list")  # noqa: TRY004 - as above
    return CertificationParameters(
        plain=plain,
        skilled=None if skilled is None else _parse_outcome(skilled, "skilled"),
        guess=guess,
        slip=slip,
        exam_items=items,
        score_reach=None if reach is None else _number(reach, "score_reach", low=0.0, high=1e3),
        facts=tuple(_parse_facts(entry, f"facts.{at}") for at, entry in enumerate(facts)),
    )


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    """One layer as JSON values."""
    return {
        "slope": outcome.slope,
        "offset": outcome.offset,
        "readiness": outcome.readiness,
        "band": outcome.band.to_json(),
    }


def _parse_outcome(value: Any, name: str) -> Outcome:
    """One layer, checked; the slopes may not turn an order round."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: not an object")  # noqa: TRY004 - as above
    slope = _number(value.get("slope"), f"{name}.slope", low=0.0)
    offset = _number(value.get("offset"), f"{name}.offset")
    readiness = _number(value.get("readiness"), f"{name}.readiness", low=0.0)
    try:
        band = parse_band(value.get("band"))
    except ValueError as cause:
        raise ValueError(f"{name}.{cause}") from cause
    return Outcome(slope=slope, offset=offset, readiness=readiness, band=band)


def _parse_facts(value: Any, name: str) -> CalibrationFacts:
    """Calibration of one group, checked."""
    if not isinstance(value, Mapping) or not isinstance(value.get("cohort"), str):
        raise ValueError(f"{name}: must be an object with a cohort")  # noqa: TRY004 - as above
    return CalibrationFacts(
        cohort=value["cohort"],
        brier_score=_number(value.get("brier_score"), f"{name}.brier_score", low=0.0, high=1.0),
        calibration_error=_number(value.get("calibration_error"), f"{name}.calibration_error", low=0.0, high=1.0),
        observations=int(_number(value.get("observations"), f"{name}.observations", low=0.0)),
        evaluation_day=_number(value.get("evaluation_day"), f"{name}.evaluation_day", low=0.0),
    )


def _number(value: Any, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number within bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name}: must be a finite number")
    if not low <= value <= high:
        raise ValueError(f"{name}: out of range")
    return float(value)
