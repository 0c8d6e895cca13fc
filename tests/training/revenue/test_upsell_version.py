"""A version of `upsell`: what serving repeats, what misleads, and the version that knows no offer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from methods.features import encode_columns
from methods.revenue.upsell_parameters import parse_parameters
from server.control.probe import largest_difference
from server.modules.revenue.recommend_upsell import METHOD, opened, solve
from server.serving.whole import Moment
from server.serving.wire.judge import judge
from tests.fakes.offer_rows import offer_rows
from training.data.mart import Mart, MartTable, write_rows
from training.data.tables import TABLES
from training.evaluate import Comparison
from training.features.offers import upsell_schema
from training.recipe import Fitted
from training.revenue.upsell import OfferRows, UpsellModel, UpsellOptions, fit_upsell
from training.revenue.upsell_version import (
    RECIPE,
    golden_cases,
    is_not_worse_than_rates,
    judge_offers,
    slices_of,
)

QUICK = UpsellOptions(folds=3, draws=40)
OFFERS = ("ANNUAL_UPGRADE", "SEAT_PACK")
SCHEMA = upsell_schema()


def _rows(seed: int, own: float, rows: int = 3_000) -> OfferRows:
    """Made-up offers under the platform's fields: the effect hangs on the seats, and a third of roles is unknown."""
    rng = np.random.default_rng(seed)
    made, _ = offer_rows(rng, rows, own=own, common=1.0)
    renews = made.matrix[:, 2].astype(np.float64)
    columns: dict[str, Any] = {name: rng.uniform(1, 200, rows) for name in SCHEMA.names}
    columns |= {
        "plan": np.array(["MONTHLY", "ANNUAL"], dtype=object)[rng.integers(0, 2, rows)],
        "role": np.array(["NURSE", "PHYSICIAN", None], dtype=object)[rng.integers(0, 3, rows)],
        "seats": 1.0 + 19.0 * renews,
        "tenure_days": rng.choice([np.nan, 30.0, 90.0, 500.0], rows),
    }
    return replace(made, matrix=encode_columns(SCHEMA, columns))


@pytest.fixture(scope="module")
def rows() -> dict[str, OfferRows]:
    return {"ANNUAL_UPGRADE": _rows(0, 2.5), "SEAT_PACK": _rows(1, 0.0)}


@pytest.fixture(scope="module")
def model(rows: dict[str, OfferRows]) -> UpsellModel:
    return fit_upsell(rows, SCHEMA, QUICK, np.random.default_rng(0))


def _assert_served(parameters: Any, golden: Any) -> None:
    version = opened(parse_parameters(parameters), "USD")
    assert len(golden) >= 20
    for asked, answer in golden:
        request = ParseDict(asked, METHOD.request())
        judge(request)
        moment = Moment(request.context.as_of_time.seconds, bytes(32))  # type: ignore[attr-defined]
        assert largest_difference(answer, MessageToDict(solve(version, request, moment))) < 1e-9


def test_golden_requests_are_answered_by_the_server_as_they_say(model: UpsellModel) -> None:
    golden = golden_cases(model.parameters, OFFERS, "USD", np.random.default_rng(3))

    _assert_served(json.loads(json.dumps(model.parameters.to_json())), golden)
    decisions = {offer["decision"] for _, answer in golden for offer in answer["offers"]}
    assert decisions == {"OFFER_DECISION_OFFER", "OFFER_DECISION_HOLD", "OFFER_DECISION_DO_NOT_CONTACT"}
    assert {answer["personalisation"] for _, answer in golden} == {
        "PERSONALISATION_SUPPORTED",
        "PERSONALISATION_NOTHING_TO_PERSONALISE",
        "PERSONALISATION_NO_RANDOMISED_EVIDENCE",
    }


def test_looking_at_the_customer_helps_where_customers_differ(rows: dict[str, OfferRows], model: UpsellModel) -> None:
    asked = judge_offers(rows, model, np.random.default_rng(4))

    assert asked.saved["ANNUAL_UPGRADE"].lower > 0
    assert is_not_worse_than_rates(asked.saved).passed


def test_one_offer_that_misleads_refuses_the_version() -> None:
    good = Comparison(value=0.01, lower=0.005, upper=0.015)
    bad = Comparison(value=-0.01, lower=-0.015, upper=-0.005)

    assert is_not_worse_than_rates({"a": good}).passed
    assert not is_not_worse_than_rates({"a": good, "b": bad}).passed


def test_slices_count_every_occasion_and_what_was_accepted(rows: dict[str, OfferRows], model: UpsellModel) -> None:
    slices = slices_of(judge_offers(rows, model, np.random.default_rng(4)), SCHEMA)

    assert set(slices) == {f"{what}, {offer}" for what in ("plan", "role", "tenure") for offer in OFFERS}
    assert set(slices["role, SEAT_PACK"]) == {"NURSE", "PHYSICIAN", "unknown"}
    assert set(slices["tenure, SEAT_PACK"]) == {
        *("below 90 days", "90 to 364 days", "365 days and more"),
        "unknown",
    }
    for offer in OFFERS:
        part = rows[offer]
        annual = part.matrix[:, SCHEMA.columns.index("plan=ANNUAL")] == 1
        found = slices[f"plan, {offer}"]["ANNUAL"]
        assert sum(row["rows"] for row in slices[f"plan, {offer}"].values()) == len(part.shown)
        assert found["rows"] == annual.sum()
        assert found["accepted, shown"] == part.accepted[annual & (part.shown == 1)].mean()


@pytest.fixture(scope="module")
def fitted(mart: Mart) -> Fitted:
    return RECIPE.fit(mart, np.random.default_rng(0), lambda _: None)


def test_a_platform_with_few_offers_gives_a_version_that_says_nobody_knows(fitted: Fitted) -> None:
    assert not fitted.failures
    assert fitted.observations == 0
    assert {name: text[:11] for name, text in fitted.facts.items() if name.isupper()} == {
        "ANNUAL_UPGRADE": "no evidence",
        "PRICE_BREAK": "no evidence",
        "SEAT_PACK": "no evidence",
    }
    assert {answer["personalisation"] for _, answer in fitted.golden} == {"PERSONALISATION_NO_RANDOMISED_EVIDENCE"}
    assert {offer["decision"] for _, answer in fitted.golden for offer in answer["offers"]} == {"OFFER_DECISION_HOLD"}
    _assert_served(json.loads(json.dumps(fitted.parameters)), fitted.golden)


def test_so_does_a_platform_without_offers(mart: Mart, tmp_path: Path) -> None:
    for table in mart.tables.values():
        for file in table.files:
            (tmp_path / file.name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file.name).symlink_to(mart.folder / file.name)
    offers = next(table for table in TABLES if table.name == "offers")
    none = MartTable(files=(write_rows(tmp_path, offers, offers.arrow_schema.empty_table()),), watermark=None)

    bare = replace(mart, folder=tmp_path, tables={**mart.tables, "offers": none})
    fitted = RECIPE.fit(bare, np.random.default_rng(0), lambda _: None)

    assert fitted.observations == 0
    _assert_served(json.loads(json.dumps(fitted.parameters)), fitted.golden)
