import numpy as np
import pytest

from methods.features import Feature, FeatureSchema, Kind
from methods.learning.certification import parse_certification, predict_passing
from methods.statistics.scores import auc
from training.bands import chance_of
from training.boosting import BoostingOptions
from training.learning.certification import (
    CertificationOptions,
    ExamRows,
    chance_of_passing,
    fit_certification,
    recalibrate,
)
from training.onnx_trees import run_onnx, trees_to_onnx

QUICK = CertificationOptions(
    boosting=BoostingOptions(depths=(2,), rounds=60, patience=10, learning_rate=0.15, folds=3), draws=30
)
SCHEMA = FeatureSchema(
    message="demo", features=tuple(Feature(name=name, kind=Kind.NUMBER) for name in ("practice", "years"))
)


def make_exams(
    rng: np.random.Generator, *, drift: float = 0.0, skills: float = 0.0, cohorts: int = 3, each: int = 500
) -> ExamRows:
    """Learners whose chance hangs on practice, on readiness as far as `skills`, and on a cohort's own offset."""
    n = cohorts * each
    cohort = np.repeat(np.arange(cohorts), each)
    matrix = rng.normal(size=(n, 2)).astype(np.float32)
    z = rng.normal(size=n)
    offset = drift * np.array([-1.0, 1.0] * cohorts)[:cohorts][cohort]
    logit = 1.2 * matrix[:, 0].astype(float) + skills * z + offset
    return ExamRows(
        matrix=matrix,
        subject=np.arange(n),
        cohort=cohort,
        outcome=(rng.random(n) < chance_of(logit)).astype(float),
        readiness=z if skills else np.full(n, np.nan),
    )


def test_later_learners_are_ranked_and_the_graph_says_the_same() -> None:
    model = fit_certification(make_exams(np.random.default_rng(0)), SCHEMA, QUICK, np.random.default_rng(0))
    fresh = make_exams(np.random.default_rng(1))

    margin = run_onnx(trees_to_onnx(model.booster), fresh.matrix)
    chance = chance_of_passing(margin, model.parameters.plain)

    assert auc(fresh.outcome, chance) > 0.72  # the truth's own is 0.77, its standard error 0.012
    one_by_one = [predict_passing(value, model.parameters).passing.value for value in margin.tolist()]
    np.testing.assert_allclose(chance, one_by_one)


def test_parameters_of_a_fit_can_be_stored() -> None:
    model = fit_certification(make_exams(np.random.default_rng(0)), SCHEMA, QUICK, np.random.default_rng(0))

    assert parse_certification(model.parameters.to_json()) == model.parameters


def test_cohorts_that_differ_widen_the_interval() -> None:
    same = fit_certification(make_exams(np.random.default_rng(2)), SCHEMA, QUICK, np.random.default_rng(0))
    drifting = fit_certification(
        make_exams(np.random.default_rng(2), drift=0.5), SCHEMA, QUICK, np.random.default_rng(0)
    )

    def width(model_band: tuple[float, ...]) -> float:
        return float(np.mean(model_band))

    assert drifting.cohort_spread > same.cohort_spread + 0.2
    assert width(drifting.parameters.plain.band.uppers) > width(same.parameters.plain.band.uppers) + 0.2


def test_readiness_is_weighed_where_it_tells_something() -> None:
    telling = make_exams(np.random.default_rng(3), skills=1.0)
    silent = make_exams(np.random.default_rng(3))

    skilled = fit_certification(telling, SCHEMA, QUICK, np.random.default_rng(0)).parameters.skilled

    assert skilled is not None
    assert skilled.readiness == pytest.approx(1.0, abs=0.25)  # its standard error is 0.08; the score is not perfect
    assert fit_certification(silent, SCHEMA, QUICK, np.random.default_rng(0)).parameters.skilled is None


def test_readiness_that_speaks_the_wrong_way_counts_nothing() -> None:
    against = make_exams(np.random.default_rng(4), skills=-1.0)

    skilled = fit_certification(against, SCHEMA, QUICK, np.random.default_rng(0)).parameters.skilled

    assert skilled is not None
    assert skilled.readiness == 0.0


def test_some_of_a_new_cohort_mend_its_offset() -> None:
    model = fit_certification(make_exams(np.random.default_rng(5)), SCHEMA, QUICK, np.random.default_rng(0))
    harder = make_exams(np.random.default_rng(6), drift=1.0, cohorts=1, each=3_000)
    margin = model.margin(harder.matrix)
    part = np.arange(3_000) < 1_000

    fresh = recalibrate(model.parameters, margin[part], harder.outcome[part])

    before = chance_of_passing(margin[~part], model.parameters.plain).mean()
    after = chance_of_passing(margin[~part], fresh.plain).mean()
    seen = harder.outcome[~part].mean()
    assert before > seen + 0.1
    assert after == pytest.approx(seen, abs=0.045)  # three standard errors of 1,000 outcomes


def test_exams_that_all_ended_alike_are_refused() -> None:
    rows = make_exams(np.random.default_rng(7))
    passed = ExamRows(
        matrix=rows.matrix,
        subject=rows.subject,
        cohort=rows.cohort,
        outcome=np.ones(len(rows)),
        readiness=rows.readiness,
    )

    with pytest.raises(ValueError, match="all the same"):
        fit_certification(passed, SCHEMA, QUICK, np.random.default_rng(0))
