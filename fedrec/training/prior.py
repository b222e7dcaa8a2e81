"""Linear item-item scorers of one market, and the views of them that are mixed into a model's scores.

The private item-item prior is EASE on the market's own train items, weighted by recency and popularity: six views of
what follows an item in this market alone; how much each counts is learned on validation (``mixing``). Federated EASE
has the same views of the summed counts beside them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.baselines.ease import ease_weights, gram
from fedrec.baselines.itemknn import itemknn_weights
from fedrec.baselines.popularity import popularity, trend
from fedrec.baselines.sparse_ease import sparse_ease_weights
from fedrec.data.splits import Holdout
from fedrec.recipe import EaseSettings, ItemKNNSettings, PriorSettings
from fedrec.training.evaluation import mean_ndcg

_FLOOR = 0.005  # keeps the logarithm of an EASE score finite; scores of related items are 0.05 and more
Weights: TypeAlias = "sparse.csr_matrix | sparse.csc_matrix | NDArray[np.float32]"


def ease_model(
    counts: "sparse.csr_matrix | NDArray[np.float64]", lam: float, settings: EaseSettings, dtype: type[Any] = np.float64
) -> Weights:
    """EASE [I, I] of item-item counts: a matrix, computed in ``dtype``, or sparse weights for many items.

    Raises :class:`numpy.linalg.LinAlgError` where a matrix of held-back counts has no inverse.
    """
    if counts.shape[0] > settings.dense_items:
        return sparse_ease_weights(sparse.csr_matrix(counts), lam, settings.neighbours)
    return np.asarray(ease_weights(counts, lam, dtype), np.float32)


@dataclass(frozen=True)
class ItemItem:
    """Scores x W + ``popularity_weight`` log(1 + popularity), its parameters chosen on validation NDCG@10."""

    weights: Weights  # [I, I]
    chosen: dict[str, float]
    popularity_weight: float = 0.0

    def scores(self, holdout: Holdout, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores [B, I]."""
        linear = history_scores(holdout.histories.take(users).matrix(), self.weights)
        popular = np.log1p(popularity(holdout.known)).astype(np.float32)  # [I]
        return linear + np.float32(self.popularity_weight) * popular


def fit_ease(weights_at: Callable[[float], Weights], holdout: Holdout, settings: EaseSettings) -> ItemItem:
    """Try every pair of lambda and popularity weight on validation users; keep the first best.

    A lambda at which counts have no inverse is passed over: where rare pairs were held back, small ones may be too
    small. Raises :class:`numpy.linalg.LinAlgError` when none is left.
    """
    return _first_best(
        (
            ItemItem(weights, {"lam": lam, "popularity_weight": weight}, weight)
            for lam, weights in _invertible(weights_at, settings.lambdas)
            for weight in settings.popularity_weights
        ),
        holdout,
    )


def _invertible(weights_at: Callable[[float], Weights], lambdas: Iterable[float]) -> Iterator[tuple[float, Weights]]:
    found = False
    for lam in lambdas:
        try:
            weights = weights_at(lam)
        except np.linalg.LinAlgError:
            continue
        found = True
        yield lam, weights
    if not found:
        raise np.linalg.LinAlgError("no inverse at any lambda")


def fit_own_ease(histories: sparse.csr_matrix, holdout: Holdout, settings: EaseSettings) -> ItemItem:
    """EASE on one market's train items alone."""
    counts = gram(histories)
    return fit_ease(lambda lam: ease_model(counts, lam, settings), holdout, settings)


def fit_itemknn(histories: sparse.csr_matrix, holdout: Holdout, settings: ItemKNNSettings) -> ItemItem:
    """Item-kNN on one market's train items; neighbours and shrinkage chosen on validation users."""
    counts = gram(histories)
    return _first_best(
        (
            ItemItem(
                itemknn_weights(counts, neighbours, shrink).astype(np.float32),
                {"neighbours": float(neighbours), "shrink": shrink},
            )
            for neighbours, shrink in product(settings.neighbours, settings.shrink)
        ),
        holdout,
    )


def item_views(
    weights: Weights, holdout: Holdout, settings: PriorSettings, users: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Three views of one item-item model: recent history, log of plain, log of recent. [3, B, I]."""
    chosen = holdout.histories.take(users)
    plain = history_scores(chosen.matrix(), weights)
    recent = history_scores(chosen.matrix(settings.half_life_days), weights)
    return np.stack([recent, _log(plain), _log(recent)])


def popularity_views(holdout: Holdout, settings: PriorSettings, users: NDArray[np.int64]) -> NDArray[np.float32]:
    """Three views of what sells: log popularity, and two trends at each user's last moment. [3, B, I]."""
    moments = holdout.histories.take(users).last_times
    popular = np.log1p(popularity(holdout.known)).astype(np.float32)
    days = settings.trend_days
    return np.stack(
        [
            np.broadcast_to(popular, (len(users), len(popular))),
            np.log1p(trend(holdout.known, moments, days)),
            np.log1p(trend(holdout.known, moments, days / 6)),
        ]
    )


def _first_best(models: Iterable[ItemItem], holdout: Holdout) -> ItemItem:
    best: tuple[float, ItemItem] | None = None
    for model in models:
        value = mean_ndcg(partial(model.scores, holdout), holdout)
        if best is None or value > best[0]:
            best = (value, model)
    assert best is not None  # noqa: S101  # the settings refuse empty lists
    return best[1]


def history_scores(histories: sparse.csr_matrix, weights: Weights) -> NDArray[np.float32]:
    """Scores [B, I] of weighted histories [B, I]."""
    scores = histories.astype(np.float32) @ weights
    return np.asarray(scores.toarray() if sparse.issparse(scores) else scores)


def _log(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log(np.maximum(scores, 0) + np.float32(_FLOOR))
