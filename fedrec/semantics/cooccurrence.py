"""Semantics where a catalogue has no text: which items the same users bought, summed over markets.

The server factorises the positive pointwise mutual information of the summed counts (Levy & Goldberg, NeurIPS 2014).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.pairs import PairCounts
from fedrec.semantics.base import HouseSettings
from fedrec.semantics.counted import CountedSemantics, largest_eigenvectors

_MIN_EIGENVALUE = 1e-6  # of the largest; below it an eigenvector is round-off


class CooccurrenceSemantics(CountedSemantics):
    """Factors of the (summed) pair counts."""

    Settings = HouseSettings

    def vectors(self, counts: PairCounts) -> NDArray[np.float32]:
        """Raw vectors [size, dimension]: eigenvectors of the PPMI matrix, scaled by the root of the eigenvalue."""
        matrix = _ppmi(counts)
        result = np.zeros((counts.size, self.dimension))
        if matrix.nnz:
            values, basis = largest_eigenvectors(matrix, min(self.dimension, counts.size), self.seed)
            values = np.where(values > _MIN_EIGENVALUE * values[0], values, 0.0)
            result[:, : len(values)] = basis * np.sqrt(values)
            result[np.diff(matrix.indptr) == 0] = 0.0  # an item in no pair has no evidence, only round-off
        return result.astype(np.float32)


def _ppmi(counts: PairCounts) -> sparse.csr_matrix:
    matrix = counts.matrix().tocoo()
    margin = np.asarray(matrix.sum(axis=1)).ravel()
    expected = margin[matrix.row] * margin[matrix.col] / max(margin.sum(), 1.0)
    information = np.log(matrix.data / expected)
    keep = information > 0
    return sparse.csr_matrix((information[keep], (matrix.row[keep], matrix.col[keep])), shape=matrix.shape)
