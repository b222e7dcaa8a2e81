"""Semantics where a catalogue has no text: which items the same users bought, summed over markets.

A market counts, over its train items only, how many users have both items of a pair, drops pairs rarer than
``min_count`` (a count of one is one user's pair) and sends the rest sparse. The server sums them over the union
vocabulary and factorises the positive pointwise mutual information (Levy & Goldberg, NeurIPS 2014).
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh

from fedrec.exchange.pairs import PairCounts, count_pairs
from fedrec.seeds import numpy_generator
from fedrec.semantics.base import HouseSettings, ItemEvidence, Semantics

_MIN_EIGENVALUE = 1e-6  # of the largest; below it an eigenvector is round-off
_DENSE_SIZE = 500  # up to here the dense solver is as fast, and exact


class CooccurrenceSemantics(Semantics):
    """Factors of the (summed) pair counts."""

    Settings = HouseSettings
    exchanges = True

    def __init__(self, dimension: int, seed: int, min_count: int) -> None:
        super().__init__(dimension, seed)
        self.min_count = min_count

    @classmethod
    def of(cls, settings: HouseSettings, seed: int) -> Self:
        """Of its dimension and least count."""
        return cls(settings.dimension, seed, settings.min_count)

    def statistic(self, evidence: ItemEvidence) -> PairCounts:
        """What leaves the market: its pair counts, rare pairs dropped."""
        return count_pairs(evidence.histories, self.min_count)

    def vectors(self, counts: PairCounts) -> NDArray[np.float32]:
        """Raw vectors [size, dimension]: eigenvectors of the PPMI matrix, scaled by the root of the eigenvalue."""
        matrix = _ppmi(counts)
        rank = min(self.dimension, counts.size)
        result = np.zeros((counts.size, self.dimension))
        if matrix.nnz:
            if counts.size <= max(_DENSE_SIZE, 2 * rank):
                values, basis = np.linalg.eigh(matrix.toarray())
            else:
                # ARPACK draws its start, and a new one whenever it meets an invariant subspace, from this generator.
                generator = numpy_generator(self.seed, "cooccurrence")
                start = generator.standard_normal(counts.size)
                values, basis = eigsh(matrix, k=rank, which="LA", v0=start, rng=generator)
            values, basis = values[::-1][:rank], basis[:, ::-1][:, :rank]  # largest first
            values = np.where(values > _MIN_EIGENVALUE * values[0], values, 0.0)
            # An eigenvector's sign is arbitrary: make its largest entry positive.
            basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(rank)])
            result[:, :rank] = basis * np.sqrt(values)
            result[np.diff(matrix.indptr) == 0] = 0.0  # an item in no pair has no evidence, only round-off
        return result.astype(np.float32)

    def vectors_of_noised(self, matrix: NDArray[np.float32], edge: float) -> NDArray[np.float32]:
        """Raw vectors [size, dimension] of noised pairs ``matrix`` [size, size] (see ``exchange.noised_pairs``).

        Eigenvectors scaled as elsewhere, of eigenvalues above ``edge`` only: below it there is nothing but noise, and
        where all are below, no item has any evidence. Pointwise mutual information would divide by noise.
        """
        size = len(matrix)
        rank = min(self.dimension, size)
        result = np.zeros((size, self.dimension), np.float32)
        if size <= max(_DENSE_SIZE, 2 * rank):
            values, basis = np.linalg.eigh(matrix.astype(np.float64))
        else:
            generator = numpy_generator(self.seed, "cooccurrence")
            start = generator.standard_normal(size).astype(np.float32)
            values, basis = eigsh(matrix, k=rank, which="LA", v0=start, rng=generator)
        values, basis = values[::-1][:rank], basis[:, ::-1][:, :rank]  # largest first
        basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(rank)])
        result[:, :rank] = basis * np.sqrt(np.where(values > edge, values, 0.0))
        return result

    def alone(self, evidence: ItemEvidence) -> NDArray[np.float32]:
        """Raw vectors [I, dimension] of the market's own counts."""
        return self.vectors(self.statistic(evidence))


def _ppmi(counts: PairCounts) -> sparse.csr_matrix:
    matrix = counts.matrix().tocoo()
    margin = np.asarray(matrix.sum(axis=1)).ravel()
    expected = margin[matrix.row] * margin[matrix.col] / max(margin.sum(), 1.0)
    information = np.log(matrix.data / expected)
    keep = information > 0
    return sparse.csr_matrix((information[keep], (matrix.row[keep], matrix.col[keep])), shape=matrix.shape)
