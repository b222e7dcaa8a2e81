"""Item-kNN against loops over the users."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from fedrec.baselines.ease import gram
from fedrec.baselines.itemknn import itemknn_weights


def interactions(seed, users=12, items=7, density=0.4):
    return sparse.csr_matrix((np.random.default_rng(seed).random((users, items)) < density).astype(np.float64))


def naive(histories, neighbours, shrink):
    """Column j: n_ij / (sqrt(n_i n_j) + shrink) for the most similar items i that share a user with j, by sorting.

    Counts are exact integers and equal similarities come from equal operations, so ties are exact here as well: sorting
    is stable, the smaller index first.
    """
    rows = [set(np.flatnonzero(row)) for row in histories.toarray()]
    items = histories.shape[1]
    weights = np.zeros((items, items))
    for j in range(items):
        found = []
        for i in range(items):
            both = sum(1 for row in rows if i in row and j in row)
            if i != j and both:
                margins = [sum(1 for row in rows if item in row) for item in (i, j)]
                found.append((both / (math.sqrt(margins[0] * margins[1]) + shrink), i))
        for similarity, i in sorted(found, key=lambda pair: -pair[0])[:neighbours]:
            weights[i, j] = similarity
    return weights


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.1, 0.4, 0.8]),
    st.integers(1, 8),
    st.sampled_from([0.0, 1.0, 10.0, 250.0]),
)
def test_weights_equal_loops(seed, density, neighbours, shrink):
    histories = interactions(seed, density=density)
    weights = itemknn_weights(gram(histories), neighbours, shrink).toarray()
    np.testing.assert_allclose(weights, naive(histories, neighbours, shrink), rtol=1e-14)


def test_without_shrinkage_it_is_sklearns_cosine():
    """All neighbours kept: cosine of the items' user vectors, with a zero diagonal."""
    histories = interactions(1, users=40)
    expected = cosine_similarity(histories.T.toarray())
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(itemknn_weights(gram(histories), 7, 0.0).toarray(), expected, atol=1e-14)


def test_ties_at_the_border_keep_the_smaller_index():
    """Three users with all of four items: every similarity is 3 / (3 + 1). Two neighbours: the first two others."""
    weights = itemknn_weights(gram(sparse.csr_matrix(np.ones((3, 4)))), 2, 1.0).toarray()
    for column, kept in enumerate([(1, 2), (0, 2), (0, 1), (0, 1)]):
        assert np.flatnonzero(weights[:, column]).tolist() == list(kept)
        np.testing.assert_allclose(weights[kept, column], 0.75, rtol=1e-15)


def test_shrinkage_prefers_what_many_users_share():
    """Item 0 has five users, item 1 one of them, item 2 nine users, two of them of item 0. The cosines with item 0 are
    1 / sqrt(5 * 1) = .447 and 2 / sqrt(5 * 9) = .298; with shrink 10 they are 1 / 12.2 = .082 and 2 / 16.7 = .120."""
    x = np.zeros((12, 3))
    x[:5, 0] = x[0, 1] = x[3:, 2] = 1
    counts = gram(sparse.csr_matrix(x))
    np.testing.assert_allclose(itemknn_weights(counts, 1, 0.0).toarray()[:, 0], [0, 0.447214, 0], atol=1e-6)
    np.testing.assert_allclose(itemknn_weights(counts, 1, 10.0).toarray()[:, 0], [0, 0, 0.119702], atol=1e-6)


@pytest.mark.parametrize("shrink", [0.0, 10.0])
def test_items_without_users_or_company_have_no_neighbours(shrink):
    """Item 1 is nobody's, item 3 is bought alone; the pair (0, 2) is all there is."""
    counts = np.array([[2.0, 0, 2, 0], [0, 0, 0, 0], [2, 0, 3, 0], [0, 0, 0, 1]])
    expected = np.zeros((4, 4))
    expected[0, 2] = expected[2, 0] = 2 / (math.sqrt(6) + shrink)
    np.testing.assert_allclose(itemknn_weights(sparse.csr_matrix(counts), 3, shrink).toarray(), expected, rtol=1e-15)
