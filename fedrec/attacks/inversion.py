"""Inversion of codes: which items stand behind a market's statistics of a common codebook?"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def inverted(
    count: NDArray[np.integer], total: Floats, candidates: Floats, codes: NDArray[np.integer], first: int
) -> float:
    """How often one of the ``first`` candidates nearest to a code's mean vector has that code in the market.

    Args:
        count, total: items per code [K], and the sum of their vectors [K, d], as a market told them.
        candidates: the vectors [I, d] that the attacker takes the market's items to have.
        codes: the code of each item in the market, [I]; a code outside [0, K) is none.
        first: how many guesses a code gets.
    """
    told = np.flatnonzero(count > 0)
    hits = 0
    for code in told:
        mean = np.asarray(total[code], np.float64) / count[code]
        nearest = np.argsort(((candidates - mean) ** 2).sum(axis=1), kind="stable")[:first]
        hits += bool((codes[nearest] == code).any())
    return hits / len(told) if len(told) else 0.0


def by_codebook(
    count: NDArray[np.integer], codebook: Floats, candidates: Floats, codes: NDArray[np.integer], first: int
) -> float:
    """The same by the common codebook [K, d] alone, which everybody has: what the market's own sums add is the rest."""
    return inverted(count, np.asarray(codebook, np.float64) * count[:, None], candidates, codes, first)
