from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from methods.features import Feature, FeatureSchema, Kind
from tests.fakes.churn_rows import SCHEMA, churn_table
from training.revenue.churn import ChurnOptions
from training.revenue.judging import Judgement, judge_churn

QUICK = ChurnOptions(rounds=60, patience=10, depths=(2,), folds=3, draws=20, learning_rate=0.1, threads=1)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return churn_table(np.random.default_rng(0))


@pytest.fixture(scope="module")
def judgement(table: pd.DataFrame) -> Judgement:
    return judge_churn(table, SCHEMA, QUICK, np.random.default_rng(1))


def gate(judgement: Judgement, name: str) -> bool:
    return next(gate.passed for gate in judgement.gates if gate.name == name)


def test_a_sound_fit_passes_every_gate(judgement: Judgement) -> None:
    assert judgement.failures == ()
    assert [contender.name for contender in judgement.contenders] == ["new version", "plain logistic"]


def test_the_newest_fifth_of_the_landmarks_judges(table: pd.DataFrame, judgement: Judgement) -> None:
    later = table[table["as_of_time"] >= judgement.cut]

    assert later["as_of_time"].nunique() == 2
    assert len(judgement.outcome) == len(later)


def test_slices_part_the_held_out_rows_by_the_fields_that_there_are(judgement: Judgement) -> None:
    assert set(judgement.slices) == {"plan", "tenure"}
    new = judgement.contenders[0]
    for parts in judgement.slices.values():
        rows = np.array([part["rows"] for part in parts.values()])
        assert rows.sum() == len(judgement.outcome)
        for name, whole in (
            ("observed", judgement.outcome.mean()),
            ("foretold", new.probability.mean()),
            ("log_loss", new.scores.log_loss),
        ):
            assert rows @ [part[name] for part in parts.values()] / rows.sum() == pytest.approx(whole)


def test_nothing_that_is_judged_on_was_fitted_on(table: pd.DataFrame, judgement: Judgement) -> None:
    future = table["as_of_time"] >= judgement.cut
    spoilt = table.assign(
        days_since_last_session=table["days_since_last_session"].where(~future, 999.0),
        left_in_period=table["left_in_period"].where(~future, 1.0),
        periods_observed=table["periods_observed"].where(~future, 1),
    )
    # one held-out row must stay, else there is nothing to tell leavers from
    keep = future.idxmax()
    spoilt.loc[keep, "left_in_period"] = np.nan

    again = judge_churn(spoilt, SCHEMA, QUICK, np.random.default_rng(1))

    assert again.model.parameters == judgement.model.parameters
    np.testing.assert_array_equal(
        again.model.margin(judgement.fitted.matrix), judgement.model.margin(judgement.fitted.matrix)
    )


def test_what_happened_after_the_cut_is_unknown_to_rows_before_it(judgement: Judgement) -> None:
    fitted = judgement.fitted
    cut = fitted.time.max() + 28  # landmarks are 28 days apart

    assert np.all(fitted.time + 28 * fitted.observed <= cut)


def test_a_champion_is_judged_on_the_same_rows(table: pd.DataFrame, judgement: Judgement) -> None:
    seen: list[int] = []

    def answer(rows: pd.DataFrame) -> NDArray[np.float64]:
        seen.append(len(rows))
        return np.full(len(rows), 0.1)

    again = judge_churn(table, SCHEMA, QUICK, np.random.default_rng(1), champion=("champion v1", answer))

    assert seen == [len(judgement.outcome)]
    assert again.against_champion is not None
    assert again.against_champion.lower > 0
    assert gate(again, "not_worse_than_champion")
    assert again.folds == judgement.folds  # comparing draws chance of its own: the rest is the same with and without


def test_a_version_that_is_worse_than_the_champion_fails_that_gate(table: pd.DataFrame) -> None:
    def oracle(rows: pd.DataFrame) -> NDArray[np.float64]:
        return np.where(rows["left_in_period"] == 1, 0.9, 0.02)

    judged = judge_churn(table, SCHEMA, QUICK, np.random.default_rng(1), champion=("champion v1", oracle))

    assert not gate(judged, "not_worse_than_champion")
    assert "champion v1" in judged.failures[0]


def test_a_feature_that_knows_the_outcome_fails_the_leak_gate(table: pd.DataFrame) -> None:
    schema = FeatureSchema(message="leak", features=(*SCHEMA.features, Feature(name="told", kind=Kind.NUMBER)))
    leaky = table.assign(told=(table["left_in_period"] == 1).astype(float))

    judged = judge_churn(leaky, schema, QUICK, np.random.default_rng(1))

    assert not gate(judged, "no_leak")


def test_too_few_leavers_fail_the_gate_of_events() -> None:
    few = churn_table(np.random.default_rng(0), subjects=90)

    judged = judge_churn(few, SCHEMA, replace(QUICK, draws=0), np.random.default_rng(1))

    assert not gate(judged, "enough_events")


def test_folds_in_time_are_each_fitted_on_their_past(judgement: Judgement) -> None:
    assert len(judgement.folds) >= 2
    assert all(fold.start < judgement.cut for fold in judgement.folds)
    assert all(0.55 < fold.model.auc < 0.85 for fold in judgement.folds)


def test_too_few_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match="4 landmarks are too few"):
        judge_churn(churn_table(np.random.default_rng(0), landmarks=4), SCHEMA, QUICK, np.random.default_rng(0))


def test_rows_among_which_nobody_leaves_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="a fit needs both kinds"):
        judge_churn(table.assign(left_in_period=np.nan), SCHEMA, QUICK, np.random.default_rng(0))
