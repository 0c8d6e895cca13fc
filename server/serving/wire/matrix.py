"""Columns of a batch as one version's matrix: `methods.features.encode_columns` with its places worked out once.

A test holds the two equal. What is gained is the number of steps: one assignment for all plain fields, one look-up for
each category.
Not here: what a column means (methods/features.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from methods.features import FeatureSchema, Kind, encode_columns

Encode = Callable[[NDArray[np.float64]], NDArray[np.float32]]


def compile_encoder(schema: FeatureSchema, names: Sequence[str]) -> Encode:
    """The function from (f, n) values of the fields `names` to the schema's matrix, (n, width) float32."""
    place = {name: index for index, name in enumerate(names)}
    plain_from: list[int] = []
    plain_to: list[int] = []
    categories: list[tuple[int, slice, NDArray[np.float32]]] = []
    at = 0
    for feature in schema.features:
        width = len(feature.columns)
        if feature.kind is Kind.CATEGORY:
            table = encode_columns(
                FeatureSchema(message=schema.message, features=(feature,)),
                {feature.name: np.arange(len(feature.levels) + 2, dtype=np.float64)},  # the last is no level: missing
            )
            categories.append((place[feature.name], slice(at, at + width), table))
        else:
            plain_from.append(place[feature.name])
            plain_to.append(at)
        at += width

    def encode(values: NDArray[np.float64]) -> NDArray[np.float32]:
        matrix: NDArray[np.float32] = np.empty((values.shape[1], at), dtype=np.float32)
        matrix[:, plain_to] = values[plain_from].T
        for row, columns, table in categories:
            matrix[:, columns] = np.take(table, values[row].astype(np.intp), axis=0, mode="clip")
        return matrix

    return encode
