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
    return paired_bootstraps(difference[:, None], resamples, generator, level)[0]


def paired_bootstraps(
    differences: NDArray[np.float64], resamples: int, generator: np.random.Generator, level: float = 0.95
) -> list[Interval]:
    """As :func:`paired_bootstrap` for K comparisons [U, K] on the same resampled users."""
    users = len(differences)
    # Resampling users with replacement is drawing how often each appears.
    means = np.array(
        [
            np.bincount(generator.integers(users, size=users), minlength=users) @ differences / users
            for _ in range(resamples)
        ]
    )  # [resamples, K]
    return _intervals(differences.mean(axis=0), means, level)


def bootstrap_over_seeds(
    differences: NDArray[np.float64], resamples: int, generator: np.random.Generator, level: float = 0.95
) -> Interval:
    """Interval of the mean of differences [S, U] of the same users under S seeds: both are resampled.

    The wider question: another training run, on other users. With few seeds the seeds' part is a rough guess, and noise
    of single (seed, user) pairs counts threefold (Owen, Annals of Applied Statistics 2007): the interval errs wide.
    """
    seeds, users = differences.shape
    means = np.empty((resamples, 1))
    for index in range(resamples):
        by_user = differences[generator.integers(seeds, size=seeds)].mean(axis=0)  # [U]
        means[index] = by_user[generator.integers(users, size=users)].mean()
    return _intervals(np.array([differences.mean()]), means, level)[0]


def _intervals(mean: NDArray[np.float64], means: NDArray[np.float64], level: float) -> list[Interval]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, bounds)) for bounds in zip(mean, low, high, strict=True)]
