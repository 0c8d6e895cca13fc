"""What an offer changes for one customer, and whether to make it: uplift, incremental margin, decision.

The chance of acceptance is a logistic regression in which the effect of showing the offer depends on the customer:
logit p(t) = m(z) + (t - c) * d(z), with m the level and d the effect in log-odds, both linear in the prepared features
z, c the share that was shown; t is 1 when shown. Uplift is p(1) - p(0). Where the data do not show that the effect
differs between customers, d is one number for all and the version says that there is nothing to personalise.
Intervals come from the posterior of the coefficients (normal, around its mode).
Pure numpy. `uplift_by_row` is for many rows, `uplift_of` for one. Not here: what a version carries
(upsell_parameters.py); the fit (training/revenue/upsell.py); the draw `chance` that explores, and money of other
currencies (server).
Sources: Lo 2002, SIGKDD Explorations 4:78 (treatment interactions); MacKay 1992, Neural Computation 4:448 (penalties
from the evidence, normal posterior); Radcliffe and Surry 1999 (incremental response decides).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from methods.revenue.upsell_parameters import OfferModel, Preparation, UpsellParameters, covariance_size

FARTHEST = 4.0  # prepared numbers end here, in standard deviations: a typing error must not decide


class Decision(Enum):
    """What to do about one offer."""

    OFFER = "offer"  # show it
    HOLD = "hold"  # not now: another is better, the budget is used up, or nobody knows whether it helps
    DO_NOT_CONTACT = "do_not_contact"  # it is expected to lose margin


class Personalisation(Enum):
    """Whether choosing by customer is worth anything."""

    SUPPORTED = "supported"
    NOTHING = "nothing"  # one effect, in log-odds, for everybody
    NO_EVIDENCE = "no_evidence"  # no randomised offers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedOffer:
    """An offer's model with its numbers as arrays, made once a version.

    Attributes:
        model: what it was made of.
        level: (1 + width,).
        effect: (1 + width,).
        factor: Cholesky factor of the covariance, (size, size).
    """

    model: OfferModel
    level: NDArray[np.float64]
    effect: NDArray[np.float64]
    factor: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with the ends of its interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplift:
    """What showing one offer changes for one customer; shares, the uplift from -1 to 1."""

    uplift: Interval
    accepted: Interval  # chance of acceptance when shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An offer that could be made; amounts in minor units of one currency."""

    offer_id: str
    price: float
    margin: float
    contact_cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do about one offer.

    Attributes:
        offer_id: the offer.
        place: its place in the request, from 0.
        decision: what to do.
        propensity: probability with which this decision was taken, in (0, 1].
        reason: why, in one sentence.
        effect: what showing it changes; None without randomised evidence.
        incremental: expected margin made by showing it, minor units; None without randomised evidence.
        extrapolated: whether the price lies outside those that were shown.
    """

    offer_id: str
    place: int
    decision: Decision
    propensity: float
    reason: str
    effect: Uplift | None = None
    incremental: Interval | None = None
    extrapolated: bool = False


def prepare(matrix: NDArray[np.float32] | NDArray[np.float64], preparation: Preparation) -> NDArray[np.float64]:
    """Matrix columns as the model reads them; missing is NaN.

    Args:
        matrix: (n, columns) as methods.features.encode_columns makes it.
        preparation: the version's.
    Returns: (n, width) float64: the columns, then the bent ones, then the flags of what is missing.
    """
    raw = np.asarray(matrix, dtype=np.float64)
    missing = np.isnan(raw)
    logged = np.asarray(preparation.logged)
    values = np.where(logged, np.sign(raw) * np.log1p(np.abs(raw)), raw)
    values = np.where(missing, np.asarray(preparation.fills), values)
    z = np.clip((values - np.asarray(preparation.centres)) / np.asarray(preparation.scales), -FARTHEST, FARTHEST)
    bent, flagged = np.asarray(preparation.bent), np.asarray(preparation.flagged)
    bends = (z**2 - np.asarray(preparation.bend_centres)) / np.asarray(preparation.bend_scales)
    flags = (missing - np.asarray(preparation.flag_centres)) / np.asarray(preparation.flag_scales)
    return np.hstack([z, bends[:, bent], flags[:, flagged]])  # -> (n, width)


def load_offers(parameters: UpsellParameters) -> dict[str, LoadedOffer]:
    """Every offer's model with its numbers as arrays, by id."""
    loaded = {}
    for model in parameters.offers:
        size = covariance_size(len(model.level), personalised=model.personalised)
        factor = np.zeros((size, size))
        factor[np.tril_indices(size)] = model.factor
        loaded[model.offer_id] = LoadedOffer(
            model=model, level=np.asarray(model.level), effect=np.asarray(model.effect), factor=factor
        )
    return loaded


