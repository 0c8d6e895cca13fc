import numpy as np
import pytest

from methods.revenue.churn import churn_by_horizon, parse_parameters
from methods.statistics.scores import auc, calibration_error
from tests.fakes.churn_rows import SCHEMA, churn_table
from training.revenue.churn import ChurnModel, ChurnOptions, fit_churn
from training.revenue.person_periods import PersonPeriods, person_periods_of

QUICK = ChurnOptions(rounds=60, patience=10, depths=(2, 3), folds=3, draws=20, learning_rate=0.1, threads=1)


@pytest.fixture(scope="module")
def frame() -> PersonPeriods:
    return person_periods_of(churn_table(np.random.default_rng(0)), SCHEMA)


@pytest.fixture(scope="module")
def model(frame: PersonPeriods) -> ChurnModel:
    return fit_churn(frame, SCHEMA, QUICK, np.random.default_rng(1))


def test_a_fit_finds_who_leaves_and_how_often(model: ChurnModel) -> None:
    unseen = person_periods_of(churn_table(np.random.default_rng(9), subjects=4_000), SCHEMA)
    outcome = unseen.first_outcome

    chance = churn_by_horizon(model.margin(unseen.matrix), model.parameters, (28,)).value[:, 0]

    # the true hazard reaches an AUC of about 0.73 on these rows
    assert auc(outcome, chance) > 0.69
    assert calibration_error(outcome, chance) < 0.02


def test_equal_seeds_give_equal_models(frame: PersonPeriods, model: ChurnModel) -> None:
    again = fit_churn(frame, SCHEMA, QUICK, np.random.default_rng(1))

    assert again.parameters == model.parameters
    np.testing.assert_array_equal(again.margin(frame.matrix), model.margin(frame.matrix))


def test_the_parameters_are_those_a_server_accepts(model: ChurnModel) -> None:
    assert parse_parameters(model.parameters.to_json()) == model.parameters
    assert len(model.parameters.slopes) == 13


def test_a_missing_value_is_scored(model: ChurnModel) -> None:
    nothing = np.full((1, len(SCHEMA.columns)), np.nan, dtype=np.float32)

    assert np.isfinite(model.margin(nothing)).all()


def test_the_rows_are_not_changed(frame: PersonPeriods) -> None:
    before = frame.matrix.copy()

    fit_churn(frame, SCHEMA, QUICK, np.random.default_rng(1))

    np.testing.assert_array_equal(frame.matrix, before)


def test_too_many_rows_are_thinned_by_whole_subjects(frame: PersonPeriods) -> None:
    options = ChurnOptions(rows_most=len(frame) // 3, rounds=20, depths=(2,), folds=3, draws=0, threads=1)

    model = fit_churn(frame, SCHEMA, options, np.random.default_rng(0))

    # 1,200 subjects drawn with chance 1/3: a standard error of 4 % of the rows
    assert model.rows == pytest.approx(len(frame) / 3, rel=0.2)
