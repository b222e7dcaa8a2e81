"""Counts of item pairs over public keys: what a market may say of its histories without any of their rows.

They are sums over users, so the counts of several markets add up: to shared semantics (``semantics.cooccurrence``),
and to the exact Gram matrix of federated EASE.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fedrec.exchange.keys import MOST_ITEMS
from fedrec.exchange.payload import Array

_NAMES = ("first", "second", "count")


@dataclass(frozen=True)
class PairCounts:
    """Users per item pair of ``size`` items, upper triangle, each pair once; an item with itself: its users."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    count: NDArray[np.int32]
    size: int

    def placed(self, index: NDArray[np.int64], size: int) -> "PairCounts":
        """The same counts with item i renamed to ``index[i]`` of ``size`` items."""
        ends = np.sort(np.stack([index[self.first], index[self.second]]), axis=0).astype(np.int32)
        return PairCounts(ends[0], ends[1], self.count, size)

    def restricted(self, items: NDArray[np.int64]) -> "PairCounts":
        """The counts among ``items`` alone, numbered in their order."""
        position = np.full(self.size, -1, dtype=np.int64)
        position[items] = np.arange(len(items))
        inside = (position[self.first] >= 0) & (position[self.second] >= 0)
        kept = PairCounts(self.first[inside], self.second[inside], self.count[inside], self.size)
        return kept.placed(position, len(items))

    def matrix(self) -> sparse.csr_matrix:
        """The symmetric matrix [size, size]."""
        shape = (self.size, self.size)
        upper = sparse.csr_matrix((self.count.astype(np.float64), (self.first, self.second)), shape=shape)
        return sparse.csr_matrix(upper + sparse.triu(upper, k=1).T)

    def arrays(self) -> dict[str, Array]:
        """The three arrays in which counts travel."""
        return {"first": self.first, "second": self.second, "count": self.count}


def count_pairs(histories: sparse.csr_matrix, min_count: int, diagonal: bool = False) -> PairCounts:
    """Count the users of every item pair of ``histories`` [U, I] and keep pairs of at least ``min_count``.

    ``diagonal`` adds every item's own users (as often as ``min_count`` allows).
    """
    bought = (histories != 0).astype(np.int64)  # a user who repeats an item is still one user
    counts = sparse.triu(bought.T @ bought, k=0 if diagonal else 1).tocoo()
    keep = counts.data >= min_count
    first, second = counts.row[keep], counts.col[keep]
    order = np.lexsort((second, first))
    return PairCounts(
        first[order].astype(np.int32),
        second[order].astype(np.int32),
        counts.data[keep][order].astype(np.int32),
        histories.shape[1],
    )


def sum_pairs(parts: Iterable[PairCounts], size: int) -> PairCounts:
    """Add counts that already share one index of ``size`` items; raises ``ValueError`` when a sum is absurd."""
    total = sparse.csr_matrix((size, size), dtype=np.int64)
    for part in parts:
        total = total + sparse.csr_matrix((part.count, (part.first, part.second)), shape=(size, size), dtype=np.int64)
    summed = total.tocoo()
    if summed.nnz and summed.data.max() > np.iinfo(np.int32).max:
        raise ValueError("summed pair counts are larger than any market could have users")
    return PairCounts(summed.row.astype(np.int32), summed.col.astype(np.int32), summed.data.astype(np.int32), size)


def pairs_of(triangle: NDArray[np.floating], size: int) -> PairCounts:
    """The counts of a dense upper triangle over ``size`` items, row by row; pairs that nobody has are left out."""
    first, second = np.triu_indices(size)
    there = triangle > 0
    return PairCounts(
        first[there].astype(np.int32), second[there].astype(np.int32), triangle[there].astype(np.int32), size
    )


@dataclass(frozen=True)
class SummedCounts:
    """What a market gets of the counts of all: ``counts``, and which of their items are its own."""

    counts: PairCounts
    own: NDArray[np.int64]  # position of each of the market's items

    def arrays(self) -> dict[str, Array]:
        """The arrays in which they travel."""
        return {**self.counts.arrays(), "own": self.own, "size": np.array([self.counts.size])}


def read_summed(arrays: Mapping[str, Array], items: int) -> SummedCounts:
    """Summed counts as a market of ``items`` items receives them; raises ``ValueError`` for what cannot be such."""
    own, size = arrays.get("own"), arrays.get("size")
    if own is None or size is None or size.shape != (1,) or {own.dtype, size.dtype} != {np.dtype(np.int64)}:
        raise ValueError("summed counts must say over how many items they are and where this market's stand")
    total = int(size[0])
    if own.shape != (items,) or len(np.unique(own)) != items or not (own.min() >= 0 and own.max() < total):
        raise ValueError(f"summed counts over {total} items do not fit the {items} items of this market")
    if total > MOST_ITEMS:
        raise ValueError(f"summed counts over {total} items; at most {MOST_ITEMS} are taken")
    return SummedCounts(read_pairs(arrays, total, 1, diagonal=True), np.asarray(own, np.int64))


def read_pairs(
    arrays: Mapping[str, Array], size: int, min_count: int, diagonal: bool, users: int | None = None
) -> PairCounts:
    """Counts as they came from the other side; raises ``ValueError`` in words for anything that cannot be counts.

    ``users``: how many there are where they came from, if that is known.
    """
    parts = [arrays.get(name) for name in _NAMES]
    if any(part is None or part.dtype != np.int32 or part.ndim != 1 for part in parts):
        raise ValueError("pair counts must be three one-dimensional int32 arrays")
    first, second, count = (np.asarray(part, np.int32) for part in parts)
    if not len(first) == len(second) == len(count):
        raise ValueError("pair counts of unequal length")
    ordered = first <= second if diagonal else first < second
    if len(first) and not (first.min() >= 0 and ordered.all() and second.max() < size):
        raise ValueError("pair counts name items outside the catalogue")
    if len(count) and count.min() < min_count:
        raise ValueError(f"a pair count below the agreed least, {min_count}")
    if len(count) and users is not None and count.max() > users:
        raise ValueError(f"a pair is counted {count.max()} times, of {users} users")
    cells = first.astype(np.int64) * size + second
    if len(np.unique(cells)) < len(cells):
        raise ValueError("pair counts name a pair twice")
    if diagonal:
        bought = np.zeros(size, np.int32)
        bought[first[first == second]] = count[first == second]
        if (count > np.minimum(bought[first], bought[second])).any():
            raise ValueError("a pair is counted more often than one of its items")
    return PairCounts(first, second, count, size)
