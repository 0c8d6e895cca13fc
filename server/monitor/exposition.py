"""The HTTP port that answers /metrics: the files of all workers, and what control itself knows.

Workers write their counters to shared files named by slot (metrics.py); this adds them up at each scrape. Control's
own facts come from a function that is asked at each scrape, so nothing can be stale.
Not here: what the workers count (metrics.py); where the facts come from (server/control).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """One number with its labels at this moment; `name` without the house's prefix."""

    name: str
    about: str
    labels: tuple[str, ...] = ()
    rows: Sequence[tuple[tuple[str, ...], float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """The running port. Call `close` at the end."""

    port: int
    close: Callable[[], None]


class _Facts(Collector):
    def __init__(self, facts: Callable[[], Iterable[Gauge]]) -> None:
        self._facts = facts

    def collect(self) -> Iterable[Metric]:
        for gauge in self._facts():
            family = GaugeMetricFamily(f"paedsresus_{gauge.name}", gauge.about, labels=gauge.labels)
            for labels, value in gauge.rows:
                family.add_metric(labels, value)
            yield family


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files with which scrapers and server prove themselves to each other."""

    certificate: Path
    key: Path
    client_ca: Path


def expose_metrics(
    listen: str, folder: Path, facts: Callable[[], Iterable[Gauge]], certificates: Certificates | None = None
) -> Exposition:
    """Open the port on `listen` ("host:port", 0 takes a free one) and answer scrapes in threads of its own.

    With certificates it speaks HTTPS and wants one from the scraper; without them it must stay on loopback.

    Raises: OSError: the port is taken, or a file cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    registry = CollectorRegistry(auto_describe=False)
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]  # it ships no types
    registry.register(_Facts(facts))
    host, _, port = listen.rpartition(":")
    server: Any
    server, thread = start_http_server(
        int(port),
        addr=host.strip("[]") or "127.0.0.1",
        registry=registry,
        certfile=str(certificates.certificate) if certificates else None,
        keyfile=str(certificates.key) if certificates else None,
        client_cafile=str(certificates.client_ca) if certificates else None,
        client_auth_required=certificates is not None,
    )

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)

    return Exposition(port=int(server.server_port), close=close)
