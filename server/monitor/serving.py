"""Which services grpc.health.v1 should call SERVING: the rules, from what is built and what is live.

A service serves when every method that is built and enabled there has a live version or a documented prior; one with no
built method does not, and one that only tells how things are does not count as one. The whole, which clients and
balancers watch, serves as soon as one model can answer: a model that nobody has trained yet, or that was switched off,
must not take the others from their callers.
Pure. Not here: the wire (edge/health.py); the health that a person reads (status.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from methods.snapshot import module_of
from server.desired import Switch
from server.serving.contract import Method
from server.serving.deployments import LiveRoute, Routes

WHOLE = ""


def serving_services(
    contract: Iterable[Method], built: Collection[str], routes: Routes, *, priors: frozenset[str] = frozenset()
) -> dict[str, bool]:
    """Service name -> whether it serves; "" is the whole server. `built` are full method names."""
    asked: dict[str, list[Method]] = {}
    services: dict[str, bool] = {}
    for method in contract:
        services[method.service] = False
        if method.path in built and method.models:
            asked.setdefault(method.service, []).append(method)
    for service, methods in asked.items():
        enabled = [model for method in methods for model in method.models if _switch(routes, model) is not Switch.OFF]
        services[service] = bool(enabled) and all(_can_answer(routes, model, priors) for model in enabled)
    models = (model for model in routes.by_model if module_of(model) is None)  # a snapshot answers nothing by itself
    services[WHOLE] = any(_can_answer(routes, model, frozenset()) for model in models)
    return services


def _switch(routes: Routes, model: str) -> Switch:
    route = routes.by_model.get(model)
    return Switch.ENABLED if route is None else route.switch


def _can_answer(routes: Routes, model: str, priors: frozenset[str]) -> bool:
    by_model: Mapping[str, LiveRoute[Any]] = routes.by_model
    route = by_model.get(model)
    is_live = route is not None and route.champion is not None and route.switch is Switch.ENABLED
    return is_live or model in priors
