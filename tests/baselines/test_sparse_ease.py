"""Sparse EASE against least squares on the histories, an item at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fedrec.baselines.ease import ease_weights, gram
from fedrec.baselines.sparse_ease import sparse_ease_weights


def interactions(seed, users=30, items=12, density=0.25):
    return sparse.csr_matrix((np.random.default_rng(seed).random((users, items)) < density).astype(np.float64))


def naive(matrix, lam, neighbours):
    """Column j by loops: the items that say most of j one by one, then least squares of the stacked system on them."""
    x = matrix.toarray()
    items = x.shape[1]
    weights = np.zeros((items, items))
    for j in range(items):
        met = [i for i in range(items) if i != j and x[:, i] @ x[:, j] > 0]
        near = sorted(met, key=lambda i: (-(x[:, i] @ x[:, j]) / (x[:, i].sum() + lam), i))[:neighbours]
        if near:
            system = np.vstack([x[:, near], np.sqrt(lam) * np.eye(len(near))])
            wanted = np.concatenate([x[:, j], np.zeros(len(near))])
            weights[near, j] = np.linalg.lstsq(system, wanted, rcond=None)[0]
    return weights


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 10.0, 300.0]), st.integers(1, 12), st.sampled_from([0, 4, 2048]))
def test_weights_equal_least_squares_on_the_neighbours(seed, lam, neighbours, common):
    """However many items count as common, for these decide where a cell is looked for and nothing else."""
    matrix = interactions(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedrec.baselines.sparse_ease._COMMON", common)
        weights = sparse_ease_weights(gram(matrix), lam, neighbours)
    np.testing.assert_allclose(weights.toarray(), naive(matrix, lam, neighbours), atol=1e-6)
    assert np.diff(weights.indptr).max() <= neighbours


def test_where_all_items_meet_it_is_ease():
    matrix = interactions(1, users=60, density=0.5)
    dense = ease_weights(gram(matrix), 5.0)
    assert (gram(matrix).toarray() > 0).all()
    np.testing.assert_allclose(sparse_ease_weights(gram(matrix), 5.0, 12).toarray(), dense, atol=1e-6)


def test_an_item_nobody_has_gets_no_weight_and_gives_none():
    matrix = interactions(3).tolil()
    matrix[:, 4] = 0
    weights = sparse_ease_weights(gram(matrix.tocsr()), 5.0, 12).toarray()
    assert not weights[4].any()
    assert not weights[:, 4].any()


def test_counts_without_an_inverse():
    """Two pairs are there and the third was held back: not positive below a lambda of .41, so more is taken there."""
    counts = sparse.csr_matrix(np.array([[1.0, 1, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 9]]))
    weights = sparse_ease_weights(counts, 0.3, 3).toarray()
    assert np.isfinite(weights).all()
    among, with_item = counts.toarray()[:3, :3] + 0.6 * np.eye(3), counts.toarray()[:3, 3]
    np.testing.assert_allclose(weights[:3, 3], np.linalg.solve(among, with_item), atol=1e-6)


def test_counts_that_are_no_numbers_are_refused():
    counts = gram(interactions(6))
    counts.data[3] = np.nan
    with pytest.raises(np.linalg.LinAlgError, match="no numbers"):
        sparse_ease_weights(counts, 1.0, 5)


def test_the_same_counts_give_the_same_bytes():
    """In whatever order a row's cells are stored."""
    counts = gram(interactions(5))
    mixed = counts.copy()
    for row in range(mixed.shape[0]):
        part = slice(mixed.indptr[row], mixed.indptr[row + 1])
        mixed.indices[part], mixed.data[part] = mixed.indices[part][::-1].copy(), mixed.data[part][::-1].copy()
    mixed.has_sorted_indices = False
    one, other = sparse_ease_weights(counts, 2.0, 4), sparse_ease_weights(mixed, 2.0, 4)
    assert one.data.tobytes() == other.data.tobytes()
    assert one.indices.tobytes() == other.indices.tobytes()
