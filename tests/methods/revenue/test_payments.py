import re
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.revenue.payment_parameters import NEVER_RETRIED, PaymentParameters, parse_parameters
from methods.revenue.payment_success import (
    Block,
    Cell,
    DeclineKind,
    Payment,
    Stage,
    SuccessModel,
    believe,
    expected_logits,
    mean_chance,
)
from methods.revenue.payments import (
    Limits,
    NoRetry,
    PaymentAnswer,
    Retry,
    Route,
    answer_payment,
    first_propensities,
    kind_of_decline,
    plan_retry,
)

PAGE = Path(__file__).parents[3] / "docs/methods/optimize_payment_flow.md"


def version(**changes: object) -> PaymentParameters:
    """Two known routes, a slow decline code that likes three days, and a fast one."""
    levels = {
        "route": {"A": 0.4, "B": -0.2},
        "card_brand": {"VISA": 0.1, "MASTERCARD": -0.1},
        "route|card_brand": {"A|VISA": 0.3, "B|VISA": -0.1, "A|MASTERCARD": -0.6, "B|MASTERCARD": 0.4},
        "stage": {"RETRY": -3.0, "RENEWAL": 0.0, "CHECKOUT": 0.5},
        "decline|wait": {"51|6": 1.5, "51|1": -1.0, "91|1": 1.5},
    }
    mean, blocks = [2.5], {}
    for kind, effects in levels.items():
        blocks[kind] = Block(sd=0.3, columns={level: len(mean) + i for i, level in enumerate(effects)})
        mean += list(effects.values())
    rng = np.random.default_rng(0)
    root = rng.normal(0, 0.05, (len(mean), len(mean)))
    model = SuccessModel(
        blocks=blocks,
        mean=np.array(mean),
        covariance=root @ root.T + 0.01 * np.eye(len(mean)),
        cells={"KE|VISA|A": Cell(0.2, 0.05)},
        cell_sd=0.2,
        median_amounts={"USD": 5_000.0},
    )
    return replace(PaymentParameters(success=model, observations=1_000), **changes)  # type: ignore[arg-type]


VERSION = version()
ROUTES = (
    Route(route_id="A", success_fee_minor=30, success_fee_share=0.029, failure_fee_minor=10),
    Route(route_id="B", success_fee_minor=10, success_fee_share=0.02, failure_fee_minor=10),
)
RENEWAL = Payment(stage=Stage.RENEWAL, amount_minor=5_000, currency="USD", country="KE", card_brand="VISA")


def ask(payment: Payment = RENEWAL, routes: tuple[Route, ...] = ROUTES, chance: float | None = None) -> PaymentAnswer:
    return answer_payment(payment, routes, VERSION, chance=chance)


def declined(code: str = "51", **changes: object) -> Payment:
    return replace(RENEWAL, stage=Stage.RETRY, attempt_number=2, last_decline_code=code, **changes)  # type: ignore[arg-type]


