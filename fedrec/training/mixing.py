"""Learning how much each of several scorers should count, on validation users.

Softmax likelihood first (convex, so the start does not matter), then coordinate ascent on NDCG@10 itself (Metzler &
Croft, Linear feature-based models for information retrieval, 2007). A handful of numbers per market, all private.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fedrec.metrics.ranking import ndcg, target_ranks

_FACTORS = (0.0, 0.25, 0.5, 0.7, 1.4, 2.0, 4.0)
_RIDGE = 1e-3
_LEAST_SPREAD = 1e-6
_LEAST_GAIN = 1e-4  # smaller improvements on validation are noise


def fit_weights(
    scores: NDArray[np.float32], targets: NDArray[np.int64], seen: NDArray[np.bool_], sweeps: int = 2
) -> NDArray[np.float64]:
    """Weights [K] of K scorers.

    Args:
        scores: [K, U, I], finite. A scorer that does not vary gets weight 0.
        targets: [U], the item to be found.
        seen: [U, I], True where an item is excluded from the ranking.
        sweeps: passes of coordinate ascent; 0 leaves the likelihood's solution.
    """
    unseen = scores[:, ~seen]  # [K, cells]
    centre = unseen.mean(axis=1, dtype=np.float64)  # [K]
    spread = unseen.std(axis=1, dtype=np.float64)  # [K]
    useful = np.flatnonzero(spread > _LEAST_SPREAD * (1 + np.abs(centre)))
    result = np.zeros(len(scores))
    if not len(useful):
        return result
    # A shift of a scorer moves all items of a user alike and so changes no ranking; it only costs precision.
    scaled = np.stack([(scores[k] - centre[k]) / spread[k] for k in useful]).astype(np.float32)
    scaled[:, seen] = 0.0
    weights = _most_likely(scaled, targets, seen)
    for _ in range(sweeps):
        weights = _ascend(scaled, targets, seen, weights)
    result[useful] = weights / spread[useful]
    return result


def _most_likely(
    scores: NDArray[np.float32], targets: NDArray[np.int64], seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    users = np.arange(len(targets))
    own = scores[:, users, targets].mean(axis=1, dtype=np.float64)  # [K]
    flat = scores.reshape(len(scores), -1)  # [K, U * I]

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = (weights.astype(np.float32) @ flat).reshape(seen.shape)  # [U, I]
        logits[seen] = -np.inf
        peak = logits.max(axis=1, keepdims=True)
        probability = np.exp(logits - peak)
        total = probability.sum(axis=1, keepdims=True)
        loss = float((np.log(total) + peak)[:, 0].mean(dtype=np.float64) - weights @ own)
        probability /= total * np.float32(len(targets))
        gradient = flat @ probability.ravel() - own
        return loss + _RIDGE / 2 * float(weights @ weights), gradient + _RIDGE * weights

    start = np.full(len(scores), 0.3)
    return np.asarray(minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 40}).x)


def _ascend(
    scores: NDArray[np.float32],
    targets: NDArray[np.int64],
    seen: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    weights = weights.copy()
    total = np.tensordot(weights.astype(np.float32), scores, axes=1)  # [U, I]
    total[seen] = -np.inf
    best = _mean_ndcg(total, targets)
    for index in range(len(scores)):
        rest = total - np.float32(weights[index]) * scores[index]
        step = 0.05 * np.abs(weights).max()
        for candidate in sorted({weights[index] * factor for factor in _FACTORS} | {step, -step}):
            trial = rest + np.float32(candidate) * scores[index]
            value = _mean_ndcg(trial, targets)
            if value > best + _LEAST_GAIN:
                best, weights[index], total = value, candidate, trial
    return weights


def _mean_ndcg(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    return float(ndcg(target_ranks(scores, targets), 10).mean())
