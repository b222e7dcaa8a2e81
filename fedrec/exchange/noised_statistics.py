"""What a ranker takes from noised item pairs of other markets: the counts that noise alone would not make.

All of it is made of a release (:mod:`fedrec.exchange.noised_pairs`), so it costs no epsilon, whoever does it.
"""

import numpy as np
from numpy.typing import NDArray

from fedrec.exchange.noised_pairs import Floats
from fedrec.exchange.pairs import PairCounts
from fedrec.exchange.payload import Array
from fedrec.exchange.statistics import PAIR_KINDS, TOGETHER, Monthly, Statistics

VARIANCE = "variance"  # of noise on the pairs of each item, [I], in the sum that a market is sent
_DEVIATIONS = 4.0  # one of 30,000 numbers without anybody behind them is above
Numbers = NDArray[np.float64]


def statistics_of(pairs: Floats, variance: Numbers, users_each: float) -> Statistics:
    """Counts of users of every pair in a noised triangle over I items that stands out of the noise on it; nothing else.

    ``variance`` [I]: of the noise on an item's pairs; on the pair of two it is at most the smaller one. ``users_each``:
    how many users stand behind a weight of one. Of order, gaps and months nothing is known.
    """
    size = len(variance)
    first, second = np.triu_indices(size)
    deviation = np.sqrt(np.minimum(variance[first], variance[second]))
    counts = np.rint(pairs * users_each).astype(np.int64)
    there = (pairs > _DEVIATIONS * deviation) & (counts > 0)
    own = np.zeros(size, np.int64)
    own[first[there & (first == second)]] = counts[there & (first == second)]
    counts = np.minimum(counts, np.minimum(own[first], own[second]))  # no more than have either item
    there &= counts > 0
    low, high, users = (part[there].astype(np.int32) for part in (first, second, counts))
    none = np.zeros(0, np.int32)
    empty = {kind: PairCounts(none, none, none, size, directed) for kind, directed in PAIR_KINDS.items()}
    return Statistics(Monthly(none, none, none), {**empty, TOGETHER: PairCounts(low, high, users, size)})


def read_variance(arrays: dict[str, Array], size: int) -> Numbers:
    """The variances that come with a sum; raises ``ValueError`` for what cannot be such."""
    found = arrays.get(VARIANCE)
    if found is None or found.dtype != np.float32 or found.shape != (size,):
        raise ValueError(f"variances of the noise on {size} items are missing, or of another shape")
    values = np.asarray(found, np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError("variances of noise are no numbers from zero on")
    return values