PAYMENTS = st.builds(
    Payment,
    stage=st.sampled_from([None, *Stage]),
    amount_minor=st.one_of(st.none(), st.integers(1, 10_000_000)),
    currency=st.sampled_from([None, "USD", "KES"]),
    country=st.sampled_from([None, "KE", "XX"]),
    card_brand=st.sampled_from([None, "VISA", "OTHER"]),
    attempt_number=st.one_of(st.none(), st.integers(1, 40)),
    attempts_in_window=st.one_of(st.none(), st.integers(0, 40)),
    last_decline_code=st.sampled_from([None, "51", "54", "05", "1A", "43"]),
    last_decline_kind=st.sampled_from([None, *DeclineKind]),
    hours_since_decline=st.one_of(st.none(), st.floats(0, 2_000)),
    local_hour=st.one_of(st.none(), st.integers(0, 23)),
    day_of_month=st.one_of(st.none(), st.integers(1, 31)),
    payments_365d=st.one_of(st.none(), st.integers(0, 50)),
    failures_365d=st.one_of(st.none(), st.integers(0, 10)),
)
ROUTE_LISTS = st.lists(
    st.builds(
        Route,
        route_id=st.sampled_from(["A", "B", "new", "newer", "newest"]),
        success_fee_minor=st.integers(0, 100),
        success_fee_share=st.floats(0, 0.1),
        failure_fee_minor=st.integers(0, 100),
        is_down=st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda route: route.route_id,
).map(tuple)


@settings(max_examples=200, deadline=None)
@given(PAYMENTS, ROUTE_LISTS, st.one_of(st.none(), st.floats(0, 1, exclude_max=True)))
def test_every_answer_keeps_its_promises(payment: Payment, routes: tuple[Route, ...], chance: float | None) -> None:
    answer = ask(payment, routes, chance)

    assert {ranked.route_id for ranked in answer.routes} == {route.route_id for route in routes}
    assert sum(ranked.propensity for ranked in answer.routes) == pytest.approx(1.0)
    assert answer.routes[0].propensity > 0
    for ranked in answer.routes:
        assert 0 <= ranked.success.lower <= ranked.success.value <= ranked.success.upper <= 1
        assert (ranked.net_minor is None) == (payment.amount_minor is None)
        if ranked.net_minor is not None:
            assert ranked.net_minor.lower <= ranked.net_minor.value <= ranked.net_minor.upper
    down = {route.route_id for route in routes if route.is_down}
    if len(down) < len(routes):
        places = [ranked.route_id in down for ranked in answer.routes]
        assert places == sorted(places)
        assert all(ranked.propensity == 0 for ranked in answer.routes if ranked.route_id in down)


@settings(max_examples=200, deadline=None)
@given(PAYMENTS, ROUTE_LISTS)
def test_a_hard_decline_is_never_retried(payment: Payment, routes: tuple[Route, ...]) -> None:
    hard = replace(payment, last_decline_kind=DeclineKind.HARD)
    by_code = replace(payment, last_decline_code="43")

    for asked in (hard, by_code):
        answer = ask(asked, routes)
        assert answer.retry is NoRetry.HARD_DECLINE
        assert answer.ask_for_new_method


@pytest.mark.parametrize("code", sorted(NEVER_RETRIED))
def test_no_caller_softens_a_hard_code(code: str) -> None:
    payment = declined(code, last_decline_kind=DeclineKind.SOFT)

    assert kind_of_decline(payment, VERSION) is DeclineKind.HARD


@settings(max_examples=150, deadline=None)
@given(PAYMENTS, st.integers(1, 30), st.floats(0.5, 60))
def test_no_retry_breaks_the_schemes_limits(payment: Payment, most: int, days: float) -> None:
    retry = plan_retry(payment, ROUTES, VERSION, Limits(max_attempts=most, window_days=days))

    if isinstance(retry, Retry):
        is_after = kind_of_decline(payment, VERSION) is not None
        made = payment.attempts_in_window
        if made is None:
            made = (payment.attempt_number or 1) - 1
        assert made + (0 if is_after else 1) < most
        since = (payment.hours_since_decline or 0.0) if is_after else 0.0
        assert retry.hours_from_now == 0.0 or since + retry.hours_from_now <= days * 24 + 1e-6


def test_a_retry_waits_for_the_time_that_the_code_likes() -> None:
    slow, fast = ask(declined("51")).retry, ask(declined("91")).retry

    assert isinstance(slow, Retry)
    assert isinstance(fast, Retry)
    assert slow.hours_from_now == 120.0  # within 120 to 200 hours, the bin that code 51 likes
    assert fast.hours_from_now == 2.0


def test_hours_that_have_passed_are_not_waited_for_again() -> None:
    retry = ask(declined("51", hours_since_decline=100.0)).retry

    assert isinstance(retry, Retry)
    assert retry.hours_from_now == 20.0


def test_a_payer_who_is_there_is_asked_at_once() -> None:
    answer = ask(replace(RENEWAL, stage=Stage.CHECKOUT))

    assert answer.retry is NoRetry.PAYER_PRESENT


def test_a_retry_that_costs_more_than_it_brings_is_not_made() -> None:
    dear = tuple(replace(route, failure_fee_minor=4_000, success_fee_minor=4_500) for route in ROUTES)

    assert ask(declined("05"), dear).retry is NoRetry.NOT_WORTH_IT


def test_the_versions_own_limit_holds_when_the_request_has_none() -> None:
    assert ask(declined("51", attempts_in_window=15)).retry is NoRetry.SCHEME_LIMIT


def test_authentication_needs_the_payer() -> None:
    answer = ask(declined("1A"))

    assert answer.retry is NoRetry.NOT_WORTH_IT
    assert answer.ask_for_new_method


def test_without_exploring_the_order_is_by_expected_net_value() -> None:
    answer = ask()

    nets = [ranked.net_minor.value for ranked in answer.routes if ranked.net_minor]
    assert nets == sorted(nets, reverse=True)
    assert [ranked.propensity for ranked in answer.routes] == [1.0, 0.0]


def test_a_cheaper_route_wins_where_chances_are_alike() -> None:
    model = VERSION.success
    even = replace(VERSION, success=replace(model, mean=np.array([2.5] + [0.0] * (model.mean.size - 1)), cells={}))

    answer = answer_payment(RENEWAL, ROUTES, even, chance=None)

    assert answer.routes[0].route_id == "B"


def test_the_first_route_is_drawn_with_its_propensity() -> None:
    firsts = [ask(chance=(i + 0.5) / 2_000).routes[0] for i in range(2_000)]

    for route in ROUTES:
        share = np.mean([first.route_id == route.route_id for first in firsts])
        stated = next(ranked.propensity for ranked in ask(chance=0.5).routes if ranked.route_id == route.route_id)
        assert share == pytest.approx(stated, abs=1e-3)


def test_propensities_are_the_shares_of_draws_in_which_a_route_is_best() -> None:
    value, covariance = np.array([1.0, 1.2]), np.array([[0.3, 0.2], [0.2, 0.5]])
    draws = np.random.default_rng(0).multivariate_normal(value, covariance, 200_000)

    stated = first_propensities(value, covariance, 0.0)

    # Two routes are exact but for 24 nodes; a share of 200,000 draws has an error of 0.0011.
    assert stated[0] == pytest.approx((draws.argmax(axis=1) == 0).mean(), abs=0.01)


def test_what_all_routes_share_explores_nothing() -> None:
    shared = np.full((3, 3), 100.0) + 1e-6 * np.eye(3)

    propensity = first_propensities(np.array([1.0, 1.1, 0.9]), shared, 0.0)

    assert propensity.round(6).tolist() == [0.0, 1.0, 0.0]


def test_a_plausible_route_keeps_the_least_propensity_and_a_hopeless_one_does_not() -> None:
    propensity = first_propensities(np.array([1.0, 0.5, -9.0]), 0.04 * np.eye(3), 0.01)

    assert propensity[1] >= 0.01
    assert propensity[2] < 1e-6


def test_a_new_route_is_explored_more_than_a_known_worse_one() -> None:
    routes = (*ROUTES, replace(ROUTES[1], route_id="new"))

    shares = {ranked.route_id: ranked.propensity for ranked in ask(routes=routes, chance=0.5).routes}

    assert shares["new"] > shares["B"]


def test_an_unknown_level_adds_the_spread_of_its_kind() -> None:
    known = believe(VERSION.success, RENEWAL, ["A"])
    unknown = believe(VERSION.success, RENEWAL, ["new"])

    # Route, route and brand, each 0.3; the cell's own spread 0.2 instead of its 0.05 variance.
    model = VERSION.success
    columns = [0, model.blocks["card_brand"].columns["VISA"], model.blocks["stage"].columns["RENEWAL"]]
    rest = model.covariance[np.ix_(columns, columns)].sum()
    assert unknown.variance[0] == pytest.approx(rest + 2 * 0.3**2 + 0.2**2)
    assert unknown.variance[0] > known.variance[0]


@settings(max_examples=60, deadline=None)
@given(PAYMENTS)
def test_the_search_for_a_retry_sees_the_same_log_odds(payment: Payment) -> None:
    names = ["A", "B", "new"]

    exact = believe(VERSION.success, payment, names).mean

    np.testing.assert_allclose(expected_logits(VERSION.success, payment, names), exact, atol=1e-9)


@given(PAYMENTS, ROUTE_LISTS, st.one_of(st.none(), st.floats(0, 1, exclude_max=True)))
def test_the_order_of_the_routes_in_the_request_does_not_matter(
    payment: Payment, routes: tuple[Route, ...], chance: float | None
) -> None:
    assert ask(payment, routes[::-1], chance) == ask(payment, routes, chance)


def test_without_an_amount_routes_are_ordered_by_their_chance() -> None:
    answer = ask(replace(RENEWAL, amount_minor=None))

    assert all(a.success.value >= b.success.value for a, b in pairwise(answer.routes))


def test_asking_for_another_card_beats_a_retry_that_will_hardly_work() -> None:
    assert ask(declined("05")).ask_for_new_method == (not _retry_above(declined("05"), 0.5))
    assert not ask(RENEWAL).ask_for_new_method


def _retry_above(payment: Payment, chance: float) -> bool:
    retry = ask(payment).retry
    return isinstance(retry, Retry) and retry.success.value >= chance


@pytest.mark.parametrize("routes", [(), (ROUTES[0], ROUTES[0])], ids=["none", "twice"])
def test_routes_that_cannot_be_ordered_are_refused(routes: tuple[Route, ...]) -> None:
    with pytest.raises(ValueError, match="routes"):
        ask(routes=routes)


@settings(max_examples=100)
@given(st.floats(-8, 8), st.floats(0, 9))
def test_the_mean_chance_is_the_mean_of_chances(mean: float, variance: float) -> None:
    nodes, weights = _nodes()

    exact = float((1 / (1 + np.exp(-(mean + np.sqrt(variance) * nodes)))) @ weights)

    assert mean_chance(mean, variance) == pytest.approx(exact, abs=0.025)


@lru_cache(maxsize=1)
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return nodes, weights / weights.sum()


def test_parameters_come_back_as_they_were_written() -> None:
    again = parse_parameters(VERSION.to_json())

    assert again.to_json() == VERSION.to_json()
    assert answer_payment(RENEWAL, ROUTES, again, chance=0.3) == ask(chance=0.3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hard_codes", ["43"]),
        ("wait_hours", [5.0, 2.0]),
        ("least_propensity", 0.5),
        ("max_attempts", 0),
        ("level", float("nan")),
        ("success", []),
    ],
)
def test_a_wrong_parameter_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        parse_parameters({**VERSION.to_json(), field: value})


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("covariance", [[1.0]], "covariance"),
        ("covariance", "x", "covariance"),
        ("blocks", {"route": {"sd": 0.1, "columns": {"A": 0}}}, r"blocks\.route\.columns"),
        ("cells", {"a": [0.1, -1.0]}, r"cells\.a"),
        ("median_amounts", {"USD": 0}, r"median_amounts\.USD"),
    ],
)
def test_a_wrong_part_of_the_success_model_is_named(part: str, value: object, message: str) -> None:
    wrong = VERSION.to_json()
    wrong["success"] = {**wrong["success"], part: value}

    with pytest.raises(ValueError, match=message):
        parse_parameters(wrong)


def test_the_page_shows_what_the_code_gives() -> None:
    text = PAGE.read_text()
    rows = dict(re.findall(r"^\| route ([AB]) \| (.+) \|$", text, re.MULTILINE))

    for ranked in ask(chance=0.5).routes:
        net = ranked.net_minor
        assert net is not None
        success = ranked.success
        assert [cell.strip() for cell in rows[ranked.route_id].split("|")] == [
            f"{success.value:.3f} [{success.lower:.3f}, {success.upper:.3f}]",
            f"${net.value / 100:.2f} [{net.lower / 100:.2f}, {net.upper / 100:.2f}]",
            f"{ranked.propensity:.3f}",
        ]
    retry = ask(declined("51")).retry
    assert isinstance(retry, Retry)
    assert f"after {retry.hours_from_now:.0f} hours on route {retry.route_id}" in text
    assert f"chance {retry.success.value:.2f} [{retry.success.lower:.2f}, {retry.success.upper:.2f}]" in text
