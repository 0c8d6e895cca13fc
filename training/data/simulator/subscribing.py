"""How subscribers live: week by week, interest rises and fades, renewals fall due, cards fail, people leave and return.

One loop over weeks, all people of the chunk at once; what happens is handed over as arrays of events (`Diary`).
Not here: what goes on inside a session (studying.py); rows of tables (trading.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data import tables
from training.data.simulator.parameters import DAYS_A_WEEK, Parameters
from training.data.simulator.paying import Attempts, Due, collect_payment, joined_attempts
from training.data.simulator.people import People, draw_codes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

EXAM_RUN_UP_DAYS = 56.0
GOAL_DAYS = 70.0
EARLY_DAYS = 56.0
ANNOYANCE_KEPT = 0.8  # of a week's annoyance is left a week later: a ticket counts for about five weeks
SPELLS_A_PERSON = 6  # room for subscriptions; the loop asserts that it suffices


@dataclass(frozen=True, slots=True, kw_only=True)
class Spells:
    """Subscriptions; every array is (m,). Days are after the start; NaN: did not happen within the world."""

    user: Integers
    started: Floats
    plan: Integers
    price_minor: Integers
    seats: Integers
    auto_renew: Flags
    off: Floats
    ended: Floats
    is_unpaid: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Diary:
    """What a chunk's weeks left behind.

    Attributes:
        spells: the subscriptions.
        attempts: payment attempts; their `spell` indexes `spells`.
        session_user, session_day: (s,) who and when of each session, unordered.
        ticket_user, ticket_day: (t,) likewise for requests for support.
    """

    spells: Spells
    attempts: Attempts
    session_user: Integers
    session_day: Floats
    ticket_user: Integers
    ticket_day: Floats


def live(people: People, parameters: Parameters, rng: np.random.Generator) -> Diary:
    """Runs the weeks of one chunk."""
    town = _Town(people, parameters, rng)
    for week in range(parameters.weeks):
        town.live_week(float(week * DAYS_A_WEEK))
    return town.diary()


class _Town:
    """The people of a chunk in the running week: the one place where the simulation keeps changing state.

    (n,) arrays by person: spell (index of the running subscription, -1 when none), begins (day of the next one),
    renewal, ends (day already settled on which access ends, infinite when none), own (ups and downs, log scale), faded
    (interest lost, log scale, 0 or below), fading, annoyed (recent tickets).
    (room,) arrays by spell: those of `Spells`.
    """

    def __init__(self, people: People, parameters: Parameters, rng: np.random.Generator) -> None:
        n, room = people.count, people.count * SPELLS_A_PERSON
        self.people, self.parameters, self.rng = people, parameters, rng
        churn, trade = parameters.churn, parameters.trade
        self.periods = np.array([trade.period_days[plan] for plan in tables.PLANS])
        self.bases = np.array([churn.base_logit[plan] for plan in tables.PLANS])
        self.bumps = np.array([churn.renewal_week[plan] for plan in tables.PLANS])
        self.announces = np.array([churn.announces[plan] for plan in tables.PLANS])
        subscribes = rng.random(n) < trade.subscribes
        self.spell = np.full(n, -1, dtype=np.int64)
        self.begins = np.where(subscribes, people.joined + rng.exponential(2.0, n), np.inf)
        self.renewal = np.full(n, np.inf)
        self.ends = np.full(n, np.inf)
        self.own = np.zeros(n)
        self.faded = np.zeros(n)
        self.fading = np.zeros(n, dtype=np.bool_)
        self.annoyed = np.zeros(n)
        self.count = 0
        self.user = np.zeros(room, dtype=np.int64)
        self.started = np.zeros(room)
        self.plan = np.zeros(room, dtype=np.int64)
        self.log_price = np.zeros(room)  # log of the factor on the reference price
        self.price_minor = np.zeros(room, dtype=np.int64)
        self.seats = np.ones(room, dtype=np.int64)
        self.auto_renew = np.ones(room, dtype=np.bool_)
        self.off = np.full(room, np.nan)
        self.ended = np.full(room, np.nan)
        self.is_unpaid = np.zeros(room, dtype=np.bool_)
        self.attempts: list[Attempts] = []
        self.sessions: list[tuple[Integers, Floats]] = []
        self.tickets: list[tuple[Integers, Floats]] = []

    def live_week(self, day: float) -> None:
        """One week from `day` on, in the order in which its causes work."""
        until = day + DAYS_A_WEEK
        self._begin(until)
        self._feel()
        drive = self.people.engagement + self.own + self.faded
        drive = drive + self.parameters.engagement.exam_boost * self._is_before_exam(day)
        self._ask_for_support(day)
        self._decide_to_leave(day, drive)
        self._renew(until)
        self._study(day, drive)
        self._end(until)

    def diary(self) -> Diary:
        """Everything that happened."""
        kept = slice(0, self.count)
        spells = Spells(
            user=self.user[kept],
            started=self.started[kept],
            plan=self.plan[kept],
            price_minor=self.price_minor[kept],
            seats=self.seats[kept],
            auto_renew=self.auto_renew[kept],
            off=self.off[kept],
            ended=self.ended[kept],
            is_unpaid=self.is_unpaid[kept],
        )
        return Diary(
            spells=spells,
            attempts=joined_attempts(self.attempts),
            session_user=np.concatenate([user for user, _ in self.sessions]),
            session_day=np.concatenate([day for _, day in self.sessions]),
            ticket_user=np.concatenate([user for user, _ in self.tickets]),
            ticket_day=np.concatenate([day for _, day in self.tickets]),
        )

    def _begin(self, until: float) -> None:
        """Those whose day has come subscribe; the first payment is taken at the counter and always succeeds."""
        who = np.flatnonzero((self.spell < 0) & (self.begins < until))
        new = np.arange(self.count, self.count + who.size)
        assert self.count + who.size <= self.user.size, "more subscriptions than there is room for"
        self.count += who.size
        trade = self.parameters.trade
        plan = draw_codes(tuple(trade.plan_shares[p] for p in tables.PLANS), who.size, self.rng)
        is_institution = plan == tables.PLANS.index("INSTITUTION")
        factor = self._draw_prices(self.people.thrift[who])
        self.user[new], self.started[new], self.plan[new] = who, self.begins[who], plan
        self.log_price[new] = np.log(factor)
        reference = np.array([trade.price_minor[p] for p in tables.PLANS])[plan]
        self.price_minor[new] = np.rint(reference * factor / 50.0).astype(np.int64) * 50
        self.seats[new] = np.where(is_institution, 3 + self.rng.geometric(0.06, who.size), 1)
        self.auto_renew[new] = self.rng.random(who.size) < 0.93
        self.spell[who] = new
        self.renewal[who] = self.begins[who] + self.periods[plan]
        self.begins[who] = np.inf
        self.faded[who], self.fading[who] = 0.0, False
        self.attempts.append(
            Attempts(
                spell=new,
                day=self.started[new],
                attempt=np.ones(who.size, dtype=np.int64),
                route=draw_codes((1.0, 1.0, 1.0), who.size, self.rng),
                succeeded=np.ones(who.size, dtype=np.bool_),
                decline=np.full(who.size, -1, dtype=np.int64),
                covers_until=self.renewal[who],
            )
        )

    def _draw_prices(self, thrift: Floats) -> Floats:
        """(k,) factor on the reference price at which each buyer bought: shown by chance or not, and accepted."""
        trade = self.parameters.trade
        ladder = np.array(trade.ladder)
        # (k, prices): a price shown equally often is bought the rarer the dearer, and the more so by the thrifty.
        weight = np.exp(trade.price_elasticity * thrift[:, None] * np.log(ladder)[None, :])
        edges = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
        drawn = (self.rng.random(thrift.size)[:, None] > edges).sum(axis=1)
        return np.where(self.rng.random(thrift.size) < trade.randomised, ladder[drawn], 1.0)

    def _feel(self) -> None:
        """Interest goes up and down, begins to fade, comes back."""
        shape, n = self.parameters.engagement, self.people.count
        self.own = shape.persistence * self.own + shape.weekly_sd * self.rng.standard_normal(n)
        draw = self.rng.random(n)
        self.fading = np.where(self.fading, draw >= shape.recovery_a_week, draw < shape.fading_a_week)
        step = shape.fading_step * self.rng.gamma(2.0, 0.5, n)
        self.faded = np.where(self.fading, self.faded - step, 0.8 * self.faded)

    def _is_before_exam(self, day: float) -> Floats:
        return ((self.people.exam > day) & (self.people.exam <= day + EXAM_RUN_UP_DAYS)).astype(np.float64)

    def _ask_for_support(self, day: float) -> None:
        rate = self.parameters.engagement.tickets_a_week * np.exp(-self.people.patience)
        count = self.rng.poisson(np.where(self.spell >= 0, rate, 0.0))
        self.tickets.append(self._during(np.repeat(np.arange(self.people.count), count), day))
        self.annoyed = ANNOYANCE_KEPT * self.annoyed + count

    def _decide_to_leave(self, day: float, drive: Floats) -> None:
        """Some decide to leave: at once, or by switching renewal off and staying until the period ends."""
        churn, people = self.parameters.churn, self.people
        who = np.flatnonzero((self.spell >= 0) & ~np.isfinite(self.ends))
        spell = self.spell[who]
        plan = self.plan[spell]
        logit = self.bases[plan] + people.frailty[who] - churn.per_lost_engagement * np.clip(drive[who], -3.0, 1.5)
        logit += churn.fading * self.fading[who]
        logit += churn.per_log_price * people.thrift[who] * self.log_price[spell]
        logit += churn.per_ticket * self.annoyed[who]
        logit += churn.goal_reached * ((day >= people.exam[who]) & (day < people.exam[who] + GOAL_DAYS))
        logit += churn.early * (day - self.started[spell] < EARLY_DAYS)
        logit += self.bumps[plan] * (self.renewal[who] < day + DAYS_A_WEEK)
        leaves = self.rng.random(who.size) < 1.0 / (1.0 + np.exp(-logit))
        who, spell, plan = who[leaves], spell[leaves], plan[leaves]
        at = np.maximum(day + self.rng.uniform(0.0, DAYS_A_WEEK, who.size), self.started[spell] + 0.1)
        announces = self.rng.random(who.size) < self.announces[plan]
        first = np.isnan(self.off[spell]) & self.auto_renew[spell]
        self.off[spell[announces & first]] = at[announces & first]
        stays_after_all = announces & (self.rng.random(who.size) < churn.changes_mind)
        end = np.where(announces, np.maximum(self.renewal[who], at), at)
        self.ends[who[~stays_after_all]] = end[~stays_after_all]

    def _renew(self, until: float) -> None:
        """Renewals of those who mean to stay; who cannot pay loses access after the days of grace."""
        trade = self.parameters.trade
        who = np.flatnonzero((self.spell >= 0) & (self.renewal < until) & (self.ends > self.renewal))
        spell = self.spell[who]
        following = self.renewal[who] + self.periods[self.plan[spell]]
        due = Due(
            spell=spell,
            day=self.renewal[who],
            covers_until=following,
            card=self.people.card[who],
            brand=self.people.brand[who],
        )
        attempts, is_paid = collect_payment(due, trade, self.rng)
        self.attempts.append(attempts)
        unpaid = who[~is_paid]
        lapse = self.renewal[unpaid] + trade.grace_days
        self.is_unpaid[self.spell[unpaid]] = lapse <= self.ends[unpaid]
        self.ends[unpaid] = np.minimum(lapse, self.ends[unpaid])
        self.renewal[who] = following

    def _study(self, day: float, drive: Floats) -> None:
        """Sessions of the week; those outside the running subscription do not happen."""
        rate = self.parameters.engagement.sessions_a_week * np.exp(drive)
        count = self.rng.poisson(np.where(self.spell >= 0, np.minimum(rate, 14.0), 0.0))
        self.sessions.append(self._during(np.repeat(np.arange(self.people.count), count), day))

    def _end(self, until: float) -> None:
        """Access ends; some will be back."""
        churn = self.parameters.churn
        who = np.flatnonzero((self.spell >= 0) & (self.ends < until))
        spell = self.spell[who]
        self.ended[spell] = self.ends[who]
        returns = self.rng.random(who.size) < churn.returns
        wait = 14.0 + self.rng.exponential(churn.return_days, who.size)
        self.begins[who] = np.where(returns, self.ends[who] + wait, np.inf)
        self.spell[who] = -1
        self.renewal[who] = np.inf
        self.ends[who] = np.inf

    def _during(self, user: Integers, day: float) -> tuple[Integers, Floats]:
        """A time for each event of the week, four in five between 6 and 22 hours UTC (JUDGEMENT).

        Events that would fall outside the running subscription did not happen.
        """
        is_waking = self.rng.random(user.size) < 0.8
        hour = np.where(is_waking, self.rng.uniform(6.0, 22.0, user.size), self.rng.uniform(0.0, 24.0, user.size))
        at = day + self.rng.integers(0, DAYS_A_WEEK, user.size) + hour / 24.0
        happens = (at >= self.started[self.spell[user]]) & (at < self.ends[user])
        return user[happens], at[happens]