def uplift_by_row(prepared: NDArray[np.float64], offer: OfferModel) -> NDArray[np.float64]:
    """Uplift of one offer for many customers. (n, width) -> (n,)."""
    level, effect = np.asarray(offer.level), np.asarray(offer.effect)
    m = level[0] + prepared @ level[1:]
    d = effect[0] + prepared @ effect[1:]
    shown, held = m + (1.0 - offer.shown_share) * d, m - offer.shown_share * d
    return np.asarray(_sigmoid(shown) - _sigmoid(held), dtype=np.float64)


def uplift_of(prepared: NDArray[np.float64], offer: LoadedOffer, level: float) -> Uplift:
    """Uplift and chance of acceptance of one offer for one customer, with intervals.

    Args:
        prepared: (width,) one row of `prepare`.
        offer: the offer's model.
        level: probability that the intervals are meant to hold.
    """
    c = offer.model.shown_share
    row = np.r_[1.0, prepared]
    m, d = float(row @ offer.level), float(row @ offer.effect)
    shown, held = m + (1.0 - c) * d, m - c * d
    p1, p0 = _chance(shown), _chance(held)
    effects = row if offer.model.personalised else row[:1]
    towards_shown = np.r_[row, (1.0 - c) * effects]  # gradient of logit p(1) by (level, effect)
    towards_held = np.r_[row, -c * effects]
    gradients = np.stack((p1 * (1 - p1) * towards_shown - p0 * (1 - p0) * towards_held, towards_shown))
    spread, reach = NormalDist().inv_cdf((1 + level) / 2) * np.linalg.norm(gradients @ offer.factor, axis=1)
    return Uplift(
        uplift=Interval(
            value=p1 - p0, lower=max(-1.0, p1 - p0 - float(spread)), upper=min(1.0, p1 - p0 + float(spread))
        ),
        accepted=Interval(value=p1, lower=_chance(shown - float(reach)), upper=_chance(shown + float(reach))),
    )


def personalisation_of(parameters: UpsellParameters, offers: Sequence[Offer]) -> Personalisation:
    """Whether choosing by customer is worth anything for any of these offers."""
    asked = {offer.offer_id for offer in offers}
    known = [model for model in parameters.offers if model.offer_id in asked]
    if not known:
        return Personalisation.NO_EVIDENCE
    return Personalisation.SUPPORTED if any(model.personalised for model in known) else Personalisation.NOTHING


def incremental_margin(effect: Interval, offer: Offer) -> Interval:
    """Uplift times margin, less what showing costs; the ends follow, swapped where the margin is below 0.

    >>> offer = Offer(offer_id="a", price=10.0, margin=1000.0, contact_cost=5.0)
    >>> incremental_margin(Interval(value=0.02, lower=0.01, upper=0.03), offer)
    Interval(value=15.0, lower=5.0, upper=25.0)
    """
    ends = sorted((effect.lower * offer.margin, effect.upper * offer.margin))
    cost = offer.contact_cost
    return Interval(value=effect.value * offer.margin - cost, lower=ends[0] - cost, upper=ends[1] - cost)


