"""Uplift, incremental margin and decision of RecommendUpsell, on parameters written by hand."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from methods.features import Feature, FeatureSchema, Kind
from methods.revenue.upsell import (
    Advice,
    Decision,
    Interval,
    Offer,
    Personalisation,
    advise,
    incremental_margin,
    load_offers,
    personalisation_of,
    prepare,
    uplift_by_row,
    uplift_of,
)
from methods.revenue.upsell_parameters import OfferModel, Preparation, UpsellParameters, parse_parameters

PAGE = Path(__file__).parents[3] / "docs/methods/recommend_upsell.md"
SCHEMA = FeatureSchema(
    message="demo", features=(Feature(name="minutes", kind=Kind.NUMBER), Feature(name="auto_renew", kind=Kind.FLAG))
)
PREPARATION = Preparation(
    logged=(True, False),
    fills=(3.0, 0.5),
    centres=(3.0, 0.5),
    scales=(1.5, 0.5),
    bent=(True, False),
    bend_centres=(1.0, 0.0),
    bend_scales=(1.2, 1.0),
    flagged=(False, True),
    flag_centres=(0.0, 0.1),
    flag_scales=(1.0, 0.3),
)
WIDTH = PREPARATION.width
ROWS = st.lists(st.floats(-5, 5), min_size=WIDTH, max_size=WIDTH).map(np.array)


def model(offer_id: str = "a", *, sd: float = 0.05, effect: float = 0.6, own: float = 0.4) -> OfferModel:
    """Level -2, slopes 0.3; effect as given; coefficients known to within sd, independently."""
    size = 2 * (WIDTH + 1) if own else WIDTH + 2
    return OfferModel(
        offer_id=offer_id,
        shown_share=0.5,
        level=(-2.0, *[0.3] * WIDTH),
        effect=(effect, *[own] * WIDTH),
        factor=tuple((sd * np.eye(size))[np.tril_indices(size)].tolist()),
        personalised=own != 0,
        average=(0.05, 0.04, 0.06),
        qini=(0.05, 0.03, 0.07),
        gain=(0.02, 0.01, 0.03),
        saved=(0.5, 0.1, 0.9),
        rows=5_000,
        lowest_price=4_000.0,
        highest_price=5_000.0,
    )


def parameters(*models: OfferModel, explored: float = 0.1) -> UpsellParameters:
    return UpsellParameters(schema=SCHEMA, preparation=PREPARATION, offers=models, explored=explored)


def ask(offers: list[Offer], known: UpsellParameters, *, budget: int = 1, chance: float | None = None) -> list[Advice]:
    return advise(np.zeros(WIDTH), offers, known, load_offers(known), budget=budget, chance=chance)


def offer(offer_id: str = "a", margin: float = 1_000.0, cost: float = 0.0, price: float = 4_500.0) -> Offer:
    return Offer(offer_id=offer_id, price=price, margin=margin, contact_cost=cost)


@given(ROWS)
def test_intervals_contain_their_value_and_chances_stay_chances(row: NDArray[np.float64]) -> None:
    answer = uplift_of(row, load_offers(parameters(model()))["a"], 0.9)

    assert -1 <= answer.uplift.lower <= answer.uplift.value <= answer.uplift.upper <= 1
    assert 0 <= answer.accepted.lower <= answer.accepted.value <= answer.accepted.upper <= 1


@given(st.lists(ROWS, min_size=1, max_size=8))
def test_many_rows_are_answered_as_one_is(rows: list[NDArray[np.float64]]) -> None:
    one = load_offers(parameters(model()))["a"]

    many = uplift_by_row(np.array(rows), one.model)

    assert many.tolist() == pytest.approx([uplift_of(row, one, 0.9).uplift.value for row in rows], abs=1e-12)


@given(ROWS, st.floats(0.01, 1.0))
def test_more_uncertain_coefficients_widen_the_interval(row: NDArray[np.float64], sd: float) -> None:
    def width(spread: float) -> float:
        interval = uplift_of(row, load_offers(parameters(model(sd=spread)))["a"], 0.9).uplift
        return interval.upper - interval.lower

    assert width(sd) <= width(2 * sd) + 1e-12


def test_the_interval_is_that_of_draws_from_the_posterior() -> None:
    """100,000 draws of the coefficients: ends within four standard errors of the delta method's."""
    rng = np.random.default_rng(0)
    row, one = np.array([0.5, -1.0, 0.2, 0.0]), model(sd=0.03)
    draws = rng.normal([*one.level, *one.effect], 0.03, (100_000, 2 * (WIDTH + 1)))
    reading = np.r_[1.0, row]
    m, d = draws[:, : WIDTH + 1] @ reading, draws[:, WIDTH + 1 :] @ reading
    sampled = np.quantile(1 / (1 + np.exp(-m - d / 2)) - 1 / (1 + np.exp(-m + d / 2)), [0.05, 0.95])

    interval = uplift_of(row, load_offers(parameters(one))["a"], 0.9).uplift

    assert (interval.lower, interval.upper) == pytest.approx(sampled, abs=6e-4)


