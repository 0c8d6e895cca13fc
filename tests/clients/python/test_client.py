"""The client against a real server: retries, deadlines, errors, connections, streams; blocking and asyncio."""

import socket
from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc import StatusCode

from paedsresus.ml import AsyncClient, Client, Deadlines, MlError
from paedsresus.ml.client import METHODS
from paedsresus.ml.errors import (
    Conflict,
    DeadlineExceeded,
    FieldViolation,
    InvalidRequest,
    NotBuilt,
    Overloaded,
    ServerError,
    Unavailable,
)
from paedsresus.ml.v1 import revenue_pb2
from tests.clients.python.conftest import Say, World, error_info


def test_a_call_takes_keyword_fields_and_returns_the_typed_answer(world: World) -> None:
    with Client(world.target) as client:
        answer = client.revenue.predict_churn(
            context={"request_id": "r1", "as_of_time": datetime(2026, 1, 1, tzinfo=UTC)},
            features={"plan": "SUBSCRIPTION_PLAN_MONTHLY", "tenure_days": 120},
            horizon_days=[28],
        )

    (asked,) = world.requests
    assert isinstance(asked, revenue_pb2.PredictChurnRequest)
    assert asked.features.plan == revenue_pb2.SUBSCRIPTION_PLAN_MONTHLY
    assert (asked.features.tenure_days, list(asked.horizon_days)) == (120, [28])
    assert not asked.features.HasField("seats")
    assert answer.info.prediction_id == "p-r1"


def test_a_retried_call_succeeds_and_stays_one_request(world: World) -> None:
    world.script = [Say(StatusCode.UNAVAILABLE), Say(StatusCode.CANCELLED), Say(StatusCode.UNAVAILABLE)]

    with Client(world.target) as client:
        client.revenue.predict_churn(features={})

    ids = {asked.context.request_id for asked in world.requests}  # type: ignore[attr-defined]  # all are PredictChurn
    assert len(world.requests) == 4
    assert len(ids) == 1
    assert len(ids.pop()) == 32


def test_a_server_that_stays_unavailable_is_reported_after_two_connections(world: World) -> None:
    world.script = [Say(StatusCode.UNAVAILABLE, "draining", (error_info("DRAINING"),))] * 20

    with Client(world.target) as client, pytest.raises(Unavailable) as caught:
        client.revenue.predict_churn(features={})

    assert caught.value.reason == "DRAINING"
    assert len(world.requests) == 8
    assert len(world.peers) == 2


def test_what_the_server_says_for_all_workers_is_not_asked_on_another_connection(world: World) -> None:
    world.script = [Say(StatusCode.UNAVAILABLE, "no version", (error_info("NO_LIVE_VERSION", model="churn"),))] * 20

    with Client(world.target) as client, pytest.raises(Unavailable):
        client.revenue.predict_churn(features={})

    assert len(world.requests) == 4


def test_nobody_there_is_unavailable_within_the_deadline() -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        client = Client(f"127.0.0.1:{taken.getsockname()[1]}", connections=2)
        with client, pytest.raises(Unavailable) as caught:
            client.revenue.predict_churn(features={})

    assert caught.value.reason == ""


def test_an_error_carries_reason_metadata_fields_and_when_to_retry(world: World) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="features.seats", description="must be at least 1", reason="int32.gte")
    world.script = [
        Say(StatusCode.INVALID_ARGUMENT, "a field is wrong", (error_info("INVALID_FIELD", fields="1"), bad)),
        Say(
            StatusCode.RESOURCE_EXHAUSTED,
            "512 calls in flight",
            (
                error_info("OVERLOADED", limit_calls="512"),
                error_details_pb2.RetryInfo(retry_delay=Duration(nanos=400_000_000)),
            ),
        ),
    ]

    with Client(world.target) as client:
        with pytest.raises(InvalidRequest) as invalid:
            client.revenue.predict_churn(features={"seats": 0}, context={"request_id": "r9"})
        with pytest.raises(Overloaded) as overloaded:
            client.revenue.predict_churn(features={})

    assert (invalid.value.code, invalid.value.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert invalid.value.metadata == {"fields": "1"}
    assert invalid.value.field_violations == (
        FieldViolation(field="features.seats", description="must be at least 1", rule="int32.gte"),
    )
    assert "request r9" in str(invalid.value)
    assert overloaded.value.metadata == {"limit_calls": "512"}
    assert overloaded.value.retry_after is not None
    assert overloaded.value.retry_after.total_seconds() == 0.4
    assert len(world.requests) == 2  # neither is retried


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.INTERNAL, ServerError),
        (StatusCode.UNKNOWN, ServerError),
        (StatusCode.ABORTED, Conflict),
        (StatusCode.UNIMPLEMENTED, NotBuilt),
    ],
)
def test_each_code_has_its_exception_and_all_are_ml_errors(world: World, code: StatusCode, kind: type[MlError]) -> None:
    world.script = [Say(code)]

    with Client(world.target) as client, pytest.raises(MlError) as caught:
        client.revenue.predict_churn(features={})

    assert type(caught.value) is kind


