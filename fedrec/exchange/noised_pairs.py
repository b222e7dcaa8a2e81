"""Item pairs as a market may tell them under differential privacy: one linear statistic, noised once, of many uses.

Every user adds x x' / |x| for the set x of items they interacted with. Over the upper triangle that has an L2 norm of
sqrt((|x| + 1) / (2 |x|)) <= 1, however long the history, so Gaussian noise on every number (zero or not) protects the
whole user. Being a sum over users, it adds up over markets: to shared item vectors (Dwork et al., STOC 2014, "Analyze
Gauss"), and to federated EASE on histories scaled to unit length.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.payload import Array
from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.release import Release

PAIRS, RIDGE = "pairs", "ridge"
_MOST = 1e9  # a pair of items of more users, noise included, is none that a market could have
Floats = NDArray[np.float32]


def pair_statistic(histories: sparse.csr_matrix) -> NDArray[np.float64]:
    """Sum over users of x x' / |x|: the upper triangle of [I, I], diagonal included, row by row."""
    interacted = sparse.csr_matrix((histories != 0).astype(np.float64))
    lengths = np.maximum(np.diff(interacted.indptr), 1)
    scaled = sparse.diags(1 / np.sqrt(lengths)) @ interacted
    return np.asarray((scaled.T @ scaled).toarray()[np.triu_indices(interacted.shape[1])])


def noised_statistic(statistic: NDArray[np.float64], release: Release, noise: SecretNoise, purpose: str) -> Floats:
    """The statistic as it leaves: noise of the release's multiplier on every number, for one user weighs 1 at most."""
    drawn = noise.gaussian(statistic.shape, purpose)
    return (statistic + release.noise_multiplier * drawn).astype(np.float32)


def largest_noised(users: int, multiplier: float) -> float:
    """What no number of noised pairs of so many users exceeds: each adds 1 at most, and noise ten deviations."""
    return users + 10 * multiplier


def symmetric(triangle: Floats, size: int) -> Floats:
    """The whole matrix [size, size] of an upper triangle."""
    whole = np.zeros((size, size), np.float32)
    whole[np.triu_indices(size)] = triangle
    return whole + np.triu(whole, 1).T


def triangle_of(matrix: Floats) -> Floats:
    """The way back."""
    return np.ascontiguousarray(matrix[np.triu_indices(len(matrix))], np.float32)


def read_triangle(arrays: Mapping[str, Array], size: int, most: float = np.inf) -> Floats:
    """Noised pairs as they came from the other side; raises ``ValueError`` in words for what cannot be such.

    ``most``: the largest that a number can be, see :func:`largest_noised`.
    """
    values = arrays.get(PAIRS)
    cells = size * (size + 1) // 2
    if values is None or values.dtype != np.float32 or values.shape != (cells,):
        found = "nothing" if values is None else f"{values.dtype} of shape {values.shape}"
        raise ValueError(f"noised pairs of {size} items are float32 of shape ({cells},), not {found}")
    if not np.isfinite(values).all() or (cells and np.abs(values).max() > _MOST):
        raise ValueError("noised pairs are not finite, or larger than any market could have users")
    if cells and np.abs(values).max() > most:
        raise ValueError(f"noised pairs of up to {np.abs(values).max():g}, where {most:g} is the most that can be")
    return np.asarray(values, np.float32)


def read_ridged(arrays: Mapping[str, Array], size: int) -> dict[str, Floats]:
    """Summed noised pairs of a market's items, with the ridge that makes them a matrix with an inverse."""
    ridge = arrays.get(RIDGE)
    if ridge is None or ridge.dtype != np.float32 or ridge.shape != (1,) or not 0 <= float(ridge[0]) < np.inf:
        raise ValueError("noised pairs come with one finite ridge")
    return {PAIRS: read_triangle(arrays, size), RIDGE: np.asarray(ridge, np.float32)}


def noise_edge(items: Mapping[str, NDArray[np.int64]], multipliers: Mapping[str, float], size: int) -> float:
    """About the largest eigenvalue that noise alone has in the sum over markets, of whose ``items`` each market's noise
    lies on the pairs: 2 sqrt(max_i sum_j variance_ij) (Bandeira & van Handel, Annals of Probability 2016)."""
    variance = np.zeros(size)
    for market, index in items.items():
        variance[index] += multipliers[market] ** 2 * len(index)
    return float(2 * np.sqrt(variance.max(initial=0.0)))
