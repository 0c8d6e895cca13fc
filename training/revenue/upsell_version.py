"""A version of the model `upsell` from the platform's offers: fitted on those that chance showed or held back.

Without enough of them it is a version all the same: one that knows no offer, so that every answer says that nobody
knows, holds, and explores. Judged on customers whom each fold was not fitted on.
Not here: the fit itself (upsell.py); the rows (training/features/offers.py); what becomes of the version
(training/recipe.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from methods.features import Feature, FeatureSchema, Kind, encode_columns
from methods.revenue import upsell, upsell_parameters
from methods.revenue.upsell import Offer, advise, load_offers, personalisation_of, prepare
from methods.revenue.upsell_parameters import UpsellParameters
from methods.statistics.scores import log_loss
from paedsresus.ml.v1 import revenue_pb2
from paedsresus.ml.v1.common_pb2 import Money
from training.data.mart import Mart
from training.evaluate import Comparison, compare_log_loss
from training.features import offers as offer_features
from training.features.churn import mart_currency
from training.features.digest import digest_code
from training.features.offers import offer_rows_by_kind, upsell_schema
from training.gates import Gate
from training.recipe import Fitted, Recipe, Say
from training.revenue import offer_logistic
from training.revenue import upsell as fit_code
from training.revenue.upsell import OfferJudgement, OfferRows, UpsellModel, UpsellOptions, fit_upsell
from training.slices import UNKNOWN, Slices, label_tenure, slices_by

GOLDEN = 24
GOLDEN_AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
UNKNOWN_OFFER = "golden-unknown"
LONGEST = {"seats": 20, "tenure_days": 900, "price": 50_000}  # of golden customers; others end at LONGEST_OTHER
LONGEST_OTHER = 200
PERSONALISATIONS = {
    upsell.Personalisation.SUPPORTED: "PERSONALISATION_SUPPORTED",
    upsell.Personalisation.NOTHING: "PERSONALISATION_NOTHING_TO_PERSONALISE",
    upsell.Personalisation.NO_EVIDENCE: "PERSONALISATION_NO_RANDOMISED_EVIDENCE",
}
PURPOSE = (
    "What showing an offer changes for one customer, for RecommendUpsell: offer, hold, or do not contact.",
    "Logistic regression of acceptance; the effect of showing depends on the customer only where others bear it out.",
)
LIMITS = (
    "Only offers that chance showed or held back count; an offer without enough of them gets no number.",
    "Accepted is bought within 30 days. Whether an offer tires customers so that they leave later is not counted.",
    "Sessions, minutes of learning and support tickets are not looked at; what is stands under Facts.",
    "Prices outside those that were shown are extrapolated, and the answer says so.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Rows of each offer on which chance decided, and what is said of them unseen.

    Attributes:
        rows: by offer, all that have a model.
        judged: by the same offers.
        saved: by the same, nats an occasion against the rates of shown and held back, with intervals over customers.
    """

    rows: Mapping[str, OfferRows]
    judged: Mapping[str, OfferJudgement]
    saved: Mapping[str, Comparison]


def judge_offers(rows: Mapping[str, OfferRows], model: UpsellModel, rng: np.random.Generator) -> Asked:
    """How each fitted offer did on customers whom it was not fitted on."""
    usable = {offer: rows[offer].randomised() for offer in model.judged}
    saved = {}
    for offer, part in usable.items():
        found = model.judged[offer]
        subject = pd.factorize(part.subject)[0].astype(np.int64)
        saved[offer] = compare_log_loss(part.accepted, found.chance, found.rate, subject, rng)
    return Asked(rows=usable, judged=model.judged, saved=saved)


def is_not_worse_than_rates(saved: Mapping[str, Comparison]) -> Gate:
    """Looking at the customer must not mislead: for each offer the log loss saved reaches 0 within 90 %."""
    figures = [f"{offer} {s.value:+.5f} ({s.lower:+.5f} to {s.upper:+.5f})" for offer, s in saved.items()]
    return Gate(
        name="not_worse_than_rates",
        passed=all(each.upper >= 0 for each in saved.values()),
        reason=f"nats an occasion saved against the rates of shown and held back: {', '.join(figures)}; must reach 0"
        if figures
        else "no offer has enough evidence: none gets a number, so none can mislead",
    )


