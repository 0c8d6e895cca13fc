"""Everything that this release serves, from all modules, in one place: models, and methods that answer as a whole.

Worker, compute process and trial runs read it; each module says for itself what it has.
Not here: how anything is answered (modules/, serving/).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from server.desired import Load
from server.modules.learning import service as learning
from server.modules.revenue import service as revenue
from server.modules.revenue.churn import FEATURES
from server.serving.heavy import open_explainer
from server.serving.load import Artifact, ModelKind
from server.serving.whole import Whole

KINDS = MappingProxyType({**revenue.KINDS, **learning.KINDS})
"""How each model is opened in a worker."""

HEAVY_METHODS = MappingProxyType({method.path: method for method in (*learning.HEAVY, *revenue.HEAVY)})
"""Methods that the compute process answers."""


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


def whole_method(model: str) -> Whole | None:
    """The method whose golden requests try a model that answers as a whole; None for a model of rows."""
    methods = (*revenue.WHOLE, *revenue.HEAVY, *learning.WHOLE, *learning.HEAVY)
    return next((method for method in methods if method.model == model), None)
