"""Live versions: what is loaded, who answers for each model, and the next step towards the desired state.

`next_swap` is pure: the same snapshot gives the same step, however often asked. A version is loaded and warmed beside
the old one and routed by swapping one reference to a frozen `Routes`; the old one goes when the last request that
holds it ends. What is live never gets worse on the way: a route is taken over only with versions that are loaded.
Not here: what should be live (control); opening an artifact (load.py); the loop that carries steps out (follow.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from server.desired import Desired, Load, Mode, Route, Switch
from server.serving.split import split_base

if TYPE_CHECKING:
    from hashlib import blake2b

M = TypeVar("M", covariant=True)  # noqa: PLC0105 - what a module makes of an artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What every answer says of the version behind it.

    Attributes:
        data_version: digest of the data that it was fitted on.
        data_time: newest moment in that data, UTC.
        observations: rows that it was fitted on.
        currency: the one its money features are in; None when it has none.
        feature_set: digest of the features that it reads and of the code that computed them; it answers by id only from
            a snapshot that was made by the same. Empty for a version that reads none.
    """

    data_version: str
    data_time: datetime
    observations: int
    currency: str | None
    feature_set: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment(Generic[M]):
    """One loaded version. `asked` is the module's own view of it: reader, graph, parameters.

    `prefix` stands for the version in the process's slot while it computes (server/slots.py).
    """

    model: str
    version: int
    digest: str
    prefix: int
    facts: Facts
    asked: M


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveRoute(Generic[M]):
    """Who answers for one model now. `base` is the prepared hash of the split; there is one with every challenger."""

    model: str
    switch: Switch = Switch.ENABLED
    champion: Deployment[M] | None = None
    challenger: Deployment[M] | None = None
    mode: Mode = Mode.SHADOW
    share_bp: int = 0
    base: blake2b | None = None
    champion_since: datetime | None = None
    challenger_since: datetime | None = None

    @property
    def has_canary(self) -> bool:
        """Whether some keys are answered by the challenger."""
        return self.challenger is not None and self.mode is Mode.CANARY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routes:
    """All routes of one generation."""

    generation: int = 0
    by_model: Mapping[str, LiveRoute[Any]] = field(default_factory=lambda: MappingProxyType({}))


class Live:
    """The one reference that requests read and the follower swaps."""

    __slots__ = ("routes",)

    def __init__(self) -> None:
        self.routes = Routes()

    def route(self, model: str) -> LiveRoute[Any] | None:
        """Who answers for a model; None while nobody does."""
        return self.routes.by_model.get(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a process knows when it asks for its next step.

    Attributes:
        desired: the newest desired state that was read.
        loaded: digests in memory.
        refused: digests that could not be loaded in this generation.
        routed: digests that the present routes use.
        routed_generation: generation of the present routes; -1 before the first.
    """

    desired: Desired
    loaded: frozenset[str]
    refused: frozenset[str]
    routed: frozenset[str]
    routed_generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStep:
    """Open and warm this version beside the others."""

    load: Load


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStep:
    """Swap to the routes of this generation."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropStep:
    """Let go of these versions; nobody routes to them and nobody wants them."""

    digests: frozenset[str]


Step = LoadStep | RouteStep | DropStep


def next_swap(snapshot: Snapshot) -> Step | None:
    """The next step towards the desired state; None when there is nothing to do.

    First every version is loaded or refused, then the routes change, then what nobody needs any more is dropped.
    """
    settled = snapshot.loaded | snapshot.refused
    for load in snapshot.desired.load:
        if load.digest not in settled:
            return LoadStep(load=load)
    if snapshot.desired.generation > snapshot.routed_generation:
        return RouteStep(generation=snapshot.desired.generation)
    if idle := snapshot.loaded - snapshot.desired.digests - snapshot.routed:
        return DropStep(digests=idle)
    return None


def make_routes(desired: Desired, loaded: Mapping[str, Deployment[Any]], previous: Routes) -> Routes:
    """The routes of a desired state, from versions that are loaded.

    A champion that is not loaded leaves the previous champion in place; a challenger that is not loaded is left out.
    """
    routes = {
        model: _live_route(model, route, loaded, previous.by_model.get(model)) for model, route in desired.route.items()
    }
    return Routes(generation=desired.generation, by_model=MappingProxyType(routes))


def routed_digests(routes: Routes) -> frozenset[str]:
    """Digests of every version that some route names."""
    return frozenset(
        deployment.digest
        for route in routes.by_model.values()
        for deployment in (route.champion, route.challenger)
        if deployment is not None
    )


def _live_route(
    model: str, route: Route, loaded: Mapping[str, Deployment[Any]], previous: LiveRoute[Any] | None
) -> LiveRoute[Any]:
    champion, since = None, None
    if route.champion is not None:
        champion, since = loaded.get(route.champion.digest), route.champion.since
        if champion is None and previous is not None:
            champion, since = previous.champion, previous.champion_since or since
    challenger = loaded.get(route.challenger.digest) if route.challenger is not None else None
    if route.challenger is None or challenger is None or champion is None:
        return LiveRoute(model=model, switch=route.switch, champion=champion, champion_since=since)
    return LiveRoute(
        model=model,
        switch=route.switch,
        champion=champion,
        champion_since=since,
        challenger=challenger,
        challenger_since=route.challenger.since,
        mode=route.challenger.mode,
        share_bp=route.challenger.share_bp,
        base=split_base(model, challenger.digest),
    )
