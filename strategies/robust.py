"""Aggregation that a few bad updates cannot move far (Yin et al., ICML 2018). Every market counts alike."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from fedrec.exchange.payload import Array


def coordinate_median(updates: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Median of every single number; with an even count, the mean of the middle two."""
    return {
        name: np.median(np.stack([update[name] for update in updates]).astype(np.float64), axis=0).astype(
            updates[0][name].dtype
        )
        for name in sorted(updates[0])
    }


def trimmed_mean(updates: Sequence[Mapping[str, Array]], trim: float) -> dict[str, Array]:
    """Mean of every single number without its floor(``trim`` * markets) lowest and as many highest; trim < 0.5."""
    return {
        name: stats.trim_mean(np.stack([update[name] for update in updates]).astype(np.float64), trim, axis=0).astype(
            updates[0][name].dtype
        )
        for name in sorted(updates[0])
    }
