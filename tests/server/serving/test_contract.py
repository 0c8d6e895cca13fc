"""The table of methods is the contract's, whole."""

import pytest

from server.errors import NotBuilt
from server.serving.contract import Lane, Method, complete, read_contract
from server.serving.dispatch import Answer, Call, StreamAnswer
from tests.fakes.serving import FakeCall

CONTRACT = read_contract()
PATHS = {method.path for method in CONTRACT}


def forward(_method: Method) -> Answer:
    def answer(_request: bytes, _call: Call) -> bytes:
        return b"from control"

    return answer


def forward_stream(_method: Method) -> StreamAnswer:
    raise AssertionError("not asked here")


def test_every_service_of_the_package_and_operations_are_there() -> None:
    services = {method.service.removeprefix("paedsresus.ml.v1.") for method in CONTRACT}

    assert {f"{name}Service" for name in ("Kaizen", "Learning", "Referral", "Revenue", "Impact")} <= services
    assert {"OrchestrationService", "FeedbackService", "RolloutService", "google.longrunning.Operations"} <= services
    assert all(isinstance(method.lane, Lane) for method in CONTRACT)


def test_models_and_lanes_are_read_from_the_options() -> None:
    churn = next(method for method in CONTRACT if method.name == "PredictChurn")

    assert (churn.lane, churn.models) == (Lane.INTERACTIVE, ("churn",))


def test_what_is_not_built_says_so_and_what_is_controls_is_forwarded() -> None:
    answers, streams = complete(CONTRACT, {}, forward, lambda _method: lambda _request, _call: iter(()))  # type: ignore[arg-type, return-value]

    assert set(answers) | set(streams) == PATHS
    for method in CONTRACT:
        if method.is_stream:
            continue
        if method.lane is Lane.CONTROL:
            assert answers[method.path](b"", FakeCall()) == b"from control"
        else:
            with pytest.raises(NotBuilt) as caught:
                answers[method.path](b"", FakeCall())
            assert caught.value.metadata == {"service": method.service, "method": method.name}


def test_a_method_that_no_contract_has_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="in no contract"):
        complete(CONTRACT, {"/x/Y": lambda _request, _call: b""}, forward, lambda _method: lambda _r, _c: iter(()))  # type: ignore[arg-type, return-value]
