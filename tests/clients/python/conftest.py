"""A small gRPC server as the outside world of the client: it answers by script and remembers what it was asked."""

from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial
from threading import Event

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from paedsresus.ml.v1 import revenue_pb2, rollout_pb2


@dataclass(frozen=True, slots=True)
class Say:
    """One scripted ending of an attempt."""

    code: grpc.StatusCode
    text: str = ""
    details: tuple[Message, ...] = ()


@dataclass(slots=True)
class World:
    """What the server was asked, and what it says next; with an empty script it answers."""

    target: str = ""
    script: list[Say] = field(default_factory=list)
    requests: list[Message] = field(default_factory=list)
    seconds_left: list[float | None] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    open: Event = field(default_factory=Event)  # cleared: nothing is answered until the world ends
    change: Callable[[Message], Message] = lambda answer: answer

    def heard(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.seconds_left.append(context.time_remaining())
        self.peers.add(context.peer())
        self.open.wait()
        if self.script:
            say = self.script.pop(0)
            status = status_pb2.Status(code=say.code.value[0], message=say.text)
            for detail in say.details:
                packed = any_pb2.Any()
                packed.Pack(detail)
                status.details.append(packed)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(say.code, say.text)


def _predict_churn(
    world: World, request: revenue_pb2.PredictChurnRequest, context: grpc.ServicerContext
) -> revenue_pb2.PredictChurnResponse:
    world.heard(request, context)
    answer = revenue_pb2.PredictChurnResponse()
    answer.info.prediction_id = f"p-{request.context.request_id}"
    return answer


def _batch_predict_churn(
    world: World, request: revenue_pb2.BatchPredictChurnRequest, context: grpc.ServicerContext
) -> Message:
    world.heard(request, context)
    horizons = list(request.horizon_days) or [28, 90, 180]
    answer = revenue_pb2.BatchPredictChurnResponse(horizon_days=horizons, level=0.9)
    answer.info.prediction_id = "batch"
    answer.info.served_by.add(model="churn", version=7)
    cells = [row + days / 1000 for row in range(request.columns.rows) for days in horizons]
    for column in (answer.churn_probabilities, answer.lowers, answer.uppers):
        column.extend(cells)
    return world.change(answer)


def _watch_deployments(
    world: World, request: rollout_pb2.WatchDeploymentsRequest, context: grpc.ServicerContext
) -> Iterator[rollout_pb2.WatchDeploymentsResponse]:
    for _ in range(2):
        yield rollout_pb2.WatchDeploymentsResponse()
    world.heard(request, context)


def _handlers(world: World) -> Iterator[grpc.GenericRpcHandler]:
    unary: dict[str, Callable[..., Message]] = {
        "PredictChurn": _predict_churn,
        "BatchPredictChurn": _batch_predict_churn,
    }
    yield grpc.method_handlers_generic_handler(
        "paedsresus.ml.v1.RevenueService",
        {
            name: grpc.unary_unary_rpc_method_handler(
                partial(answer, world),
                request_deserializer=getattr(revenue_pb2, f"{name}Request").FromString,
                response_serializer=getattr(revenue_pb2, f"{name}Response").SerializeToString,
            )
            for name, answer in unary.items()
        },
    )
    yield grpc.method_handlers_generic_handler(
        "paedsresus.ml.v1.RolloutService",
        {
            "WatchDeployments": grpc.unary_stream_rpc_method_handler(
                partial(_watch_deployments, world),
                request_deserializer=rollout_pb2.WatchDeploymentsRequest.FromString,
                response_serializer=rollout_pb2.WatchDeploymentsResponse.SerializeToString,
            )
        },
    )


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.open.set()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers(tuple(_handlers(world)))
    world.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield world
    world.open.set()
    server.stop(None).wait()


def error_info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    """What the server's errors carry."""
    return error_details_pb2.ErrorInfo(reason=reason, domain="ml.paedsresus", metadata=metadata)
