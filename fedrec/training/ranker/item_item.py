"""Item-item models of the statistics: closed forms whose scores of a history are features of a candidate."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.pairs import PairCounts
from fedrec.exchange.statistics import GAPS, NEXT, SAME_DAY, TOGETHER, WITHIN
from fedrec.recipe import EaseSettings
from fedrec.training.prior import Weights, ease_model

_DECAY_DAYS, _FOLLOWING_DAYS = 60.0, 180.0  # of exp(-gap / days)
_EASE, _LARGEST = 100.0, 1e12  # lambda, and the last that is tried
_SHRINK = 5.0  # users that are added to a denominator
_MIDDLES = [(low + 1 + high) / 2 for low, high in pairwise(GAPS)]  # days between two items


class PairMatrices:
    """Counts of pairs as matrices [I, I], by kind; of one market, or of several together."""

    def __init__(self, matrices: Mapping[str, sparse.csr_matrix]) -> None:
        self.matrices = dict(matrices)

    @classmethod
    def of(cls, pairs: Mapping[str, PairCounts]) -> "PairMatrices":
        """From how they travel."""
        return cls({kind: counts.matrix() for kind, counts in pairs.items()})

    def __add__(self, other: "PairMatrices") -> "PairMatrices":
        return PairMatrices({kind: matrix + other.matrices[kind] for kind, matrix in self.matrices.items()})

    @property
    def users(self) -> NDArray[np.float64]:
        """Of every item, [I]."""
        return np.asarray(self.matrices[TOGETHER].diagonal())

    def decayed(self, days: float, both_ways: bool) -> sparse.csr_matrix:
        """Pairs weighted by exp(-gap / days), a gap being its bucket's middle; after a year nothing is left."""
        result = self.matrices[SAME_DAY].copy()
        for kind, middle in zip(WITHIN, _MIDDLES, strict=True):
            directed = self.matrices[kind]
            result = result + np.exp(-middle / days) * (directed + directed.T if both_ways else directed)
        return sparse.csr_matrix(result)


def item_models(pairs: PairMatrices, settings: EaseSettings) -> dict[str, Weights]:
    """Matrices [I, I] by name; a history h [I] gets the scores h M. ``settings`` say when EASE's is sparse."""
    users, together = pairs.users, pairs.matrices[TOGETHER]
    others = _without_diagonal(together)
    decayed = pairs.decayed(_DECAY_DAYS, both_ways=True)
    shrunk = sparse.diags(1 / (users + _SHRINK))
    return {
        "ease": _ease(together, _EASE, settings),
        "cosine": _cosine(others, users),
        "cosine_decayed": _cosine(decayed, users),
        "conditional": _single(shrunk @ others),
        "following": _single(shrunk @ pairs.decayed(_FOLLOWING_DAYS, both_ways=False)),
        "next": _single(shrunk @ pairs.matrices[NEXT]),
        "same_day": _single(shrunk @ pairs.matrices[SAME_DAY]),
    }


def _ease(counts: sparse.csr_matrix, lam: float, settings: EaseSettings) -> Weights:
    """EASE; held-back counts may have no inverse, and then ``lam`` is doubled until they have."""
    while True:
        try:
            return ease_model(counts, lam, settings, np.float32)
        except np.linalg.LinAlgError:
            if lam > _LARGEST:
                raise
            lam *= 2


def _cosine(counts: sparse.csr_matrix, users: NDArray[np.float64]) -> sparse.csr_matrix:
    cells = counts.tocoo()
    shrunk = cells.data / (np.sqrt(users[cells.row] * users[cells.col]) + _SHRINK)
    return sparse.csr_matrix((shrunk.astype(np.float32), (cells.row, cells.col)), shape=counts.shape)


def _without_diagonal(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix(counts - sparse.diags(counts.diagonal()))


def _single(matrix: sparse.spmatrix) -> sparse.csr_matrix:
    return sparse.csr_matrix(matrix, dtype=np.float32)
