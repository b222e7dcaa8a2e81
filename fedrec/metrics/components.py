"""The metrics that a recipe can name."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedrec.components.metric import Metric, Ranked
from fedrec.components.section import without_keys
from fedrec.metrics.ranking import mrr, ndcg, recall

Floats = NDArray[np.float64]
_MAX_BITS = 64.0


class _OfRanks(Metric):
    """A function of ranks, cutoff and rows (:mod:`fedrec.metrics.ranking`); it looks at no list."""

    sees_lists = False
    function: ClassVar[Callable[[Floats, int, NDArray[np.int64]], Floats]]

    def __call__(self, ranked: Ranked) -> Floats:
        """[U]."""
        return type(self).function(ranked.ranks, ranked.cutoff, ranked.rows)


class NDCG(_OfRanks):
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, TOIS 2002), of relevance zero or one."""

    Settings = without_keys("ndcg")
    function = ndcg


class Recall(_OfRanks):
    """Share of a user's held-out items inside the cutoff."""

    Settings = without_keys("recall")
    function = recall


class MRR(_OfRanks):
    """Reciprocal rank of the best held-out item inside the cutoff."""

    Settings = without_keys("mrr")
    function = mrr


class Precision(Metric):
    """Share of the cutoff's places that held-out items take."""

    Settings = without_keys("precision")
    sees_lists = False

    def __call__(self, ranked: Ranked) -> Floats:
        """[U]."""
        return np.asarray(np.bincount(ranked.rows, ranked.ranks < ranked.cutoff) / ranked.cutoff)


class Coverage(Metric):
    """Share of the ranked catalogue that is in anyone's list."""

    Settings = without_keys("coverage")

    def __call__(self, ranked: Ranked) -> float:
        """One figure for the market."""
        seen = np.zeros(len(ranked.ranked), dtype=bool)
        seen[ranked.top[ranked.top >= 0]] = True
        return float(seen[ranked.ranked].mean())


class Novelty(Metric):
    """Mean self-information of a user's list in bits (Zhou et al., PNAS 2010): -log2 of the share of users who have an
    item. One user is added to every count, for an item may be nobody's yet.
    """

    Settings = without_keys("novelty")
    bounds = (0.0, _MAX_BITS)

    def __call__(self, ranked: Ranked) -> Floats:
        """[U]."""
        bits = -np.log2((ranked.counts + 1) / (ranked.train_users + 1))  # [I]
        shown = ranked.top >= 0
        total = np.where(shown, bits[ranked.top], 0.0).sum(axis=1)
        return np.asarray(total / np.maximum(shown.sum(axis=1), 1))
