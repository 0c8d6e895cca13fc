"""The goals of the house that this benchmark measures, as anchors beside its figures."""

from collections.abc import Mapping
from typing import Final

from benchmarks.report import Anchor

_GOAL: Final = "goal"
_FIELD: Final = "published Python model servers: 0.5-3.3 k calls/s a process"

ANCHORS: Final[Mapping[str, Anchor]] = {
    "predict_churn.rows_1.ratio_to_echo": Anchor(at_least=0.9, source=_GOAL),
    "predict_churn.rows_1.calls_per_second": Anchor(
        at_least=513, source="Ray Serve gRPC proxy, release microbenchmark"
    ),
    "predict_churn.rows_1.failed_calls": Anchor(at_most=0, source=_GOAL),
    "batch_predict_churn.rows_1000.ratio_to_session": Anchor(at_least=0.8, source=_GOAL),
    "promotion.failed_calls": Anchor(at_most=0, source=_GOAL),
    "promotion.not_served": Anchor(at_most=0, source=_GOAL),
    "promotion.p99_ratio": Anchor(at_most=1.5, source=_GOAL),
    "promotion.seconds_to_served": Anchor(at_most=3.0, source="goal, embedded registry"),
    "start.seconds": Anchor(at_most=1.5, source="goal, with cache"),
    "start.server_seconds": Anchor(at_most=5.0, source="goal, second start"),
    "worker.rss_20_models_mb": Anchor(at_most=170.0, source=_GOAL),
}
