"""A request by id as it would have come by features: the live snapshot's, what the caller knows better, what is newer.

The features are looked up for the version that answers, since two versions may read different ones; from there on a
request goes the very way of one that brought its features. One reference to the live snapshot is taken for a look-up,
so a swap never shows half of two.
Not here: the snapshot itself (subjects.py); which one is live (deployments.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf.message import Message

from methods.snapshot import Folded, TableKind, fold_events, model_of
from paedsresus.ml.v1 import common_pb2
from server.desired import Switch
from server.errors import NoLiveVersion, ServingError, SwitchedOff, WrongState
from server.serving.answering import Seat
from server.serving.deployments import Deployment, Live, LiveRoute
from server.serving.subjects import Snapshot, SubjectTable

BY_ID, FEATURES = "by_id", "features"


class Found(NamedTuple):
    """A subject's features, and what the answer says of where they come from."""

    features: Any
    info: common_pb2.AnswerInfo


class Filled(NamedTuple):
    """A request by features, and what the answer says of where they come from."""

    request: Any
    info: common_pb2.AnswerInfo


class ById:
    """Look-ups for the methods of one module."""

    __slots__ = ("_live", "_model", "_module")

    def __init__(self, live: Live, method: str) -> None:
        """For the methods of a service, by the path of any of them."""
        self._live = live
        self._module = method.split("/")[1].rpartition(".")[2].removesuffix("Service").lower()
        self._model = model_of(self._module)

    def knows(self, seat: Seat) -> bool:
        """Whether the live snapshot has the features of this version; also when there is none, which is then said."""
        route = self._live.route(self._model)
        if route is None or route.champion is None:
            return True
        return seat.deployment.facts.feature_set in route.champion.asked.tables

    def find(self, asked: Any, kind: type[Message], seat: Seat, as_of: float) -> Found:
        """The features of the subject that `asked` names, a `<Method>Subject`, for the version in this seat.

        Args:
            asked: id, overrides and, where the method has them, recent events.
            kind: the method's features message.
            seat: who answers.
            as_of: seconds since 1970.
        Raises: NoLiveVersion, SwitchedOff: there is no snapshot. WrongState: it has other features than the version.
            NotFound: it does not know the subject. InvalidField: it is newer than `as_of`.
        """
        deployment = self._snapshot()
        snapshot: Snapshot = deployment.asked
        table = self._table(snapshot, seat, kind)
        freshness = snapshot.freshness(as_of)
        overrides = asked.overrides if asked.HasField("overrides") else None
        features: Any = snapshot.message(table, asked.subject_id, kind(), overrides)
        if "recent" in asked.DESCRIPTOR.fields_by_name and asked.recent:
            replaced = overrides is not None and overrides.HasField("knowledge")
            until = float("-inf") if replaced else as_of - freshness.age_seconds
            features.knowledge.history.extend(newer_events(asked.recent, until, as_of))
        info = common_pb2.AnswerInfo()
        said = info.feature_snapshot
        said.model, said.version = deployment.model, deployment.version
        said.data_time.FromDatetime(freshness.data_time)
        said.age.FromMicroseconds(round(freshness.age_seconds * 1e6))
        if freshness.is_stale:
            info.warnings.append(common_pb2.WARNING_STALE_DATA)
        return Found(features, info)

    def fill(self, request: Any, seat: Seat, as_of: float) -> Filled:
        """A request by id with features in the place of the id. Whether overrides fit them is for the caller to judge.

        Raises: ServingError: as `find`.
        """
        found = self.find(request.by_id, type(request.features), seat, as_of)
        full = type(request)()
        full.CopyFrom(request)
        full.features.SetInParent()
        full.features.CopyFrom(found.features)
        return Filled(full, found.info)

    def _snapshot(self) -> Deployment[Snapshot]:
        route = self._live.route(self._model)
        if route is None or route.champion is None or route.switch is not Switch.ENABLED:
            raise self._nothing(route)
        return route.champion

    def _nothing(self, route: LiveRoute[Any] | None) -> ServingError:
        metadata = {"model": self._model, "field": BY_ID}
        if route is not None and route.switch is not Switch.ENABLED:
            return SwitchedOff(
                f"by_id: model {self._model} is switched off in the registry (tag traffic.switch); send `features`",
                metadata={**metadata, "switch": route.switch.value},
            )
        return NoLiveVersion(
            f"by_id: no feature snapshot of {self._module} is live; send `features`, or publish one: "
            f"python -m training snapshot {self._module}",
            metadata=metadata,
        )

    def _table(self, snapshot: Snapshot, seat: Seat, kind: type[Message]) -> SubjectTable:
        table = snapshot.table(seat.deployment.facts.feature_set)
        is_numbers = table.description.kind is TableKind.NUMBERS
        if is_numbers and table.description.schema.message != kind.DESCRIPTOR.full_name:
            raise WrongState(
                f"by_id: the snapshot holds {table.description.schema.message} for the version that answers, and the "
                f"method reads {kind.DESCRIPTOR.full_name}; send `features`",
                metadata={"field": BY_ID, "snapshot": snapshot.data_version},
            )
        return table


def has_id(request: Any) -> bool:
    """Whether a request names its subject by id."""
    return BY_ID in request.DESCRIPTOR.fields_by_name and request.HasField(BY_ID)


def newer_events(events: Any, held_until: float, as_of: float) -> list[Any]:
    """The events after what is held already and up to a moment, seconds since 1970, oldest first.

    By the fold that makes snapshots, so that what a snapshot holds is never counted twice.
    """
    timed = ((event.event_time.seconds + event.event_time.nanos * 1e-9, event) for event in events)
    nothing: Any = ()
    chain = fold_events(Folded(nothing, held_until), timed, lambda earlier, event: (earlier, event), until=as_of).state
    newest_first = []
    while chain:
        chain, event = chain
        newest_first.append(event)
    return newest_first[::-1]
