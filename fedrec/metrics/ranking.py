"""Full-ranking metrics with one relevant item per user.

The rank is counted from zero; items that tie with the target count half, which is the expected rank under random tie
breaking. NDCG discounts that expected rank.
"""

import numpy as np
from numpy.typing import NDArray

CUTOFFS = (10, 20)
Floats = NDArray[np.floating]


def target_ranks(scores: Floats, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Zero-based rank of each user's target among ``scores`` [U, I]; excluded items carry -inf.

    NaN counts as above the target, and a target that scores NaN has no rank: a diverged model must not look perfect.

    >>> target_ranks(np.array([[0.5, 0.9, 0.5, -np.inf]]), np.array([0]))
    array([1.5])
    """
    own = scores[np.arange(len(targets)), targets][:, None]  # [U, 1]
    above = np.count_nonzero(~(scores <= own), axis=1)
    ties = np.maximum(np.count_nonzero(scores == own, axis=1) - 1, 0)
    return np.where(np.isnan(own[:, 0]), np.inf, above + 0.5 * ties)


def ndcg(ranks: NDArray[np.float64], cutoff: int) -> NDArray[np.float64]:
    """1 / log2(rank + 2) inside the cutoff, else 0, per user."""
    return np.where(ranks < cutoff, 1 / np.log2(ranks + 2), 0.0)


def recall(ranks: NDArray[np.float64], cutoff: int) -> NDArray[np.float64]:
    """1 inside the cutoff, else 0, per user."""
    return (ranks < cutoff).astype(np.float64)


def mrr(ranks: NDArray[np.float64], cutoff: int) -> NDArray[np.float64]:
    """1 / (rank + 1) inside the cutoff, else 0, per user."""
    return np.where(ranks < cutoff, 1 / (ranks + 1), 0.0)


def per_user_metrics(ranks: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """All ranking metrics at all cutoffs, [U] each, by names such as ``ndcg@10``."""
    return {
        f"{name}@{cutoff}": metric(ranks, cutoff)
        for name, metric in (("ndcg", ndcg), ("recall", recall), ("mrr", mrr))
        for cutoff in CUTOFFS
    }


def top_items(scores: Floats, count: int) -> NDArray[np.int64]:
    """The items that are among the ``count`` best of any row, sorted; excluded items (-inf) are nobody's."""
    count = min(count, scores.shape[1])
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]  # [U, count]
    shown = np.take_along_axis(scores, best, axis=1) > -np.inf
    return np.unique(best[shown]).astype(np.int64)
