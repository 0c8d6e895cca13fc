"""Requests to measure with: all different, seeded, a tenth of their values missing; and what a right answer is.

One repeated request flatters caches and branch predictors, so the generator cycles through a thousand and more.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from paedsresus.ml.v1 import revenue_pb2

PREDICT: Final = "/paedsresus.ml.v1.RevenueService/PredictChurn"
BATCH: Final = "/paedsresus.ml.v1.RevenueService/BatchPredictChurn"
AS_OF: Final = datetime(2026, 1, 1, tzinfo=UTC)
HORIZONS: Final = 3  # the contract's default: 28, 90 and 180 days
_MISSING_SHARE: Final = 0.1
_DAY_SECONDS: Final = 86_400

# Field -> a column of plausible values; the contract's bounds hold for all of them.
_DRAWS: Final[dict[str, Any]] = {
    "plan": lambda rng, n: rng.integers(1, 5, n),
    "role": lambda rng, n: rng.integers(1, 5, n),
    "tenure_days": lambda rng, n: rng.integers(0, 1500, n),
    "renewal_time": lambda rng, n: rng.integers(0, 90, n).astype(np.float64),
    "price": lambda rng, n: rng.integers(900, 30_000, n),
    "seats": lambda rng, n: rng.integers(1, 40, n),
    "sessions_28d": lambda rng, n: rng.poisson(6, n),
    "minutes_28d": lambda rng, n: rng.gamma(2.0, 60.0, n),
    "lessons_28d": lambda rng, n: rng.poisson(4, n),
    "active_days_28d": lambda rng, n: rng.integers(0, 29, n),
    "usage_trend": lambda rng, n: rng.uniform(-1, 1, n),
    "days_since_last_session": lambda rng, n: rng.exponential(12.0, n),
    "answers_28d": lambda rng, n: rng.poisson(80, n),
    "correct_share_28d": lambda rng, n: rng.beta(8, 3, n),
    "payment_failures_90d": lambda rng, n: rng.poisson(0.2, n),
    "tickets_90d": lambda rng, n: rng.poisson(0.3, n),
    "certification_due_time": lambda rng, n: rng.integers(-30, 700, n).astype(np.float64),
    "exams_passed": lambda rng, n: rng.poisson(2, n),
    "invites_90d": lambda rng, n: rng.poisson(1, n),
    "auto_renew": lambda rng, n: rng.uniform(size=n) < 0.7,
}


class WrongAnswerError(Exception):
    """An answer that came with status OK is not what the method promises."""


def draw_columns(rows: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Field -> (rows,) values with NaN for missing; times in days from `AS_OF`, money in minor units."""
    rng = np.random.default_rng(seed)
    columns: dict[str, NDArray[np.float64]] = {}
    for name, draw in _DRAWS.items():
        values = np.asarray(draw(rng, rows), dtype=np.float64)
        values[rng.uniform(size=rows) < _MISSING_SHARE] = np.nan
        columns[name] = values
    return columns


def single_questions(count: int, seed: int = 1) -> Iterator[bytes]:
    """`count` serialised PredictChurnRequests, all different."""
    columns = draw_columns(count, seed)
    for row in range(count):
        request = revenue_pb2.PredictChurnRequest()
        request.context.request_id = f"speed-{seed}-{row}"
        request.context.subject_id = f"learner-{row}"
        request.context.as_of_time.FromDatetime(AS_OF)
        _fill_features(request.features, {name: float(values[row]) for name, values in columns.items()})
        yield request.SerializeToString()


def batch_questions(count: int, rows: int, seed: int = 1) -> Iterator[bytes]:
    """`count` serialised BatchPredictChurnRequests of `rows` rows each, all different."""
    for number in range(count):
        request = revenue_pb2.BatchPredictChurnRequest()
        request.context.request_id = f"speed-batch-{seed}-{number}"
        request.context.as_of_time.FromDatetime(AS_OF)
        _fill_columns(request.columns, draw_columns(rows, seed + number))
        yield request.SerializeToString()


def check_single(answer: bytes) -> int:
    """Version that gave an answer to a single question.

    Raises: WrongAnswerError: it is not a message of the method, or not a whole answer.
    """
    try:
        response = revenue_pb2.PredictChurnResponse.FromString(answer)
    except DecodeError as error:
        raise WrongAnswerError("the bytes are no PredictChurnResponse") from error
    chances = [at.churn_probability.value for at in response.churn]
    if len(chances) != HORIZONS or not all(0 <= chance <= 1 for chance in chances) or chances != sorted(chances):
        raise WrongAnswerError(f"churn by horizon is {chances}")
    if not response.info.prediction_id or len(response.info.served_by) != 1:
        raise WrongAnswerError("the answer does not say who gave it")
    return response.info.served_by[0].version


def check_batch(answer: bytes, rows: int) -> None:
    """Check an answer to a batch of `rows` rows.

    Raises: WrongAnswerError: it is not a message of the method, or a row has no answer.
    """
    try:
        response = revenue_pb2.BatchPredictChurnResponse.FromString(answer)
    except DecodeError as error:
        raise WrongAnswerError("the bytes are no BatchPredictChurnResponse") from error
    columns = (response.churn_probabilities, response.lowers, response.uppers)
    if response.row_errors or any(len(column) != rows * HORIZONS for column in columns):
        raise WrongAnswerError(f"{len(response.churn_probabilities)} chances for {rows} rows")


def _fill_features(features: revenue_pb2.PredictChurnFeatures, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if np.isnan(value):
            continue
        if name == "price":
            features.price.minor_units = int(value)
            features.price.currency_code = "USD"
        elif name.endswith("_time"):
            getattr(features, name).seconds = int(AS_OF.timestamp() + value * _DAY_SECONDS)
        else:
            field = features.DESCRIPTOR.fields_by_name[name]
            is_real = field.cpp_type == field.CPPTYPE_DOUBLE
            setattr(features, name, value if is_real else int(value))


def _fill_columns(message: revenue_pb2.PredictChurnColumns, columns: Mapping[str, NDArray[np.float64]]) -> None:
    message.rows = len(next(iter(columns.values())))
    for name, values in columns.items():
        is_present = ~np.isnan(values)
        filled = np.where(is_present, values, 0.0)
        setattr(message, f"{name}_present", np.packbits(is_present, bitorder="little").tobytes())
        if name == "price":
            message.price_minor_units.extend(filled.astype(np.int64).tolist())
            message.price_currency_code = "USD"
        elif name.endswith("_time"):
            getattr(message, f"{name}_days").extend(filled.tolist())
        else:
            field = message.DESCRIPTOR.fields_by_name[name]
            is_real = field.cpp_type == field.CPPTYPE_DOUBLE
            getattr(message, name).extend(filled.tolist() if is_real else filled.astype(np.int64).tolist())
