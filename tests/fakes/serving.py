"""Parts around the hot path for tests: a call, a recorder in memory, live versions made of tiny artifacts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paedsresus.ml.v1 import revenue_pb2
from server.desired import ChallengerRoute, ChampionRoute, Desired, Load, Mode, Route, Switch
from server.ledger.spool import Attempt, AttemptRole, Ending, Spool, SpoolEnd, read_records
from server.modules.revenue.service import KINDS, RevenueService
from server.monitor.status import StatusFacts
from server.serving.answering import Means
from server.serving.breaker import Breakers
from server.serving.deployments import Deployment, Live, make_routes
from server.serving.dispatch import Served
from server.serving.load import load_version
from server.serving.whole import Job
from tests.fakes.artifacts import AS_OF, write_churn_artifact


@dataclass
class FakeCall:
    """A call of a test; `remaining` is what is left of its deadline."""

    method: str = "/test/Call"
    started: float = field(default_factory=time.perf_counter)
    request_id: str = ""
    served: Served | None = None
    remaining: float | None = None

    def time_remaining(self) -> float | None:
        return self.remaining


class FakeMeters:
    """Counts in memory."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, AttemptRole], list[int]] = {}
        self.failures: list[tuple[str, AttemptRole, Ending]] = []

    def tally(self, model: str, role: AttemptRole) -> list[int]:
        return self.tallies.setdefault((model, role), [0, 0])

    def failed_attempt(self, model: str, role: AttemptRole, ending: Ending) -> None:
        self.failures.append((model, role, ending))


class FakeShadow:
    """Keeps copies until the test runs them."""

    def __init__(self) -> None:
        self.copies: list[Callable[[], Awaitable[None] | None]] = []

    def offer(self, copy: Callable[[], Awaitable[None] | None], weight: int = 1) -> None:  # noqa: ARG002 - the real one weighs
        self.copies.append(copy)

    async def run_all(self) -> None:
        while self.copies:
            scored = self.copies.pop()()
            if scored is not None:
                await scored


@dataclass
class Desk:
    """A revenue service over tiny artifacts, with everything around it at hand."""

    folder: Path
    live: Live = field(default_factory=Live)
    meters: FakeMeters = field(default_factory=FakeMeters)
    shadow: FakeShadow = field(default_factory=FakeShadow)
    marks: list[int] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder / "spool", slot=0, boot=7)
        self.breakers = Breakers(lambda: self.now)
        self.means = Means(
            live=self.live,
            recorder=self.spool,
            mark=self.marks.append,
            meters=self.meters,
            shadow=self.shadow,
            breakers=self.breakers,
            boot="boot",
            failed=self._note_failure,
        )
        self.revenue = RevenueService(self.means, lambda: StatusFacts(now=AS_OF), self._explain, self._solve)
        self.contributions: list[float] = []

    def load(self, version: int, **artifact: Any) -> Deployment[Any]:
        """Open a tiny version; `artifact` as for write_churn_artifact."""
        return load_fake(self.folder, version, **artifact)

    def serve(
        self,
        champion: Deployment[Any] | None,
        challenger: Deployment[Any] | None = None,
        *,
        share_bp: int = 0,
        switch: Switch = Switch.ENABLED,
    ) -> None:
        """Route to these versions; a share makes the challenger a canary."""
        deployments = {each.digest: each for each in (champion, challenger) if each is not None}
        mode = Mode.CANARY if share_bp else Mode.SHADOW
        route = Route(
            switch=switch,
            champion=None
            if champion is None
            else ChampionRoute(version=champion.version, digest=champion.digest, since=AS_OF),
            challenger=None
            if challenger is None
            else ChallengerRoute(
                version=challenger.version, digest=challenger.digest, since=AS_OF, mode=mode, share_bp=share_bp
            ),
        )
        desired = Desired(
            generation=self.live.routes.generation + 1,
            load=tuple(load_of(each.version, each.digest, each.model) for each in deployments.values()),
            route={next((each.model for each in deployments.values()), "churn"): route},
        )
        self.live.routes = make_routes(desired, deployments, self.live.routes)

    def attempts(self) -> list[Attempt]:
        """Everything recorded so far."""
        records = [record for path in sorted((self.folder / "spool").iterdir()) for record in read_records(path)]
        return [record for record in records if not isinstance(record, SpoolEnd)]

    def predict(self, request: revenue_pb2.PredictChurnRequest) -> revenue_pb2.PredictChurnResponse:
        """One prediction without explanation."""
        reply = self.revenue.predict_churn(request.SerializeToString(), FakeCall())
        assert isinstance(reply, bytes)
        return revenue_pb2.PredictChurnResponse.FromString(reply)

    async def explain(self, request: revenue_pb2.PredictChurnRequest) -> revenue_pb2.PredictChurnResponse:
        """One prediction with its reasons."""
        reply = self.revenue.predict_churn(request.SerializeToString(), FakeCall())
        assert not isinstance(reply, bytes)
        return revenue_pb2.PredictChurnResponse.FromString(await reply)

    async def predict_batch(
        self, request: revenue_pb2.BatchPredictChurnRequest, call: FakeCall | None = None
    ) -> revenue_pb2.BatchPredictChurnResponse:
        """One batch."""
        reply = await self.revenue.batch_predict_churn(request.SerializeToString(), call or FakeCall())
        return revenue_pb2.BatchPredictChurnResponse.FromString(reply)

    def _note_failure(self, deployment: Deployment[Any], request_id: str) -> None:
        self.failed.append((deployment.version, request_id))

    async def _explain(
        self, _digest: str, row: list[float | None], _remaining: float | None
    ) -> tuple[float, list[float]]:
        return 0.0, self.contributions or [float(index) for index, _ in enumerate(row)]

    async def _solve(self, job: Job, _remaining: float | None) -> bytes:
        raise AssertionError(f"{job.path} is asked at a desk of its own")


def load_of(version: int, digest: str, model: str = "churn") -> Load:
    """The entry of desired.json."""
    return Load(model=model, version=version, digest=digest, folder=f"cache/{digest}")


def load_fake(state_dir: Path, version: int, **artifact: Any) -> Deployment[Any]:
    """Write a tiny artifact into the cache of a state folder and open it."""
    digest = publish_fake(state_dir, version, **artifact)
    return load_version(load_of(version, digest), state_dir, KINDS)


def publish_fake(state_dir: Path, version: int, **artifact: Any) -> str:
    """Write a tiny artifact into the cache; versions differ by their bias."""
    made = state_dir / "made"
    digest = write_churn_artifact(made, **{"bias": version / 10, **artifact})
    (state_dir / "cache").mkdir(exist_ok=True)
    if (state_dir / "cache" / digest).exists():
        for path in made.iterdir():
            path.unlink()
        made.rmdir()
    else:
        made.rename(state_dir / "cache" / digest)
    return digest


def churn_request(**features: Any) -> revenue_pb2.PredictChurnRequest:
    """A request as of the fakes' date."""
    request = revenue_pb2.PredictChurnRequest(features=revenue_pb2.PredictChurnFeatures(**features))
    request.context.as_of_time.FromDatetime(AS_OF)
    return request
