"""RecommendUpsell deciding about new customers, against showing the offer to those who are likeliest to buy it.

The version is fitted on offers that chance showed or held back, decides about a quarter's new customers with its own
exploration, and is fitted once more on everything that chance had a part in. Propensity targeting sees the same rows
and makes as many contacts. Counted is the true incremental margin: what showing changes, times the margin, less what
the contact costs, in thousandths of the margin of what is offered.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.closed_loop.comparison import Answered, Floats, Kind, Policy, SeedResult, joined
from benchmarks.closed_loop.worlds.customers import SCHEMA, Responses, chances, draw_customers, draw_responses, uplifts
from methods.revenue.upsell import Advice, Decision, Offer, advise, load_offers, prepare
from methods.revenue.upsell_parameters import UpsellParameters
from training.baseline import fit_logistic
from training.revenue.upsell import OfferRows, UpsellOptions, fit_upsell

OFFER: Final = "offer"
LOGGED, CUSTOMERS, ROUNDS = 6_000, 2_000, 2
OPTIONS: Final = UpsellOptions(draws=100)


def run(seed: int) -> SeedResult:
    """One law: a log, then two quarters of new customers with a fit before each."""
    rng = np.random.default_rng([seed, 41])
    law = draw_responses(rng)
    rows = _logged(law, rng)
    offer = Offer(offer_id=OFFER, price=law.margin, margin=law.margin, contact_cost=law.contact_cost)
    earned = dict.fromkeys(("policy", "policy_without_exploring", "propensity_targeting", "everybody", "truth"), 0.0)
    told: dict[str, list[Answered]] = {}
    contacts, personal = 0.0, []
    for quarter in range(ROUNDS):
        model = fit_upsell({OFFER: rows}, SCHEMA, OPTIONS, np.random.default_rng([seed, 42, quarter])).parameters
        customers = draw_customers(CUSTOMERS, rng)
        worth = uplifts(law, customers) * law.margin - law.contact_cost
        advice = _advice(model, customers, offer, rng.random(CUSTOMERS).tolist())
        shown = np.array([one.decision is Decision.OFFER for one in advice])
        meant = np.array([one.decision is Decision.OFFER for one in _advice(model, customers, offer)])
        likely = _likeliest(rows, customers, int(shown.sum()))
        chosen_by = {"policy": shown, "policy_without_exploring": meant, "propensity_targeting": likely}
        for name, chosen in chosen_by.items():
            earned[name] += float(worth[chosen].sum())
        earned["everybody"] += float(worth.sum())
        earned["truth"] += float(worth[worth > 0].sum())
        contacts += float(shown.sum())
        personal.append(any(one.personalised for one in model.offers))
        fitted_on = float(uplifts(law, rows.randomised().matrix).mean())
        for name, part in _beside_truth(model, advice, chances(law, customers), fitted_on).items():
            told.setdefault(name, []).append(part)
        rows = _with(rows, law, customers, advice, rng)
    each = CUSTOMERS * ROUNDS * law.margin / 1_000.0  # worlds differ in what is offered: thousandths of its margin
    return SeedResult(
        gains={
            "propensity_targeting": (earned["policy"] - earned["propensity_targeting"]) / each,
            "everybody": (earned["policy"] - earned["everybody"]) / each,
            "nobody": earned["policy"] / each,
        },
        figures={
            **{f"margin.{name}": value / each for name, value in earned.items()},
            "contacted": contacts / (CUSTOMERS * ROUNDS),
            "personalised": float(np.mean(personal)),
            "nothing_to_personalise": float(not law.is_personal),
            "likely_are_moved": _rank_correlation(law, customers),
        },
        answers={name: joined(parts) for name, parts in told.items()},
    )


def why(alternative: str, figures: Mapping[str, float]) -> str:
    """What stood in the way."""
    exploring = figures["margin.policy_without_exploring"] - figures["margin.policy"]
    return (
        f"{figures['margin.policy']:.1f} of the {figures['margin.truth']:.1f} that the true effects allow, "
        f"{alternative.replace('_', ' ')} {figures.get(f'margin.{alternative}', 0.0):.1f}; exploring costs "
        f"{exploring:.1f}; in {figures['nothing_to_personalise']:.0%} of the worlds there is nothing to personalise; "
        f"chance to buy and effect of showing have a rank correlation of {figures['likely_are_moved']:.2f}"
    )


POLICY: Final = Policy(
    name="upsell",
    gains={
        "propensity_targeting": "incremental margin a customer, thousandths of the offer's margin, as many contacts",
        "everybody": "the same, against showing it to everybody",
        "nobody": "the same, against showing it to nobody",
    },
    run=run,
    why=why,
)


def _rank_correlation(law: Responses, customers: NDArray[np.float32]) -> float:
    """Of the chance to buy when shown the offer with what showing changes, over customers."""
    held, shown = chances(law, customers)
    return float(spearmanr(shown, shown - held).statistic)


def _logged(law: Responses, rng: np.random.Generator) -> OfferRows:
    """Customers to whom chance showed the offer or not, half and half."""
    customers = draw_customers(LOGGED, rng)
    shown = (rng.random(LOGGED) < 0.5).astype(np.float64)
    return OfferRows(
        matrix=customers,
        subject=np.array([f"l{number}" for number in range(LOGGED)]),
        shown=shown,
        accepted=_accepted(law, customers, shown, rng),
        propensity=np.full(LOGGED, 0.5),
        price=np.full(LOGGED, law.margin),
    )


def _advice(
    model: UpsellParameters, customers: NDArray[np.float32], offer: Offer, chances: Sequence[float] | None = None
) -> list[Advice]:
    """What the product says of each customer; it explores where a chance is given."""
    loaded = load_offers(model)
    prepared = prepare(customers, model.preparation)
    drawn: Sequence[float | None] = chances or [None] * len(customers)
    return [advise(row, [offer], model, loaded, chance=chance)[0] for row, chance in zip(prepared, drawn, strict=True)]


def _likeliest(rows: OfferRows, customers: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """(n,) the customers who are likeliest to buy when shown the offer, as many as the policy contacted."""
    saw = rows.shown == 1
    score = fit_logistic(rows.matrix[saw], rows.accepted[saw])(customers)
    chosen = np.zeros(len(customers), dtype=np.bool_)
    chosen[np.argsort(-score, kind="stable")[:count]] = True
    return chosen


def _with(
    rows: OfferRows, law: Responses, customers: NDArray[np.float32], advice: list[Advice], rng: np.random.Generator
) -> OfferRows:
    """The rows with what was decided and what came of it; a decision without chance has the propensity 0 or 1."""
    shown = np.array([float(one.decision is Decision.OFFER) for one in advice])
    taken = np.array([one.propensity for one in advice])
    first = len(rows.shown)
    more = OfferRows(
        matrix=customers,
        subject=np.array([f"c{first + number}" for number in range(len(advice))]),
        shown=shown,
        accepted=_accepted(law, customers, shown, rng),
        propensity=np.where(shown == 1, taken, 1.0 - taken),
        price=np.full(len(advice), law.margin),
    )
    names = ("matrix", "subject", "shown", "accepted", "propensity", "price")
    return OfferRows(**{name: np.concatenate([getattr(rows, name), getattr(more, name)]) for name in names})


def _accepted(law: Responses, customers: NDArray[np.float32], shown: Floats, rng: np.random.Generator) -> Floats:
    held, seen = chances(law, customers)
    return (rng.random(len(shown)) < np.where(shown == 1, seen, held)).astype(np.float64)


def _beside_truth(
    model: UpsellParameters, advice: list[Advice], truth: tuple[Floats, Floats], fitted_on: float
) -> dict[str, Answered]:
    """Uplift one by one and by tenths, acceptance by tenths, and the average uplift of the rows fitted on."""
    effects = [one.effect for one in advice if one.effect is not None]
    if len(effects) < len(advice):
        return {}
    held, shown = truth
    uplift = [(e.uplift.value, e.uplift.lower, e.uplift.upper) for e in effects]
    accepted = [(e.accepted.value, e.accepted.lower, e.accepted.upper) for e in effects]
    return {
        "uplift_each": _answered(uplift, shown - held, Kind.EACH),
        "uplift": _answered(uplift, shown - held, Kind.TENTHS),
        "accepted": _answered(accepted, shown, Kind.TENTHS),
        "average_uplift": _answered([model.offers[0].average], np.array([fitted_on]), Kind.EACH),
    }


def _answered(ends: list[tuple[float, float, float]], truth: Floats, kind: Kind) -> Answered:
    value, lower, upper = np.array(ends).T
    return Answered(value=value, lower=lower, upper=upper, truth=truth, kind=kind)
