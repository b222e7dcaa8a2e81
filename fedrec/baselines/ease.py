"""EASE: a linear item-item model in closed form (Steck, Embarrassingly Shallow Autoencoders, WWW 2019)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse


def gram(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Item-item counts X'X of a user-item matrix [U, I], sparse [I, I]. A sum over users, and so over markets."""
    wide = matrix.astype(np.float64)
    return sparse.csr_matrix(wide.T @ wide)


def ease_weights(
    counts: "sparse.csr_matrix | NDArray[np.float64]", lam: float, dtype: type[Any] = np.float64
) -> NDArray[Any]:
    """B [I, I] minimising |X - XB|^2 + lam |B|^2 with a zero diagonal: B_ij = -P_ij / P_jj for P = (X'X + lam)^-1.

    ``lam`` > 0. ``dtype``: what is computed in; float32 takes half the memory, and less time. Scores of a history x [I]
    are x B. Items that nobody has do not enter the inverse: their rows and columns of B are zero.
    """
    dense = np.array(counts.toarray() if isinstance(counts, sparse.csr_matrix) else counts, dtype)
    bought = np.flatnonzero(np.diag(dense))
    regularised = dense[np.ix_(bought, bought)]
    regularised[np.diag_indices_from(regularised)] += lam
    inverse = linalg.inv(regularised, assume_a="pos", overwrite_a=True, check_finite=False)
    inner = inverse / -np.diag(inverse)[None, :]
    np.fill_diagonal(inner, 0.0)
    weights = np.zeros_like(dense)
    weights[np.ix_(bought, bought)] = inner
    return weights
