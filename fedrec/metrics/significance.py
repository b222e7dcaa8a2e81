"""Paired comparison of two methods on the same users."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Interval(NamedTuple):
    """A mean difference with its bootstrap interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    difference: NDArray[np.float64], resamples: int, generator: np.random.Generator, level: float = 0.95
) -> Interval:
    """Percentile interval of the mean of per-user differences [U], users resampled with replacement."""
    users = len(difference)
    # Resampling users with replacement is drawing how often each appears.
    means = np.array(
        [
            np.bincount(generator.integers(users, size=users), minlength=users) @ difference / users
            for _ in range(resamples)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean()), float(low), float(high))
