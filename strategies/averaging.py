"""Averaging of shared parameters (FedAvg, McMahan et al., AISTATS 2017): pure functions over NumPy arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from fedrec.exchange.payload import Array


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
