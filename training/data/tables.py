"""The platform's tables: the one typed definition that checks, Parquet schemas, SQL reading and docs are derived from.

Ids are pseudonyms of printable ASCII; no names, mails or free text are ever collected. Money is minor units beside a
currency code. Order matters: a table stands after those it refers to.
Not here: what columns are made of (columns.py); how bad rows are found (validation.py).
"""

from paedsresus.ml.v1 import common_pb2, revenue_pb2
from training.data.columns import (
    Table,
    category,
    contract_levels,
    flag,
    integer,
    later,
    number,
    optional,
    text,
    time,
)

PLANS = contract_levels(revenue_pb2.SubscriptionPlan.DESCRIPTOR)
ROLES = contract_levels(common_pb2.ClinicalRole.DESCRIPTOR)
CERTIFICATIONS = ("BLS", "PALS", "NRP")
SKILL_KINDS = ("KNOWLEDGE", "PSYCHOMOTOR", "TEAM")
MODALITIES = ("TEXT", "VIDEO", "SIMULATION", "HANDS_ON")
CHANNELS = ("EMAIL", "WHATSAPP", "SMS", "LINK", "IN_PERSON")
DEVICES = ("PHONE", "DESKTOP")
CARD_BRANDS = ("VISA", "MASTERCARD", "AMEX", "OTHER")
ROUTES = ("A", "B", "C")
DECLINE_CODES = ("INSUFFICIENT_FUNDS", "DO_NOT_HONOR", "PROCESSING_ERROR", "EXPIRED_CARD", "STOLEN_CARD")
HARD_DECLINES = ("EXPIRED_CARD", "STOLEN_CARD")  # the same card will never work: retrying breaks the schemes' rules
END_REASONS = ("VOLUNTARY", "PAYMENT")
OFFERS = ("ANNUAL_UPGRADE", "SEAT_PACK", "PRICE_BREAK")
AREAS = ("CONTENT", "ONBOARDING", "REMINDERS", "PRICING", "RELIABILITY")
METRICS = ("ACTIVE_USERS", "SESSIONS", "NEW_USERS", "REVENUE_MINOR", "TICKETS", "PAYMENT_SUCCESS_SHARE")
TICKET_TOPICS = ("BILLING", "CONTENT", "TECHNICAL", "ACCOUNT")
SETTINGS = ("EMERGENCY", "WARD", "INTENSIVE_CARE", "DELIVERY", "PREHOSPITAL")

MAX_MONEY = 1e9  # 10 million units of a currency with cents; above it a price is a mistake of units
MAX_MINUTES = 24 * 60

USERS = Table(
    name="users",
    about="One person with an account.",
    key=("user_id",),
    time="joined_at",
    columns=(
        text("user_id", "Pseudonym."),
        time("joined_at", "When the account was made."),
        category("role", "Clinical role.", ROLES, nullable=True),
        optional(text("country", "Country, ISO 3166 alpha-2."), missing_at_most=0.2),
        optional(
            number("experience_years", "Years in the profession at joining.", "years", 0, 70), missing_at_most=0.5
        ),
        optional(text("referrer_id", "User whose invite brought this one; missing when nobody did.", refers="users")),
        category("certification", "Certification the user works towards.", CERTIFICATIONS, nullable=True),
        optional(time("certification_due_at", "When a certification held at joining falls due.")),
    ),
)

SKILLS = Table(
    name="skills",
    about="One skill or piece of knowledge that lessons teach and items test.",
    key=("skill_id",),
    columns=(
        text("skill_id", "Id."),
        text("topic", "Topic it belongs to."),
        category("kind", "What is remembered.", SKILL_KINDS),
        category("certification", "Certification that tests it.", CERTIFICATIONS),
        number("criticality", "Weight in an emergency, judged by clinicians.", "1", 0, 1),
    ),
)

PREREQUISITES = Table(
    name="prerequisites",
    about="One edge of the expert-made graph: the skill needs the other first.",
    key=("skill_id", "prerequisite_id"),
    columns=(
        text("skill_id", "Skill.", refers="skills"),
        text("prerequisite_id", "Skill that comes first.", refers="skills"),
    ),
)

LESSONS = Table(
    name="lessons",
    about="One lesson of the catalogue.",
    key=("lesson_id",),
    columns=(
        text("lesson_id", "Id."),
        text("skill_id", "Skill it teaches.", refers="skills"),
        category("modality", "How it is taught.", MODALITIES),
        number("minutes", "Planned length.", "minutes", 1, 480),
    ),
)

