"""Semantics made of pair counts that are summed over the markets: how many users have both items of a pair.

A market counts over its train items only, drops pairs rarer than ``min_count`` (a count of one is one user's pair) and
sends the rest sparse; the server sums them over the union vocabulary and makes vectors of the sum. Under privacy a
market sends all pairs of its catalogue under noise instead.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh

from fedrec.exchange.pairs import PairCounts, count_pairs
from fedrec.seeds import numpy_generator
from fedrec.semantics.base import CountedSettings, ItemEvidence, Semantics, SemanticsSettings

_DENSE_SIZE = 500  # up to here the dense solver is as fast, and exact


class CountedSemantics(Semantics):
    """Base of semantics that are made of summed pair counts; they differ in the vectors that they make of a sum."""

    exchanges = True
    Settings: ClassVar[type[SemanticsSettings]] = CountedSettings

    @property
    def min_count(self) -> int:
        """Pairs of fewer users never leave a market."""
        found: int = self.settings.min_count
        return found

    @abstractmethod
    def vectors(self, counts: PairCounts) -> NDArray[np.float32]:
        """Raw vectors [size, dimension] of summed counts; a zero row has no evidence."""

    def vectors_of_noised(self, matrix: NDArray[np.float32], edge: float) -> NDArray[np.float32]:
        """Raw vectors [size, dimension] of noised pairs ``matrix`` [size, size] (see ``exchange.noised_pairs``).

        Eigenvectors scaled by the root of the eigenvalue, of eigenvalues above ``edge`` only: below it there is nothing
        but noise, and where all are below, no item has any evidence. Mutual information would divide by noise.
        """
        values, basis = largest_eigenvectors(matrix, min(self.dimension, len(matrix)), self.seed)
        result = np.zeros((len(matrix), self.dimension), np.float32)
        result[:, : len(values)] = basis * np.sqrt(np.where(values > edge, values, 0.0))
        return result

    def alone(self, evidence: ItemEvidence) -> NDArray[np.float32]:
        """Raw vectors [I, dimension] of the market's own counts."""
        return self.vectors(count_pairs(evidence.histories, self.min_count))


def largest_eigenvectors(matrix: Any, rank: int, seed: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The ``rank`` largest eigenvalues [rank] of a symmetric matrix [size, size], and their eigenvectors [size, rank].

    Dense or sparse. An eigenvector's sign is arbitrary: its largest entry is made positive.
    """
    size = matrix.shape[0]
    if size <= max(_DENSE_SIZE, 2 * rank):
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        values, basis = np.linalg.eigh(dense.astype(np.float64))
    else:
        # ARPACK draws its start, and a new one whenever it meets an invariant subspace, from this generator.
        generator = numpy_generator(seed, "cooccurrence")
        start = generator.standard_normal(size).astype(matrix.dtype)
        values, basis = eigsh(matrix, k=rank, which="LA", v0=start, rng=generator)
    values, basis = values[::-1][:rank], basis[:, ::-1][:, :rank]  # largest first
    return values, basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(rank)])
