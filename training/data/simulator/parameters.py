"""What the simulated world is made of: every number with its source, frozen before any policy is run on it.

FROZEN: `tests/training/data/simulator/test_published_facts.py` holds the world to the published trials. To reproduce
them, `stability_growth` and `gain` were changed before `benchmarks.closed_loop` ran its first policy; neither they nor
any other number here may be changed for what a policy then earned.
A number without a source says JUDGEMENT: it was chosen to be plausible, and nothing may be claimed from it.
Sources are those of the evidence pages: Doymaz 2019, Binkhorst 2018, Anderson 2019, HBB and India cohorts (retention),
OULAD (withdrawal of online learners), ASSISTments 2009 (answers), Schmitt 2011 and trade figures (referral).
Not here: how the numbers act (people.py, subscribing.py, memory.py, studying.py, trading.py).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

DAYS_A_WEEK = 7
DEFAULT_USERS = 2_500  # the platform's size today
DEFAULT_WEEKS = 104  # two years, one certification cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleParameters:
    """Who joins.

    Attributes:
        role_shares: share of each clinical role, by the contract's name. JUDGEMENT.
        country_shares: share of each country. JUDGEMENT: a platform sold in East Africa, South Asia and Europe.
        growth: joins a week at the end over joins a week at the start. JUDGEMENT.
        with_due_date: share who hold a certification that falls due. JUDGEMENT.
        certification_days: how long a certification holds: two years (the PALS and BLS cycle; Wolfram 2003).
        referred: share of users brought by another: a viral coefficient of about 0.2, and 0.1-0.6 is what most
            products reach (trade sources, referral evidence).
    """

    role_shares: dict[str, float] = field(
        default_factory=lambda: {
            "NURSE": 0.34,
            "PHYSICIAN": 0.22,
            "PARAMEDIC": 0.12,
            "BIRTH_ATTENDANT": 0.14,
            "RESPIRATORY_THERAPIST": 0.05,
            "STUDENT": 0.10,
            "OTHER": 0.03,
        }
    )
    country_shares: dict[str, float] = field(
        default_factory=lambda: {"KE": 0.28, "TZ": 0.16, "IN": 0.22, "DE": 0.12, "GB": 0.14, "US": 0.08}
    )
    growth: float = 2.0
    with_due_date: float = 0.7
    certification_days: float = 730.0
    referred: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class EngagementParameters:
    """How much they use it. All JUDGEMENT but where a source stands.

    Attributes:
        sessions_a_week: median of an engaged user.
        person_sd: spread between persons, log scale.
        persistence: week-to-week correlation of a person's own ups and downs.
        weekly_sd: their innovation, log scale.
        fading_a_week: chance a week that a user begins to lose interest; with the recovery below it gives about the
            withdrawal of OULAD's online learners, 2.6 % in 28 days.
        recovery_a_week: chance a week that the interest comes back.
        fading_step: loss a week while it fades, log scale.
        exam_boost: log increase in the eight weeks before an exam.
        minutes_median: length of a session.
        answers_a_session: mean number of items.
        tickets_a_week: support requests of a user of average patience.
    """

    sessions_a_week: float = 0.9
    person_sd: float = 0.55
    persistence: float = 0.85
    weekly_sd: float = 0.22
    fading_a_week: float = 0.018
    recovery_a_week: float = 0.05
    fading_step: float = 0.16
    exam_boost: float = 0.7
    minutes_median: float = 13.0
    answers_a_session: float = 4.5
    tickets_a_week: float = 0.012


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnParameters:
    """Why they leave: weekly logit of a decision to leave = base(plan) + the effects below. All JUDGEMENT.

    The bases put monthly plans at 3-6 % in 28 days, a quarter of it unpaid rather than unwanted, and annual ones below.

    Attributes:
        base_logit: by plan, for an engaged user at the reference price with nothing going on.
        per_lost_engagement: for each log unit below the person's population mean.
        fading: while interest fades.
        per_log_price: for a doubling of price, log 2 of it, at average thrift.
        per_ticket: for each recent ticket, which counts for about five weeks.
        goal_reached: in the ten weeks after an exam.
        early: in the first eight weeks.
        renewal_week: in a week with a renewal, by plan.
        frailty_sd: spread between persons that nothing observed explains.
        announces: share of decisions that switch renewal off and end with the period, by plan.
        changes_mind: share of those who renew by hand after all.
        returns: share who come back later, after `return_days` on average.
    """

    base_logit: dict[str, float] = field(
        default_factory=lambda: {"MONTHLY": -5.75, "QUARTERLY": -6.2, "ANNUAL": -7.0, "INSTITUTION": -7.4}
    )
    per_lost_engagement: float = 0.55
    fading: float = 0.9
    per_log_price: float = 1.2
    per_ticket: float = 0.7
    goal_reached: float = 0.6
    early: float = 0.35
    renewal_week: dict[str, float] = field(
        default_factory=lambda: {"MONTHLY": 0.3, "QUARTERLY": 1.0, "ANNUAL": 2.0, "INSTITUTION": 2.0}
    )
    frailty_sd: float = 0.5
    announces: dict[str, float] = field(
        default_factory=lambda: {"MONTHLY": 0.2, "QUARTERLY": 0.35, "ANNUAL": 0.5, "INSTITUTION": 0.6}
    )
    changes_mind: float = 0.2
    returns: float = 0.25
    return_days: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeParameters:
    """What it costs and how it is paid. JUDGEMENT but where a source stands.

    Attributes:
        currency: ISO 4217.
        price_minor: reference price by plan, one period and seat; 50 dollars a month is the platform's own figure.
        ladder: factors of the reference price that are tried.
        randomised: share of visitors whose price chance chooses; the rest see the reference price.
        conversion: share of visitors of a price page who buy at the reference price.
        price_elasticity: of conversion: log odds for each log unit of price; oj_price finds -1.6 to -3.4 for goods of
            daily use, and a professional duty is less elastic.
        plan_shares: by plan.
        period_days: by plan.
        payment_failure: first attempts that fail at an average card.
        card_sd: spread between cards, log odds.
        retry_days: days of the retries after the first attempt.
        retry_success: of a retry after a soft decline.
        new_card_success: users who bring another card in time after a hard one.
        grace_days: from a due date to the end of access.
        subscribes: share of users who ever subscribe.
    """

    currency: str = "USD"
    price_minor: dict[str, int] = field(
        default_factory=lambda: {"MONTHLY": 5_000, "QUARTERLY": 13_500, "ANNUAL": 48_000, "INSTITUTION": 36_000}
    )
    ladder: tuple[float, ...] = (0.7, 0.85, 1.0, 1.2, 1.4)
    randomised: float = 0.5
    conversion: float = 0.10
    price_elasticity: float = -1.4
    plan_shares: dict[str, float] = field(
        default_factory=lambda: {"MONTHLY": 0.62, "QUARTERLY": 0.14, "ANNUAL": 0.18, "INSTITUTION": 0.06}
    )
    period_days: dict[str, float] = field(
        default_factory=lambda: {"MONTHLY": 30.0, "QUARTERLY": 91.0, "ANNUAL": 365.0, "INSTITUTION": 365.0}
    )
    payment_failure: float = 0.03
    card_sd: float = 1.0
    retry_days: tuple[float, ...] = (1.0, 3.0, 7.0)
    retry_success: float = 0.35
    new_card_success: float = 0.5
    grace_days: float = 10.0
    subscribes: float = 0.88


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryParameters:
    """How skill is gained and lost.

    Attributes:
        skill_stability_days: median days until recall is 90 %, psychomotor and team skills: 120, log-sd 1.0 (HBB 75 d,
            newborn 21 d, PALS residents 82-152 d by Doymaz 2019, India 269-510 d by Das 2018).
        knowledge_stability_days: 22, log-sd 0.8 (14-33 d; two points only).
        stability_growth: factor of the second day of practice, further ones do less (memory.py); Anderson 2019 (58 %
            excellent with monthly, 15 % with yearly practice) and Sutton 2011 (retention odds x 2.3 (1.1-4.5) after
            two, 2.9 (1.4-6.2) after three boosters) fix its size. FSRS-6 with its defaults has 2 to 3.
        decay: exponent of the FSRS-6 curve, published default w20.
        ability_sd: between persons; skill_sd: between skills of a person; JUDGEMENT, about the spread of ASSISTments.
        gain: logits for each log unit of practice on a skill; with a smaller one Sutton's odds are not reached.
        guess: chance of a right answer without knowing; four options.
        slip: chance of a wrong one while knowing; JUDGEMENT.
        cut_score: pass mark, 84 % on PALS (Wolfram 2003).
    """

    skill_stability_days: float = 120.0
    skill_log_sd: float = 1.0
    knowledge_stability_days: float = 22.0
    knowledge_log_sd: float = 0.8
    stability_growth: float = 2.5
    decay: float = 0.1542
    ability_sd: float = 0.7
    skill_sd: float = 0.5
    gain: float = 0.5
    guess: float = 0.25
    slip: float = 0.05
    cut_score: float = 0.84


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamParameters:
    """What an exam is.

    Attributes:
        items: questions; 50, as in the written PALS exam, whose cut score of 84 % is 42 of them (Wolfram 2003 for
            that). Which questions come is the exam's chance.
        easier_logit: by how much they are easier than the bank's, so that two in three pass. JUDGEMENT
        booked_days: earliest and latest booking before the exam. JUDGEMENT
        sits_again: share of those who failed. JUDGEMENT
        retake_days: from the first exam to the second. JUDGEMENT
    """

    items: int = 50
    easier_logit: float = 0.7
    booked_days: tuple[float, float] = (14.0, 70.0)
    sits_again: float = 0.5
    retake_days: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The whole world.

    Attributes:
        start: first day, midnight UTC.
        users: accounts made within the time.
        weeks: how long the world runs.
        seed: same seed and parameters, same tables.
        chunk_users: users simulated at once; bounds the memory. Referral ties stay within a chunk.
    """

    start: datetime
    users: int = DEFAULT_USERS
    weeks: int = DEFAULT_WEEKS
    seed: int = 20
    chunk_users: int = 5_000
    people: PeopleParameters = field(default_factory=PeopleParameters)
    engagement: EngagementParameters = field(default_factory=EngagementParameters)
    churn: ChurnParameters = field(default_factory=ChurnParameters)
    trade: TradeParameters = field(default_factory=TradeParameters)
    memory: MemoryParameters = field(default_factory=MemoryParameters)
    exam: ExamParameters = field(default_factory=ExamParameters)

    @property
    def days(self) -> int:
        """Length of the world in days."""
        return self.weeks * DAYS_A_WEEK

    @property
    def end(self) -> datetime:
        """First moment after the world."""
        return self.start + timedelta(days=self.days)


def world_until(now: datetime, *, users: int = DEFAULT_USERS, weeks: int = DEFAULT_WEEKS, seed: int = 20) -> Parameters:
    """The default world, which ends with the last full week before `now`: the same shape on every day it is asked.

    >>> world_until(datetime(2026, 1, 7, 15, tzinfo=UTC), weeks=1).start.isoformat()
    '2025-12-29T00:00:00+00:00'
    """
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - timedelta(days=today.weekday())
    return Parameters(start=monday - timedelta(weeks=weeks), users=users, weeks=weeks, seed=seed)
