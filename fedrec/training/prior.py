"""The private item-item prior: EASE on the market's own train items, weighted by recency and popularity.

Six views of what follows an item in this market alone; how much each counts is learned on validation (``mixing``).
Nothing of it leaves the market.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.data.splits import Holdout, Split
from fedrec.floors.ease import ease_weights, gram
from fedrec.floors.popularity import popularity, trend
from fedrec.recipe import EaseSettings, PriorSettings
from fedrec.training.evaluation import mean_ndcg

_FLOOR = 0.005  # keeps the logarithm of an EASE score finite; scores of related items are 0.05 and more


@dataclass(frozen=True)
class FittedEase:
    """EASE plus ``popularity_weight`` log(1 + popularity), both chosen on validation NDCG@10."""

    lam: float
    popularity_weight: float
    weights: NDArray[np.float32]  # [I, I]

    def scores(self, holdout: Holdout, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores [B, I]."""
        history = holdout.histories.take(users).matrix()
        popular = np.log1p(popularity(holdout.histories))  # [I]
        return _times(history, self.weights) + np.float32(self.popularity_weight) * popular.astype(np.float32)


def fit_ease(split: Split, settings: EaseSettings) -> FittedEase:
    """Fit on train items; try every pair of values on validation users; keep the first best."""
    counts = gram(split.train.matrix())
    holdout = split.holdout("validation")
    best: tuple[float, FittedEase] | None = None
    for lam in settings.lambdas:
        weights = ease_weights(counts, lam).astype(np.float32)
        for popularity_weight in settings.popularity_weights:
            ease = FittedEase(lam, popularity_weight, weights)
            value = mean_ndcg(partial(ease.scores, holdout), holdout)
            if best is None or value > best[0]:
                best = (value, ease)
    assert best is not None  # noqa: S101  # the settings refuse empty lists
    return best[1]


@dataclass(frozen=True)
class ItemPrior:
    """The prior's views at one stage."""

    ease: FittedEase
    holdout: Holdout
    settings: PriorSettings

    def views(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of the six views, [6, B, I]."""
        histories = self.holdout.histories
        chosen = histories.take(users)
        plain = _times(chosen.matrix(), self.ease.weights)
        recent = _times(chosen.matrix(self.settings.half_life_days), self.ease.weights)
        popular = np.log1p(popularity(histories)).astype(np.float32)
        days = self.settings.trend_days
        return np.stack(
            [
                recent,
                _log(plain),
                _log(recent),
                np.broadcast_to(popular, plain.shape),
                np.log1p(trend(histories, chosen.last_times, days)),
                np.log1p(trend(histories, chosen.last_times, days / 6)),
            ]
        )


def _times(history: sparse.csr_matrix, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(history.astype(np.float32) @ weights)


def _log(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log(np.maximum(scores, 0) + np.float32(_FLOOR))
