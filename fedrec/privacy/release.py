"""A release: what leaves a market under noise."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """Gaussian noise of ``noise_multiplier`` times the largest share of one user, ``steps`` times.

    ``sampling``: the chance with which each user takes part in a step, independently of all others (Poisson sampling).
    """

    what: str
    noise_multiplier: float
    sampling: float = 1.0
    steps: int = 1
