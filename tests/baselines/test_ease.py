"""EASE against ridge regressions, one a column."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fedrec.baselines.ease import ease_weights, gram


def interactions(seed, users=14, items=7):
    return sparse.csr_matrix((np.random.default_rng(seed).random((users, items)) < 0.4).astype(np.float32))


def naive_ease(matrix, lam):
    """min |X - XB|^2 + lam |B|^2 with B_jj = 0 falls apart into its columns.

    Column j is the ridge regression of X_j on the other columns, that is least squares on the stacked system
    [X_-j; sqrt(lam) I] b = [X_j; 0]; B_jj stays zero.
    """
    x = np.asarray(matrix.todense(), dtype=np.float64)
    items = x.shape[1]
    weights = np.zeros((items, items))
    for j in range(items):
        others = [i for i in range(items) if i != j]
        system = np.vstack([x[:, others], np.sqrt(lam) * np.eye(items - 1)])
        wanted = np.concatenate([x[:, j], np.zeros(items - 1)])
        weights[others, j] = np.linalg.lstsq(system, wanted, rcond=None)[0]
    return weights


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 30.0, 1000.0]))
def test_weights_equal_a_ridge_regression_per_column(seed, lam):
    matrix = interactions(seed)
    weights = ease_weights(gram(matrix), lam)
    np.testing.assert_allclose(weights, naive_ease(matrix, lam), atol=1e-10)
    assert np.all(np.diag(weights) == 0)


def test_weighted_histories_too():
    """Nothing in the derivation needs ones: histories weighted by recency are regressed the same way."""
    matrix = interactions(1).astype(np.float64)
    matrix.data = np.random.default_rng(2).random(matrix.nnz)
    np.testing.assert_allclose(ease_weights(gram(matrix), 2.0), naive_ease(matrix, 2.0), atol=1e-10)


def test_an_item_nobody_has_gets_no_weight():
    """Its column is zero: regressing it gives zero, and it helps nobody."""
    matrix = interactions(3).tolil()
    matrix[:, 4] = 0
    weights = ease_weights(gram(matrix.tocsr()), 5.0)
    np.testing.assert_allclose(weights[4], 0, atol=1e-14)
    np.testing.assert_allclose(weights[:, 4], 0, atol=1e-14)


def test_large_lam_shrinks_everything_to_zero():
    """B = G / lam off the diagonal, up to terms in (G / lam)^2 < 1e-14, as lam grows."""
    counts = gram(interactions(4)).toarray()
    weights = ease_weights(counts, 1e8)
    expected = (counts - np.diag(np.diag(counts))) / 1e8
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-14)


def test_a_catalogue_of_one_item():
    assert ease_weights(np.array([[3.0]]), 10.0) == [[0.0]]


def test_counts_are_left_as_they_were():
    counts = gram(interactions(5))
    before = counts.toarray()
    ease_weights(counts, 10.0)
    np.testing.assert_array_equal(counts.toarray(), before)


def test_gram_equals_loops():
    """G_ij = sum_u x_ui x_uj."""
    matrix = interactions(6)
    x = matrix.toarray()
    expected = np.zeros((7, 7))
    for user in range(14):
        for i in range(7):
            for j in range(7):
                expected[i, j] += float(x[user, i]) * float(x[user, j])
    counts = gram(matrix)
    assert counts.dtype == np.float64
    np.testing.assert_array_equal(counts.toarray(), expected)


@pytest.mark.parametrize("split", [1, 7, 13])
def test_the_gram_of_two_markets_is_the_sum_of_their_grams(split):
    """Users are rows, and rows add: G = sum_m X_m' X_m."""
    matrix = interactions(7)
    parts = gram(matrix[:split]) + gram(matrix[split:])
    np.testing.assert_array_equal(gram(matrix).toarray(), parts.toarray())
