"""Everything that this release serves, from all modules, in one place: models, and methods that answer as a whole.

Worker, compute process and trial runs read it; each module says for itself what it has.
Not here: how anything is answered (modules/, serving/).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from methods.snapshot import model_of
from server.desired import Load
from server.modules.learning import service as learning
from server.modules.revenue import service as revenue
from server.modules.revenue.churn import FEATURES
from server.serving.contract import Lane, Method, read_contract
from server.serving.heavy import open_explainer
from server.serving.load import Artifact, ModelKind
from server.serving.subjects import snapshot_kind
from server.serving.whole import Whole

SNAPSHOTS = ("learning", "revenue")
"""Modules with built methods that answer by id: each has a model of feature snapshots."""

KINDS = MappingProxyType(
    {**revenue.KINDS, **learning.KINDS, **{model_of(module): snapshot_kind(module) for module in SNAPSHOTS}}
)
"""How each model is opened in a worker."""

_HEAVY = (*learning.HEAVY, *revenue.HEAVY)
_LIGHT = (*learning.WHOLE, *revenue.WHOLE)
HEAVY_METHODS = MappingProxyType(
    {method.path: method for method in (*_HEAVY, *(method for method in _LIGHT if method.is_light is not None))}
)
"""Methods that the compute process answers, all their requests or those that are not light."""


def _nothing(_artifact: Artifact, _load: Load) -> Any:
    """A version whose methods never ask the compute process."""
    return None


_HEAVY_MODELS = frozenset(method.model for method in HEAVY_METHODS.values())
COMPUTED = MappingProxyType(
    {
        **{
            name: kind if name in _HEAVY_MODELS else ModelKind(features=kind.features, open=_nothing)
            for name, kind in KINDS.items()
        },
        "churn": ModelKind(features=FEATURES, open=open_explainer),
    }
)
"""How each model is opened in the compute process."""


def built_methods() -> tuple[Method, ...]:
    """Methods of the contract that ask a model of this release, by service and name."""
    whole = {method.path for method in (*_LIGHT, *_HEAVY)}
    rows = {name for name, kind in KINDS.items() if kind.features is not None}
    asked = (method for method in read_contract() if method.lane is not Lane.CONTROL)
    return tuple(method for method in asked if method.path in whole or rows & set(method.models[:1]))


def whole_method(model: str) -> Whole | None:
    """The method whose golden requests try a model that answers as a whole; None for a model of rows."""
    return next((method for method in (*_LIGHT, *_HEAVY) if method.model == model), None)
