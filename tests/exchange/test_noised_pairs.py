"""Item pairs under noise: the statistic by loops, what one user can change, and what is refused."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fedrec.exchange.noised_pairs import (
    noise_edge,
    pair_statistic,
    read_ridged,
    read_triangle,
    symmetric,
    triangle_of,
)

HISTORIES = st.lists(st.sets(st.integers(0, 5), min_size=0), min_size=1, max_size=8)


def matrix(histories, repeats=1.0):
    dense = np.zeros((len(histories), 6))
    for user, items in enumerate(histories):
        dense[user, sorted(items)] = repeats
    return sparse.csr_matrix(dense)


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_the_statistic_by_loops(histories):
    """However often a user met an item."""
    wanted = np.zeros((6, 6))
    for items in histories:
        for one in items:
            for other in items:
                wanted[one, other] += 1 / len(items)
    found = pair_statistic(matrix(histories, 3.0))
    np.testing.assert_allclose(symmetric(found.astype(np.float32), 6), wanted, atol=1e-6)
    np.testing.assert_allclose(triangle_of(wanted.astype(np.float32)), found, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.sets(st.integers(0, 5), min_size=1))
def test_one_user_more_moves_it_by_at_most_one(histories, items):
    """By sqrt((n + 1) / (2 n)) for a user of n items: exactly one for a user of one."""
    change = np.linalg.norm(pair_statistic(matrix([*histories, items])) - pair_statistic(matrix(histories)))
    count = len(items)
    assert change == pytest.approx(((count + 1) / (2 * count)) ** 0.5, abs=1e-9)
    assert change <= 1 + 1e-9


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "not nothing"),
        (np.zeros(6), "not float64"),
        (np.zeros(5, np.float32), "shape (6,), not float32 of shape (5,)"),
        (np.full(6, np.nan, np.float32), "not finite"),
        (np.full(6, np.inf, np.float32), "not finite"),
    ],
)
def test_what_cannot_be_pairs_is_refused(values, words):
    arrays = {} if values is None else {"pairs": values}
    with pytest.raises(ValueError, match=re.escape(words)):
        read_triangle(arrays, 3)


@pytest.mark.parametrize("ridge", [None, np.zeros(1), np.array([-1], np.float32), np.array([np.nan], np.float32)])
def test_a_market_takes_pairs_with_a_ridge_only(ridge):
    arrays = {"pairs": np.zeros(6, np.float32), **({} if ridge is None else {"ridge": ridge})}
    with pytest.raises(ValueError, match="one finite ridge"):
        read_ridged(arrays, 3)


def test_the_edge_is_where_noise_ends():
    """The largest eigenvalue of the noise of three overlapping markets alone, twenty times over."""
    size = 300
    index = {"a": np.arange(200), "b": np.arange(100, 300), "c": np.arange(50)}
    multipliers = {"a": 1.0, "b": 2.0, "c": 0.5}
    generator = np.random.default_rng(0)
    largest = []
    for _ in range(20):
        total = np.zeros((size, size))
        for market, items in index.items():
            noise = generator.standard_normal(len(items) * (len(items) + 1) // 2) * multipliers[market]
            total[np.ix_(items, items)] += symmetric(noise.astype(np.float32), len(items))
        largest.append(np.linalg.eigvalsh(total)[-1])
    edge = noise_edge(index, multipliers, size)
    assert max(largest) < 1.03 * edge
    assert np.mean(largest) > 0.75 * edge
    assert noise_edge({}, {}, 0) == 0
