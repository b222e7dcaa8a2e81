"""EASE: a linear item-item model in closed form (Steck, Embarrassingly Shallow Autoencoders, WWW 2019)."""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse


def gram(matrix: sparse.csr_matrix) -> NDArray[np.float64]:
    """Item-item counts X'X of a user-item matrix [U, I], dense [I, I]."""
    return np.asarray((matrix.T @ matrix).toarray(), dtype=np.float64)


def ease_weights(counts: NDArray[np.float64], lam: float) -> NDArray[np.float64]:
    """B [I, I] minimising |X - XB|^2 + lam |B|^2 with a zero diagonal: B_ij = -P_ij / P_jj for P = (X'X + lam)^-1.

    ``lam`` > 0. Scores of a history x [I] are x B.
    """
    regularised = counts.copy()
    regularised[np.diag_indices_from(regularised)] += lam
    precision = linalg.inv(regularised, assume_a="pos", overwrite_a=True, check_finite=False)
    weights = precision / -np.diag(precision)[None, :]
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)
