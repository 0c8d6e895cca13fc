"""What is bought, offered, sent and reported: every table of a chunk that is not about learning.

Not here: why people stay or leave (subscribing.py); how a payment is taken (paying.py).
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.parameters import Parameters
from training.data.simulator.people import People, draw_codes
from training.data.simulator.subscribing import Diary
from training.data.simulator.tabulate import named, numbered, tabulate, times

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CHANNEL_SHARES = (0.25, 0.35, 0.1, 0.25, 0.05)  # in the order of tables.CHANNELS. JUDGEMENT
CHANNEL_CONVERSION = np.array([0.10, 0.16, 0.08, 0.07, 0.22])  # JUDGEMENT: messages from a person beat links
BONUS_LADDER = np.array([0, 500, 1_000, 2_000])  # minor units
EVENTS_A_YEAR = 1.0 / 5.2  # pediatric CPR a clinician takes part in (impact evidence: once in 5.2 years)
BIRTH_ATTENDANT_FACTOR = 10.0  # newborn resuscitations are commoner. JUDGEMENT


def trade(people: People, diary: Diary, parameters: Parameters, rng: np.random.Generator) -> dict[str, pa.Table]:
    """The tables of one chunk on subscriptions, money, offers, invites, support and reported events."""
    return {
        "subscriptions": _subscriptions(people, diary, parameters),
        "payments": _payments(people, diary, parameters),
        "price_exposures": _price_exposures(people, diary, parameters, rng),
        "offers": _offers(people, diary, parameters, rng),
        "invites": _invites(people, parameters, rng),
        "resuscitation_events": _resuscitation_events(people, parameters, rng),
        "tickets": _tickets(people, diary, parameters, rng),
    }


def _subscriptions(people: People, diary: Diary, parameters: Parameters) -> pa.Table:
    spells = diary.spells
    reason = np.where(np.isnan(spells.ended), -1, spells.is_unpaid.astype(np.int64))
    return tabulate(
        tables.SUBSCRIPTIONS,
        subscription_id=_spell_ids(people, np.arange(spells.user.size)),
        user_id=people.ids(spells.user),
        started_at=times(parameters.start, spells.started),
        plan=named(tables.PLANS, spells.plan),
        price_minor=spells.price_minor,
        currency=_currency(parameters, spells.user.size),
        seats=spells.seats,
        auto_renew=spells.auto_renew,
        auto_renew_off_at=times(parameters.start, spells.off),
        ended_at=times(parameters.start, spells.ended),
        end_reason=named(tables.END_REASONS, reason),
    )


def _payments(people: People, diary: Diary, parameters: Parameters) -> pa.Table:
    attempts, spells = diary.attempts, diary.spells
    order = np.lexsort((attempts.day, attempts.spell))
    spell, succeeded = attempts.spell[order], attempts.succeeded[order]
    user = spells.user[spell]
    amount = spells.price_minor[spell] * spells.seats[spell]
    fee = np.where(succeeded, np.rint(amount * np.array([0.029, 0.025, 0.033])[attempts.route[order]]) + 30, 10)
    return tabulate(
        tables.PAYMENTS,
        payment_id=numbered(f"p{people.first}-", np.arange(spell.size)),
        subscription_id=_spell_ids(people, spell),
        user_id=people.ids(user),
        attempted_at=times(parameters.start, attempts.day[order]),
        amount_minor=amount,
        currency=_currency(parameters, spell.size),
        country=_countries(parameters, people.country[user]),
        card_brand=named(tables.CARD_BRANDS, people.brand[user]),
        route=named(tables.ROUTES, attempts.route[order]),
        attempt=attempts.attempt[order],
        fee_minor=fee.astype(np.int64),
        succeeded=succeeded,
        decline_code=named(tables.DECLINE_CODES, attempts.decline[order]),
        covers_until=times(parameters.start, attempts.covers_until[order]),
    )


def _price_exposures(people: People, diary: Diary, parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    """Each first purchase with the visitors who were shown the same price and went away."""
    spells, shape = diary.spells, parameters.trade
    _, first = np.unique(spells.user, return_index=True)
    reference = np.array([shape.price_minor[plan] for plan in tables.PLANS])[spells.plan[first]]
    log_price = np.log(spells.price_minor[first] / reference)
    base = np.log(shape.conversion / (1.0 - shape.conversion))
    conversion = 1.0 / (1.0 + np.exp(-(base + shape.price_elasticity * log_price)))
    lost = rng.geometric(conversion) - 1  # visitors until one buys
    source = np.concatenate([first, np.repeat(first, lost)])
    bought = np.concatenate([np.zeros(first.size), np.full(int(lost.sum()), np.nan)])
    shown = np.where(np.isnan(bought), rng.uniform(0.0, parameters.days, source.size), spells.started[source])
    propensity = shape.randomised / len(shape.ladder)
    at_reference = np.repeat(log_price == 0.0, 1)
    at_reference = np.concatenate([at_reference, np.repeat(at_reference, lost)])
    return tabulate(
        tables.PRICE_EXPOSURES,
        exposure_id=numbered(f"x{people.first}-", np.arange(source.size)),
        user_id=people.ids(np.where(np.isnan(bought), -1, spells.user[source])),
        shown_at=times(parameters.start, np.maximum(shown - 0.01 * np.isfinite(bought), 0.0)),
        plan=named(tables.PLANS, spells.plan[source]),
        price_minor=spells.price_minor[source],
        currency=_currency(parameters, source.size),
        country=_countries(parameters, people.country[spells.user[source]]),
        randomised=~at_reference | (rng.random(source.size) < propensity / (propensity + 1.0 - shape.randomised)),
        propensity=np.where(at_reference, propensity + 1.0 - shape.randomised, propensity),
        converted_at=times(parameters.start, np.where(np.isnan(bought), np.nan, spells.started[source])),
    )


def _offers(people: People, diary: Diary, parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    """Offers to running subscribers, half held back by chance; the thrifty answer to them."""
    spells = diary.spells
    until = np.where(np.isnan(spells.ended), parameters.days, spells.ended)
    count = rng.poisson(0.4 * (until - spells.started) / 365.0)
    spell = np.repeat(np.arange(until.size), count)
    user, kind = spells.user[spell], draw_codes((0.5, 0.2, 0.3), spell.size, rng)
    day = rng.uniform(spells.started[spell], until[spell])
    shown = rng.random(spell.size) < 0.5
    logit = -3.5 + 0.6 * people.engagement[user] + shown * (0.5 + 0.8 * (people.thrift[user] - 1.0))
    buys = rng.random(spell.size) < 1.0 / (1.0 + np.exp(-logit))
    price = np.array([48_000, 36_000, 4_000])[kind]
    return tabulate(
        tables.OFFERS_SHOWN,
        offer_id=numbered(f"o{people.first}-", np.arange(spell.size)),
        user_id=people.ids(user),
        kind=named(tables.OFFERS, kind),
        offered_at=times(parameters.start, day),
        shown=shown,
        randomised=np.ones(spell.size, dtype=np.bool_),
        propensity=np.full(spell.size, 0.5),
        price_minor=price,
        currency=_currency(parameters, spell.size),
        bought_at=times(parameters.start, np.where(buys, day + rng.exponential(3.0, spell.size), np.nan)),
    )


def _invites(people: People, parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    """The invites that brought somebody, and, by channel, as many in vain as its conversion says."""
    joined = np.flatnonzero(people.referrer >= 0)
    weight = np.array(CHANNEL_SHARES) * CHANNEL_CONVERSION
    channel = draw_codes(tuple(weight), joined.size, rng)
    in_vain = rng.geometric(CHANNEL_CONVERSION[channel]) - 1
    source = np.concatenate([joined, np.repeat(joined, in_vain)])
    channels = np.concatenate([channel, np.repeat(channel, in_vain)])
    is_success = np.arange(source.size) < joined.size
    sender = people.referrer[source]
    known_since = people.joined[sender]
    span = people.joined[source] - known_since
    # A successful invite is answered within days; those in vain lie anywhere in the sender's first year.
    sent = np.where(is_success, people.joined[source] - np.minimum(rng.exponential(4.0, source.size), span), 0.0)
    in_vain_day = known_since + rng.uniform(0.0, np.minimum(365.0, parameters.days - known_since))
    sent = np.where(is_success, sent, in_vain_day)
    bonus = rng.integers(0, BONUS_LADDER.size, source.size)
    return tabulate(
        tables.INVITES,
        invite_id=numbered(f"v{people.first}-", np.arange(source.size)),
        user_id=people.ids(sender),
        sent_at=times(parameters.start, sent),
        channel=named(tables.CHANNELS, channels),
        bonus_minor=BONUS_LADDER[bonus],
        currency=_currency(parameters, source.size),
        propensity=np.array(CHANNEL_SHARES)[channels] / BONUS_LADDER.size,
        joined_user_id=people.ids(np.where(is_success, source, -1)),
        joined_at=times(parameters.start, np.where(is_success, people.joined[source], np.nan)),
    )


def _resuscitation_events(people: People, parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    is_attendant = people.role == list(parameters.people.role_shares).index("BIRTH_ATTENDANT")
    years = (parameters.days - people.joined) / 365.25
    count = rng.poisson(EVENTS_A_YEAR * years * np.where(is_attendant, BIRTH_ATTENDANT_FACTOR, 1.0))
    user = np.repeat(np.arange(people.count), count)
    newborn = is_attendant[user]
    setting = np.where(
        newborn, tables.SETTINGS.index("DELIVERY"), draw_codes((0.4, 0.25, 0.2, 0.05, 0.1), user.size, rng)
    )
    age = np.where(newborn, 0.0, rng.exponential(900.0, user.size).clip(0.0, 18 * 365.0).round())
    return tabulate(
        tables.RESUSCITATION_EVENTS,
        event_id=numbered(f"r{people.first}-", np.arange(user.size)),
        user_id=people.ids(user),
        reported_at=times(parameters.start, rng.uniform(people.joined[user], parameters.days)),
        setting=named(tables.SETTINGS, setting),
        age_days=age,
        seconds_to_ventilation=rng.lognormal(np.log(70.0), 0.4, user.size).round(),
        certification=named(tables.CERTIFICATIONS, np.where(newborn, 2, 1)),
    )


def _tickets(people: People, diary: Diary, parameters: Parameters, rng: np.random.Generator) -> pa.Table:
    n = diary.ticket_user.size
    return tabulate(
        tables.TICKETS,
        ticket_id=numbered(f"t{people.first}-", np.arange(n)),
        user_id=people.ids(diary.ticket_user),
        opened_at=times(parameters.start, diary.ticket_day),
        topic=named(tables.TICKET_TOPICS, draw_codes((0.35, 0.2, 0.3, 0.15), n, rng)),
        closed_at=times(parameters.start, diary.ticket_day + rng.exponential(1.5, n)),
    )


def _spell_ids(people: People, spell: Integers) -> pa.Array:
    return numbered(f"c{people.first}-", spell)


def _currency(parameters: Parameters, count: int) -> pa.Array:
    return named((parameters.trade.currency,), np.zeros(count, dtype=np.int64))


def _countries(parameters: Parameters, codes: Integers) -> pa.Array:
    return named(tuple(parameters.people.country_shares), codes)
