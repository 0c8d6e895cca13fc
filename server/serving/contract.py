"""The whole contract as one table: every method of every service, its lane and its models, read from descriptors.

What a release answers is what is handed over; everything else of the table is NOT_BUILT, so that a caller can tell
"not yet" from "no such thing". `google.longrunning.Operations` belongs to the table: pipelines hand out operations.
Not here: the methods (modules/); forwarding (edge).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

import paedsresus.ml.v1
from paedsresus.ml.v1 import common_pb2
from server.errors import NotBuilt
from server.serving.dispatch import Answer, Call, StreamAnswer

PACKAGE = "paedsresus.ml.v1"
OPERATIONS = "google.longrunning.Operations"


class Lane(IntEnum):
    """Which process answers; the contract's numbers."""

    INTERACTIVE = common_pb2.LANE_INTERACTIVE
    HEAVY = common_pb2.LANE_HEAVY
    CONTROL = common_pb2.LANE_CONTROL


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method. `path` is "/package.Service/Method"; `models` are the registered models it asks."""

    path: str
    service: str
    name: str
    lane: Lane
    models: tuple[str, ...]
    is_stream: bool


def read_contract() -> tuple[Method, ...]:
    """Every method of the package's services and of the operations service, by service and name."""
    services: list[ServiceDescriptor] = [operations_pb2.DESCRIPTOR.services_by_name["Operations"]]
    for module in pkgutil.iter_modules(paedsresus.ml.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"{PACKAGE}.{module.name}").DESCRIPTOR
            services += file.services_by_name.values()
    methods = [_method(service, method) for service in services for method in service.methods]
    return tuple(sorted(methods, key=lambda method: method.path))


def not_built(method: Method) -> Answer:
    """The answer of a unary method that this release does not have."""

    def refuse(_request: bytes, _call: Call) -> bytes:
        raise _refusal(method)

    return refuse


def not_built_stream(method: Method) -> StreamAnswer:
    """The same for a method whose answer is a stream."""

    async def refuse(_request: bytes, _call: Call) -> AsyncIterator[bytes]:
        raise _refusal(method)
        yield b""  # makes this an asynchronous generator

    return refuse


def complete(
    contract: Iterable[Method],
    built: dict[str, Answer],
    forward: Callable[[Method], Answer],
    forward_stream: Callable[[Method], StreamAnswer],
) -> tuple[dict[str, Answer], dict[str, StreamAnswer]]:
    """Every method's answer: built here, forwarded to control by its lane, or NOT_BUILT."""
    answers: dict[str, Answer] = {}
    streams: dict[str, StreamAnswer] = {}
    for method in contract:
        if method.is_stream:
            streams[method.path] = forward_stream(method) if method.lane is Lane.CONTROL else not_built_stream(method)
        elif method.path in built:
            answers[method.path] = built[method.path]
        else:
            answers[method.path] = forward(method) if method.lane is Lane.CONTROL else not_built(method)
    if unknown := sorted(set(built) - set(answers)):
        msg = f"built, but in no contract: {unknown}"
        raise ValueError(msg)
    return answers, streams


def _refusal(method: Method) -> NotBuilt:
    return NotBuilt(
        f"{method.name} is in the contract and not built in this release",
        metadata={"service": method.service, "method": method.name},
    )


def _method(service: ServiceDescriptor, method: MethodDescriptor) -> Method:
    options = method.GetOptions()
    lane = options.Extensions[common_pb2.lane]
    if service.full_name == OPERATIONS:
        lane = common_pb2.LANE_CONTROL
    return Method(
        path=f"/{service.full_name}/{method.name}",
        service=service.full_name,
        name=method.name,
        lane=Lane(lane),
        models=tuple(options.Extensions[common_pb2.model]),
        is_stream=method.server_streaming,
    )