ITEMS = Table(
    name="items",
    about="One question or task of the item bank.",
    key=("item_id",),
    columns=(
        text("item_id", "Id."),
        text("skill_id", "Skill it tests.", refers="skills"),
        integer("author_level", "Difficulty guessed by its author, 1 easy to 5 hard.", "1", 1, 5),
    ),
)

SESSIONS = Table(
    name="sessions",
    about="One sitting of a user; written when it begins, completed when it ends.",
    key=("session_id",),
    time="started_at",
    columns=(
        text("session_id", "Id."),
        text("user_id", "Who learned.", refers="users"),
        time("started_at", "When it began."),
        later(time("ended_at", "When it ended; missing while it runs.")),
        later(number("minutes", "Minutes of learning.", "minutes", 0, MAX_MINUTES), "ended_at"),
        later(integer("lessons_finished", "Lessons finished in it.", "lessons", 0, 1_000), "ended_at"),
        optional(text("lesson_id", "Lesson it was about.", refers="lessons")),
        category("device", "Kind of device.", DEVICES, nullable=True),
    ),
)

ANSWERS = Table(
    name="answers",
    about="One answer to one item.",
    key=("session_id", "position"),
    time="answered_at",
    columns=(
        text("session_id", "Session it was given in."),
        integer("position", "Place in the session, from 0.", "1", 0, 100_000),
        text("user_id", "Who answered.", refers="users"),
        text("item_id", "What was asked.", refers="items"),
        time("answered_at", "When."),
        flag("correct", "Whether it was right."),
        optional(number("seconds", "Time taken.", "seconds", 0, 86_400), missing_at_most=0.2),
    ),
)

EXAMS = Table(
    name="exams",
    about="One sitting of a certification exam.",
    key=("exam_id",),
    time="taken_at",
    columns=(
        text("exam_id", "Id."),
        text("user_id", "Who sat it.", refers="users"),
        category("certification", "Which certification.", CERTIFICATIONS),
        optional(time("booked_at", "When it was booked, so that its date was known; missing when nobody kept it.")),
        time("taken_at", "When."),
        number("score", "Share of the points reached.", "1", 0, 1),
        number("cut_score", "Share needed to pass.", "1", 0, 1),
        flag("passed", "Whether it was passed."),
        optional(time("valid_until", "When the certification earned falls due again; missing when failed.")),
    ),
)

SUBSCRIPTIONS = Table(
    name="subscriptions",
    about="One subscription; a change of plan or price ends it and begins another.",
    key=("subscription_id",),
    time="started_at",
    columns=(
        text("subscription_id", "Id."),
        text("user_id", "Subscriber.", refers="users"),
        time("started_at", "When it began."),
        category("plan", "How it is billed.", PLANS),
        integer("price_minor", "Price of one billing period for one seat.", "minor units", 0, int(MAX_MONEY)),
        text("currency", "ISO 4217 code."),
        integer("seats", "Seats.", "seats", 1, 100_000),
        flag("auto_renew", "Whether it renewed by itself when it began."),
        later(time("auto_renew_off_at", "When the subscriber switched that off; missing while on.")),
        later(time("ended_at", "When access ended; missing while it runs.")),
        later(category("end_reason", "Why it ended; missing while it runs or unknown.", END_REASONS), "ended_at"),
    ),
)

PAYMENTS = Table(
    name="payments",
    about="One attempt to take a payment.",
    key=("payment_id",),
    time="attempted_at",
    columns=(
        text("payment_id", "Id."),
        text("subscription_id", "What was paid for.", refers="subscriptions"),
        text("user_id", "Who pays.", refers="users"),
        time("attempted_at", "When."),
        integer("amount_minor", "Amount.", "minor units", 0, int(MAX_MONEY)),
        text("currency", "ISO 4217 code."),
        optional(text("country", "Country of the card, ISO 3166 alpha-2.")),
        category("card_brand", "Brand of the card.", CARD_BRANDS, nullable=True),
        category("route", "Processor it went through.", ROUTES),
        integer("attempt", "1 for the first try of this period's payment.", "1", 1, 100),
        integer("fee_minor", "Fee of this attempt.", "minor units", 0, int(MAX_MONEY)),
        flag("succeeded", "Whether the money came."),
        category("decline_code", "Why not; missing on success.", DECLINE_CODES, nullable=True),
        optional(time("covers_until", "End of the period paid for; missing on failure.")),
    ),
)

PRICE_EXPOSURES = Table(
    name="price_exposures",
    about="One visitor who was shown one price.",
    key=("exposure_id",),
    time="shown_at",
    columns=(
        text("exposure_id", "Id."),
        later(text("user_id", "Who the visitor became; missing unless converted.", refers="users"), "converted_at"),
        time("shown_at", "When."),
        category("plan", "Plan it was the price of.", PLANS),
        integer("price_minor", "Price shown, one period and seat.", "minor units", 0, int(MAX_MONEY)),
        text("currency", "ISO 4217 code."),
        optional(text("country", "Country of the visitor, ISO 3166 alpha-2.")),
        flag("randomised", "Whether chance chose the price."),
        number("propensity", "Probability with which this price was shown.", "1", 0, 1),
        later(time("converted_at", "When the visitor bought; missing if not.")),
    ),
)

