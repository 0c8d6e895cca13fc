"""`Client` and `AsyncClient`: every service of the contract, typed, over several connections.

One connection reaches one worker only, so a client opens several and takes turns. Every call has a deadline, a
request id, and gRPC's own retries (policy.py); failures are the exceptions of errors.py.
Not here: what a method does (its docstring is the contract's comment).
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from paedsresus.ml._services import feedback, impact, kaizen, learning, operations, orchestration, referral, rollout
from paedsresus.ml._services import revenue as revenue_service
from paedsresus.ml.calls import AsyncCalls, Calls, Deadlines
from paedsresus.ml.method import Method
from paedsresus.ml.policy import channel_options, service_config
from paedsresus.ml.revenue import AsyncRevenue, Revenue

DEFAULT_TARGET = "127.0.0.1:50051"
# The kernel spreads connections over workers by chance: with 8 the odds that two workers share none are 1 in 128.
DEFAULT_CONNECTIONS = 8
METHODS: tuple[Method[Any, Any], ...] = (
    *feedback.METHODS,
    *impact.METHODS,
    *kaizen.METHODS,
    *learning.METHODS,
    *operations.METHODS,
    *orchestration.METHODS,
    *referral.METHODS,
    *revenue_service.METHODS,
    *rollout.METHODS,
)


class Client:
    """Blocking client. Threads may share one; make one a program, not one a call.

    Args:
        target: host:port, or any gRPC target, e.g. "dns:///ml.example.org:50051".
        connections: how many to open, each when it is first used.
        credentials: from `grpc.ssl_channel_credentials`; absent, the connection is not encrypted.
        deadlines: default time for a call; `timeout_seconds` of a call goes before.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        connections: int = DEFAULT_CONNECTIONS,
        credentials: grpc.ChannelCredentials | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
    ) -> None:
        options = channel_options(service_config(METHODS))
        self._calls = Calls([_channel(target, credentials, options) for _ in range(connections)], deadlines)
        self.feedback = feedback.FeedbackMethods(self._calls)
        self.impact = impact.ImpactMethods(self._calls)
        self.kaizen = kaizen.KaizenMethods(self._calls)
        self.learning = learning.LearningMethods(self._calls)
        self.operations = operations.OperationsMethods(self._calls)
        self.orchestration = orchestration.OrchestrationMethods(self._calls)
        self.referral = referral.ReferralMethods(self._calls)
        self.revenue = Revenue(self._calls)
        self.rollout = rollout.RolloutMethods(self._calls)

    def close(self) -> None:
        """Close every connection."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio; it belongs to the loop of its first call. Arguments as for `Client`."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        connections: int = DEFAULT_CONNECTIONS,
        credentials: grpc.ChannelCredentials | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
    ) -> None:
        options = channel_options(service_config(METHODS))

        def make_channels() -> Sequence[grpc.aio.Channel]:
            return [_async_channel(target, credentials, options) for _ in range(connections)]

        self._calls = AsyncCalls(make_channels, deadlines)
        self.feedback = feedback.AsyncFeedbackMethods(self._calls)
        self.impact = impact.AsyncImpactMethods(self._calls)
        self.kaizen = kaizen.AsyncKaizenMethods(self._calls)
        self.learning = learning.AsyncLearningMethods(self._calls)
        self.operations = operations.AsyncOperationsMethods(self._calls)
        self.orchestration = orchestration.AsyncOrchestrationMethods(self._calls)
        self.referral = referral.AsyncReferralMethods(self._calls)
        self.revenue = AsyncRevenue(self._calls)
        self.rollout = rollout.AsyncRolloutMethods(self._calls)

    async def close(self) -> None:
        """Close every connection."""
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def _channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int | str]]
) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, credentials, options=options)


def _async_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, int | str]]
) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)
