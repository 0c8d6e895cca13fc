"""Every built method in one process, over versions that the product trained: what the battery asks.

Nothing is listed here: methods come from the contract and the catalogue, versions from the registry's artifacts,
requests from the golden cases of each version. A method that is added later is found by itself.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import pkgutil
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

import server.modules
from methods.manifest import MANIFEST_NAME, digest_of, parse_manifest
from paedsresus.ml.rows import pack_columns
from server.catalogue import COMPUTED, HEAVY_METHODS, KINDS, built_methods
from server.desired import ChampionRoute, Desired, Load, Route
from server.ledger.spool import Attempt
from server.modules.learning import service as learning
from server.modules.revenue import service as revenue
from server.monitor.status import StatusFacts
from server.serving.answering import Means
from server.serving.breaker import Breakers
from server.serving.contract import Method
from server.serving.deployments import Deployment, Live, make_routes
from server.serving.heavy import contributions
from server.serving.load import load_version
from server.serving.whole import Job, Whole, solve_job
from tests.battery.rich import RICH
from tests.fakes.artifacts import AS_OF
from tests.fakes.serving import FakeCall, FakeMeters, FakeShadow

WHOLE: Mapping[str, Whole] = {
    method.path: method for module in (revenue, learning) for method in (*module.WHOLE, *module.HEAVY)
}
BUILT = built_methods()
RICHLY = "rich "  # begins the model's name where a method is tried with a version of rich.py
TRIED = (
    *BUILT,
    *(replace(each, models=(RICHLY + each.models[0],)) for each in BUILT if each.models[0] in RICH),
)


def named(methods: Iterable[Method]) -> list[Any]:
    """Methods as parameters of a test, each with its id."""
    return [
        pytest.param(each, id=each.name + ("-rich" if each.models[0].startswith(RICHLY) else "")) for each in methods
    ]


def messages_of(method: Method) -> tuple[type[Message], type[Message]]:
    """Request and response of a method."""
    found: MethodDescriptor = descriptor_pool.Default().FindMethodByName(method.path.strip("/").replace("/", "."))
    return message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)


def single_of(method: Method) -> Method | None:
    """The method that answers one row of a batch by the same version; None for a method that is no batch."""
    if not method.name.startswith("Batch"):
        return None
    asked = (method.service, method.name.removeprefix("Batch"), method.models[0])
    return next(other for other in TRIED if (other.service, other.name, other.models[0]) == asked)


class Nobody:
    """Records nothing: the battery asks thousands of times."""

    def append_payload(self, payload: bytes) -> bool:
        return bool(payload)

    def append(self, attempt: Attempt) -> bool:
        return bool(attempt)


class House:
    """Services and compute process in one, over every version below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = {}
        loads = {}
        for manifest in sorted(folder.rglob(MANIFEST_NAME)):
            model = parse_manifest(manifest.read_bytes()).model
            if model not in KINDS:
                continue
            place = str(manifest.parent.relative_to(folder))
            self.artifacts[model] = manifest.parent
            loads[model] = Load(model=model, version=1, digest=digest_of(manifest.read_bytes()), folder=place)
        self.versions = {model: load_version(load, folder, KINDS) for model, load in loads.items()}
        self.computed: dict[str, Deployment[Any]] = {
            model: load_version(load, folder, COMPUTED) for model, load in loads.items()
        }
        self._computed = {each.digest: each for each in self.computed.values()}
        self._golden = {
            model: [case["request"] for case in json.loads((place / "golden.json").read_bytes())["cases"]]
            for model, place in self.artifacts.items()
            if (place / "golden.json").exists()  # a snapshot of features answers nothing by itself
        }
        self._answers = self._services(self.versions)
        rich = dict(self.versions)
        for model, make in RICH.items():
            asked, self._golden[RICHLY + model] = make()
            digest = digest_of(f"{RICHLY}{model}".encode())
            rich[model] = self.versions[RICHLY + model] = replace(self.versions[model], digest=digest, asked=asked)
            self._computed[digest] = self.computed[RICHLY + model] = rich[model]
        self._rich_answers = self._services(rich)

    def _services(self, versions: Mapping[str, Deployment[Any]]) -> dict[str, Any]:
        """The answers of every module's service, with these versions live."""
        live = Live()
        loads = tuple(Load(model=each.model, version=1, digest=each.digest, folder="-") for each in versions.values())
        routes = {
            each.model: Route(champion=ChampionRoute(version=1, digest=each.digest, since=AS_OF)) for each in loads
        }
        desired = Desired(generation=1, load=loads, route=routes)
        live.routes = make_routes(desired, {each.digest: each for each in versions.values()}, live.routes)
        means = Means(
            live=live,
            recorder=Nobody(),
            mark=lambda _: None,
            meters=FakeMeters(),
            shadow=FakeShadow(),
            breakers=Breakers(lambda: 0.0),
            boot="boot",
            failed=self._failed,
        )
        parts = {
            "means": means,
            "facts": lambda: StatusFacts(now=AS_OF),
            "explain": self._explain,
            "solve": self._solve,
        }
        answers: dict[str, Any] = {}
        for name in pkgutil.iter_modules(server.modules.__path__):
            module = importlib.import_module(f"server.modules.{name.name}.service")
            service = getattr(module, f"{name.name.capitalize()}Service")
            wanted = inspect.signature(service).parameters
            answers |= service(**{each: parts[each] for each in wanted}).methods()
        return answers

    def ask(self, method: Method, request: Message) -> Any:
        """The answer to one request; raises ServingError as the method does."""
        answers = self._rich_answers if method.models[0].startswith(RICHLY) else self._answers
        reply: bytes | Awaitable[bytes] = answers[method.path](request.SerializeToString(), FakeCall())
        if not isinstance(reply, bytes):
            reply = asyncio.run(_wait(reply))
        return messages_of(method)[1].FromString(reply)

    def golden(self, method: Method) -> list[Any]:
        """Fresh copies of the golden requests of the method's version; of a batch, all of them as its rows."""
        kind, _ = messages_of(method)
        single = single_of(method)
        if single is not None:
            return [self.batch(method, [request for request in self.golden(single) if request.HasField("features")])]
        return [ParseDict(case, kind()) for case in self._golden[method.models[0]]]

    def batch(self, method: Method, rows: list[Any]) -> Any:
        """Single requests as one batch, all as of the first one's moment."""
        kind, _ = messages_of(method)
        request: Any = kind()
        request.context.as_of_time.CopyFrom(rows[0].context.as_of_time)
        moment = rows[0].context.as_of_time.ToDatetime(tzinfo=AS_OF.tzinfo)
        request.columns.CopyFrom(pack_columns(type(request.columns), [row.features for row in rows], as_of=moment))
        return request

    def __contains__(self, method: Method) -> bool:
        return set(method.models[:1]) <= set(self.versions)

    def _failed(self, deployment: Deployment[Any], request_id: str) -> None:
        raise AssertionError(f"{deployment.model} failed at {request_id or 'a request without an id'}")

    async def _explain(
        self, digest: str, row: list[float | None], _remaining: float | None
    ) -> tuple[float, list[float]]:
        base, found = contributions(self._computed[digest], [row])
        return base, found[0]

    async def _solve(self, job: Job, _remaining: float | None) -> bytes:
        return solve_job(HEAVY_METHODS, self._computed[job.digest].asked, job)


async def _wait(reply: Awaitable[bytes]) -> bytes:
    return await reply