OFFERS_SHOWN = Table(
    name="offers",
    about="One occasion on which an offer was made, or held back for comparison.",
    key=("offer_id",),
    time="offered_at",
    columns=(
        text("offer_id", "Id of the occasion."),
        text("user_id", "To whom.", refers="users"),
        category("kind", "Which offer.", OFFERS),
        time("offered_at", "When."),
        flag("shown", "False for those held back."),
        flag("randomised", "Whether chance decided."),
        number("propensity", "Probability of what was done, shown or held back.", "1", 0, 1),
        integer("price_minor", "Price offered.", "minor units", 0, int(MAX_MONEY)),
        text("currency", "ISO 4217 code."),
        later(time("bought_at", "When the thing offered was bought, shown or not; missing if not.")),
    ),
)

INVITES = Table(
    name="invites",
    about="One invitation sent by a user.",
    key=("invite_id",),
    time="sent_at",
    columns=(
        text("invite_id", "Id."),
        text("user_id", "Who invited.", refers="users"),
        time("sent_at", "When."),
        category("channel", "By which way.", CHANNELS),
        integer("bonus_minor", "Bonus promised to the sender.", "minor units", 0, int(MAX_MONEY)),
        text("currency", "ISO 4217 code."),
        number("propensity", "Probability with which this channel and bonus were proposed.", "1", 0, 1),
        later(text("joined_user_id", "Who came; missing if nobody did.", refers="users"), "joined_at"),
        later(time("joined_at", "When they came.")),
    ),
)

IMPROVEMENTS = Table(
    name="improvements",
    about="One change made to the platform on purpose.",
    key=("improvement_id",),
    time="started_at",
    columns=(
        text("improvement_id", "Id."),
        time("started_at", "When it went live."),
        category("area", "What it touched.", AREAS),
        category("metric", "Daily metric it was meant to move.", METRICS),
        number("share", "Share of users who got it.", "1", 0, 1),
        later(time("ended_at", "When it was taken back; missing while it stands.")),
    ),
)

DAILY_METRICS = Table(
    name="daily_metrics",
    about="One figure of one finished day.",
    key=("metric", "measured_at"),
    time="measured_at",
    columns=(
        category("metric", "Which figure.", METRICS),
        time("measured_at", "End of the day it is about, midnight UTC."),
        number("value", "Its value: persons, sessions, minor units or a share, by metric.", "by metric", 0, 1e15),
    ),
)

RESUSCITATION_EVENTS = Table(
    name="resuscitation_events",
    about="One pediatric resuscitation that a user took part in and reported.",
    key=("event_id",),
    time="reported_at",
    columns=(
        text("event_id", "Id."),
        text("user_id", "Who reported.", refers="users"),
        time("reported_at", "When it was reported."),
        category("setting", "Where it happened.", SETTINGS),
        optional(number("age_days", "Age of the patient.", "days", 0, 18 * 366), missing_at_most=0.5),
        optional(number("seconds_to_ventilation", "From recognition to first ventilation.", "seconds", 0, 7_200)),
        category("certification", "Certification whose skills it asked for.", CERTIFICATIONS, nullable=True),
    ),
)

TICKETS = Table(
    name="tickets",
    about="One request for support.",
    key=("ticket_id",),
    time="opened_at",
    columns=(
        text("ticket_id", "Id."),
        text("user_id", "Who asked.", refers="users"),
        time("opened_at", "When."),
        category("topic", "About what.", TICKET_TOPICS, nullable=True),
        later(time("closed_at", "When it was settled; missing while open.")),
    ),
)

TABLES: tuple[Table, ...] = (
    USERS, SKILLS, PREREQUISITES, LESSONS, ITEMS, SESSIONS, ANSWERS, EXAMS, SUBSCRIPTIONS, PAYMENTS,
    PRICE_EXPOSURES, OFFERS_SHOWN, INVITES, IMPROVEMENTS, DAILY_METRICS, RESUSCITATION_EVENTS, TICKETS,
)  # fmt: skip


def table_named(name: str) -> Table:
    """The platform's table of that name.

    Raises: KeyError: there is none; the message lists them.
    """
    for table in TABLES:
        if table.name == name:
            return table
    raise KeyError(f"no table {name}; the platform has {', '.join(t.name for t in TABLES)}")
