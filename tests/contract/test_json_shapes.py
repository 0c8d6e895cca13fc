"""What the application reads as JSON: names, plain numbers beside their estimates, absence."""

import json
from typing import Any

from google.longrunning import operations_proto_pb2
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse
from google.protobuf.message import Message

from paedsresus.ml.v1 import (
    common_pb2,
    feedback_pb2,
    impact_pb2,
    learning_pb2,
    orchestration_pb2,
    referral_pb2,
    revenue_pb2,
    rollout_pb2,
)

MONTE_CARLO = common_pb2.ESTIMATE_METHOD_MONTE_CARLO


def estimate(value: float) -> common_pb2.Estimate:
    return common_pb2.Estimate(value=value, lower=value - 1, upper=value + 1, level=0.9, method=MONTE_CARLO)


def as_json(message: Message) -> Any:
    return json.loads(MessageToJson(message))


def test_the_summary_of_a_run_has_plain_numbers_beside_their_estimates() -> None:
    result = orchestration_pb2.RunAllResult(
        summary=orchestration_pb2.RunAllSummary(
            viral_coefficient=0.34,
            viral_coefficient_estimate=estimate(0.34),
            expected_revenue_increase=0.04,
            expected_revenue_increase_estimate=estimate(0.04),
            expected_lives_saved_per_year=36,
            expected_lives_saved_per_year_estimate=estimate(36),
        )
    )

    summary = as_json(result)["summary"]

    assert (summary["viralCoefficient"], summary["expectedRevenueIncrease"]) == (0.34, 0.04)
    assert summary["expectedLivesSavedPerYear"] == 36
    for name in ("viralCoefficient", "expectedRevenueIncrease", "expectedLivesSavedPerYear"):
        assert summary[f"{name}Estimate"]["value"] == summary[name]
        assert summary[f"{name}Estimate"]["method"] == "ESTIMATE_METHOD_MONTE_CARLO"


def test_a_zero_of_the_summary_is_said_and_an_unknown_number_is_absent() -> None:
    summary = orchestration_pb2.RunAllSummary(viral_coefficient=0)

    assert as_json(summary) == {"viralCoefficient": 0}


def test_the_summary_travels_inside_the_operation() -> None:
    operation = operations_proto_pb2.Operation(name="operations/1", done=True)
    operation.response.Pack(
        orchestration_pb2.RunAllResult(summary=orchestration_pb2.RunAllSummary(viral_coefficient=0.34))
    )
    operation.metadata.Pack(orchestration_pb2.PipelineMetadata(stage="fit churn", steps_done=1, steps_total=4))

    answer = as_json(operation)

    assert answer["response"]["@type"] == "type.googleapis.com/paedsresus.ml.v1.RunAllResult"
    assert answer["response"]["summary"]["viralCoefficient"] == 0.34
    assert (answer["metadata"]["stepsDone"], answer["metadata"]["stepsTotal"]) == (1, 4)


def test_the_system_status_names_the_five_modules() -> None:
    healthy = orchestration_pb2.ModuleStatus(health=common_pb2.HEALTH_HEALTHY, automation_level=0.8)
    names = ("kaizen", "learning", "referral", "revenue", "impact")

    answer = as_json(
        orchestration_pb2.GetSystemStatusResponse(
            health=common_pb2.HEALTH_HEALTHY,
            automation_level=0,
            modules=orchestration_pb2.SystemModules(**dict.fromkeys(names, healthy)),
        )
    )

    assert answer["automationLevel"] == 0
    assert answer["modules"] == {name: {"health": "HEALTH_HEALTHY", "automationLevel": 0.8} for name in names}


def test_the_referral_pipeline_says_current_target_and_segments() -> None:
    result = referral_pb2.ReferralPipelineResult(
        viral=referral_pb2.ViralSummary(current=0.34, current_estimate=estimate(0.34), target=1.8),
        segments=[referral_pb2.ReferralSegmentSummary(segment=referral_pb2.REFERRAL_SEGMENT_CHAMPION, size=120)],
    )

    answer = as_json(result)

    assert (answer["viral"]["current"], answer["viral"]["target"]) == (0.34, 1.8)
    assert answer["viral"]["currentEstimate"]["level"] == 0.9
    assert answer["segments"][0] == {"segment": "REFERRAL_SEGMENT_CHAMPION", "size": 120}


def test_a_target_that_nobody_set_is_absent() -> None:
    assert "target" not in as_json(referral_pb2.ViralSummary(current=0.34))


def test_the_pipelines_give_the_summary_its_numbers_under_the_same_names() -> None:
    summary = orchestration_pb2.RunAllSummary.DESCRIPTOR.fields_by_name
    revenue = revenue_pb2.RevenuePipelineResult.DESCRIPTOR.fields_by_name
    impact = impact_pb2.ImpactPipelineResult.DESCRIPTOR.fields_by_name

    for name, pipeline in (("expected_revenue_increase", revenue), ("expected_lives_saved_per_year", impact)):
        for twin in (name, f"{name}_estimate"):
            assert pipeline[twin].json_name == summary[twin].json_name
            assert pipeline[twin].type == summary[twin].type


def test_churn_is_read_by_horizon() -> None:
    answer = revenue_pb2.PredictChurnResponse(
        info=common_pb2.AnswerInfo(
            prediction_id="p", served_by=[common_pb2.ServedBy(model="churn", version=7, role=common_pb2.ROLE_CHAMPION)]
        ),
        churn=[revenue_pb2.ChurnAtHorizon(horizon_days=28, churn_probability=estimate(0.2))],
    )

    shape = as_json(answer)

    assert shape["info"]["servedBy"] == [{"model": "churn", "version": 7, "role": "ROLE_CHAMPION"}]
    assert shape["churn"][0]["churnProbability"]["value"] == 0.2


def test_money_is_text_so_that_no_reader_rounds_it() -> None:
    money = common_pb2.Money(minor_units=9_007_199_254_740_993, currency_code="USD")

    assert MessageToDict(money) == {"minorUnits": "9007199254740993", "currencyCode": "USD"}
    assert Parse(MessageToJson(money), common_pb2.Money()) == money


def test_both_modules_speak_of_certification_with_the_same_features() -> None:
    learning = learning_pb2.PredictCertificationSuccessRequest.DESCRIPTOR.fields_by_name
    impact = impact_pb2.ImpactServicePredictCertificationSuccessRequest.DESCRIPTOR.fields_by_name

    for name in ("features", "by_id"):
        assert learning[name].message_type is impact[name].message_type
        assert learning[name].number == impact[name].number


def test_an_outcome_names_its_row_and_carries_one_typed_value() -> None:
    outcome = feedback_pb2.Outcome(prediction_id="3f.2", kind=feedback_pb2.OUTCOME_KIND_CHURNED, happened=False)

    assert as_json(outcome) == {"predictionId": "3f.2", "kind": "OUTCOME_KIND_CHURNED", "happened": False}


def test_a_deployment_is_read_in_the_words_of_the_registry() -> None:
    states = {
        value.name.removeprefix("DEPLOYMENT_STATE_").lower()
        for value in rollout_pb2.DESCRIPTOR.enum_types_by_name["DeploymentState"].values
    }

    assert states >= {"live", "refused", "rolled_back", "suspended", "quarantined", "retired"}
