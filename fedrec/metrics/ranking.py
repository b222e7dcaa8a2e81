"""Ranking metrics: one relevant item per user, or several (a basket).

The rank is counted from zero; items that tie with the target count half, which is the expected rank under random tie
breaking. NDCG discounts that expected rank.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def target_ranks(
    scores: Floats, targets: NDArray[np.int64], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Zero-based rank of each target [T] among its row of ``scores`` [U, I]; excluded items carry -inf.

    ``rows`` says whose target each is; default: one target per row. NaN counts as above the target, and a target that
    scores NaN has no rank: a diverged model must not look perfect.

    >>> target_ranks(np.array([[0.5, 0.9, 0.5, -np.inf]]), np.array([0]))
    array([1.5])
    """
    if rows is not None:
        scores = scores[rows]  # [T, I]
    own = scores[np.arange(len(targets)), targets][:, None]  # [T, 1]
    above = np.count_nonzero(~(scores <= own), axis=1)
    ties = np.maximum(np.count_nonzero(scores == own, axis=1) - 1, 0)
    return np.where(np.isnan(own[:, 0]), np.inf, above + 0.5 * ties)


def ndcg(ranks: NDArray[np.float64], cutoff: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Discounted gain 1 / log2(rank + 2) inside the cutoff over the best that the user's targets could reach, [U].

    ``rows`` [T], ascending and without gaps, says whose target each rank belongs to; default: one target per user, for
    whom the best is 1.
    """
    gain = np.where(ranks < cutoff, 1 / np.log2(ranks + 2), 0.0)
    if rows is None:
        return gain
    best = np.cumsum(1 / np.log2(np.arange(cutoff) + 2))
    return np.asarray(np.bincount(rows, gain) / best[np.minimum(np.bincount(rows), cutoff) - 1])


def recall(ranks: NDArray[np.float64], cutoff: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Share of the user's targets inside the cutoff, [U]; ``rows`` as in :func:`ndcg`."""
    found = (ranks < cutoff).astype(np.float64)
    return found if rows is None else np.asarray(np.bincount(rows, found) / np.bincount(rows))


def mrr(ranks: NDArray[np.float64], cutoff: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """1 / (rank + 1) of the user's best target inside the cutoff, else 0, [U]; ``rows`` as in :func:`ndcg`."""
    gain = np.where(ranks < cutoff, 1 / (ranks + 1), 0.0)
    if rows is None:
        return gain
    best = np.zeros(int(rows[-1]) + 1)
    np.maximum.at(best, rows, gain)
    return best


def top_items(scores: Floats, count: int) -> NDArray[np.int64]:
    """The ``count`` best items of every row, [U, count], best first; -1 where fewer are ranked (others have -inf)."""
    best = np.full((len(scores), count), -1)
    some = min(count, scores.shape[1])
    if some:
        found = np.argpartition(-scores, some - 1, axis=1)[:, :some]  # [U, some]
        values = np.take_along_axis(scores, found, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        found = np.where(values > -np.inf, found, -1)
        best[:, :some] = np.take_along_axis(found, order, axis=1)
    return best
