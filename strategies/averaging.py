"""Averaging of shared parameters (FedAvg, McMahan et al., AISTATS 2017): pure functions over NumPy arrays."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fedrec.exchange.payload import Array


def relative_weights(kind: str, sizes: Sequence[float]) -> list[float]:
    """Weights that sum to one of markets of these ``sizes``: by size, all equal, or by the square root of the size.

    >>> relative_weights("square_root", [1, 9])
    [0.25, 0.75]
    """
    raw = {
        "interactions": [float(count) for count in sizes],
        "uniform": [1.0 for _ in sizes],
        "square_root": [math.sqrt(count) for count in sizes],
    }[kind]
    total = math.fsum(raw)
    return [value / total for value in raw]


def weighted_average(updates: Sequence[Mapping[str, Array]], weights: Sequence[float]) -> dict[str, Array]:
    """Average of equal-shaped floating-point updates under ``weights`` that sum to one.

    Summed in float64 in the order given; the result has the first update's types.
    Callers sort updates by market: the order of addition decides the last bit.
    """
    result: dict[str, Array] = {}
    for name in sorted(updates[0]):
        total = np.zeros(updates[0][name].shape, dtype=np.float64)
        for update, weight in zip(updates, weights, strict=True):
            total += weight * np.asarray(update[name], dtype=np.float64)
        result[name] = total.astype(updates[0][name].dtype)
    return result
