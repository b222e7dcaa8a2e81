"""Counts of item pairs: between markets, restricted, as a matrix, and as they come from the other side."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fedrec.baselines.ease import ease_weights, gram
from fedrec.exchange.pairs import PairCounts, SummedCounts, count_pairs, read_pairs, read_summed, sum_pairs

UNION = "abcdefghi"


@st.composite
def federations(draw):
    """Two or three markets: the items of each (some of ``UNION``, in any order) and its users' baskets."""
    markets = []
    for _ in range(draw(st.integers(2, 3))):
        items = draw(st.lists(st.sampled_from(UNION), min_size=1, max_size=9, unique=True))
        markets.append((items, draw(st.lists(st.sets(st.sampled_from(items)), min_size=1, max_size=8))))
    return markets


def matrix(baskets, items):
    return sparse.csr_matrix(np.array([[float(item in basket) for item in items] for basket in baskets]))


def counts_of(baskets):
    """{(x, y): users with both}, x <= y by name; (x, x): users of x. Loops over all users."""
    counts = {}
    for basket in baskets:
        for pair in combinations_with_replacement(sorted(basket), 2):
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def named(pairs, items):
    """The same of ``PairCounts``; every pair once, in the upper triangle."""
    assert pairs.size == len(items)
    assert {array.dtype for array in pairs.arrays().values()} == {np.dtype(np.int32)}
    assert (pairs.first <= pairs.second).all()
    entries = zip(pairs.first, pairs.second, pairs.count, strict=True)
    result = {tuple(sorted((items[i], items[j]))): int(count) for i, j, count in entries}
    assert len(result) == len(pairs.count)
    return result


def summed(markets):
    """What the server makes of all markets' counts over the sorted union of their items."""
    union = sorted({item for items, _ in markets for item in items})
    parts = []
    for items, baskets in markets:
        index = np.array([union.index(item) for item in items])
        parts.append(count_pairs(matrix(baskets, items), 1, diagonal=True).placed(index, len(union)))
    return union, sum_pairs(parts, len(union))


@settings(max_examples=80, deadline=None)
@given(federations())
def test_the_sum_over_markets_counts_the_users_of_all(markets):
    """Users are in one market each, so counting them together is counting them apart."""
    union, total = summed(markets)
    everyone = [basket for _, baskets in markets for basket in baskets]
    assert named(total, union) == counts_of(everyone)
    np.testing.assert_array_equal(total.matrix().toarray(), gram(matrix(everyone, union)).toarray())


@settings(max_examples=25, deadline=None)
@given(federations(), st.sampled_from([1.0, 30.0]))
def test_ease_of_the_sum_is_ease_of_all_users_together(markets, lam):
    """Federated EASE is exact: it needs the histories through X'X alone. X is regressed column by column here.

    B_j is the ridge regression of column j on the others (see tests/baselines/test_ease.py), of everyone's histories.
    """
    union, total = summed(markets)
    x = matrix([basket for _, baskets in markets for basket in baskets], union).toarray()
    expected = np.zeros((len(union), len(union)))
    for j in range(len(union)):
        others = [i for i in range(len(union)) if i != j]
        system = np.vstack([x[:, others], np.sqrt(lam) * np.eye(len(others))])
        wanted = np.concatenate([x[:, j], np.zeros(len(others))])
        expected[others, j] = np.linalg.lstsq(system, wanted, rcond=None)[0]
    np.testing.assert_allclose(ease_weights(total.matrix(), lam), expected, atol=1e-10)


@settings(max_examples=80, deadline=None)
@given(federations(), st.randoms(use_true_random=False))
def test_restricting_the_sum_keeps_the_counts_among_some_items(markets, random):
    """By name: the pairs with both ends in the selection, whatever its order; places follow that order."""
    union, total = summed(markets)
    chosen = random.sample(range(len(union)), random.randint(1, len(union)))
    items = [union[item] for item in chosen]
    expected = {
        pair: count
        for pair, count in counts_of(basket for _, baskets in markets for basket in baskets).items()
        if set(pair) <= set(items)
    }
    restricted = total.restricted(np.array(chosen))
    assert named(restricted, items) == expected
    np.testing.assert_array_equal(restricted.matrix().toarray(), total.matrix().toarray()[np.ix_(chosen, chosen)])


@settings(max_examples=40, deadline=None)
@given(federations(), st.integers(1, 4), st.booleans())
def test_a_minimum_holds_for_items_as_for_pairs(markets, least, diagonal):
    items, baskets = markets[0]
    found = named(count_pairs(matrix(baskets, items), least, diagonal), items)
    assert found == {
        pair: count for pair, count in counts_of(baskets).items() if count >= least and (diagonal or pair[0] != pair[1])
    }


