"""The upsell fit on offers whose effect is known: what it finds, what it refuses to say, how often intervals hold."""

import json

import numpy as np
import pytest

from methods.revenue.upsell import load_offers, prepare, uplift_by_row, uplift_of
from methods.revenue.upsell_parameters import UpsellParameters, parse_parameters
from methods.statistics.scores import log_loss
from methods.statistics.uplift_scores import qini_coefficient
from tests.fakes.offer_rows import SCHEMA, offer_rows
from training.revenue.offer_logistic import fit_offer_logistic, inverse_chances
from training.revenue.upsell import OfferRows, UpsellModel, UpsellOptions, fit_preparation, fit_upsell, predict_uplift

QUICK = UpsellOptions(folds=3, draws=60)


def fit(rows: OfferRows, options: UpsellOptions = QUICK) -> UpsellModel:
    return fit_upsell({"ANNUAL_UPGRADE": rows}, SCHEMA, options, np.random.default_rng(0))


def served(parameters: UpsellParameters, rows: OfferRows) -> np.ndarray:
    return uplift_by_row(prepare(rows.matrix, parameters.preparation), parameters.offers[0])


def test_effects_that_differ_are_found_and_ranked() -> None:
    rows, _ = offer_rows(np.random.default_rng(1), 6_000, own=1.5)
    fresh, truth = offer_rows(np.random.default_rng(2), 6_000, own=1.5)

    model = fit(rows)

    (offer,) = model.parameters.offers
    assert offer.personalised
    assert offer.qini[1] > 0
    assert np.corrcoef(served(model.parameters, fresh), truth)[0, 1] > 0.9
    assert qini_coefficient(fresh.accepted, served(model.parameters, fresh), fresh.shown) > 0.03


def test_one_effect_for_all_means_nothing_to_personalise() -> None:
    """Twelve made-up campaigns; at a level of 90 % one in twenty may be found by chance."""
    found = [
        fit(offer_rows(np.random.default_rng(seed), 3_000, own=0.0)[0]).parameters.offers[0].personalised
        for seed in range(12)
    ]

    assert sum(found) <= 2


def test_with_nothing_to_personalise_the_effect_is_one_number_in_log_odds() -> None:
    rows, _ = offer_rows(np.random.default_rng(3), 3_000, own=0.0)

    (offer,) = fit(rows).parameters.offers

    assert not offer.personalised
    assert offer.effect[0] > 0
    assert set(offer.effect[1:]) == {0.0}


@pytest.mark.parametrize("own", [0.0, 1.5], ids=["one effect", "own effects"])
def test_the_average_uplift_lies_in_its_interval(own: float) -> None:
    """20 campaigns, nominal 90 %: 14 or fewer inside has a chance below 0.2 %."""
    inside = 0
    for seed in range(20):
        rows, truth = offer_rows(np.random.default_rng(seed), 2_000, own=own)
        preparation = fit_preparation(rows.matrix, SCHEMA)
        model = fit(rows, UpsellOptions(folds=2, draws=20))
        assert model.parameters.preparation == preparation
        _, lower, upper = model.parameters.offers[0].average
        inside += lower <= truth.mean() <= upper

    assert inside > 14


def test_uplifts_of_customers_lie_in_their_intervals() -> None:
    rows, _ = offer_rows(np.random.default_rng(4), 4_000, own=1.5)
    fresh, truth = offer_rows(np.random.default_rng(5), 300, own=1.5)
    model = fit(rows)
    offer = load_offers(model.parameters)["ANNUAL_UPGRADE"]

    answers = [uplift_of(row, offer, 0.9).uplift for row in prepare(fresh.matrix, model.parameters.preparation)]

    inside = np.mean([a.lower <= t <= a.upper for a, t in zip(answers, truth, strict=True)])
    assert inside > 0.75  # one fit: customers share its errors, so the share scatters widely around 0.9


def test_chances_that_differ_do_not_bend_the_average() -> None:
    """Shown to the eager far more often: a regression without their plan is wrong unless rows are weighted."""
    errors = []
    for seed in range(6):
        rows, truth = offer_rows(np.random.default_rng(seed), 6_000, own=0.0, varied=True)
        blind = prepare(rows.matrix, fit_preparation(rows.matrix, SCHEMA))[:, :3]  # minutes, tenure, auto_renew
        weight = inverse_chances(rows.shown, rows.propensity)
        for use in (weight, None):
            made = fit_offer_logistic(blind, rows.shown, rows.accepted, use, personalised=False)
            errors.append(predict_uplift(blind, made, float(rows.shown.mean())).mean() - truth.mean())

    weighted, plain = np.abs(np.mean(np.reshape(errors, (6, 2)), axis=0))
    assert weighted < 0.012
    assert plain > 0.05


def test_rows_where_chance_took_no_part_say_nothing() -> None:
    rows, _ = offer_rows(np.random.default_rng(6), 2_000)
    spoiled, _ = offer_rows(np.random.default_rng(7), 2_000)
    both = OfferRows(
        **{
            name: np.concatenate([getattr(rows, name), getattr(spoiled, name)])
            for name in ("matrix", "subject", "shown", "accepted", "price")
        },
        propensity=np.r_[rows.propensity, np.where(spoiled.shown == 1, 1.0, np.nan)],
    )

    assert fit(both).parameters == fit(rows).parameters


def test_an_offer_without_enough_evidence_is_refused_in_words() -> None:
    rows, _ = offer_rows(np.random.default_rng(8), 60)

    model = fit(rows)

    assert model.parameters.offers == ()
    assert "at least 20 accepted" in model.refused["ANNUAL_UPGRADE"]


@pytest.mark.parametrize(
    "rows", [{}, {"ANNUAL_UPGRADE": offer_rows(np.random.default_rng(9), 60)[0].take(np.arange(0))}]
)
def test_without_any_randomised_row_the_version_knows_no_offer(rows: dict[str, OfferRows]) -> None:
    model = fit_upsell(rows, SCHEMA, QUICK, np.random.default_rng(0))

    assert model.parameters.offers == ()
    assert set(model.refused) == set(rows)
    assert parse_parameters(json.loads(json.dumps(model.parameters.to_json()))) == model.parameters


def test_a_judgement_is_of_the_regression_that_is_served() -> None:
    rows, truth = offer_rows(np.random.default_rng(12), 4_000, own=1.5)

    judged = fit(rows).judged["ANNUAL_UPGRADE"]

    assert np.corrcoef(judged.uplift, truth)[0, 1] > 0.8
    for shown in (0, 1):  # a rate is one number a fold, within the folds' chance of that of all alike
        alike = judged.rate[rows.shown == shown]
        assert len(np.unique(alike)) <= QUICK.folds
        assert alike.mean() == pytest.approx(rows.accepted[rows.shown == shown].mean(), abs=0.01)
    assert log_loss(rows.accepted, judged.chance) < log_loss(rows.accepted, judged.rate)


def test_a_fitted_version_survives_its_file() -> None:
    rows, _ = offer_rows(np.random.default_rng(11), 1_500)
    parameters = fit(rows).parameters

    assert parse_parameters(json.loads(json.dumps(parameters.to_json()))) == parameters


def test_the_same_seed_gives_the_same_version() -> None:
    rows, _ = offer_rows(np.random.default_rng(10), 1_500)

    assert fit(rows).parameters.to_json() == fit(rows).parameters.to_json()
