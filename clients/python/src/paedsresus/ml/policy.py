"""How calls are retried and connections kept: one gRPC service config and the channel options around it.

Retries follow gRFC A6: UNAVAILABLE for every method, since each is safe to repeat (a `request_id` names the request);
CANCELLED too where a model is asked, because a worker that drains cancels the odd call. At most 4 attempts, and a token
bucket that stops all retries once half of it is spent, so that retries never become a storm.
Deadlines stand in no service config: a server does not see those. Every call passes its own (calls.py).
"""

import json
from collections.abc import Iterable
from typing import Any

from paedsresus.ml.method import Method

ATTEMPTS = 4  # gRFC A6 allows 5; four with the pauses below take about 0.4 s
_BACKOFF = {"initialBackoff": "0.02s", "maxBackoff": "1s", "backoffMultiplier": 4}
# A killed worker fails what it had in flight at once: the bucket must outlive a hundred such calls. Each success
# gives back a tenth, so under a lasting fault at most one call in ten is a retry.
_THROTTLING = {"maxTokens": 200, "tokenRatio": 0.1}
_MEBIBYTE = 1024 * 1024


def service_config(methods: Iterable[Method[Any, Any]]) -> str:
    """Return the service config, JSON, for these methods: round robin, health checks, retries."""
    predictions: list[dict[str, str]] = []
    others: list[dict[str, str]] = []
    for method in methods:
        _, service, name = method.path.split("/")
        (predictions if method.repeat_cancelled else others).append({"service": service, "method": name})
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
        "retryThrottling": _THROTTLING,
        "methodConfig": [
            {"name": predictions, "retryPolicy": _retry_policy("UNAVAILABLE", "CANCELLED")},
            {"name": others, "retryPolicy": _retry_policy("UNAVAILABLE")},
        ],
    }
    return json.dumps(config)


def channel_options(config: str) -> list[tuple[str, int | str]]:
    """Options of each channel; the subchannel pool is its own, else all channels would share one connection."""
    return [
        ("grpc.service_config", config),
        ("grpc.enable_retries", 1),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.max_receive_message_length", 16 * _MEBIBYTE),
    ]


def _retry_policy(*codes: str) -> dict[str, object]:
    return {"maxAttempts": ATTEMPTS, **_BACKOFF, "retryableStatusCodes": list(codes)}