def slices_of(asked: Asked, schema: FeatureSchema) -> Slices:
    """Occasions of each fitted offer by plan, role and tenure: accepted when shown and when held back, and foretold."""
    return {
        f"{what}, {offer}": parts
        for offer, rows in asked.rows.items()
        for what, parts in slices_by(_labels(rows.matrix, schema), partial(_figures, rows, asked.judged[offer])).items()
    }


def golden_cases(
    parameters: UpsellParameters, offers: Sequence[str], currency: str, rng: np.random.Generator
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Made-up customers, some fields unknown, with 1 or more offers, one of them unknown, and what each must be told.

    Exploring is switched off: chance hangs on the version's digest, which hangs on these files.

    Args:
        parameters: the version's.
        offers: ids of all offers on the platform.
        currency: ISO 4217 code of the amounts.
        rng: draws the customers.
    """
    loaded = load_offers(parameters)
    cases: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for case in range(GOLDEN):
        customer = {f.name: _drawn(f, rng) for f in parameters.schema.features if rng.random() < 0.8}
        asked = [
            Offer(
                offer_id=offer,
                price=float(rng.integers(1_000, 50_000)),
                margin=float(rng.integers(-2_000, 40_000)),
                contact_cost=float(rng.integers(0, 50)),
            )
            for offer in [*offers, UNKNOWN_OFFER][case % (len(offers) + 1) :]
        ]
        request = _request(parameters.schema, customer, asked, currency)
        request.context.request_id, request.contact_budget = f"golden-{case}", case % 3
        cases.append((MessageToDict(request), _answer(customer, asked, parameters, loaded, budget=case % 3)))
    return cases


def fit_version(mart: Mart, rng: np.random.Generator, say: Say) -> Fitted:
    """Fits what each offer changes; a mart without randomised offers gives a version that knows none."""
    say("reading offers")
    connection = mart.connect()
    try:
        currency = mart_currency(connection.tables)
    finally:
        connection.backend.disconnect()
    offers, subscriptions, payments, users = (
        mart.read(name).to_pandas() for name in ("offers", "subscriptions", "payments", "users")
    )
    as_of = pd.Timestamp(mart.data_time)
    rows = offer_rows_by_kind(offers, subscriptions, payments, users, as_of=as_of, currency=currency or "")
    say(f"fitting {sum(len(part.randomised().shown) for part in rows.values()):,} occasions on which chance decided")
    model = fit_upsell(rows, upsell_schema(), UpsellOptions(), rng)
    asked = judge_offers(rows, model, rng)
    kinds = sorted(str(kind) for kind in offers["kind"].unique())
    return Fitted(
        parameters=model.parameters.to_json(),
        golden=golden_cases(model.parameters, kinds, currency or "XXX", rng),
        figures=_compared(model, asked),
        slices=slices_of(asked, model.parameters.schema),
        gates=[is_not_worse_than_rates(asked.saved)],
        observations=sum(len(part.shown) for part in asked.rows.values()),
        data_time=mart.data_time,
        facts=_facts(model),
        purpose=PURPOSE,
        limits=LIMITS,
        currency=currency,
    )


def _compared(model: UpsellModel, asked: Asked) -> Mapping[str, Mapping[str, float]]:
    """Figures on customers not fitted on; none where no offer has a model."""
    if not asked.rows:
        return {}
    own: dict[str, float] = {}
    rates: dict[str, float] = {}
    anyway: dict[str, float] = {}
    for offer in model.parameters.offers:
        accepted, found = asked.rows[offer.offer_id].accepted, asked.judged[offer.offer_id]
        own |= {
            f"{offer.offer_id} log_loss": log_loss(accepted, found.chance),
            f"{offer.offer_id} qini": offer.qini[0],
        }
        rates[f"{offer.offer_id} log_loss"] = log_loss(accepted, found.rate)
        anyway[f"{offer.offer_id} qini"] = found.anyway
    return {"version": own, "rates of shown and held back": rates, "ranking by who accepts anyway": anyway}


def _facts(model: UpsellModel) -> Mapping[str, str]:
    facts = {
        offer.offer_id: f"{offer.rows:,} occasions; average uplift {offer.average[0]:+.4f} "
        f"({offer.average[1]:+.4f} to {offer.average[2]:+.4f}); Qini {offer.qini[0]:+.3f} "
        f"({offer.qini[1]:+.3f} to {offer.qini[2]:+.3f}); "
        + ("depends on the customer" if offer.personalised else "nothing to personalise")
        for offer in model.parameters.offers
    }
    return {
        **facts,
        **{offer: f"no evidence: {reason}" for offer, reason in model.refused.items()},
        "reads": ", ".join(model.parameters.schema.names),
        "judged on": "customers of the fold left out, five folds",
    }


def _labels(matrix: NDArray[np.float32], schema: FeatureSchema) -> dict[str, NDArray[np.str_]]:
    """(n,) plan, role and tenure of each row, as words."""
    columns = schema.columns
    labels = {}
    for name in ("plan", "role"):
        places = [i for i, column in enumerate(columns) if column.startswith(f"{name}=")]
        levels = np.array([columns[i].partition("=")[2] for i in places])
        hot = np.nan_to_num(matrix[:, places])
        labels[name] = np.where(hot.any(axis=1), levels[hot.argmax(axis=1)], UNKNOWN)
    return {**labels, "tenure": label_tenure(matrix[:, columns.index("tenure_days")])}


def _figures(rows: OfferRows, found: OfferJudgement, chosen: NDArray[np.bool_]) -> dict[str, float]:
    shares = {}
    for name, shown in (("shown", 1.0), ("held back", 0.0)):
        accepted = rows.accepted[chosen & (rows.shown == shown)]
        shares[f"accepted, {name}"] = float(accepted.mean()) if accepted.size else float("nan")
    return {**shares, "uplift foretold": float(found.uplift[chosen].mean())}


def _drawn(feature: Feature, rng: np.random.Generator) -> int | str:
    """A value of a golden customer: a level, or a whole number."""
    if feature.kind is Kind.CATEGORY:
        return feature.levels[int(rng.integers(len(feature.levels)))]
    return int(rng.integers(1, LONGEST.get(feature.name, LONGEST_OTHER)))


def _request(
    schema: FeatureSchema, customer: Mapping[str, int | str], offers: Sequence[Offer], currency: str
) -> revenue_pb2.RecommendUpsellRequest:
    request = revenue_pb2.RecommendUpsellRequest(disable_exploration=True)
    request.context.as_of_time.FromDatetime(GOLDEN_AS_OF)
    request.features.SetInParent()
    for feature in schema.features:
        value = customer.get(feature.name)
        if isinstance(value, str):
            setattr(request.features, feature.name, 1 + feature.levels.index(value))  # as encode_columns numbers them
        elif value is not None and feature.kind is Kind.MONEY:
            getattr(request.features, feature.name).MergeFrom(Money(minor_units=value, currency_code=currency))
        elif value is not None:
            setattr(request.features, feature.name, value)
    for offer in offers:
        said = request.offers.add(offer_id=offer.offer_id)
        for amount in ("price", "margin", "contact_cost"):
            money = Money(minor_units=round(getattr(offer, amount)), currency_code=currency)
            getattr(said, amount).CopyFrom(money)
    return request


def _answer(
    customer: Mapping[str, int | str],
    offers: Sequence[Offer],
    parameters: UpsellParameters,
    loaded: Mapping[str, upsell.LoadedOffer],
    *,
    budget: int,
) -> Mapping[str, Any]:
    columns = {
        feature.name: np.array(
            [customer.get(feature.name)], dtype=object if feature.kind is Kind.CATEGORY else np.float64
        )
        for feature in parameters.schema.features
    }
    row = encode_columns(parameters.schema, columns)
    prepared = prepare(row, parameters.preparation)[0]
    advice = advise(prepared, offers, parameters, loaded, budget=budget)
    return {
        "personalisation": PERSONALISATIONS[personalisation_of(parameters, offers)],
        "offers": [
            {"offerId": each.offer_id, "decision": f"OFFER_DECISION_{each.decision.name}"}
            | ({} if each.effect is None else {"uplift": _interval(each.effect.uplift)})
            for each in advice
        ],
    }


def _interval(value: upsell.Interval) -> Mapping[str, float]:
    return {name: getattr(value, name) for name in ("value", "lower", "upper")}


def _expressions() -> str:
    sources = (
        *(offer_features.__file__, __file__, fit_code.__file__, offer_logistic.__file__),
        *(upsell.__file__, upsell_parameters.__file__),
    )
    return digest_code([Path(file).read_text(encoding="utf-8") for file in sources])


RECIPE = Recipe(model="upsell", fit=fit_version, expressions=_expressions)