def advise(
    prepared: NDArray[np.float64],
    offers: Sequence[Offer],
    parameters: UpsellParameters,
    loaded: Mapping[str, LoadedOffer],
    *,
    budget: int = 1,
    chance: float | None = None,
) -> list[Advice]:
    """What to do about each offer for one customer, highest expected margin first, offers without evidence last.

    An offer is worth showing when the whole interval of its incremental margin is above 0, and not to be shown when
    the expected one is below 0; what lies between is held. Of those worth showing, the best ones up to the budget
    are. With probability `explored` one decision among those that may be turned is: a planned offer is held back, or,
    where the budget has room, one that is held is shown. Offers expected to lose margin are never shown to learn.
    Between equals ids decide, never the order of the request.

    Args:
        prepared: (width,) the customer.
        offers: each with its own id.
        parameters: the version's.
        loaded: its offers, from `load_offers`.
        budget: how many may be shown, 0 or more.
        chance: a number in [0, 1) that decides whether and what is turned round; None forbids it.
    """
    judged = [_judge(prepared, offer, loaded.get(offer.offer_id), parameters.level) for offer in offers]
    order = sorted(
        range(len(offers)), key=lambda i: (judged[i][1] is None, -_expected(judged[i][1]), offers[i].offer_id)
    )
    worth = [i for i in order if (gain := judged[i][1]) is not None and gain.lower > 0]
    planned = set(worth[:budget])
    losing = {i for i in order if (gain := judged[i][1]) is not None and gain.value < 0}
    turnable = [i for i in order if i in planned or (i not in losing and len(planned) < budget)]
    turned, share = None, 0.0
    if chance is not None and turnable and parameters.explored > 0:
        share = parameters.explored / len(turnable)
        turned = turnable[min(int(chance / share), len(turnable) - 1)] if chance < parameters.explored else None
    advice = []
    for i in order:
        effect, gain, model = judged[i]
        is_shown = (i in planned) != (i == turned)
        decision = Decision.OFFER if is_shown else Decision.DO_NOT_CONTACT if i in losing else Decision.HOLD
        advice.append(
            Advice(
                offer_id=offers[i].offer_id,
                place=i,
                decision=decision,
                propensity=1.0 if i not in turnable else share if i == turned else 1.0 - share,
                reason=_reason(gain, model, is_turned=i == turned, is_planned=i in planned, is_worth=i in worth),
                effect=effect,
                incremental=gain,
                extrapolated=model is not None and not model.lowest_price <= offers[i].price <= model.highest_price,
            )
        )
    return advice


def _judge(
    prepared: NDArray[np.float64], offer: Offer, loaded: LoadedOffer | None, level: float
) -> tuple[Uplift | None, Interval | None, OfferModel | None]:
    """Effect and incremental margin, where there is evidence."""
    if loaded is None:
        return None, None, None
    effect = uplift_of(prepared, loaded, level)
    return effect, incremental_margin(effect.uplift, offer), loaded.model


def _expected(gain: Interval | None) -> float:
    return 0.0 if gain is None else gain.value


def _reason(
    gain: Interval | None, model: OfferModel | None, *, is_turned: bool, is_planned: bool, is_worth: bool
) -> str:
    """Why, in one sentence for a product owner."""
    if gain is None or model is None:
        text = "Nobody knows what this offer changes: it was never shown and held back by chance often enough."
        return "Shown by chance in order to learn: nothing is known about this offer yet." if is_turned else text
    alike = "" if model.personalised else " The offer works alike for all customers: nothing to personalise."
    if is_turned:
        held = "Held back by chance" if is_planned else "Shown by chance"
        return f"{held} in order to learn what the offer changes.{alike}"
    if is_planned:
        return f"Showing it is expected to earn more than it costs, over the whole interval.{alike}"
    if is_worth:
        return f"It is worth showing, but another offer earns more or the budget is used up.{alike}"
    if gain.value < 0:
        return f"Showing it is expected to cost more than it earns.{alike}"
    return f"The interval of what it earns holds zero: not known whether it helps.{alike}"


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance from log-odds, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)), dtype=np.float64)


def _chance(logit: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * logit))
