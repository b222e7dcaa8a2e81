"""Learning how much each of several scorers should count, on validation users.

Ridge-penalised softmax likelihood of the held-out items: convex, so the start does not matter; a handful of numbers per
market, all private.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

RIDGE = 0.1  # benchmarks/ridge.py: more is better for the prior alone, and worse where a strong model is mixed in
_MIN_SPREAD = 1e-6


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
    share = 1 / np.bincount(rows)[rows] / len(seen)  # [T] each user's targets share one vote
    own = scores[:, rows, targets].astype(np.float64) @ share  # [K]
    flat = scores.reshape(len(scores), -1)  # [K, U * I]

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = (weights.astype(np.float32) @ flat).reshape(seen.shape)  # [U, I]
        logits[seen] = -np.inf
        peak = logits.max(axis=1, keepdims=True)
        probability = np.exp(logits - peak)
        total = probability.sum(axis=1, keepdims=True)
        loss = float((np.log(total) + peak)[:, 0].mean(dtype=np.float64) - weights @ own)
        probability /= total * np.float32(len(seen))
        gradient = flat @ probability.ravel() - own
        return loss + ridge / 2 * float(weights @ weights), gradient + ridge * weights

    start = np.full(len(scores), 0.3)
    return np.asarray(minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 40}).x)
