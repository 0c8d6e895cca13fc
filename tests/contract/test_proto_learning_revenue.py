"""What only learning.proto and revenue.proto promise: rules between fields, and equal meaning of equal names.

Not here: what every proto must do (names, comments, units, drift), which is checked for all files at once.
"""

from typing import Any

import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from paedsresus.ml.v1 import learning_pb2, revenue_pb2

FIRST_OF_MAY, SECOND_OF_MAY = "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z"


def dollars(cents: int, currency: str = "USD") -> dict[str, str]:
    return {"minorUnits": str(cents), "currencyCode": currency}


def broken_rules(message: Message) -> set[str]:
    return {violation.proto.rule_id for violation in protovalidate.collect_violations(message)}


def price_request(**changes: Any) -> revenue_pb2.CalculateOptimalPriceRequest:
    fields = {
        "productId": "pals_monthly",
        "ladder": [dollars(2900), dollars(3900)],
        "currentPrice": dollars(2900),
        "objective": "PRICE_OBJECTIVE_MARGIN_PER_VISITOR",
    }
    return ParseDict(fields | changes, revenue_pb2.CalculateOptimalPriceRequest())


def exposure(**changes: Any) -> revenue_pb2.PriceExposure:
    fields = {
        "price": dollars(2900),
        "exposures": 1000,
        "conversions": 20,
        "refunds": 1,
        "retained90d": 15,
        "startTime": FIRST_OF_MAY,
        "endTime": SECOND_OF_MAY,
    }
    return ParseDict(fields | changes, revenue_pb2.PriceExposure())


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(price_request(), id="ladder"),
        pytest.param(exposure(), id="exposure"),
        pytest.param(revenue_pb2.CalculateLtvFeatures(), id="features_of_an_unknown_customer"),
        pytest.param(revenue_pb2.CalculateLtvFeatures(recency_weeks=30, observed_weeks=30), id="bought_today"),
        pytest.param(learning_pb2.SkillState(skill_id="bag_mask", answers=3, correct_answers=3), id="all_right"),
        pytest.param(learning_pb2.SkillState(skill_id="bag_mask", correct_answers=3), id="answers_unknown"),
        pytest.param(
            ParseDict({"startTime": FIRST_OF_MAY, "endTime": SECOND_OF_MAY}, learning_pb2.TimeSlot()), id="slot"
        ),
    ],
)
def test_what_fits_together_is_taken(message: Message) -> None:
    assert broken_rules(message) == set()


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        pytest.param(price_request(ladder=[dollars(2900), dollars(2900)]), "ladder.different", id="same_price_twice"),
        pytest.param(price_request(ladder=[dollars(0), dollars(2900)]), "ladder.different", id="price_of_zero"),
        pytest.param(price_request(ladder=[dollars(2900), dollars(39, "EUR")]), "ladder.currency", id="currencies"),
        pytest.param(price_request(unitCost=dollars(-1)), "unit_cost.amount", id="cost_below_zero"),
        pytest.param(exposure(conversions=1001), "price_exposure.conversions", id="more_buyers_than_visitors"),
        pytest.param(exposure(refunds=21), "price_exposure.refunds", id="more_refunds_than_buyers"),
        pytest.param(exposure(retained90d=21), "price_exposure.retained_90d", id="more_kept_than_buyers"),
        pytest.param(
            revenue_pb2.CalculateLtvFeatures(recency_weeks=31, observed_weeks=30),
            "calculate_ltv_features.recency_weeks",
            id="bought_in_the_future",
        ),
        pytest.param(
            learning_pb2.SkillState(skill_id="bag_mask", answers=3, correct_answers=4),
            "skill_state.correct_answers",
            id="more_right_than_answered",
        ),
        pytest.param(
            learning_pb2.LearnerKnowledge(answers=3, correct_answers=4),
            "learner_knowledge.correct_answers",
            id="more_right_than_answered_in_all",
        ),
        pytest.param(
            ParseDict({"startTime": SECOND_OF_MAY, "endTime": FIRST_OF_MAY}, learning_pb2.TimeSlot()),
            "time_slot.order",
            id="slot_that_ends_before_it_begins",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(message: Message, rule: str) -> None:
    assert broken_rules(message) == {rule}


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(revenue_pb2.CalculateLtvFeatures.DESCRIPTOR, id="ltv"),
        pytest.param(revenue_pb2.RecommendUpsellFeatures.DESCRIPTOR, id="upsell"),
    ],
)
def test_a_revenue_feature_of_the_same_name_has_the_same_type_unit_and_bounds(features: Descriptor) -> None:
    churn = revenue_pb2.PredictChurnFeatures.DESCRIPTOR.fields_by_name
    shared = [field for field in features.fields if field.name in churn]

    assert len(shared) >= 7
    for field in shared:
        twin = churn[field.name]
        assert (field.type, field.message_type, field.enum_type) == (twin.type, twin.message_type, twin.enum_type)
        assert field.GetOptions() == twin.GetOptions(), field.name
