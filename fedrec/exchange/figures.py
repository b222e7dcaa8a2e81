"""Noised figures of the test users: sums of metrics in [0, 1] and the number of users, released once."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedrec.exchange.payload import Array
from fedrec.privacy.noise import SecretNoise
from fedrec.privacy.release import Release

FIGURES = "figures"  # the array that they travel as, and what their release is called
SHARED = "shared"  # the method whose they are: the federated model before anything is fitted in a market
METRICS = ("ndcg@10", "recall@10")
_LARGEST = (len(METRICS) + 1) ** 0.5  # L2 norm of what one user adds: numbers in [0, 1], and one


def noised_figures(
    sums: NDArray[np.float64], release: Release, noise: SecretNoise, purpose: str
) -> NDArray[np.float32]:
    """Sums over users [M + 1], the last of them their number, under Gaussian noise.

    Neighbours differ by one user, so a mean is not released: its denominator moves too. Whoever reads divides.
    """
    drawn = noise.gaussian(sums.shape, purpose)
    return np.asarray(sums + _LARGEST * release.noise_multiplier * drawn, np.float32)


def read_figures(arrays: Mapping[str, Array]) -> dict[str, float]:
    """``shared.METRIC`` of noised sums as they came; raises ``ValueError`` for what cannot be such. Empty without any.

    A mean is a sum over the users, both noised, and brought back to what a mean can be.
    """
    if FIGURES not in arrays:
        return {}
    sums = arrays[FIGURES]
    if sums.dtype != np.float32 or sums.shape != (len(METRICS) + 1,) or not np.isfinite(sums).all():
        raise ValueError("noised figures are not what they must be")
    users = max(float(sums[-1]), 1.0)
    return {
        f"{SHARED}.{name}": min(max(float(value) / users, 0.0), 1.0)
        for name, value in zip(METRICS, sums[:-1], strict=True)
    }
