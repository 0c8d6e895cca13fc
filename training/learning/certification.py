"""Fits who passes: boosted trees, calibrated on learners held out, with an interval that knows cohorts differ.

Slope and offset, and where skills are known the weight of readiness, are fitted on scores by trees that have not seen
the learner. Each cohort in turn is also held out as a whole: how far its log-odds lie from what the others lead to
expect widens the band, since the next cohort is another one again.
Sources: Platt 1999; Wolpert 1992 (second layer on held-out scores); Davis et al. 2017, J Am Med Inform Assoc 24:1052
(calibration drifts where discrimination does not).
Pure; chance comes in. Not here: exam and answer (methods/learning/certification.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from methods.features import FeatureSchema
from methods.learning.certification import READINESS_MOST, CertificationParameters, Outcome
from methods.statistics.bands import Band
from training.bands import DRAWS, STEPS, chance_of, fit_band, fit_platt
from training.boosting import BoostingOptions, boost, fit_boosted, margin_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamRows:
    """n learners before an exam, each as known at some moment.

    Attributes:
        matrix: (n, columns) float32, missing is NaN.
        subject: (n,) number of the learner.
        cohort: (n,) number of the cohort, rising with time.
        outcome: (n,) 1 for passed.
        readiness: (n,) z of methods.learning.certification.expect_exam; NaN when no skill is known.
    """

    matrix: NDArray[np.float32]
    subject: NDArray[np.int64]
    cohort: NDArray[np.int64]
    outcome: Floats
    readiness: Floats

    def __len__(self) -> int:
        return len(self.subject)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "ExamRows":
        """These rows only."""
        return ExamRows(
            matrix=self.matrix[rows],
            subject=self.subject[rows],
            cohort=self.cohort[rows],
            outcome=self.outcome[rows],
            readiness=self.readiness[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationOptions:
    """How to fit; the defaults serve every data set.

    Attributes:
        boosting: of the trees.
        draws: bootstrap draws behind the band.
        skilled_least: rows with known skills below which readiness is not weighed.
        guess, slip, exam_items: of the exam, as the parameters say.
    """

    boosting: BoostingOptions = field(default_factory=BoostingOptions)
    draws: int = DRAWS
    skilled_least: int = 300
    guess: float = 0.2
    slip: float = 0.1
    exam_items: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationModel:
    """A fitted model."""

    schema: FeatureSchema
    booster: xgb.Booster = field(repr=False)
    parameters: CertificationParameters
    depth: int
    rounds: int
    cohort_spread: float  # log-odds by which cohorts differ from what the others lead to expect
    rows: int

    def margin(self, matrix: NDArray[np.float32]) -> Floats:
        """Raw scores, (n, columns) -> (n,)."""
        return margin_of(self.booster, matrix)


def fit_certification(
    rows: ExamRows,
    schema: FeatureSchema,
    options: CertificationOptions,
    rng: np.random.Generator,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> CertificationModel:
    """Chooses, fits and calibrates.

    Raises: ValueError: too few learners, or all passed or none.
    """
    progress(f"choosing trees on {len(rows):,} rows")
    trees = fit_boosted(rows.matrix, rows.outcome, rows.subject, options.boosting, rng)
    slope, offset = fit_platt(trees.held_out, rows.outcome)
    progress("holding out each cohort")
    spread = _cohort_spread(rows, slope, trees.depth, trees.rounds, options.boosting)
    plain = Outcome(slope=max(slope, 0.0), offset=offset)
    logit = plain.slope * trees.held_out + plain.offset
    plain = _with_band(plain, logit, rows, spread, options, rng)
    known = ~np.isnan(rows.readiness)
    skilled = None
    if int(known.sum()) >= options.skilled_least and np.ptp(rows.outcome[known]) > 0:
        part = rows.take(known)
        skilled, logit = _fit_skilled(trees.held_out[known], part)
        skilled = _with_band(skilled, logit, part, spread, options, rng)
    return CertificationModel(
        schema=schema,
        booster=trees.booster,
        parameters=CertificationParameters(
            plain=plain, skilled=skilled, guess=options.guess, slip=options.slip, exam_items=options.exam_items
        ),
        depth=trees.depth,
        rounds=trees.rounds,
        cohort_spread=spread,
        rows=len(rows),
    )


def recalibrate(parameters: CertificationParameters, margin: Floats, outcome: Floats) -> CertificationParameters:
    """The same with slope and offset of some learners of a new cohort, for learners without known skills.

    What one cohort differs from the next by is then known, so the band's spread goes with it: only the draws' own width
    would stay, and that belongs to other rows. The band is therefore left out.

    Args:
        parameters: the version's.
        margin: (n,) scores of learners whose outcome is known.
        outcome: (n,) 1 for passed.
    """
    slope, offset = fit_platt(margin, outcome)
    return CertificationParameters(
        plain=Outcome(slope=max(slope, 0.0), offset=offset, band=Band(level=parameters.plain.band.level)),
        skilled=None,
        guess=parameters.guess,
        slip=parameters.slip,
        exam_items=parameters.exam_items,
    )


def chance_of_passing(margin: Floats, outcome: Outcome, readiness: Floats | float = 0.0) -> Floats:
    """Chance of passing of many learners at once, as `Outcome.logit` gives it one by one; (n,)."""
    z = np.clip(readiness, -READINESS_MOST, READINESS_MOST)
    return chance_of(outcome.offset + outcome.slope * margin + outcome.readiness * z)


def _fit_skilled(margin: Floats, rows: ExamRows) -> tuple[Outcome, Floats]:
    """Slope, offset and the weight of readiness; a weight below 0 counts as 0. Also the log-odds, (n,)."""
    z = np.clip(rows.readiness, -READINESS_MOST, READINESS_MOST)
    columns = np.column_stack([margin, np.ones_like(margin), z])
    answer = np.array([1.0, 0.0, 0.0])
    for _ in range(STEPS):
        chance = chance_of(columns @ answer)
        information = (columns * (chance * (1 - chance))[:, None]).T @ columns + 1e-6 * np.eye(3)
        step = np.linalg.solve(information, columns.T @ (rows.outcome - chance))
        answer = answer + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    if answer[2] <= 0 or answer[0] < 0:
        slope, offset = fit_platt(margin, rows.outcome)
        answer = np.array([max(slope, 0.0), offset, 0.0])
    return Outcome(slope=float(answer[0]), offset=float(answer[1]), readiness=float(answer[2])), columns @ answer


def _with_band(
    outcome: Outcome,
    logit: Floats,
    rows: ExamRows,
    spread: float,
    options: CertificationOptions,
    rng: np.random.Generator,
) -> Outcome:
    """The same with its band."""
    band = fit_band(logit, rows.outcome, rows.subject, rng, draws=options.draws, spread=spread)
    return Outcome(slope=outcome.slope, offset=outcome.offset, readiness=outcome.readiness, band=band)


def _cohort_spread(rows: ExamRows, slope: float, depth: int, rounds: int, options: BoostingOptions) -> float:
    """Root mean square of the offsets that cohorts need when held out as a whole; 0 with a single cohort.

    What the chance of a small cohort alone makes of an offset is taken off: the band's draws of learners hold it.
    """
    squares = []
    for cohort in np.unique(rows.cohort):
        out = rows.cohort == cohort
        if out.all() or any(np.ptp(rows.outcome[part]) == 0 for part in (out, ~out)):
            continue
        booster = boost(rows.matrix[~out], rows.outcome[~out], depth, rounds, options, seed=0)
        held = rows.take(out)
        logit = slope * margin_of(booster, held.matrix)
        offset = _offset(logit, held.outcome)
        squares.append(offset**2 - _offset_variance(logit + offset, held))
    return float(np.sqrt(max(float(np.mean(squares)), 0.0))) if squares else 0.0


def _offset_variance(logit: Floats, rows: ExamRows) -> float:
    """Sampling variance of the offset of these rows, rows of one learner together."""
    chance = chance_of(logit)
    _, learner = np.unique(rows.subject, return_inverse=True)
    residuals = np.bincount(learner, weights=rows.outcome - chance)
    return float((residuals**2).sum() / (chance * (1 - chance)).sum() ** 2)


def _offset(logit: Floats, outcome: NDArray[Any]) -> float:
    """The shift under which as many are expected to pass as did."""
    shift = 0.0
    for _ in range(STEPS):
        chance = chance_of(logit + shift)
        step = float((outcome - chance).sum() / (chance * (1 - chance)).sum())
        shift += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-9:
            break
    return shift