def test_the_matrix_is_symmetric_and_the_diagonal_counts_once():
    """Pair (0, 2) three times, item 2 seven times, nothing else."""
    pairs = PairCounts(*(np.array(part, np.int32) for part in ([0, 2], [2, 2], [3, 7])), size=3)
    assert pairs.matrix().toarray().tolist() == [[0, 0, 3], [0, 0, 0], [3, 0, 7]]
    assert pairs.matrix().dtype == np.float64


# from the other side


def travelling(first=(0, 0, 1), second=(0, 1, 1), count=(5, 3, 4), dtype=np.int32):
    parts = zip(("first", "second", "count"), (first, second, count), strict=True)
    return {name: np.array(part, dtype) for name, part in parts}


def test_what_was_sent_is_what_is_read():
    sent = count_pairs(matrix([set("abd"), set("ab"), set("c")], "abcd"), 1, diagonal=True)
    read = read_pairs(sent.arrays(), 4, 1, diagonal=True)
    assert named(read, "abcd") == counts_of([set("abd"), set("ab"), set("c")])
    assert named(read_pairs(travelling((), (), ()), 4, 2, diagonal=False), "abcd") == {}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"first": travelling()["first"], "second": travelling()["second"]},
        travelling(dtype=np.int64),
        travelling(dtype=np.float32),
        {**travelling(), "count": np.array([5.0, 3.0, 4.0], np.float64)},
        {name: part[None] for name, part in travelling().items()},
        {**travelling(), "count": np.array(5, np.int32)},
        travelling(count=(5, 3)),
        travelling(first=(-1, 0, 1)),
        travelling(first=(-(2**31), 0, 1)),
        travelling(second=(0, 2, 1)),
        travelling(second=(0, 2**31 - 1, 1)),
        travelling(first=(0, 1, 1), second=(0, 0, 1)),
        travelling(count=(5, 0, 4)),
        travelling(count=(5, -3, 4)),
    ],
    ids=[
        "nothing", "no-count", "int64", "float32", "mixed", "table", "scalar", "length", "negative", "least-int",
        "outside", "largest-int", "lower-triangle", "zero", "negative-count",
    ],
)  # fmt: skip
def test_what_cannot_be_counts_of_two_items_is_refused(arrays):
    with pytest.raises(ValueError, match="pair count"):
        read_pairs(arrays, 2, 1, diagonal=True)


def test_an_item_with_itself_and_counts_under_the_minimum_where_none_were_agreed():
    read_pairs(travelling(), 2, 3, diagonal=True)
    with pytest.raises(ValueError, match="pair count"):
        read_pairs(travelling(), 2, 3, diagonal=False)
    with pytest.raises(ValueError, match="least, 4"):
        read_pairs(travelling(), 2, 4, diagonal=True)


def test_a_pair_named_twice_is_refused():
    """Each pair comes once (see :class:`PairCounts`): counts that a market splits up can pass for anything."""
    with pytest.raises(ValueError, match="pair count"):
        read_pairs(travelling((0, 0), (1, 1), (3, 3)), 2, 1, diagonal=False)


def test_sums_beyond_32_bits_do_not_turn_negative():
    """Two markets send the largest int32 for a pair: 2^32 - 2 users are refused, or counted, but never -2."""
    part = PairCounts(*(np.array([value], np.int32) for value in (0, 1, 2**31 - 1)), size=2)
    try:
        total = sum_pairs([part, part], 2)
    except (ValueError, OverflowError):
        return
    assert total.count.tolist() == [2**32 - 2]


def a_share() -> SummedCounts:
    """Items 3 and 1 of four are the market's own; item 1 has three users, two of them with item 3."""
    rows, columns, counts = np.array([[1, 1, 3], [1, 3, 3], [3, 2, 2]], np.int32)
    return SummedCounts(PairCounts(rows, columns, counts, 4), np.array([3, 1]))


def test_summed_counts_come_back_as_they_were_sent():
    found = read_summed(a_share().arrays(), 2)
    assert found.own.tolist() == [3, 1]
    assert found.counts.matrix().toarray()[np.ix_(found.own, found.own)].tolist() == [[2, 2], [2, 3]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"own": None}, "must say"),
        ({"size": None}, "must say"),
        ({"size": np.array([4, 4])}, "must say"),
        ({"size": np.array([4.0])}, "must say"),
        ({"own": np.array([3.0, 1.0])}, "must say"),
        ({"own": np.array([3, 3])}, "do not fit"),
        ({"own": np.array([3, 4])}, "do not fit"),
        ({"own": np.array([-1, 1])}, "do not fit"),
        ({"own": np.array([3])}, "do not fit"),
        ({"size": np.array([2**40])}, "at most"),
        ({"size": np.array([3]), "own": np.array([0, 1])}, "outside the catalogue"),
    ],
)
def test_summed_counts_that_cannot_be(changes, words):
    arrays = {name: array for name, array in {**a_share().arrays(), **changes}.items() if array is not None}
    with pytest.raises(ValueError, match=words):
        read_summed(arrays, 2)
