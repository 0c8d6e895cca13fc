"""The worker's port: gRPC's options, SO_REUSEPORT, TLS.

Values from the evidence of the platform: gRPC drops most of 10,000 waiting calls as CANCELLED unless the two
`max_pending_requests` limits are raised, and refuses callers who keep to `max_concurrent_streams` unless
`max_deallocating_streams` gives room. No public header documents these; tests hold them by behaviour.
Not here: whether an address is safe to open (preflight.py); what is served (calls.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from server.settings import Settings

RECEIVE_BYTES_MAX = 4 << 20  # 10,000 rows as columns take 1.7 MB
STREAMS_MAX = 100  # calls in flight on a connection; callers keep to it, and queue what is above
PENDING_MAX = 100_000  # above any real crowd: calls are shed by our own admission, with a reason
DRAIN_NOTICE_SECONDS = 0.5  # between NOT_SERVING and the closed port; watchers of health move within milliseconds

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", RECEIVE_BYTES_MAX),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
    ("grpc.max_concurrent_streams", STREAMS_MAX),
    # gRPC counts an answered call until our loop has put it away, while its caller sends the next one as soon as the
    # answer is there: a channel kept full met REFUSED_STREAM. This many may wait to be put away; gRPC means to make 100
    # its own default (experiment h2_max_deallocating_streams_headroom). The other way out,
    # `grpc.http.overload_protection` 0, would leave nothing to bound a caller who opens calls and resets them at once.
    ("grpc.http2.max_deallocating_streams", STREAMS_MAX),
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.server.max_pending_requests", PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
)


def open_server(settings: Settings, handlers: grpc.GenericRpcHandler) -> tuple[grpc.aio.Server, int]:
    """A server bound to the settings' address, not yet started, and its port.

    Raises: RuntimeError: the port cannot be bound. OSError: a TLS file cannot be read.
    """
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handlers,))
    credentials = _credentials(settings)
    if credentials is None:
        return server, server.add_insecure_port(settings.listen)
    return server, server.add_secure_port(settings.listen, credentials)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Mutual TLS whose files are read again when they change, so that certificates rotate without a restart."""
    files = (settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file)
    certificate, key, authority = files
    if certificate is None or key is None or authority is None:
        return None
    paths = (certificate, key, authority)
    seen = _times(paths)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        now = _times(paths)
        if now == seen:
            return None
        seen = now
        return _configuration(*paths)

    fetch: Any = changed  # None means "as before", which the library's types leave out
    return grpc.dynamic_ssl_server_credentials(_configuration(*paths), fetch, require_client_authentication=True)


def _configuration(certificate: Path, key: Path, authority: Path) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(key.read_bytes(), certificate.read_bytes())], root_certificates=authority.read_bytes()
    )


def _times(paths: tuple[Path, Path, Path]) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns for path in paths)
