"""Ranking metrics where a user has several relevant items."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from fedrec.metrics.ranking import mrr, ndcg, recall, target_ranks


def per_user_metrics(ranks, rows=None):
    functions = {"ndcg": ndcg, "recall": recall, "mrr": mrr}
    return {f"{name}@{cutoff}": one(ranks, cutoff, rows) for name, one in functions.items() for cutoff in (10, 20)}


@st.composite
def baskets(draw, least_items=1):
    """Scores without ties [U, I], and every user's targets: between one and all of the items."""
    users, items = draw(st.integers(1, 6)), draw(st.integers(least_items, 30))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    scores = np.stack([generator.permutation(items) for _ in range(users)]).astype(np.float64)
    wanted = [generator.permutation(items)[: generator.integers(1, items + 1)].tolist() for _ in range(users)]
    return scores, wanted


def flat(wanted):
    """(rows [T], targets [T]) of the users' lists."""
    rows = np.array([user for user, targets in enumerate(wanted) for _ in targets], dtype=np.int64)
    return rows, np.array([target for targets in wanted for target in targets], dtype=np.int64)


@settings(max_examples=80, deadline=None)
@given(baskets(), st.sampled_from([-math.inf, 0.0]), st.integers(0, 3))
def test_ranks_of_several_targets_equal_loops_over_their_users_row(case, lowest, tied):
    """A target competes with all other items of its own user, the user's other targets included.

    Scores up to ``tied`` are set to one value: excluded (-inf) or tying at zero, where half of the others count.
    """
    scores, wanted = case
    scores = np.where(scores < tied, lowest, scores + 1)
    wanted = [[target for target in targets if scores[user, target] > -math.inf] for user, targets in enumerate(wanted)]
    rows, targets = flat(wanted)
    expected = []
    for user, target in zip(rows, targets, strict=True):
        others = [score for item, score in enumerate(scores[user]) if item != target]
        own = scores[user, target]
        expected.append(sum(score > own for score in others) + 0.5 * sum(score == own for score in others))
    np.testing.assert_array_equal(target_ranks(scores, targets, rows), expected)


@settings(max_examples=80, deadline=None)
@given(baskets(least_items=2), st.integers(1, 25))
def test_ndcg_equals_sklearns_on_multi_hot_relevance(case, cutoff):
    """sklearn: the discounted sum over relevant items shown, over the same sum of the best possible list."""
    scores, wanted = case
    rows, targets = flat(wanted)
    relevance = np.zeros(scores.shape)
    relevance[rows, targets] = 1
    expected = [
        ndcg_score(relevance[user : user + 1], scores[user : user + 1], k=cutoff) for user in range(len(scores))
    ]
    found = ndcg(target_ranks(scores, targets, rows), cutoff, rows)
    assert found.shape == (len(scores),)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(baskets(), st.integers(1, 25))
def test_recall_and_mrr_equal_loops_over_the_list_shown(case, cutoff):
    """Recall: share of the basket in the list. MRR: 1 / place (from one) of the first item of the basket there."""
    scores, wanted = case
    recalls, reciprocals = [], []
    for row, targets in zip(scores, wanted, strict=True):
        shown = sorted(range(len(row)), key=lambda item: -row[item])[:cutoff]
        hits = [place for place, item in enumerate(shown, start=1) if item in targets]
        recalls.append(len(hits) / len(targets))
        reciprocals.append(1 / hits[0] if hits else 0)
    rows, targets = flat(wanted)
    ranks = target_ranks(scores, targets, rows)
    np.testing.assert_allclose(recall(ranks, cutoff, rows), recalls, rtol=1e-14)
    np.testing.assert_allclose(mrr(ranks, cutoff, rows), reciprocals, rtol=1e-14)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=10))
def test_one_target_each_is_the_plain_case(ranks):
    """``rows`` 0, 1, 2, ... says what its absence says, for every metric."""
    ranks = np.array(ranks, dtype=np.float64)
    plain, with_rows = per_user_metrics(ranks), per_user_metrics(ranks, np.arange(len(ranks)))
    assert plain.keys() == with_rows.keys()
    for name in plain:
        np.testing.assert_allclose(with_rows[name], plain[name], rtol=1e-15)


@pytest.mark.parametrize("cutoff", [10, 20])
def test_the_best_list_is_perfect_however_large_the_basket(cutoff):
    """25 targets on the first 25 places: NDCG and MRR are 1, recall can only be cutoff / 25."""
    ranks, rows = np.arange(25.0), np.zeros(25, dtype=np.int64)
    assert ndcg(ranks, cutoff, rows) == pytest.approx(1, abs=1e-14)
    assert mrr(ranks, cutoff, rows) == [1]
    assert recall(ranks, cutoff, rows) == pytest.approx(cutoff / 25)


def test_users_count_alike_and_do_not_mix():
    """By hand: user 0 has ranks 3 and 0, user 1 rank 12, user 2 ranks 10, 1 and 30.

    NDCG@10: (1 + 1/log2 5) / (1 + 1/log2 3); nothing; (1/log2 3) / (1 + 1/log2 3 + 1/2). Recall@10: 1, 0, 1/3.
    MRR@10: 1, 0, 1/2.
    """
    ranks, rows = np.array([3.0, 0, 12, 10, 1, 30]), np.array([0, 0, 1, 2, 2, 2])
    metrics = per_user_metrics(ranks, rows)
    third, fifth = 1 / math.log2(3), 1 / math.log2(5)
    np.testing.assert_allclose(metrics["ndcg@10"], [(1 + fifth) / (1 + third), 0, third / (1.5 + third)], rtol=1e-14)
    np.testing.assert_allclose(metrics["recall@10"], [1, 0, 1 / 3], rtol=1e-14)
    np.testing.assert_allclose(metrics["mrr@10"], [1, 0, 0.5], rtol=1e-14)
    np.testing.assert_allclose(metrics["mrr@20"], [1, 1 / 13, 0.5], rtol=1e-14)


def test_nan_is_no_success_for_any_of_the_targets():
    """Of two targets one scores NaN: it is found by nobody, and it stands above the other."""
    ranks = target_ranks(np.array([[1.0, np.nan, 0.0]]), np.array([0, 1]), np.array([0, 0]))
    assert ranks.tolist() == [1.0, math.inf]
    metrics = per_user_metrics(ranks, np.array([0, 0]))
    assert metrics["recall@10"] == [0.5]
    assert metrics["mrr@10"] == [0.5]
