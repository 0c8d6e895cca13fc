"""Client of Paeds Resus ML.

    from paedsresus.ml import Client

    with Client() as client:
        answer = client.revenue.predict_churn(features={"tenure_days": 120, "sessions_28d": 2})

Messages stand in `paedsresus.ml.v1`; importing them loads no grpc, because the names below are found only when used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paedsresus.ml.calls import Deadlines
    from paedsresus.ml.client import AsyncClient, Client
    from paedsresus.ml.errors import MlError
    from paedsresus.ml.rows import ChurnRow, LtvRow

__all__ = ["AsyncClient", "ChurnRow", "Client", "Deadlines", "LtvRow", "MlError"]

_PLACES = {
    "AsyncClient": "client",
    "ChurnRow": "rows",
    "Client": "client",
    "Deadlines": "calls",
    "LtvRow": "rows",
    "MlError": "errors",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