def test_a_missing_number_is_filled_and_said_to_be_missing() -> None:
    known, missing = prepare(np.array([[math.expm1(3.0), 0.5], [np.nan, np.nan]]), PREPARATION)

    assert known.tolist() == pytest.approx([0.0, 0.0, -1.0 / 1.2, -0.1 / 0.3])
    assert missing.tolist() == pytest.approx([0.0, 0.0, -1.0 / 1.2, 0.9 / 0.3])


def test_a_typing_error_decides_no_more_than_four_standard_deviations() -> None:
    (row,) = prepare(np.array([[1e30, 1e30]]), PREPARATION)

    assert row[:2].tolist() == [4.0, 4.0]


def test_the_best_offer_worth_showing_is_offered_and_the_next_held() -> None:
    first, second = ask([offer("a", 1_000.0), offer("b", 2_000.0)], parameters(model("a"), model("b")))

    assert (first.offer_id, first.place, first.decision) == ("b", 1, Decision.OFFER)
    assert (second.offer_id, second.decision) == ("a", Decision.HOLD)


def test_an_offer_that_costs_more_than_it_earns_is_not_made() -> None:
    (advice,) = ask([offer(cost=10_000.0)], parameters(model()))

    assert advice.decision is Decision.DO_NOT_CONTACT
    assert advice.incremental is not None
    assert advice.incremental.value < 0


def test_an_offer_that_drives_customers_away_is_not_made_to_learn() -> None:
    (advice,) = ask([offer()], parameters(model(effect=-0.6)), chance=0.0)

    assert (advice.decision, advice.propensity) == (Decision.DO_NOT_CONTACT, 1.0)


def test_where_the_interval_holds_zero_the_offer_is_held() -> None:
    (advice,) = ask([offer()], parameters(model(sd=2.0)))

    assert advice.decision is Decision.HOLD
    assert "not known whether it helps" in advice.reason


def test_without_randomised_evidence_there_is_no_number() -> None:
    (advice,) = ask([offer("new")], parameters(model()))

    assert (advice.decision, advice.effect, advice.incremental) == (Decision.HOLD, None, None)
    assert personalisation_of(parameters(model()), [offer("new")]) is Personalisation.NO_EVIDENCE


def test_nothing_to_personalise_is_said_in_the_answer() -> None:
    alike = parameters(model(own=0.0))

    (advice,) = ask([offer()], alike)

    assert personalisation_of(alike, [offer()]) is Personalisation.NOTHING
    assert "nothing to personalise" in advice.reason
    assert personalisation_of(parameters(model()), [offer()]) is Personalisation.SUPPORTED


def test_no_budget_shows_nothing_even_to_learn() -> None:
    advice = ask([offer("a"), offer("new")], parameters(model()), budget=0, chance=0.0)

    assert {each.decision for each in advice} == {Decision.HOLD}
    assert {each.propensity for each in advice} == {1.0}


def test_a_price_that_was_never_shown_is_marked() -> None:
    (advice,) = ask([offer(price=9_900.0)], parameters(model()))

    assert advice.extrapolated


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "new"]), st.floats(-500, 2_000)), min_size=1, max_size=4),
    st.integers(0, 4),
)
def test_over_all_chances_each_decision_is_taken_as_often_as_its_propensity_says(
    asked: list[tuple[str, float]], budget: int
) -> None:
    known = parameters(model("a"), model("b", sd=3.0), model("c", effect=-0.5))
    offers = [offer(name, margin) for name, margin in asked]
    chances = (np.arange(120) + 0.5) / 120  # a tenth of them, and a half, third and fourth of that, are whole
    taken: dict[tuple[int, Decision], int] = {}
    said: dict[tuple[int, Decision], float] = {}

    for chance in chances:
        advice = ask(offers, known, budget=budget, chance=float(chance))
        assert sum(each.decision is Decision.OFFER for each in advice) <= budget
        for each in advice:
            key = (each.place, each.decision)
            taken[key] = taken.get(key, 0) + 1
            assert said.setdefault(key, each.propensity) == each.propensity

    assert {key: count / 120 for key, count in taken.items()} == pytest.approx(said)