def test_a_method_that_the_server_lacks_is_not_built(world: World) -> None:
    with Client(world.target) as client, pytest.raises(NotBuilt):
        client.kaizen.get_status()


def test_every_call_tells_the_server_its_deadline(world: World) -> None:
    with Client(world.target, deadlines=Deadlines(interactive=7.0)) as client:
        client.revenue.predict_churn(features={})
        client.revenue.predict_churn(features={}, timeout_seconds=2.0)

    default, given = world.seconds_left
    assert default is not None
    assert given is not None
    assert 6.0 < default < 7.1
    assert 1.0 < given < 2.1


def test_a_call_ends_at_its_deadline(world: World) -> None:
    world.open.clear()

    with Client(world.target) as client, pytest.raises(DeadlineExceeded):
        client.revenue.predict_churn(features={}, timeout_seconds=0.1)


def test_calls_take_turns_over_as_many_connections_as_asked(world: World) -> None:
    with Client(world.target, connections=3) as client:
        for _ in range(6):
            client.revenue.predict_churn(features={})

    assert len(world.peers) == 3


def test_a_stream_yields_answers_and_its_end_is_typed(world: World) -> None:
    world.script = [Say(StatusCode.UNAVAILABLE, "gone", (error_info("CONTROL_UNAVAILABLE"),))]

    with Client(world.target) as client:
        answers = client.rollout.watch_deployments()
        assert len([next(answers), next(answers)]) == 2
        with pytest.raises(Unavailable, match="CONTROL_UNAVAILABLE"):
            next(answers)


def test_the_methods_of_the_client_are_those_of_the_contract() -> None:
    paths = {method.path for method in METHODS}

    assert len(paths) == len(METHODS)
    assert "/paedsresus.ml.v1.RevenueService/PredictChurn" in paths
    assert "/google.longrunning.Operations/GetOperation" in paths
    assert {method.path.split("/")[1].rpartition(".")[2] for method in METHODS} == {
        "FeedbackService",
        "ImpactService",
        "KaizenService",
        "LearningService",
        "Operations",
        "OrchestrationService",
        "ReferralService",
        "RevenueService",
        "RolloutService",
    }


async def test_the_asyncio_client_retries_and_types_errors_alike(world: World) -> None:
    world.script = [Say(StatusCode.UNAVAILABLE)] * 5 + [Say(StatusCode.ABORTED, "", (error_info("CONFLICT"),))]

    async with AsyncClient(world.target) as client:
        with pytest.raises(Conflict) as caught:
            await client.revenue.predict_churn(features={"tenure_days": 1})
        answer = await client.revenue.predict_churn(features={}, context={"request_id": "r2"})

    assert caught.value.reason == "CONFLICT"
    assert answer.info.prediction_id == "p-r2"


async def test_the_asyncio_client_streams(world: World) -> None:
    async with AsyncClient(world.target) as client:
        answers = [answer async for answer in client.rollout.watch_deployments()]

    assert len(answers) == 2


async def test_the_asyncio_client_answers_rows(world: World) -> None:
    async with AsyncClient(world.target) as client:
        rows = await client.revenue.predict_churn_rows([{"tenure_days": 1}, {"seats": 2}], horizon_days=[28])

    assert [row.churn[0].probability for row in rows] == [0.028, 1.028]
