"""Aggregation that a few bad updates cannot move far (Yin et al., ICML 2018). Every market counts alike."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedrec.exchange.payload import Array


def coordinate_median(updates: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Median of every single number; with an even count, the mean of the middle two."""
    return {
        name: np.asarray(np.median(_stacked(updates, name), axis=0), updates[0][name].dtype)
        for name in sorted(updates[0])
    }


def trimmed_mean(updates: Sequence[Mapping[str, Array]], trim: float) -> dict[str, Array]:
    """Mean of every single number without its floor(``trim`` * markets) lowest and as many highest; trim < 0.5."""
    return {
        # scipy floors trim * markets in floating point, where 0.29 * 100 is a little less than 29
        name: np.asarray(stats.trim_mean(_stacked(updates, name), trim + 1e-12, axis=0), updates[0][name].dtype)
        for name in sorted(updates[0])
    }


def _stacked(updates: Sequence[Mapping[str, Array]], name: str) -> NDArray[np.float64]:
    return np.stack([update[name] for update in updates]).astype(np.float64)