@given(st.permutations(["a", "b", "new", "newer"]), st.integers(0, 4), st.one_of(st.none(), st.floats(0, 0.2)))
def test_the_order_of_the_offers_in_the_request_does_not_matter(
    names: list[str], budget: int, chance: float | None
) -> None:
    known = parameters(model("a"), model("b"))  # alike, as the two that nobody knows are

    given_so, sorted_ = (
        ask([offer(name) for name in order], known, budget=budget, chance=chance) for order in (names, sorted(names))
    )

    assert [replace(each, place=0) for each in given_so] == [replace(each, place=0) for each in sorted_]


def test_margins_below_zero_swap_the_ends() -> None:
    worth = incremental_margin(Interval(value=0.1, lower=0.05, upper=0.2), offer(margin=-100.0, cost=1.0))

    assert (worth.lower, worth.value, worth.upper) == pytest.approx((-21.0, -11.0, -6.0))


def test_parameters_survive_json() -> None:
    known = parameters(model("a"), model("b", own=0.0))

    assert parse_parameters(json.loads(json.dumps(known.to_json()))) == known


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param(["level"], 1.0, "level", id="level"),
        pytest.param(["explored"], -0.1, "explored", id="explored"),
        pytest.param(["offers"], None, "offers", id="offers"),
        pytest.param(["schema"], {}, "schema", id="no schema"),
        pytest.param(["schema", "features"], [], "preparation: has 2 columns", id="another schema"),
        pytest.param(["preparation", "scales"], [0.0, 1.0], r"preparation\.scales", id="scale of 0"),
        pytest.param(["preparation", "fills"], [0.0], r"preparation\.fills", id="short column"),
        pytest.param(["preparation", "bent"], [1, 0], r"preparation\.bent", id="number for a flag"),
        pytest.param(["offers", 0, "offer_id"], "", r"offers\[0\]\.offer_id", id="no id"),
        pytest.param(["offers", 0, "level"], [1.0], r"offers\[0\]\.level", id="too few coefficients"),
        pytest.param(["offers", 0, "factor"], [math.nan], r"offers\[0\]\.factor", id="nan"),
        pytest.param(["offers", 0, "shown_share"], 1.0, r"offers\[0\]\.shown_share", id="share"),
        pytest.param(["offers", 0, "personalised"], 1, r"offers\[0\]\.personalised", id="not a flag"),
        pytest.param(["offers", 0, "rows"], 0, r"offers\[0\]\.rows", id="no rows"),
        pytest.param(["offers", 0, "qini"], [0.1], r"offers\[0\]\.qini", id="no interval"),
    ],
)
def test_a_wrong_field_is_named(path: list[Any], value: object, said: str) -> None:
    spoiled = parameters(model()).to_json()
    inner: Any = spoiled
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value

    with pytest.raises(ValueError, match=said):
        parse_parameters(spoiled)


def test_an_offer_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_parameters(parameters(model("a"), model("a")).to_json())


def test_the_worked_example_of_the_page_is_what_the_code_gives() -> None:
    alone = replace(model(own=0.0), level=(-2.0, *[0.0] * WIDTH), effect=(0.5, *[0.0] * WIDTH))
    (advice,) = ask([offer(margin=2_000.0, cost=20.0)], parameters(alone))
    assert advice.effect is not None
    assert advice.incremental is not None
    effect, gain = advice.effect, advice.incremental
    section = PAGE.read_text().split("## Worked example")[1].split("\n## ")[0]
    said = dict(re.findall(r"^\| ([^|]+) \|[^|]*\| ([^|]+) \|$", section, re.MULTILINE))

    assert said == {
        "accepted when shown": f"{effect.accepted.value:.4f}",
        "accepted when held back": f"{effect.accepted.value - effect.uplift.value:.4f}",
        "uplift": f"{effect.uplift.value:.4f}",
        "its interval": f"{effect.uplift.lower:.4f} to {effect.uplift.upper:.4f}",
        "incremental margin": f"{gain.value:.1f}",
        "its interval, minor units": f"{gain.lower:.1f} to {gain.upper:.1f}",
        "decision": advice.decision.name,
    }
    assert advice.decision is Decision.OFFER
