"""Item similarities made before any training, for M3Rec: within a market in closed form, across markets by walks."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds

from fedrec.baselines.ease import ease_weights

Floats = NDArray[np.float32]


def within_market(counts: sparse.csr_matrix, lam: float = 100.0) -> Floats:
    """What having item i says of item j in a market with item-item counts ``counts`` [I, I]: EASE, [I, I]."""
    return ease_weights(counts, lam).astype(np.float32)


def across_markets(counts: sparse.csr_matrix, dimension: int = 32, window: int = 5, negatives: float = 1.0) -> Floats:
    """Unit vectors [I, e] of items that random walks meet together; zero for an item that is beside no other.

    Walks over the graph whose edges are co-occurrences in any market: log max(1, vol / (b T) sum_r P^r D^-1),
    factorised (NetMF, Qiu et al., WSDM 2018; ``window`` is their T, ``negatives`` their b).
    """
    graph = counts.astype(np.float32).tolil()
    graph.setdiag(0)
    graph = graph.tocsr()
    degree = np.asarray(graph.sum(axis=1)).ravel()
    known = np.flatnonzero(degree)
    inner = graph[known][:, known]
    step = (sparse.diags(1 / degree[known]) @ inner).toarray()  # P, rows sum to one
    power, total = step, step.copy()
    for _ in range(window - 1):
        power = power @ step
        total += power
    met = total / degree[known] * (degree.sum() / (negatives * window))  # [K, K]
    logs = np.log(np.maximum(met, 1.0))
    start = np.ones(len(known))  # svds draws its start at random unless told
    left, values, _ = svds(logs, k=min(dimension, len(known) - 1), v0=start)
    order = np.argsort(-values, kind="stable")
    vectors = left[:, order] * np.sqrt(values[order])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    result = np.zeros((counts.shape[0], dimension), np.float32)
    result[known, : len(order)] = vectors / np.where(norms > 0, norms, 1.0)
    return result
