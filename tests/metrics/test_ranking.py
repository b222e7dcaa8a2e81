"""Full ranking with one relevant item per user."""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from fedrec.metrics.ranking import mrr, ndcg, recall, target_ranks, top_items


def naive_rank(row, target):
    """Items above the target, plus half of the other items that tie with it; -inf marks an excluded item."""
    rank = 0.0
    for item, score in enumerate(row):
        if item == target or score == -math.inf:
            continue
        if score > row[target]:
            rank += 1
        elif score == row[target]:
            rank += 0.5
    return rank


@st.composite
def tied_scores(draw):
    """A few users, few distinct scores (so many ties), some items excluded, never the target."""
    users, items = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    values = st.sampled_from([-math.inf, -1.0, 0.0, 0.25, 1.0])
    scores = np.array(draw(st.lists(st.lists(values, min_size=items, max_size=items), min_size=users, max_size=users)))
    targets = np.array(draw(st.lists(st.integers(0, items - 1), min_size=users, max_size=users)), dtype=np.int64)
    rows = np.arange(users)
    scores[rows, targets] = np.where(np.isinf(scores[rows, targets]), 0.0, scores[rows, targets])
    return scores, targets


@settings(max_examples=150, deadline=None)
@given(tied_scores(), st.sampled_from([np.float32, np.float64]))
def test_ranks_equal_naive_loops_with_ties_at_half(case, dtype):
    scores, targets = case
    expected = [naive_rank(row, target) for row, target in zip(scores.tolist(), targets.tolist(), strict=True)]
    np.testing.assert_array_equal(target_ranks(scores.astype(dtype), targets), expected)


@pytest.mark.parametrize("row", [[math.nan] * 4, [math.nan, 1.0, 2.0, 3.0]])
def test_nan_is_never_a_success(row):
    """A diverged model scores NaN, which compares as neither above nor equal: counting comparisons alone finds it a
    perfect rank, and validation would choose it. It has to be refused, or to earn nothing."""

    with contextlib.suppress(ValueError, FloatingPointError):
        ranks = target_ranks(np.array([row]), np.array([0]))
        assert not np.any(ranks < 0)
        for metric in (ndcg, recall, mrr):
            assert not np.any(metric(ranks, 10) > 0)


def test_rank_is_the_expectation_under_random_tie_breaking():
    """Three items tie at the top: the target is at 0, 1 or 2 with equal chance, in the mean at 1."""
    assert target_ranks(np.array([[1.0, 1.0, 1.0, 0.0]]), np.array([1])) == [1.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from([10, 20]))
def test_ndcg_without_ties_equals_sklearn(seed, items, cutoff):
    """sklearn's NDCG of a one-hot relevance is 1 / log2(rank + 2) inside the cutoff: the ideal DCG is one."""
    generator = np.random.default_rng(seed)
    scores = np.stack([generator.permutation(items) for _ in range(6)]).astype(np.float64)
    targets = generator.integers(0, items, 6)
    actual = ndcg(target_ranks(scores, targets), cutoff)
    for user in range(6):
        relevance = np.zeros((1, items))
        relevance[0, targets[user]] = 1
        assert actual[user] == pytest.approx(ndcg_score(relevance, scores[user : user + 1], k=cutoff), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(1, 25))
def test_metrics_equal_naive_loops(ranks, cutoff):
    """Whole ranks: the list shown holds the ranks 0 to cutoff - 1."""
    array = np.array(ranks, dtype=np.float64)
    shown = [rank < cutoff for rank in ranks]
    pairs = list(zip(ranks, shown, strict=True))
    np.testing.assert_allclose(ndcg(array, cutoff), [1 / math.log2(r + 2) if s else 0 for r, s in pairs], rtol=1e-14)
    np.testing.assert_array_equal(recall(array, cutoff), [float(s) for s in shown])
    np.testing.assert_allclose(mrr(array, cutoff), [1 / (r + 1) if s else 0 for r, s in pairs], rtol=1e-14)


def test_first_and_last_place_shown():
    ranks = np.array([0.0, 9.0, 10.0])
    np.testing.assert_allclose(ndcg(ranks, 10), [1, 1 / math.log2(11), 0])
    np.testing.assert_array_equal(recall(ranks, 10), [1, 1, 0])
    np.testing.assert_allclose(mrr(ranks, 10), [1, 0.1, 0])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 15), st.integers(1, 20))
def test_top_items_are_the_best_in_their_order(seed, items, count):
    """Per row the ``count`` largest scores, by sorting; filled up with -1."""
    generator = np.random.default_rng(seed)
    scores = np.stack([generator.permutation(items) for _ in range(4)]).astype(np.float32)
    best = [sorted(range(items), key=row.__getitem__, reverse=True)[:count] for row in scores.tolist()]
    assert top_items(scores, count).tolist() == [row + [-1] * (count - len(row)) for row in best]


def test_top_items_never_show_an_excluded_one():
    """The second row has one item left to recommend, though three are asked for."""
    scores = np.array([[-np.inf, -5.0, -np.inf, -7.0], [-np.inf, -np.inf, -np.inf, 1.0]])
    assert top_items(scores, 3).tolist() == [[1, 3, -1], [3, -1, -1]]
    assert top_items(scores, 0).shape == (2, 0)
