"""Sums of tables read back, against sums of dictionaries."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.errors import RunError
from fedrec.exchange.lookup_table import MAX_CELLS, places, read_table, table_of, table_shape

cell = st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1))
markets = st.lists(st.dictionaries(cell, st.integers(1, 2**24), max_size=40), min_size=1, max_size=5)


def tables(counted: list[dict[tuple[int, int], int]]) -> list[np.ndarray]:
    cells = sum(map(len, counted))
    return [
        table_of(np.array(list(one), np.int64).reshape(-1, 2), np.array(list(one.values()), np.int64), cells)
        for one in counted
    ]


def read(table: np.ndarray) -> dict[tuple[int, int], int]:
    keys, counts = read_table(table)
    assert keys.tolist() == sorted(keys.tolist())
    return {(int(first), int(second)): int(count) for (first, second), count in zip(keys, counts, strict=True)}


@settings(max_examples=60, deadline=None)
@given(markets)
def test_the_sum_of_tables_is_the_table_of_sums(counted):
    """Keys that several markets have among them; one added by 256 of them would still fit."""
    total: Counter[tuple[int, int]] = Counter()
    for one in counted:
        total.update(one)
    summed = np.sum(tables(counted), axis=0, dtype=np.uint32)
    assert read(summed) == total


def test_the_same_key_of_many_markets():
    same = {(2**24 - 1, 2**24 - 1): 7, (0, 0): 1}
    assert read(np.sum(tables([same] * 250), axis=0, dtype=np.uint32)) == {key: 250 * n for key, n in same.items()}


@pytest.mark.parametrize("size", [1, 10, 100, 1_000, 100_000])
def test_tables_of_every_size_come_apart(size):
    generator = np.random.default_rng(size)
    for _ in range(max(1, 2_000 // size)):
        keys = np.unique(generator.integers(2**20, size=(size, 2)), axis=0)
        counts = generator.integers(1, 100, size=len(keys))
        found, summed = read_table(table_of(keys, counts, len(keys)))
        np.testing.assert_array_equal(found, keys)
        np.testing.assert_array_equal(summed, counts)


def test_a_table_that_is_too_full_is_no_answer():
    keys = np.unique(np.random.default_rng(0).integers(2**20, size=(5_000, 2)), axis=0)
    with pytest.raises(ValueError, match="cannot be read"):
        read_table(table_of(keys, np.ones(len(keys), np.int64), 1_000))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 500))
def test_what_is_no_table_is_told_or_read_but_never_a_crash(value, column, row):
    (table,) = tables([{(1, 2): 3, (4, 5): 6}])
    table[row, column : column + 1] += np.uint32(value)  # a row of one: its sum wraps as those of tables do
    if value == 0:
        assert len(read_table(table)[0]) == 2
    else:
        with pytest.raises(ValueError, match="cannot be read"):
            read_table(table)


def test_a_table_that_would_never_end():
    """Half of the ring, taken away from nothing, is half of the ring."""
    (table,) = tables([{(0, 0): 1}])
    table *= np.uint32(2**31)
    place = table[:, 0].nonzero()[0][0]
    table[np.arange(len(table)) != place] = 0
    with pytest.raises(ValueError, match="cannot be read"):
        read_table(table)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 2**32 - 1))
def test_any_numbers_end(seed, most):
    numbers = np.random.default_rng(seed).integers(most, size=table_shape(50), dtype=np.uint32)
    with pytest.raises(ValueError, match="cannot be read"):
        read_table(numbers)


def test_more_than_memory_holds_is_refused():
    with pytest.raises(RunError, match="raise min_count"):
        places(MAX_CELLS + 1)
    assert table_shape(MAX_CELLS)[0] * table_shape(MAX_CELLS)[1] * 4 < 7.3e8


def test_keys_that_would_wrap_are_refused():
    with pytest.raises(ValueError, match="not below"):
        table_of(np.array([[2**24, 0]]), np.array([1]), 1)
