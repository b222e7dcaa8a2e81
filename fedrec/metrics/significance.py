"""Paired comparison of two methods on the same users."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats


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
    return bootstrap_means_over_seeds({"": differences}, resamples, generator, level)[""]


def bootstrap_means_over_seeds(
    differences: Mapping[str, NDArray[np.float64]],
    resamples: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> dict[str, Interval]:
    """As :func:`bootstrap_over_seeds` for several markets [S, U] under the same seeds, and for their ``mean``.

    Every market counts alike in the mean; each has its own users and so draws its own.
    """
    means = np.empty((resamples, len(differences) + 1))
    for index in range(resamples):
        seeds = len(next(iter(differences.values())))
        chosen = generator.integers(seeds, size=seeds)
        for place, one in enumerate(differences.values()):
            by_user = one[chosen].mean(axis=0)  # [U]
            means[index, place] = by_user[generator.integers(len(by_user), size=len(by_user))].mean()
        means[index, -1] = means[index, :-1].mean()
    own = [float(one.mean()) for one in differences.values()]
    found = _intervals(np.array([*own, np.mean(own)]), means, level)
    return dict(zip([*differences, "mean"], found, strict=True))


def paired_t(differences: NDArray[np.float64]) -> float:
    """Two-sided p-value of Student's paired t-test of differences [N]: that their mean is zero.

    Of differences that are all zero it is 1; of fewer than two it is nan, for nothing can be said.
    """
    if len(differences) < 2:
        return math.nan
    if not differences.any():
        return 1.0
    if np.ptp(differences) == 0:
        return 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm, Scandinavian Journal of Statistics 1979); nan stays and is not counted.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((value, place) for place, value in enumerate(values) if not math.isnan(value))
    adjusted, largest = [math.nan] * len(values), 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, value * (len(order) - rank)))
        adjusted[place] = largest
    return adjusted


def _intervals(mean: NDArray[np.float64], means: NDArray[np.float64], level: float) -> list[Interval]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, bounds)) for bounds in zip(mean, low, high, strict=True)]
