"""Item-kNN: items are similar when the same users have both (Deshpande & Karypis, TOIS 2004), cosine with shrinkage."""

import numpy as np
from scipy import sparse


def itemknn_weights(counts: sparse.csr_matrix, neighbours: int, shrink: float) -> sparse.csr_matrix:
    """Similarities [I, I] from item-item counts X'X: n_ij / (sqrt(n_i n_j) + shrink), zero diagonal.

    Column j keeps the ``neighbours`` items most similar to j (ties at the border: the smaller index). Scores of a
    history x [I] are x S.
    """
    pairs = sparse.coo_matrix(counts)
    margin = counts.diagonal()
    off = pairs.row != pairs.col
    row, column = pairs.row[off], pairs.col[off]
    similarity = pairs.data[off] / (np.sqrt(margin[row] * margin[column]) + shrink)
    order = np.lexsort((row, -similarity, column))  # column by column, best first
    row, column, similarity = row[order], column[order], similarity[order]
    first = np.searchsorted(column, column)  # where each entry's own column begins
    keep = np.arange(len(column)) - first < neighbours
    return sparse.csr_matrix((similarity[keep], (row[keep], column[keep])), shape=counts.shape)
