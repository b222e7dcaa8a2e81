"""Learning how much each of several scorers should count, on validation users.

Ridge-penalised softmax likelihood of the held-out items: convex, so the start does not matter; a handful of numbers per
market, all private.
"""

import numpy as np
from numpy.typing import NDArray

RIDGE = 0.1  # benchmarks/ridge.py: more is better for the prior alone, and worse where a strong model is mixed in
_MIN_SPREAD = 1e-6
_MAX_GRADIENT = 1e-7  # where the search ends: the ridge keeps weights within ten times of it from the optimum
_MAX_STEPS = 100  # ten are enough, but where sums round off more than that
_SAME_LOSS = 1e-12  # of a few nats, in float64
_CELLS = 60_000  # of users by items at a time, in float64: seven scorers of them stay in the cache


def fit_weights(
    scores: NDArray[np.float32],
    targets: NDArray[np.int64],
    seen: NDArray[np.bool_],
    rows: NDArray[np.int64] | None = None,
    ridge: float = RIDGE,
) -> NDArray[np.float64]:
    """Weights [K] of K scorers.

    Args:
        scores: [K, U, I], finite. A scorer that does not vary gets weight 0.
        targets: [T], the items to be found.
        seen: [U, I], True where an item is excluded from the ranking.
        rows: [T], ascending and without gaps, whose target each is; default: one a user. All users count alike.
        ridge: penalty ridge / 2 |w|^2 on the weights of scorers scaled to unit variance, against the mean likelihood.
    """
    rows = np.arange(len(targets)) if rows is None else rows
    unseen = scores[:, ~seen]  # [K, cells]
    centre = unseen.mean(axis=1, dtype=np.float64)  # [K]
    spread = unseen.std(axis=1, dtype=np.float64)  # [K]
    useful = np.flatnonzero(spread > _MIN_SPREAD * (1 + np.abs(centre)))
    result = np.zeros(len(scores))
    if not len(useful):
        return result
    # A shift of a scorer moves all items of a user alike and so changes no ranking; it only costs precision.
    scaled = np.stack([(scores[k] - centre[k]) / spread[k] for k in useful]).astype(np.float32)
    scaled[:, seen] = 0.0
    result[useful] = _most_likely(scaled, rows, targets, seen, ridge) / spread[useful]
    return result


def _most_likely(
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    targets: NDArray[np.int64],
    seen: NDArray[np.bool_],
    ridge: float,
) -> NDArray[np.float64]:
    """By Newton's method in float64: processes whose sums differ in the last bit find the same weights."""
    scorers, users, items = scores.shape
    share = 1 / np.bincount(rows)[rows] / users  # [T] each user's targets share one vote
    own = scores[:, rows, targets].astype(np.float64) @ share  # [K]
    size = max(1, _CELLS // items)

    def at(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The loss, its gradient [K] and its Hessian [K, K]."""
        loss = ridge / 2 * float(weights @ weights) - float(weights @ own)
        gradient, hessian = ridge * weights - own, ridge * np.eye(scorers)
        for start in range(0, users, size):
            some = slice(start, start + size)
            flat = scores[:, some].astype(np.float64).reshape(scorers, -1)  # [K, B * I]
            probability = (weights @ flat).reshape(-1, items)  # [B, I] logits at first
            probability[seen[some]] = -np.inf
            peak = probability.max(axis=1, keepdims=True)
            np.exp(probability - peak, out=probability)
            total = probability.sum(axis=1, keepdims=True)
            probability /= total
            weighted = flat * probability.ravel()
            means = weighted.reshape(scorers, -1, items).sum(axis=2)  # [K, B]
            loss += float((np.log(total) + peak).sum()) / users
            gradient += means.sum(axis=1) / users
            hessian += (weighted @ flat.T - means @ means.T) / users
        return loss, gradient, hessian

    weights = np.full(scorers, 0.3)
    loss, gradient, hessian = at(weights)
    for _ in range(_MAX_STEPS):
        if np.abs(gradient).max() <= _MAX_GRADIENT:
            break
        step = np.linalg.solve(hessian, gradient)
        while (found := at(weights - step))[0] > loss + _SAME_LOSS:
            step /= 2
        weights = weights - step
        loss, gradient, hessian = found
    return weights
