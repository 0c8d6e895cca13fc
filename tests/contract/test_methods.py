"""Every method of the contract is there, says how it is answered, and speaks in the house's form."""

import re
from collections import Counter

import pytest
from google.longrunning import operations_proto_pb2
from google.protobuf.descriptor import MethodDescriptor

from paedsresus.ml.v1 import common_pb2
from tests.contract.descriptors import PACKAGE, message_of, messages, methods, oneof_rules_required

METHODS = methods()
OPERATION = "google.longrunning.Operation"

PROMISED = {
    "KaizenService": {
        "PredictMetrics",
        "DetectAnomalies",
        "IdentifyConstraints",
        "RecommendImprovements",
        "AutomateDecisions",
        "LearnFromResults",
        "RunPipeline",
        "GetStatus",
    },
    "LearningService": {
        "GeneratePath",
        "AdjustDifficulty",
        "PredictCertificationSuccess",
        "RecommendNextLesson",
        "OptimizeSchedule",
        "RunPipeline",
        "GetStatus",
    },
    "ReferralService": {
        "CalculateViralCoefficient",
        "SegmentByReferralPotential",
        "PredictBestChannel",
        "CalculateOptimalBonus",
        "IdentifyInfluencers",
        "RunPipeline",
        "GetStatus",
    },
    "RevenueService": {
        "CalculateOptimalPrice",
        "PredictChurn",
        "BatchPredictChurn",
        "CalculateLtv",
        "BatchCalculateLtv",
        "RecommendUpsell",
        "OptimizePaymentFlow",
        "RunPipeline",
        "GetStatus",
    },
    "ImpactService": {
        "PredictCertificationSuccess",
        "EstimateLivesSaved",
        "ModelMortalityReduction",
        "TrackImpact",
        "ForecastImpact",
        "RunPipeline",
        "GetStatus",
    },
    "OrchestrationService": {"RunAll", "GetSystemStatus"},
    "FeedbackService": {"RecordOutcomes"},
    "RolloutService": {"ListDeployments", "WatchDeployments"},
}

# Answers that no model gives: states, receipts, and lists of what is deployed.
WITHOUT_ANSWER_INFO = {"GetStatus", "GetSystemStatus", "RecordOutcomes", "ListDeployments", "WatchDeployments"}

every_method = pytest.mark.parametrize("method", [pytest.param(m, id=m.full_name.split(".", 3)[3]) for m in METHODS])


def models(method: MethodDescriptor) -> list[str]:
    return list(method.GetOptions().Extensions[common_pb2.model])


def test_the_contract_has_exactly_the_promised_methods() -> None:
    found: dict[str, set[str]] = {}
    for method in METHODS:
        found.setdefault(method.containing_service.name, set()).add(method.name)

    assert found == PROMISED


@every_method
def test_a_method_says_which_process_answers_it(method: MethodDescriptor) -> None:
    assert method.GetOptions().Extensions[common_pb2.lane] in {
        common_pb2.LANE_INTERACTIVE,
        common_pb2.LANE_HEAVY,
        common_pb2.LANE_CONTROL,
    }


@every_method
def test_the_models_of_a_method_are_words_and_named_once(method: MethodDescriptor) -> None:
    assert all(re.fullmatch(r"[a-z][a-z_]*[a-z]", model) for model in models(method))
    assert len(set(models(method))) == len(models(method))


def test_a_model_belongs_to_the_services_that_share_a_method_or_to_one() -> None:
    owners: dict[str, set[str]] = {}
    for method in METHODS:
        for model in models(method):
            owners.setdefault(model, set()).add(method.containing_service.name)

    assert {model: services for model, services in owners.items() if len(services) > 1} == {
        "certification": {"LearningService", "ImpactService"}
    }


@every_method
def test_messages_are_named_after_their_method(method: MethodDescriptor) -> None:
    service, name = method.containing_service.name, method.name

    assert method.input_type.name in {f"{name}Request", f"{service}{name}Request"}
    if method.output_type.full_name != OPERATION:
        assert method.output_type.name == method.input_type.name.removesuffix("Request") + "Response"


def test_no_two_methods_share_a_message() -> None:
    counted = Counter(
        message.full_name
        for method in METHODS
        for message in (method.input_type, method.output_type)
        if message.full_name != OPERATION
    )

    assert [name for name, times in counted.items() if times > 1] == []


@every_method
def test_a_request_begins_with_its_context(method: MethodDescriptor) -> None:
    first = method.input_type.fields_by_number[1]

    assert (first.name, message_of(first).name) == ("context", "RequestContext")


@every_method
def test_an_answer_begins_with_how_it_came_about(method: MethodDescriptor) -> None:
    if method.output_type.full_name == OPERATION or method.name in WITHOUT_ANSWER_INFO:
        return
    first = method.output_type.fields_by_number[1]

    assert (first.name, message_of(first).name) == ("info", "AnswerInfo")


@every_method
def test_long_work_says_what_it_results_in_and_how_far_it_is(method: MethodDescriptor) -> None:
    if method.output_type.full_name != OPERATION:
        return
    info = method.GetOptions().Extensions[operations_proto_pb2.operation_info]
    results = {message.name: message for message in messages()}

    assert info.metadata_type == "PipelineMetadata"
    assert results[info.response_type].fields_by_number[1].name == "info"
    assert method.GetOptions().Extensions[common_pb2.lane] == common_pb2.LANE_CONTROL


@every_method
def test_a_subject_by_id_can_also_be_given_by_features(method: MethodDescriptor) -> None:
    request = method.input_type
    if "by_id" not in request.fields_by_name:
        return
    by_id, given = request.fields_by_name["by_id"], request.fields_by_name["features"]
    overrides = message_of(by_id).fields_by_name.get("overrides")

    assert [field.name for field in request.oneofs_by_name["subject"].fields][:2] == ["features", "by_id"]
    assert oneof_rules_required(request, "subject")
    assert re.fullmatch(rf"{method.name}(Features|Columns)", message_of(given).name)
    assert overrides is None or message_of(overrides) is message_of(given)


def test_only_watching_streams() -> None:
    assert [method.name for method in METHODS if method.server_streaming] == ["WatchDeployments"]
    assert [method.name for method in METHODS if method.client_streaming] == []


def test_every_service_stands_in_the_package() -> None:
    assert {method.containing_service.file.package for method in METHODS} == {PACKAGE}
