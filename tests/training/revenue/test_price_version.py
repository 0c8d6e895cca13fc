"""A version of `price`: nothing after the cut is known before it, and knowing the price helps where it matters."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from methods.revenue.price_parameters import PRIOR
from server.control.probe import largest_difference
from server.modules.revenue.calculate_optimal_price import METHOD, solve
from server.serving.whole import Moment
from training.revenue.price import DemandRows, fit_demand
from training.revenue.price_version import (
    EVENTS_LEAST,
    Foretold,
    foretell,
    golden_cases,
    has_enough_buyers,
    is_not_worse_than_rates,
    known_before,
)


def _rows(rng: np.random.Generator, slope: float) -> DemandRows:
    price = np.tile([20.0, 30.0, 45.0], 12)
    chance = 1 / (1 + np.exp(2.0 - slope * np.log(price / 30.0)))
    return DemandRows(
        group=np.repeat(["a", "b", "c"], 12),
        price=price,
        trials=np.full(36, 800.0),
        buyers=rng.binomial(800, chance).astype(float),
        randomised=np.ones(36, dtype=np.bool_),
    )


def test_who_bought_after_the_cut_had_not_bought_then() -> None:
    time = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 9)]
    bought = [datetime(2026, 1, 3, tzinfo=UTC), datetime(2026, 1, 9, tzinfo=UTC), None]
    kind = pa.timestamp("us", tz="UTC")
    table = pa.table({"shown_at": pa.array(time, kind), "converted_at": pa.array(bought, kind)})

    early = known_before(table, datetime(2026, 1, 5, tzinfo=UTC))

    assert early["converted_at"].to_pylist() == [bought[0], None]


def test_knowing_the_price_helps_where_buyers_mind_it() -> None:
    rng = np.random.default_rng(1)
    early, late = _rows(rng, -1.5), _rows(rng, -1.5)

    found = foretell(fit_demand(early), early, late)

    assert found.model < found.baseline - 1.6449 * found.standard_error
    assert is_not_worse_than_rates(found).passed


def test_slices_count_visitors_and_what_they_did() -> None:
    rng = np.random.default_rng(1)
    early, late = _rows(rng, -1.5), _rows(rng, -1.5)
    assert late.buyers is not None

    found = foretell(fit_demand(early), early, late)

    assert {what: list(parts) for what, parts in found.slices.items()} == {
        "segment": ["a", "b", "c"],
        "price": ["20", "30", "45"],
    }
    for parts in found.slices.values():
        assert sum(part["rows"] for part in parts.values()) == found.visitors
        for name, whole in (("log_loss", found.model), ("log_loss of rates", found.baseline)):
            mean = sum(part["rows"] * part[name] for part in parts.values()) / found.visitors
            assert mean == pytest.approx(whole)
    cheap = found.slices["price"]["20"]
    assert cheap["observed"] == late.buyers[late.price == 20.0].sum() / cheap["rows"]
    assert cheap["foretold"] == pytest.approx(cheap["observed"], abs=0.02)  # 9,600 visitors: an error of 0.004


def test_a_model_that_misleads_is_refused() -> None:
    rng = np.random.default_rng(2)
    early, late = _rows(rng, -3.0), _rows(rng, 3.0)

    assert not is_not_worse_than_rates(foretell(fit_demand(early), early, late)).passed
    found = Foretold(model=0.40, baseline=0.39, standard_error=0.01, visitors=9, buyers=9)
    assert is_not_worse_than_rates(found).passed


def test_buyers_are_needed_on_both_sides_of_the_cut() -> None:
    assert has_enough_buyers(EVENTS_LEAST, EVENTS_LEAST).passed
    assert not has_enough_buyers(EVENTS_LEAST, EVENTS_LEAST - 1).passed
    assert not has_enough_buyers(EVENTS_LEAST - 1, EVENTS_LEAST).passed


def test_golden_requests_are_answered_by_the_server_as_they_say() -> None:
    cases = golden_cases(PRIOR, np.random.default_rng(3))

    assert len(cases) >= 20
    for asked, answer in cases:
        request = ParseDict(asked, METHOD.request())
        moment = Moment(request.context.as_of_time.seconds, bytes(32))  # type: ignore[attr-defined]
        assert largest_difference(answer, MessageToDict(solve(PRIOR, request, moment))) < 1e-9
