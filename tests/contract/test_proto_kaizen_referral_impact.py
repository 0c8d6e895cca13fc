"""What only kaizen.proto, referral.proto, impact.proto and feedback.proto promise: rules between fields, and sizes.

Not here: what every proto must do (names, comments, units, drift), which is checked for all files at once.
"""

from typing import Any

import protovalidate
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from methods.features import schema_of
from paedsresus.ml.v1 import feedback_pb2, impact_pb2, kaizen_pb2, referral_pb2
from tests.contract.descriptors import asked

FIRST_OF_MAY = "2026-05-01T00:00:00Z"


def broken_rules(message: Message) -> set[str]:
    return {violation.proto.rule_id for violation in protovalidate.collect_violations(message)}


def arm(name: str, **changes: Any) -> dict[str, Any]:
    fields = {"arm": name, "observations": 900, "successes": 90, "startTime": FIRST_OF_MAY, "endTime": FIRST_OF_MAY}
    return fields | changes


def decision(*arms: dict[str, Any]) -> kaizen_pb2.AutomateDecisionsRequest:
    fields = {
        "improvementId": "shorter-booking",
        "type": "onboarding_copy",
        "risk": "IMPROVEMENT_RISK_UX",
        "lookNumber": 3,
        "arms": list(arms),
    }
    return ParseDict(fields, kaizen_pb2.AutomateDecisionsRequest())


def panel(rows: int, **changes: Any) -> kaizen_pb2.ResultPanel:
    fields = {
        "unitIds": ["a", "b"],
        "firstDayTime": FIRST_OF_MAY,
        "unitIndices": [row % 2 for row in range(rows)],
        "days": [0] * rows,
        "values": [1.5] * rows,
    }
    return ParseDict(fields | changes, kaizen_pb2.ResultPanel())


def outcome(**changes: Any) -> feedback_pb2.Outcome:
    fields = {"predictionId": "3f.2", "kind": "OUTCOME_KIND_CHURNED", "happened": True, "occurredTime": FIRST_OF_MAY}
    return ParseDict(fields | changes, feedback_pb2.Outcome())


CONTROL = arm("control", isControl=True)


@pytest.mark.parametrize("message", [pytest.param(message, id=message.name) for message in asked()])
def test_the_rules_of_every_message_that_is_asked_can_be_evaluated(message: Descriptor) -> None:
    empty = message_factory.GetMessageClass(message)()

    protovalidate.collect_violations(empty)  # raises when a rule does not compile


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(decision(CONTROL, arm("shorter")), id="one_control"),
        pytest.param(panel(3), id="panel"),
        pytest.param(panel(3, covariates=[1, 2, 3]), id="panel_with_covariates"),
        pytest.param(kaizen_pb2.MeasuredEffect(value=-0.1), id="effect_without_interval"),
        pytest.param(referral_pb2.TieGraph(user_ids=["a", "b"], from_indices=[0], to_indices=[1]), id="ties"),
        pytest.param(referral_pb2.ReferralHistory(user_ids=["a"], joined_days=[-40]), id="nobody_brought_anyone"),
        pytest.param(impact_pb2.UniformDistribution(lowest=1, highest=1), id="uniform_at_one_point"),
        pytest.param(outcome(), id="outcome"),
        pytest.param(outcome(happened=False), id="outcome_that_did_not_happen"),
    ],
)
def test_what_fits_together_is_taken(message: Message) -> None:
    assert broken_rules(message) == set()


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        pytest.param(decision(CONTROL, CONTROL), "automate_decisions.one_control", id="two_controls"),
        pytest.param(decision(arm("a"), arm("b")), "automate_decisions.one_control", id="no_control"),
        pytest.param(decision(CONTROL, arm("b", successes=901)), "evidence_arm.successes", id="too_many_successes"),
        pytest.param(
            kaizen_pb2.ProcessStep(step_id="exam", arrivals=4, completions=5), "process_step.completions", id="step"
        ),
        pytest.param(panel(3, days=[0]), "result_panel.equal_lengths", id="panel_with_missing_days"),
        pytest.param(panel(3, covariates=[1]), "result_panel.equal_lengths", id="panel_with_missing_covariates"),
        pytest.param(kaizen_pb2.MeasuredEffect(value=1, lower=2), "measured_effect.order", id="lower_above_value"),
        pytest.param(kaizen_pb2.MeasuredEffect(value=1, upper=0), "measured_effect.order", id="value_above_upper"),
        pytest.param(kaizen_pb2.MeasuredEffect(value=float("nan")), "double.finite", id="not_a_number"),
        pytest.param(
            referral_pb2.TieGraph(user_ids=["a", "b"], from_indices=[0, 1], to_indices=[1]),
            "tie_graph.equal_lengths",
            id="tie_without_end",
        ),
        pytest.param(
            referral_pb2.ReferralHistory(user_ids=["a", "b"], joined_days=[-40]), "referral_history.users", id="users"
        ),
        pytest.param(
            referral_pb2.ReferralHistory(user_ids=["a"], joined_days=[-40], referrer_indices=[0], converted_days=[-3]),
            "referral_history.conversions",
            id="conversion_without_channel",
        ),
        pytest.param(
            impact_pb2.UniformDistribution(lowest=2, highest=1), "uniform_distribution.order", id="uniform_backwards"
        ),
        pytest.param(outcome(predictionId="3f 2"), "string.pattern", id="id_with_a_space"),
        pytest.param(outcome(kind="OUTCOME_KIND_UNSPECIFIED"), "enum.not_in", id="outcome_of_no_kind"),
        pytest.param(outcome(happened=None), "required", id="outcome_without_a_value"),
    ],
)
def test_what_contradicts_itself_is_refused(message: Message, rule: str) -> None:
    assert broken_rules(message) == {rule}


def test_the_largest_inputs_stay_within_the_budget_of_their_rules() -> None:
    ties = referral_pb2.TieGraph(
        user_ids=[str(i) for i in range(50_000)],
        from_indices=[0] * 200_000,
        to_indices=[1] * 200_000,
        weights=[0.5] * 200_000,
        tie_days=[-1.0] * 200_000,
    )

    assert broken_rules(panel(200_000, covariates=[1.0] * 200_000)) == set()
    assert broken_rules(ties) == set()


def test_state_of_a_stream_is_limited_to_64_kibibytes() -> None:
    request = kaizen_pb2.DetectAnomaliesRequest(metric_id="sessions", values=[1.0], state=b"x" * 65_537)
    request.start_time.FromJsonString(FIRST_OF_MAY)
    request.step.FromSeconds(86_400)

    assert broken_rules(request) == {"bytes.max_len"}


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(referral_pb2.SegmentByReferralPotentialFeatures.DESCRIPTOR, id="potential"),
        pytest.param(referral_pb2.PredictBestChannelFeatures.DESCRIPTOR, id="channel"),
        pytest.param(impact_pb2.EstimateLivesSavedFeatures.DESCRIPTOR, id="lives"),
    ],
)
def test_the_features_of_one_person_can_be_a_row_of_a_matrix(features: Descriptor) -> None:
    assert schema_of(features).names == tuple(field.name for field in features.fields)
