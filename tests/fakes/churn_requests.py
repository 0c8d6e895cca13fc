"""Arbitrary churn requests for property tests: good ones, and ones that break a rule here and there."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from paedsresus.ml.v1 import revenue_pb2

FEATURES = revenue_pb2.PredictChurnFeatures
INTEGERS = (
    "tenure_days",
    "seats",
    "sessions_28d",
    "lessons_28d",
    "active_days_28d",
    "answers_28d",
    "payment_failures_90d",
    "tickets_90d",
    "exams_passed",
    "invites_90d",
)
DOUBLES = ("minutes_28d", "usage_trend", "days_since_last_session", "correct_share_28d")
TIMES = ("renewal_time", "certification_due_time")
NASTY_DOUBLES = st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, -1e308, -1.0000001, 1.0000001])
NASTY_INTEGERS = st.sampled_from([-1, 0, 1, 28, 29, 1_000, 36_500, 36_501, 100_001, 2**31 - 1, -(2**31)])
TEXTS = st.sampled_from(["", "a", "u-1", "a b", "a\n", "\n", "ä", "~!", "x" * 128, "x" * 129, "\x7f", "\x00"])


@st.composite
def features(draw: st.DrawFn) -> Any:
    """A features message; most fields absent or good, some bad."""
    message: Any = FEATURES()
    message.SetInParent()
    for name in draw(st.sets(st.sampled_from(INTEGERS))):
        setattr(message, name, draw(st.integers(1, 28) | NASTY_INTEGERS))
    for name in draw(st.sets(st.sampled_from(DOUBLES))):
        setattr(message, name, draw(st.floats(0, 1) | NASTY_DOUBLES))
    for name in draw(st.sets(st.sampled_from(TIMES))):
        moment = getattr(message, name)
        moment.SetInParent()
        moment.seconds = draw(st.sampled_from([0, 1, 1_800_000_000, 4_102_444_799, 4_102_444_800, -1, 2**40]))
        moment.nanos = draw(st.sampled_from([0, 0, 0, 1, 999_999_999, 1_000_000_000, -1]))
    if draw(st.booleans()):
        message.plan = draw(st.integers(0, 4) | st.sampled_from([5, 99, -1]))
        message.role = draw(st.integers(0, 7) | st.just(99))
    if draw(st.booleans()):
        message.price.minor_units = draw(st.integers(-(2**63), 2**63 - 1))
        message.price.currency_code = draw(st.sampled_from(["USD", "EUR", "", "usd", "USDX", "USD\n"]))
    if draw(st.booleans()):
        message.auto_renew = draw(st.booleans())
    return message


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """A PredictChurnRequest, in any of its forms."""
    request = revenue_pb2.PredictChurnRequest()
    if draw(st.booleans()):
        context = request.context
        context.request_id, context.subject_id, context.routing_key = draw(TEXTS), draw(TEXTS), draw(TEXTS)
        context.locale = draw(st.sampled_from(["", "en", "fr-CA", "a_b", "x" * 36, "é"]))
        if draw(st.booleans()):
            context.as_of_time.seconds = draw(st.sampled_from([0, 1_800_000_000, 4_102_444_800, -5]))
            context.as_of_time.nanos = draw(st.sampled_from([0, 5, -1]))
    match draw(st.sampled_from(["features", "features", "features", "by_id", "nothing"])):
        case "features":
            request.features.CopyFrom(draw(features()))
        case "by_id":
            request.by_id.subject_id = draw(TEXTS)
    request.horizon_days.extend(draw(st.lists(st.sampled_from([1, 28, 364, 365, 0, -1]), max_size=15)))
    request.include_survival_curve = draw(st.booleans())
    return request
